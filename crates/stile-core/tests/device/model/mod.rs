//! A naive model of the device, written from the specification: vectors, and a look at everything
//! each time. It says what must have been answered, recorded and asked for after each operation.

mod allocations;
mod commands;
mod events;
mod inbox;
mod joined;
mod moving;
mod operations;
mod pieces;
mod points;
mod requests;
mod steps;
mod timelines;
mod verify;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use stile_core::{Chain, Errno, Limits, RequestId, WaitId};
use stile_wire::gpu::{Response, Timeline};
use stile_wire::sync::{RecordFlags, StatusRecord};

pub(crate) use points::PointStep;
pub(crate) use steps::{
    Command, Ending, FenceId, Fencing, Step, blob_again, blob_slowly, boot, context_again,
    event_step, step,
};

use inbox::{ModelEvent, ModelRing};
use requests::ModelRequest;
use timelines::{ModelPoint, ModelTimeline};
use waits::{Cause, ModelAccess};

use crate::sim::{Fenced, GuestCommand, HostFails, Kernel, Points, Reservation, SyncFile, Task};

/// An answer that the device must give.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    ctx_id: u32,
    fence: Option<(Timeline, u64)>,
    response: Response,
    /// Status records before it.
    records: usize,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Signalled,
    /// An access of the CPU, well or not.
    Accessed,
    Deadline,
    /// The host could not watch what it waits for.
    Refused,
    /// There is an event, or will be none.
    Told,
}

/// An operation that goes on, or went on.
#[derive(Clone, Debug)]
struct ModelWait {
    cause: Cause,
    /// Once it is watched.
    id: Option<WaitId>,
    ended: Option<Ended>,
    /// The context whose status blob it is told to.
    context: u64,
    record: StatusRecord,
}

/// A fence on a timeline, answered or not.
#[derive(Debug)]
struct ModelFence {
    chain: Chain,
    id: u64,
    answer: Expected,
    deadline_ns: u64,
    /// Indices of `Model::waits`.
    waits: Vec<usize>,
    /// The job that it waits for, while it does.
    job: Option<usize>,
    answered: bool,
    /// In the guest's eyes, which saw its response or that of a later fence of its timeline.
    signalled: bool,
}

/// A timeline; it stays in the model when its context is gone.
#[derive(Debug, Default)]
struct Line {
    last: Option<u64>,
    fences: Vec<ModelFence>,
}

/// Whom a job's end is told.
#[derive(Clone, Copy, Debug)]
enum Promise {
    Nobody,
    Command(Chain),
    Fence { line: usize, nth: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Map {
        blob: u64,
        offset: u64,
    },
    Unmap {
        blob: u64,
    },
    Move {
        blob: u64,
        offset: u64,
        request: RequestId,
    },
    Share {
        uuid: [u8; 16],
    },
    OfAnotherLife,
}

/// A request to the front end. Its index is its index in `Sim::jobs`.
#[derive(Debug)]
struct ModelJob {
    task: Task,
    errand: Errand,
    promise: Promise,
    ended: bool,
}

#[derive(Debug)]
struct ModelStatus {
    resource_id: u32,
    offset: usize,
    capacity: u64,
    seq: u64,
}

#[derive(Debug)]
struct ModelContext {
    /// Never the same for two contexts.
    life: u64,
    operations: bool,
    resources: BTreeSet<u32>,
    /// With the index in `Model::waits` of the EXPORT that made it.
    cookies: BTreeMap<u64, (SyncFile, Option<usize>)>,
    status: Option<ModelStatus>,
    /// Indices of `Model::lines`.
    rings: BTreeMap<u8, usize>,
    ring: Option<ModelRing>,
    /// Events that are not written, oldest first: indices of `Model::events`.
    kept: Vec<usize>,
    timelines: BTreeMap<u64, ModelTimeline>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    None,
    Changing,
    At(u64),
    /// For this request.
    Moving(u64, RequestId),
}

#[derive(Debug)]
struct ModelBlob {
    life: u64,
    size: u64,
    host_memory: bool,
    guest_pages: bool,
    mappable: bool,
    mapping: Mapping,
    uuid: Option<[u8; 16]>,
    reservation: Reservation,
    /// As much as was ever written.
    bytes: Vec<u8>,
    /// Whether the device has looked at a counter in it.
    looked_at: bool,
    /// Whom it moves for, until the guest sees it.
    moving: Option<RequestId>,
}

/// A command without a fence that waits for a job.
#[derive(Clone, Debug)]
struct Unfenced {
    answer: Expected,
    deadline_ns: u64,
    job: usize,
}

/// What becomes of a buffer that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fortune {
    /// The device waits for it.
    Awaited,
    /// The guest was told that there is none.
    GivenUp,
    /// It was asked for before a reset.
    OfAnotherLife,
}

