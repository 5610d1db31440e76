//! A buffer that moves: the host gives a blob other memory, and the guest sees that in its place.
//!
//! | the blob is mapped | what happens | the request is answered |
//! | --- | --- | --- |
//! | not at all | nothing more | at once |
//! | yes | the front end unmaps the old buffer and maps the new one in its place, one behind the other | when it has mapped |
//! | the guest has asked to map or unmap it, and waits | the same, if it is mapped then | after that |
//!
//! From the moment when the request is taken up, everything is about the new buffer: operations,
//! host processes that ask for it, mappings to come. What had begun on the old one ends there.

use stile_wire::gpu::BlobMem;
use stile_wire::sync::Access;

use crate::blob::Mapping;
use crate::device::Device;
use crate::host::{Errno, Host, JobId, errno};
use crate::job::{Errand, Job, Promise};
use crate::request::{Awaits, RequestId, ResourceName};

/// What takes the place of a blob's buffer.
#[derive(Debug)]
pub struct Replacement<B> {
    /// The blob.
    pub resource: ResourceName,
    /// Its memory from now on.
    pub buffer: B,
    /// Nanoseconds until nobody waits for the answer any more. The move goes on.
    pub timeout_ns: u64,
}

impl<H: Host> Device<H> {
    /// Takes up a host process' request to move a buffer. It is answered now or later, by exactly
    /// one [`Host::tell`]: when the guest sees the new buffer, or with
    ///
    /// - `ENOENT`, `EINVAL` (the time-out, another size), `EOPNOTSUPP` (guest pages, no dma-buf),
    ///   `EBUSY` (it moves already, or a status blob or an event ring lies in it), or the host's
    ///   errno, and nothing has changed;
    /// - `ETIMEDOUT`, `ECANCELED` (the blob is gone, the device was reset), or the front end's errno,
    ///   and the blob has the new buffer.
    pub fn replace(
        &mut self,
        host: &mut H,
        now_ns: u64,
        id: RequestId,
        replacement: Replacement<H::Buffer>,
    ) {
        match self.begin_move(host, now_ns, id, replacement) {
            Ok(resource_id) => {
                self.look_again(host, now_ns, resource_id);
                self.go_on_moving(host, now_ns, resource_id);
            }
            Err(error) => host.tell(id, Err(error)),
        }
        self.end_event_waits(host, now_ns);
    }

    /// The blob has the new buffer, with the fences of the old one.
    fn begin_move(
        &mut self,
        host: &mut H,
        now_ns: u64,
        id: RequestId,
        replacement: Replacement<H::Buffer>,
    ) -> Result<u32, Errno> {
        let Replacement {
            resource,
            buffer,
            timeout_ns,
        } = replacement;
        let resource_id = self.named(resource)?;
        let deadline_ns = self.limited(now_ns, timeout_ns)?;
        let written = self.is_written_by_the_device(resource_id);
        let blob = self.blobs.get_mut(&resource_id).ok_or(errno::ENOENT)?;
        if matches!(blob.mem, BlobMem::Guest) {
            return Err(errno::EOPNOTSUPP);
        }
        if blob.moving.is_some() || written {
            return Err(errno::EBUSY);
        }
        host.can_replace(&blob.buffer, &buffer)?;
        // The writers' fences are among everybody's: the second import makes them writers' again.
        let everybody = host.export(&blob.buffer, Access::WRITE)?;
        let writers = host.export(&blob.buffer, Access::READ)?;
        host.import(&buffer, Access::READ, &everybody)?;
        host.import(&buffer, Access::WRITE, &writers)?;
        blob.buffer = buffer;
        blob.words = None;
        blob.moving = Some(id);
        host.publish(resource_id, blob.uuid, &blob.buffer);
        self.requests.insert(id, deadline_ns, Awaits::Move);
        Ok(resource_id)
    }

    /// Whether the device writes into a blob: a copy of it would be old at once.
    fn is_written_by_the_device(&self, resource_id: u32) -> bool {
        let blob = self.blobs.get(&resource_id);
        let contexts = blob.into_iter().flat_map(|blob| &blob.contexts);
        contexts
            .filter_map(|ctx_id| self.contexts.get(ctx_id))
            .any(|context| {
                let status = context.status.as_ref().map(|status| status.resource_id);
                let events = context.inbox.ring_resource();
                status == Some(resource_id) || events == Some(resource_id)
            })
    }

    /// The counters of a blob are in other memory now.
    fn look_again(&mut self, host: &mut H, now_ns: u64, resource_id: u32) {
        let Some(serial) = self.blobs.get(&resource_id).map(|blob| blob.serial) else {
            return;
        };
        let mut next = Some(0);
        while let Some(offset) = next.and_then(|from| self.waiters.next_counter(serial, from)) {
            // Where the host cannot look now, whoever waits does so for the next signal.
            let _unseen = self.raise(host, now_ns, resource_id, offset, 0);
            next = offset.checked_add(1);
        }
    }

    /// A blob whose buffer has been replaced is mapped anew, as soon as it can be.
    pub(crate) fn go_on_moving(&mut self, host: &mut H, now_ns: u64, resource_id: u32) {
        let Some(blob) = self.blobs.get_mut(&resource_id) else {
            return;
        };
        let Some(request) = blob.moving else { return };
        match blob.mapping {
            Mapping::None => {
                blob.moving = None;
                self.end_request(host, request, Ok(0));
            }
            Mapping::Changing | Mapping::Moving { .. } => {}
            Mapping::At(offset) => {
                blob.mapping = Mapping::Moving { offset, request };
                let (serial, size) = (blob.serial, blob.mapped_bytes());
                let old = Job::new(Errand::Forgotten, Promise::Nobody);
                host.unmap(JobId(self.jobs.insert(old)), offset, size);
                let errand = Errand::Move {
                    resource_id,
                    serial,
                    offset,
                    request,
                };
                let new = JobId(self.jobs.insert(Job::new(errand, Promise::Nobody)));
                if let Err(error) = host.map(new, &blob.buffer, offset, size) {
                    self.job_done(host, now_ns, new, Err(error));
                }
            }
        }
    }

    /// The front end has mapped the new buffer, or could not: then the blob is not mapped.
    pub(crate) fn moved(
        &mut self,
        host: &mut H,
        (resource_id, serial): (u32, u64),
        (offset, request): (u64, RequestId),
        result: Result<(), Errno>,
    ) {
        let blob = self.blobs.get_mut(&resource_id);
        if let Some(blob) = blob.filter(|blob| blob.serial == serial) {
            // The guest may have asked to unmap it meanwhile.
            if blob.mapping == (Mapping::Moving { offset, request }) {
                blob.mapping = match result {
                    Ok(()) => Mapping::At(offset),
                    Err(_) => {
                        self.region.free(offset);
                        Mapping::None
                    }
                };
            }
            if blob.moving == Some(request) {
                blob.moving = None;
            }
        }
        self.end_request(host, request, result.map(|()| 0));
    }
}
