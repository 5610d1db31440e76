//! What the model makes of buffers that move.

use std::collections::BTreeSet;

use stile_core::{Errno, RequestId, ResourceName, errno};
use stile_wire::sync::Access;

use super::requests::ModelRequest;
use super::{Errand, Mapping, Model, ModelJob, Promise};
use crate::sim::{Reservation, Task};

/// A buffer that takes the place of a resource's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBuffer {
    pub(crate) resource: ResourceName,
    pub(crate) timeout_ns: u64,
    pub(crate) size: u64,
    /// How a host GPU uses it, if one does.
    pub(crate) work: Option<Access>,
    /// Counters in it, and what they hold.
    pub(crate) words: [(u64, u64); 2],
}

impl Model {
    /// A host process moves a buffer.
    pub(crate) fn replace(&mut self, id: RequestId, new: &NewBuffer) {
        let mut reservation = Reservation::default();
        if let Some(access) = new.work {
            let source = self.kernel.new_source();
            reservation.import(&self.kernel, access, &[source].into());
        }
        match self.begin_move(id, new, reservation) {
            Err(error) => self.told.push((id, Err(error))),
            Ok(resource) => {
                let life = self.blobs[&resource].life;
                let waited: BTreeSet<u64> = self
                    .requests
                    .iter()
                    .filter_map(|request| request.counter)
                    .filter(|at| at.blob == life)
                    .map(|at| at.offset)
                    .collect();
                for offset in waited {
                    let _unseen = self.raise(resource, offset, 0);
                }
                self.go_on_moving(life);
            }
        }
    }

    fn begin_move(
        &mut self,
        id: RequestId,
        new: &NewBuffer,
        mut reservation: Reservation,
    ) -> Result<u32, Errno> {
        let resource = self.named(new.resource)?;
        self.limited(new.timeout_ns)?;
        let blob = &self.blobs[&resource];
        if !blob.host_memory {
            return Err(errno::EOPNOTSUPP);
        }
        let written = self.contexts.values().any(|context| {
            let status = context.status.as_ref().map(|status| status.resource_id);
            let ring = context.ring.as_ref().map(|ring| ring.resource_id);
            [status, ring].contains(&Some(resource))
        });
        if blob.moving.is_some() || written {
            return Err(errno::EBUSY);
        }
        if new.size != blob.size.next_multiple_of(4096) {
            return Err(errno::EINVAL);
        }
        let of_old = |access| blob.reservation.export(&self.kernel, access);
        let (everybody, writers) = (of_old(Access::WRITE), of_old(Access::READ));
        for _ in ["two exports", "of the old", "two imports", "into the new"] {
            self.host_call()?;
        }
        reservation.import(&self.kernel, Access::READ, &everybody);
        reservation.import(&self.kernel, Access::WRITE, &writers);
        let blob = self.blobs.get_mut(&resource).expect("a blob");
        (blob.reservation, blob.bytes) = (reservation, Vec::new());
        (blob.looked_at, blob.moving) = (false, Some(id));
        for (offset, value) in new.words {
            assert!(self.store(resource, offset, value));
        }
        self.requests.push(ModelRequest {
            id,
            counter: None,
            deadline_ns: self.now_ns + new.timeout_ns,
        });
        Ok(resource)
    }

    /// The guest sees the new buffer as soon as it can.
    pub(super) fn go_on_moving(&mut self, life: u64) {
        let Some(blob) = self.blob_of(life) else {
            return;
        };
        let (Some(request), size) = (blob.moving, blob.size.next_multiple_of(4096)) else {
            return;
        };
        match blob.mapping {
            Mapping::None => {
                blob.moving = None;
                self.end_request(request, Ok(0));
            }
            Mapping::Changing | Mapping::Moving(..) => {}
            Mapping::At(offset) => {
                blob.mapping = Mapping::Moving(offset, request);
                self.push_job(Task::Unmap { offset, size }, Errand::OfAnotherLife);
                let errand = Errand::Move {
                    blob: life,
                    offset,
                    request,
                };
                match self.host_call() {
                    Ok(()) => self.push_job(Task::Map { offset, size }, errand),
                    Err(error) => self.not_mapped(life, offset, request, error),
                }
            }
        }
    }

    fn push_job(&mut self, task: Task, errand: Errand) {
        self.jobs.push(ModelJob {
            task,
            errand,
            promise: Promise::Nobody,
            ended: false,
        });
    }

    /// The front end has mapped the new buffer, or could not.
    pub(super) fn moved(&mut self, life: u64, offset: u64, request: RequestId, done: bool) {
        if !done {
            return self.not_mapped(life, offset, request, Errno(5));
        }
        if let Some(blob) = self.blob_of(life) {
            if blob.mapping == Mapping::Moving(offset, request) {
                blob.mapping = Mapping::At(offset);
            }
            blob.moving = blob.moving.filter(|moving| *moving != request);
        }
        self.end_request(request, Ok(0));
    }

    fn not_mapped(&mut self, life: u64, offset: u64, request: RequestId, error: Errno) {
        if let Some(blob) = self.blob_of(life) {
            blob.moving = blob.moving.filter(|moving| *moving != request);
            if blob.mapping == Mapping::Moving(offset, request) {
                blob.mapping = Mapping::None;
                self.region.remove(&offset);
            }
        }
        self.end_request(request, Err(error));
    }
}
