//! The commands about blob resources that exist: map, name, destroy.

use stile_wire::gpu::{MAP_CACHE_CACHED, Response, ResponseError};

use crate::answer::to_host_error;
use crate::blob::Mapping;
use crate::device::{Device, Turn, to_usize};
use crate::host::{Errno, Host, JobId, errno};
use crate::job::{Errand, Job, Promise};
use crate::list::List;

const UNKNOWN: Response = Response::Err(ResponseError::InvalidResourceId);
const INVALID: Response = Response::Err(ResponseError::InvalidParameter);

impl<H: Host> Device<H> {
    pub(crate) fn unref(&mut self, host: &mut H, now_ns: u64, resource_id: u32) -> Response {
        let Some(blob) = self.blobs.remove(&resource_id) else {
            return UNKNOWN;
        };
        for ctx_id in &blob.contexts {
            if let Some(context) = self.contexts.get_mut(ctx_id) {
                context.detach(resource_id);
                self.events.detach(&mut context.inbox, resource_id);
            }
        }
        self.host_bytes = self.host_bytes.saturating_sub(blob.host_bytes());
        self.guest_bytes = self.guest_bytes.saturating_sub(blob.guest_bytes());
        self.cancel_waiters(host, now_ns, blob.serial);
        host.unpublish(resource_id);
        if let Some(uuid) = blob.uuid {
            self.uuids.remove(&uuid);
            host.unshare(uuid);
        }
        if let Some(request) = blob.moving {
            self.end_request(host, request, Err(errno::ECANCELED));
        }
        // A mapping under way is undone when it ends: `settle` finds the blob gone.
        if let Mapping::At(offset) | Mapping::Moving { offset, .. } = blob.mapping {
            self.start_unmap(host, resource_id, blob.serial, offset);
        }
        Response::Ok
    }

    pub(crate) fn assign_uuid(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
    ) -> Option<Response> {
        let no_room = self.no_room_for_job(turn);
        let Some(blob) = self.blobs.get_mut(&resource_id) else {
            return Some(UNKNOWN);
        };
        if let Some(uuid) = blob.uuid {
            return Some(Response::Uuid(uuid));
        }
        if no_room {
            return Some(self.over_quota());
        }
        let uuid = host.new_uuid();
        blob.uuid = Some(uuid);
        self.uuids.insert(uuid, resource_id);
        host.publish(resource_id, Some(uuid), &blob.buffer);
        let job = self.start(host, turn, Errand::Share { uuid });
        if let Some(blob) = self.blobs.get(&resource_id) {
            host.share(job, uuid, &blob.buffer);
        }
        None
    }

    pub(crate) fn map(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        offset: u64,
    ) -> Option<Response> {
        let no_room = self.no_room_for_job(turn);
        let Some(blob) = self.blobs.get_mut(&resource_id) else {
            return Some(UNKNOWN);
        };
        if !blob.mappable() || blob.mapping != Mapping::None {
            return Some(INVALID);
        }
        if self.region.len() >= to_usize(self.limits.maps) || no_room {
            return Some(self.over_quota());
        }
        let (serial, size) = (blob.serial, blob.mapped_bytes());
        if !self.region.take(offset, size, self.limits.hostmem_bytes) {
            return Some(INVALID);
        }
        blob.mapping = Mapping::Changing;
        let job = self.start(
            host,
            turn,
            Errand::Map {
                resource_id,
                serial,
                offset,
            },
        );
        let started = self
            .blobs
            .get(&resource_id)
            .map_or(Ok(()), |blob| host.map(job, &blob.buffer, offset, size));
        if let Err(error) = started {
            self.job_done(host, turn.now_ns, job, Err(error));
        }
        None
    }

    pub(crate) fn unmap(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
    ) -> Option<Response> {
        let no_room = self.no_room_for_job(turn);
        let Some(blob) = self.blobs.get_mut(&resource_id) else {
            return Some(UNKNOWN);
        };
        // One that moves is unmapped behind its new mapping.
        let (Mapping::At(offset) | Mapping::Moving { offset, .. }) = blob.mapping else {
            return Some(INVALID);
        };
        if no_room {
            return Some(self.over_quota());
        }
        blob.mapping = Mapping::Changing;
        let serial = blob.serial;
        let size = self.region.free(offset);
        let errand = Errand::Unmap {
            resource_id,
            serial,
        };
        let job = self.start(host, turn, errand);
        host.unmap(job, offset, size);
        None
    }

