//! Requests of host processes, which come by the bridge.
//!
//! Each is answered exactly once with [`Host::tell`], now or later: when its counter has come so
//! far, its time-out passes, its blob goes, or the device is reset. The caller bounds their number.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::device::Device;
use crate::host::{Errno, Host, errno};
use crate::memory_fence::Waiter;
use crate::waiters::{Through, WaiterKey};

/// Names a request. The host's own number, never used again; the device only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// How a host process names a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceName {
    /// By its id in the device.
    Id(u32),
    /// By the UUID that the guest has had assigned to it.
    Uuid([u8; 16]),
}

/// What a host process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// MEM_SIGNAL: raises a counter and wakes those whose value it has reached.
    Signal {
        /// The blob.
        resource: ResourceName,
        /// Of the counter in the blob, in bytes; a multiple of 8.
        offset: u64,
        /// 0 where the process has stored itself.
        value: u64,
    },
    /// MEM_WAIT: answered when the counter is at least `value`.
    Wait {
        /// The blob.
        resource: ResourceName,
        /// Of the counter in the blob, in bytes; a multiple of 8.
        offset: u64,
        /// The least that it must be.
        value: u64,
        /// Nanoseconds until it ends with `ETIMEDOUT`.
        timeout_ns: u64,
    },
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// A counter.
    Counter(WaiterKey),
    /// The guest's sight of a buffer that has moved.
    Move,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Open {
    deadline_ns: u64,
    pub(crate) awaits: Awaits,
}

/// The requests that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: BTreeMap<RequestId, Open>,
    /// The same, soonest deadline first.
    due: BTreeSet<(u64, RequestId)>,
}

impl Requests {
    pub(crate) fn insert(&mut self, id: RequestId, deadline_ns: u64, awaits: Awaits) {
        let open = Open {
            deadline_ns,
            awaits,
        };
        self.due.insert((deadline_ns, id));
        self.open.insert(id, open);
    }

    fn remove(&mut self, id: RequestId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.due.remove(&(open.deadline_ns, id));
        Some(open)
    }

    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.due.first().map(|(deadline_ns, _)| *deadline_ns)
    }

    fn next_overdue(&self, now_ns: u64) -> Option<RequestId> {
        let (deadline_ns, id) = self.due.first()?;
        (*deadline_ns <= now_ns).then_some(*id)
    }

    /// The requests, or what is wrong with the lists.
    pub(crate) fn check(&self) -> Result<&BTreeMap<RequestId, Open>, &'static str> {
        if self.due.len() != self.open.len() {
            return Err("A request has no deadline, or more than one");
        }
        for (id, open) in &self.open {
            if !self.due.contains(&(open.deadline_ns, *id)) {
                return Err("A request is listed with another deadline");
            }
        }
        Ok(&self.open)
    }
}

impl<H: Host> Device<H> {
    /// Takes up a request of a host process. It is answered now or later, by exactly one
    /// [`Host::tell`].
    pub fn ask(&mut self, host: &mut H, now_ns: u64, id: RequestId, request: Request) {
        let answer = match request {
            Request::Signal {
                resource,
                offset,
                value,
            } => self
                .named(resource)
                .and_then(|resource_id| self.raise(host, now_ns, resource_id, offset, value))
                .map(Some),
            Request::Wait {
                resource,
                offset,
                value,
                timeout_ns,
            } => self.named(resource).and_then(|resource_id| {
                let counter = (resource_id, offset);
                self.ask_for(host, now_ns, id, counter, value, timeout_ns)
            }),
        };
        if let Some(answer) = answer.transpose() {
            host.tell(id, answer);
        }
        self.end_event_waits(host, now_ns);
    }

    /// Nobody waits for the answer any more, and there is none.
    pub fn withdraw(&mut self, id: RequestId) {
        self.forget_request(id);
    }

    /// `None` where the counter is not there yet.
    fn ask_for(
        &mut self,
        host: &mut H,
        now_ns: u64,
        id: RequestId,
        (resource_id, offset): (u32, u64),
        value: u64,
        timeout_ns: u64,
    ) -> Result<Option<u64>, Errno> {
        let deadline_ns = self.limited(now_ns, timeout_ns)?;
        let found = self.raise(host, now_ns, resource_id, offset, 0)?;
        if found >= value {
            return Ok(Some(found));
        }
        let blob = self.blobs.get(&resource_id).ok_or(errno::ENOENT)?;
        let waiter = self.waiters.name(blob.serial, offset, value);
        self.waiters
            .add(waiter, Through::Bridge, Waiter::Request(id));
        self.requests
            .insert(id, deadline_ns, Awaits::Counter(waiter));
        Ok(None)
    }

    pub(crate) fn named(&self, resource: ResourceName) -> Result<u32, Errno> {
        match resource {
            ResourceName::Id(id) if self.blobs.contains_key(&id) => Ok(id),
            ResourceName::Id(_) => Err(errno::ENOENT),
            ResourceName::Uuid(uuid) => self.uuids.get(&uuid).copied().ok_or(errno::ENOENT),
        }
    }

    /// A request ends with what its counter holds, or with an errno. Its waiter is gone already.
    pub(crate) fn end_request(&mut self, host: &mut H, id: RequestId, answer: Result<u64, Errno>) {
        if self.requests.remove(id).is_some() {
            host.tell(id, answer);
        }
    }

    /// Nobody waits any more for what it waits for. A buffer goes on moving.
    fn forget_request(&mut self, id: RequestId) {
        if let Some(open) = self.requests.remove(id)
            && let Awaits::Counter(waiter) = open.awaits
        {
            self.waiters.remove(waiter);
        }
    }

    pub(crate) fn end_overdue_requests(&mut self, host: &mut H, now_ns: u64) {
        while let Some(id) = self.requests.next_overdue(now_ns) {
            self.forget_request(id);
            host.tell(id, Err(errno::ETIMEDOUT));
        }
    }

    /// The device is reset: what was waited for is gone.
    pub(crate) fn end_all_requests(&mut self, host: &mut H) {
        for id in core::mem::take(&mut self.requests).open.into_keys() {
            host.tell(id, Err(errno::ECANCELED));
        }
    }
}
