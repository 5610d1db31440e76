//! The device: what it consists of, and how the answer of a command leaves.
//!
//! A command's way: [`Device::submit`] decodes it, `dispatch` acts and gives a response,
//! `finish` sends it, or parks it behind the fences before it. What takes longer comes back by
//! [`Device::signalled`] (a host fence), [`Device::job_done`] (the front end),
//! [`Device::buffer_created`] (a blob's memory) or [`Device::tick`] (a deadline).

use alloc::collections::BTreeMap;
use core::fmt;

use stile_wire::gpu::{Request, Response, ResponseError};
use stile_wire::sync::OpCode;

use crate::allocation::Allocations;
use crate::answer::{Answer, Asker, Chain, HeldAnswer};
use crate::blob::Blob;
use crate::context::Context;
use crate::counters::Counters;
use crate::events::Events;
use crate::fence::{FenceKey, Fences, Submitted, TimelineKey};
use crate::host::{Host, JobId, WaitId};
use crate::job::{DueJob, Errand, Job, Promise};
use crate::limits::Limits;
use crate::list::List;
use crate::memory_fence::Waiter;
use crate::region::Region;
use crate::request::Requests;
use crate::slab::{Key, Slab};
use crate::timeline::Timelines;
use crate::wait::{OfFence, Wait};
use crate::waiters::Waiters;

/// A fence's answer and what it waits for.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) answer: HeldAnswer,
    pub(crate) waits: List<OfFence>,
    pub(crate) job: Option<Key>,
}

/// A virtio-gpu device without outputs, whose contexts may use stile-sync.
pub struct Device<H: Host> {
    pub(crate) limits: Limits,
    /// The operations of the capset.
    pub(crate) offered: u64,
    pub(crate) contexts: BTreeMap<u32, Context<H::Fence, H::Records>>,
    pub(crate) blobs: BTreeMap<u32, Blob<H::Buffer, H::Words>>,
    /// The blobs that have a UUID.
    pub(crate) uuids: BTreeMap<[u8; 16], u32>,
    pub(crate) fences: Fences<Parked>,
    pub(crate) waits: Slab<Wait>,
    pub(crate) jobs: Slab<Job>,
    pub(crate) due_jobs: List<DueJob>,
    pub(crate) events: Events,
    pub(crate) timelines: Timelines<H::Syncobj>,
    pub(crate) allocations: Allocations,
    /// Who waits for counters in blobs.
    pub(crate) waiters: Waiters<Waiter>,
    pub(crate) requests: Requests,
    pub(crate) region: Region,
    pub(crate) counters: Counters,
    /// Cookies of all contexts.
    pub(crate) cookies: u32,
    pub(crate) host_bytes: u64,
    pub(crate) guest_bytes: u64,
    pub(crate) global: TimelineKey,
    /// From here on fences are refused and displaced.
    pub(crate) pending_limit: u32,
    last_serial: u64,
}

impl<H: Host> fmt::Debug for Device<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("contexts", &self.contexts.len())
            .field("blobs", &self.blobs.len())
            .field("pending", &self.fences.pending())
            .finish_non_exhaustive()
    }
}

impl<H: Host> Device<H> {
    /// A device that nobody has used, with the operations that the host can do.
    pub fn new(limits: Limits, offered: u64) -> Self {
        let mut fences = Fences::default();
        let global = fences.open();
        Self {
            limits,
            offered: offered & OpCode::mask(),
            contexts: BTreeMap::new(),
            blobs: BTreeMap::new(),
            uuids: BTreeMap::new(),
            fences,
            waits: Slab::new(),
            jobs: Slab::new(),
            due_jobs: List::default(),
            events: Events::new(),
            timelines: Timelines::new(),
            allocations: Allocations::new(),
            waiters: Waiters::default(),
            requests: Requests::default(),
            region: Region::default(),
            counters: Counters::default(),
            cookies: 0,
            host_bytes: 0,
            guest_bytes: 0,
            global,
            pending_limit: limits.pending_fences.max(1),
            last_serial: 0,
        }
    }

    /// What has happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The quotas.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The control queue has `size` descriptors. Pending fences may hold three of eight, whatever
    /// [`Limits::pending_fences`] says: beyond it, each busy timeline may park one more, and there
    /// are no more of those than fences with open waits.
    pub fn set_queue_size(&mut self, size: u16) {
        let share = u32::from(size).saturating_mul(3) / 8;
        self.pending_limit = self.limits.pending_fences.min(share).max(1);
    }

    /// Fences that are not answered yet.
    pub const fn pending_fences(&self) -> usize {
        self.fences.pending()
    }

    /// Contexts, blobs and cookies that exist.
    pub fn population(&self) -> (usize, usize, usize) {
        (
            self.contexts.len(),
            self.blobs.len(),
            usize::try_from(self.cookies).unwrap_or(usize::MAX),
        )
    }

    /// Whether the next submission might be refused for its number of pending fences or file
    /// descriptors. Whoever has signals to deliver does so first.
    pub fn crowded(&self) -> bool {
        let fds = self.fds().saturating_add(self.limits.operations);
        self.full() || fds >= self.limits.fds
    }

    /// Whether there are as many pending fences as there may be.
    pub(crate) fn full(&self) -> bool {
        self.fences.pending() >= to_usize(self.pending_limit)
    }

