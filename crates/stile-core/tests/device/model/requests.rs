//! What the model makes of host processes: those that count in memory, and those that ask.

use stile_core::{Errno, Request, RequestId, ResourceName, errno};

use super::Model;

/// A request that waits.
#[derive(Debug)]
pub(super) struct ModelRequest {
    pub(super) id: RequestId,
    /// `None` for one that waits for a buffer to move.
    pub(super) counter: Option<Counter>,
    pub(super) deadline_ns: u64,
}

/// A counter, and the least that it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    /// The blob's life.
    pub(super) blob: u64,
    pub(super) offset: u64,
    pub(super) value: u64,
}

impl Model {
    /// A program stores into a buffer, and says nothing. `false` if there is no such word.
    pub(crate) fn store(&mut self, resource: u32, offset: u64, value: u64) -> bool {
        let Some(blob) = self.blobs.get_mut(&resource) else {
            return false;
        };
        if offset.checked_add(8).is_none_or(|end| end > blob.size) || !offset.is_multiple_of(8) {
            return false;
        }
        let at = offset as usize;
        let end = blob.bytes.len().max(at + 8);
        blob.bytes.resize(end, 0);
        blob.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        true
    }

    /// A host process asks.
    pub(crate) fn ask(&mut self, id: RequestId, request: Request) {
        let answer = match request {
            Request::Signal {
                resource,
                offset,
                value,
            } => self
                .named(resource)
                .and_then(|resource| self.raise(resource, offset, value))
                .map(Some),
            Request::Wait {
                resource,
                offset,
                value,
                timeout_ns,
            } => self
                .named(resource)
                .and_then(|resource| self.wait_for(id, resource, offset, value, timeout_ns)),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(found)) => self.told.push((id, Ok(found))),
            Err(error) => self.told.push((id, Err(error))),
        }
    }

    fn wait_for(
        &mut self,
        id: RequestId,
        resource: u32,
        offset: u64,
        value: u64,
        timeout_ns: u64,
    ) -> Result<Option<u64>, Errno> {
        self.limited(timeout_ns)?;
        let found = self.raise(resource, offset, 0)?;
        if found >= value {
            return Ok(Some(found));
        }
        let counter = Counter {
            blob: self.blobs[&resource].life,
            offset,
            value,
        };
        self.requests.push(ModelRequest {
            id,
            counter: Some(counter),
            deadline_ns: self.now_ns + timeout_ns,
        });
        Ok(None)
    }

    pub(super) fn limited(&self, timeout_ns: u64) -> Result<(), Errno> {
        let longest = u64::from(self.limits.timeout_ms) * 1_000_000;
        let fits = (1..=longest).contains(&timeout_ns);
        fits.then_some(()).ok_or(errno::EINVAL)
    }

    pub(super) fn named(&self, resource: ResourceName) -> Result<u32, Errno> {
        let found = self.blobs.iter().find(|(id, blob)| match resource {
            ResourceName::Id(named) => named == **id,
            ResourceName::Uuid(uuid) => blob.uuid == Some(uuid),
        });
        found.map(|(id, _)| *id).ok_or(errno::ENOENT)
    }

    /// MEM_SIGNAL, of whomever.
    pub(super) fn raise(&mut self, resource: u32, offset: u64, value: u64) -> Result<u64, Errno> {
        let blob = self.blobs.get(&resource).ok_or(errno::ENOENT)?;
        if offset.checked_add(8).is_none_or(|end| end > blob.size) || !offset.is_multiple_of(8) {
            return Err(errno::EINVAL);
        }
        let (life, looked_at) = (blob.life, blob.looked_at);
        if !looked_at {
            self.host_call()?;
            self.blobs.get_mut(&resource).expect("a blob").looked_at = true;
        }
        self.host_call()?;
        let bytes = &self.blobs[&resource].bytes;
        let word = bytes.get(offset as usize..offset as usize + 8);
        let word = word.map_or(0, |word| u64::from_le_bytes(word.try_into().expect("8")));
        if value > word {
            assert!(self.store(resource, offset, value));
        }
        let found = value.max(word);
        self.end_waiting(
            |at| (at.blob, at.offset) == (life, offset) && at.value <= found,
            |at, id| (at.value, id, 0),
            Ok(found),
        );
        Ok(found)
    }

    /// The buffer is gone.
    pub(super) fn cancel_requests_of(&mut self, life: u64) {
        self.end_waiting(
            |at| at.blob == life,
            |at, id| (at.offset, at.value, id),
            Err(errno::ECANCELED),
        );
    }

    /// Ends the requests that wait for some counters.
    fn end_waiting(
        &mut self,
        which: impl Fn(&Counter) -> bool,
        order: impl Fn(&Counter, u64) -> (u64, u64, u64),
        answer: Result<u64, Errno>,
    ) {
        self.end_requests(
            |request| request.counter.as_ref().is_some_and(&which),
            |request| order(&request.counter.expect("a counter"), request.id.0),
            answer,
        );
    }

    /// Ends one request, if it waits.
    pub(super) fn end_request(&mut self, id: RequestId, answer: Result<u64, Errno>) {
        self.end_requests(|request| request.id == id, |_| (0, 0, 0), answer);
    }

    pub(super) fn end_overdue_requests(&mut self) {
        let now_ns = self.now_ns;
        self.end_requests(
            |request| request.deadline_ns <= now_ns,
            |request| (request.deadline_ns, request.id.0, 0),
            Err(errno::ETIMEDOUT),
        );
    }

    pub(super) fn cancel_all_requests(&mut self) {
        self.end_requests(
            |_| true,
            |request| (request.id.0, 0, 0),
            Err(errno::ECANCELED),
        );
    }

    fn end_requests(
        &mut self,
        which: impl Fn(&ModelRequest) -> bool,
        order: impl Fn(&ModelRequest) -> (u64, u64, u64),
        answer: Result<u64, Errno>,
    ) {
        let (mut ended, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.requests)
            .into_iter()
            .partition(which);
        self.requests = open;
        ended.sort_by_key(order);
        let ended = ended.iter().map(|request| (request.id, answer));
        self.told.extend(ended);
    }

    /// The process has gone.
    pub(crate) fn withdraw(&mut self, id: RequestId) {
        self.requests.retain(|request| request.id != id);
    }

    /// Requests that wait.
    pub(crate) fn open_requests(&self) -> Vec<RequestId> {
        self.requests.iter().map(|request| request.id).collect()
    }
}