    /// A job has ended: what that means for the blob, and what its command is answered.
    pub(crate) fn settle(
        &mut self,
        host: &mut H,
        job: &Job,
        result: Result<(), Errno>,
    ) -> Response {
        match job.errand {
            Errand::Map {
                resource_id,
                serial,
                offset,
            } => {
                let blob = self
                    .blobs
                    .get_mut(&resource_id)
                    .filter(|blob| blob.serial == serial);
                // Past its deadline, the guest was told that the mapping failed.
                let overdue = matches!(job.promise, Promise::Nobody);
                match (blob, result) {
                    (Some(blob), Ok(())) if !overdue => {
                        blob.mapping = Mapping::At(offset);
                        Response::MapInfo(MAP_CACHE_CACHED)
                    }
                    (Some(blob), Err(error)) => {
                        blob.mapping = Mapping::None;
                        self.region.free(offset);
                        Response::Err(to_host_error(error))
                    }
                    (_, Ok(())) => {
                        self.start_unmap(host, resource_id, serial, offset);
                        UNKNOWN
                    }
                    (None, Err(_)) => {
                        self.region.free(offset);
                        UNKNOWN
                    }
                }
            }
            Errand::Unmap {
                resource_id,
                serial,
            } => {
                // Also after an error: the front end drops what it cannot name.
                if let Some(blob) = self.blobs.get_mut(&resource_id)
                    && blob.serial == serial
                {
                    blob.mapping = Mapping::None;
                }
                match result {
                    Ok(()) => Response::Ok,
                    Err(error) => Response::Err(to_host_error(error)),
                }
            }
            // A front end without shared objects is no fault of the guest: the UUID still serves
            // the bridge.
            Errand::Share { uuid } => Response::Uuid(uuid),
            Errand::Move {
                resource_id,
                serial,
                offset,
                request,
            } => {
                self.moved(host, (resource_id, serial), (offset, request), result);
                Response::Ok
            }
            Errand::Forgotten => Response::Ok,
        }
    }

    /// Whether a job would be the wait of one fence too many.
    fn no_room_for_job(&self, turn: &Turn<'_>) -> bool {
        turn.timeline.is_some() && self.full()
    }

    /// Registers a job that the turn's command waits for.
    fn start(&mut self, host: &mut H, turn: &Turn<'_>, errand: Errand) -> JobId {
        let job = self.jobs.insert(Job::new(errand, Promise::Nobody));
        let waiting = Response::Ok;
        if turn.timeline.is_some() {
            let fence = self.park(host, turn, waiting, 1, List::default(), Some(job));
            if let (Some(fence), Some(job)) = (fence, self.jobs.get_mut(job)) {
                job.promise = Promise::Fence(fence);
            }
            return JobId(job);
        }
        let answer = turn.asker().answer(waiting);
        // As with fences, a deadline before the latest so far is taken for that one.
        let latest = self
            .due_jobs
            .last(&self.jobs)
            .and_then(|last| self.jobs.get(last));
        let latest = latest.and_then(Job::deadline_ns);
        let deadline_ns = self.deadline_ns(turn.now_ns).max(latest.unwrap_or(0));
        if let Some(job) = self.jobs.get_mut(job) {
            job.promise = Promise::Command {
                answer,
                deadline_ns,
            };
        }
        self.due_jobs.push(&mut self.jobs, job);
        JobId(job)
    }

    /// Unmaps what no command asks to be unmapped.
    fn start_unmap(&mut self, host: &mut H, resource_id: u32, serial: u64, offset: u64) {
        let size = self.region.free(offset);
        let errand = Errand::Unmap {
            resource_id,
            serial,
        };
        let job = self.jobs.insert(Job::new(errand, Promise::Nobody));
        host.unmap(JobId(job), offset, size);
    }
}