    /// When [`Device::tick`] is due, in nanoseconds of the clock that the device is told.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let fence = self.fences.next_deadline_ns();
        let job = self
            .due_jobs
            .first(&self.jobs)
            .and_then(|job| self.jobs.get(job));
        let job = job.and_then(Job::deadline_ns);
        let event = self.events.next_deadline_ns();
        let allocation = self.allocations.awaited.as_ref();
        let allocation = allocation.map(|awaited| awaited.deadline_ns);
        let request = self.requests.next_deadline_ns();
        let all = [fence, job, event, allocation, request];
        all.into_iter().flatten().min()
    }

    /// When the guest is answered whatever becomes of a command that is taken up at `now_ns`.
    pub(crate) fn deadline_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_add(u64::from(self.limits.fence_deadline_ms).saturating_mul(1_000_000))
    }

    /// Answers a command that waits for nothing of its own.
    pub(crate) fn finish(&mut self, host: &mut H, turn: &Turn<'_>, response: Response) {
        self.finish_for(host, turn.asker(), response);
    }

    /// Answers a command whose own work has ended.
    pub(crate) fn finish_for(&mut self, host: &mut H, asker: Asker, response: Response) {
        let parked = Parked {
            answer: asker.answer(response).into(),
            waits: List::default(),
            job: None,
        };
        self.queue(host, asker.timeline, 0, 0, parked);
    }

    /// Answers a command after `waits` waits, behind the fences before it. At the quota, one without
    /// waits takes the place of another.
    pub(crate) fn park(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        response: Response,
        waits: u32,
        open: List<OfFence>,
        job: Option<Key>,
    ) -> Option<FenceKey> {
        let asker = turn.asker();
        let parked = Parked {
            answer: asker.answer(response).into(),
            waits: open,
            job,
        };
        let deadline_ns = self.deadline_ns(turn.now_ns);
        self.queue(host, asker.timeline, waits, deadline_ns, parked)
    }

    fn queue(
        &mut self,
        host: &mut H,
        timeline: Option<TimelineKey>,
        waits: u32,
        deadline_ns: u64,
        parked: Parked,
    ) -> Option<FenceKey> {
        let (Some(timeline), Some((_, id))) = (timeline, parked.answer.fence) else {
            self.reply(host, parked.answer.into_answer());
            return None;
        };
        let submitted = if waits == 0 && self.full() {
            let (submitted, displaced) = self.fences.displace(timeline, id, parked);
            if let Some(Parked { answer, .. }) = displaced {
                self.counters.fences_displaced = self.counters.fences_displaced.saturating_add(1);
                let answer = answer.into_answer();
                let fence = None;
                self.reply(host, Answer { fence, ..answer });
            }
            submitted
        } else {
            self.fences.submit(timeline, id, waits, deadline_ns, parked)
        };
        match submitted {
            Submitted::Now(parked) => {
                self.reply(host, parked.answer.into_answer());
                None
            }
            Submitted::Parked(key) => {
                self.counters.fences_parked = self.counters.fences_parked.saturating_add(1);
                Some(key)
            }
            // `submit` has looked already.
            Submitted::Stale(Parked { answer, .. }) => {
                let answer = answer.into_answer();
                let fence = None;
                self.reply(host, Answer { fence, ..answer });
                None
            }
        }
    }

    /// Back to a device that nobody has used. Nothing is answered: the queues are gone. The front
    /// end is asked to unmap what is mapped.
    pub fn reset(&mut self, host: &mut H) {
        for key in self.waits.keys() {
            if let Some(wait) = self.waits.get(key) {
                wait.kind.stop(host, WaitId(key));
            }
        }
        self.waits.clear();
        self.jobs.clear();
        self.due_jobs = List::default();
        self.fences.clear();
        self.waiters.clear();
        self.end_all_requests(host);
        self.contexts.clear();
        self.events.clear();
        self.timelines.clear(host);
        self.uuids.clear();
        for (resource_id, blob) in core::mem::take(&mut self.blobs) {
            host.unpublish(resource_id);
            if let Some(uuid) = blob.uuid {
                host.unshare(uuid);
            }
        }
        for (offset, size) in self.region.drain() {
            let job = self
                .jobs
                .insert(Job::new(Errand::Forgotten, Promise::Nobody));
            host.unmap(JobId(job), offset, size);
        }
        self.cookies = 0;
        self.forget_allocation();
        self.global = self.fences.open();
    }

    pub(crate) fn reply(&mut self, host: &mut H, answer: Answer) {
        self.counters.replies = self.counters.replies.saturating_add(1);
        if answer.fence.is_some() {
            self.counters.fences = self.counters.fences.saturating_add(1);
        }
        host.reply(&answer);
    }

    pub(crate) fn over_quota(&mut self) -> Response {
        self.counters.over_quota = self.counters.over_quota.saturating_add(1);
        Response::Err(ResponseError::OutOfMemory)
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.last_serial = self.last_serial.saturating_add(1);
        self.last_serial
    }

    /// File descriptors that the guest holds: one a blob, existing or being made, a cookie and a
    /// watch. A timeline counts as one: the host's kernel keeps an object for it.
    pub(crate) fn fds(&self) -> u32 {
        let blobs = self.blobs.len().saturating_add(self.allocations.open.len());
        let fds = blobs.saturating_add(self.waits.len());
        let fds = fds.saturating_add(self.timelines.fds());
        u32::try_from(fds)
            .unwrap_or(u32::MAX)
            .saturating_add(self.cookies)
    }
}

/// One command on its way through the device.
pub(crate) struct Turn<'a> {
    pub(crate) now_ns: u64,
    pub(crate) chain: Chain,
    pub(crate) request: Request<'a>,
    /// The timeline of the request's fence, if it has one and there can be fences on it.
    pub(crate) timeline: Option<TimelineKey>,
}

impl Turn<'_> {
    pub(crate) const fn asker(&self) -> Asker {
        Asker {
            chain: self.chain,
            ctx_id: self.request.ctx_id,
            fence: self.request.fence,
            timeline: self.timeline,
        }
    }
}

pub(crate) fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