/// A buffer that is being made. Its index is its index in `Sim::unmade`.
#[derive(Debug)]
struct Unmade {
    resource: u32,
    blob: ModelBlob,
    chain: Chain,
    answer: Expected,
    /// The timeline of its fence.
    line: Option<usize>,
    deadline_ns: u64,
    fortune: Fortune,
}

/// What the device must be like.
#[derive(Debug)]
pub(crate) struct Model {
    limits: Limits,
    /// From here on fences are refused and displaced.
    pending_limit: usize,
    now_ns: u64,
    /// The host's fences, kept apart from the simulated host's own.
    kernel: Kernel,
    contexts: BTreeMap<u32, ModelContext>,
    blobs: BTreeMap<u32, ModelBlob>,
    lines: Vec<Line>,
    global: usize,
    waits: Vec<ModelWait>,
    /// Those of them that the device must have watched since this was last looked at.
    watched: Vec<usize>,
    /// All events ever.
    events: Vec<ModelEvent>,
    /// EVENT_WAITs that end when everything else has happened.
    due: Vec<(usize, Option<Errno>)>,
    /// All drm_syncobjs ever.
    syncobjs: Vec<Points>,
    /// All watches of points ever.
    points: Vec<ModelPoint>,
    /// Syncobjs by the names that guests have given them, and host processes.
    shared: BTreeMap<[u8; 16], usize>,
    offered: BTreeMap<[u8; 16], (usize, bool)>,
    jobs: Vec<ModelJob>,
    unmade: Vec<Unmade>,
    /// Places in the hostmem region that are taken: bytes by offset.
    region: BTreeMap<u64, u64>,
    lives: u64,
    uuids: u8,
    /// Commands that wait for a job, without a fence.
    unfenced: BTreeMap<Chain, Unfenced>,
    /// What the operation that goes on must make the device answer.
    expected: BTreeMap<Chain, Expected>,
    host_fails: HostFails,
    /// The accesses of the CPU. Their indices are those of `Sim::accesses`.
    accesses: Vec<ModelAccess>,
    /// What the host's drivers must have been told of deadlines.
    host_deadlines: Vec<(SyncFile, u64)>,
    /// The requests of host processes that wait.
    requests: Vec<ModelRequest>,
    /// What the operation that goes on must make the device tell them.
    told: Vec<(RequestId, Result<u64, Errno>)>,
    records: usize,
    stale: u64,
    late: u64,
    overdue: u64,
    commands_overdue: u64,
    allocations_overdue: u64,
    allocations_refused: u64,
    allocations_late: u64,
    replies: u64,
}

impl Model {
    pub(crate) fn new(limits: Limits, now_ns: u64) -> Self {
        Self {
            limits,
            pending_limit: limits.pending_fences as usize,
            now_ns,
            kernel: Kernel::default(),
            contexts: BTreeMap::new(),
            blobs: BTreeMap::new(),
            lines: vec![Line::default()],
            global: 0,
            waits: Vec::new(),
            watched: Vec::new(),
            events: Vec::new(),
            due: Vec::new(),
            syncobjs: Vec::new(),
            points: Vec::new(),
            shared: BTreeMap::new(),
            offered: BTreeMap::new(),
            jobs: Vec::new(),
            unmade: Vec::new(),
            region: BTreeMap::new(),
            lives: 0,
            uuids: 0,
            unfenced: BTreeMap::new(),
            expected: BTreeMap::new(),
            host_fails: HostFails::default(),
            accesses: Vec::new(),
            host_deadlines: Vec::new(),
            requests: Vec::new(),
            told: Vec::new(),
            records: 0,
            stale: 0,
            late: 0,
            overdue: 0,
            commands_overdue: 0,
            allocations_overdue: 0,
            allocations_refused: 0,
            allocations_late: 0,
            replies: 0,
        }
    }

    /// The guest's driver has made its control queue.
    pub(crate) fn set_queue_size(&mut self, size: u16) {
        let share = usize::from(size) * 3 / 8;
        self.pending_limit = share.min(self.limits.pending_fences as usize).max(1);
    }

    /// When what is taken up now is answered at the latest.
    fn deadline_ns(&self) -> u64 {
        self.now_ns + u64::from(self.limits.fence_deadline_ms) * 1_000_000
    }

    fn new_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    fn new_line(&mut self) -> usize {
        self.lines.push(Line::default());
        self.lines.len() - 1
    }

    /// Fences that are not answered.
    fn pending(&self) -> usize {
        let fences = self.lines.iter().flat_map(|line| &line.fences);
        fences.filter(|fence| !fence.answered).count()
    }

    fn full(&self) -> bool {
        self.pending() >= self.pending_limit
    }

    fn fds(&self) -> usize {
        let cookies: usize = self
            .contexts
            .values()
            .map(|context| context.cookies.len())
            .sum();
        let waits = self.waits.iter().filter(|wait| wait.ended.is_none());
        let timelines = self.timelines() + self.point_watches();
        self.blobs.len() + self.unmade.len() + cookies + waits.count() + timelines
    }

    /// The blobs that are there and those that are being made.
    fn all_blobs(&self) -> impl Iterator<Item = &ModelBlob> {
        let unmade = self.unmade.iter().map(|unmade| &unmade.blob);
        self.blobs.values().chain(unmade)
    }

    fn host_bytes(&self) -> u64 {
        let blobs = self.all_blobs().filter(|blob| blob.host_memory);
        blobs.map(|blob| blob.size).sum()
    }

    fn guest_bytes(&self) -> u64 {
        let blobs = self.all_blobs().filter(|blob| blob.guest_pages);
        blobs.map(|blob| blob.size).sum()
    }

    /// The next call of the host that can fail.
    fn host_call(&mut self) -> Result<(), Errno> {
        self.host_fails.call()
    }

    fn is_done(&self, fence: &ModelFence) -> bool {
        fence.job.is_none()
            && fence
                .waits
                .iter()
                .all(|wait| self.waits[*wait].ended.is_some())
    }

    /// Answers from the head of a timeline, as far as it goes.
    fn flush(&mut self, line: usize) {
        for nth in 0..self.lines[line].fences.len() {
            let fence = &self.lines[line].fences[nth];
            if fence.answered {
                continue;
            }
            if !self.is_done(fence) {
                self.start_polls(line, nth);
            }
            let fence = &self.lines[line].fences[nth];
            if !self.is_done(fence) {
                return;
            }
            let (chain, answer) = (fence.chain, fence.answer.clone());
            self.lines[line].fences[nth].answered = true;
            self.expect(chain, answer);
        }
    }

    fn expect(&mut self, chain: Chain, mut answer: Expected) {
        answer.records = self.records;
        self.replies += 1;
        let before = self.expected.insert(chain, answer);
        assert!(before.is_none(), "the model answers {chain:?} twice");
    }

    /// Writes a record to the status blob of a context, if that still lives and has one.
    fn record(&mut self, life: u64, mut record: StatusRecord) {
        let mut contexts = self.contexts.values_mut();
        let Some(context) = contexts.find(|context| context.life == life) else {
            return;
        };
        let Some(status) = &mut context.status else {
            return;
        };
        status.seq += 1;
        self.records += 1;
        record.seq = status.seq.into();
        let blob = self
            .blobs
            .get_mut(&status.resource_id)
            .expect("a status blob's blob");
        verify::write_record(&mut blob.bytes[status.offset..], status.capacity, &record);
    }

    /// Ends a wait and tells the context.
    fn end_wait(&mut self, nth: usize, how: Ended, errno: Option<Errno>, signalled_ns: u64) {
        let wait = &mut self.waits[nth];
        assert!(wait.ended.is_none());
        wait.ended = Some(how);
        let (life, mut record) = (wait.context, wait.record);
        record.errno = errno.map_or(0, |errno| errno.0).into();
        let flags = match (how, errno) {
            (Ended::Deadline, _) => RecordFlags::DEADLINE,
            (Ended::Signalled, Some(_)) => RecordFlags::HOST_ERROR,
            _ => RecordFlags::empty(),
        };
        record.flags = flags.bits().into();
        record.done_ns = self.now_ns.into();
        record.signalled_ns = signalled_ns.into();
        self.record(life, record);
    }
}

/// A name of the guest's, which is not 0.
fn named(name: u64) -> Result<u64, Errno> {
    if name == 0 {
        Err(stile_core::errno::EINVAL)
    } else {
        Ok(name)
    }
}

/// A command on its way through the model.
struct Turn<'a> {
    chain: Chain,
    command: &'a GuestCommand,
    fenced: Fenced,
    /// The timeline of its fence.
    line: Option<usize>,
}

impl Turn<'_> {
    fn answer(&self, response: Response) -> Expected {
        let ctx_id = self.command.ctx_id;
        let fence = match self.fenced {
            Fenced::No | Fenced::RingOnly(_) => None,
            Fenced::Global(id) => Some((Timeline::Global, id)),
            Fenced::Ring(ring_idx, id) => Some((Timeline::Ring { ctx_id, ring_idx }, id)),
        };
        Expected {
            ctx_id,
            fence,
            response,
            records: 0,
        }
    }

    fn ring(&self) -> u8 {
        match self.fenced {
            Fenced::No | Fenced::Global(_) => 0,
            Fenced::RingOnly(ring) | Fenced::Ring(ring, _) => ring,
        }
    }
}
