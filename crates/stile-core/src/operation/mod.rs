//! SUBMIT_3D: the stile-sync operations, in their order.

mod cpu;
mod event;
mod joined;
mod memory;
mod poll;
mod sync_file;
mod timeline;

use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Framing, Op, OpCode, RecordFlags, Step, Steps};

use memory::Wanted;

use crate::answer::to_refused;
use crate::device::{Device, Turn, to_usize};
use crate::host::{CpuPhase, Errno, Host, errno};
use crate::list::{Link, List};
use crate::slab::{Key, Slab};
use crate::status::{Ending, Place, Status, Subject};
use crate::wait::{Kind, OfFence, Wait};

/// What a submission has started so far.
struct Started {
    waits: List<OfFence>,
    count: u32,
    over_quota: bool,
    /// What SNAPSHOT and FROM_RING may look at yet.
    looks: u32,
}

impl Started {
    /// The submission's fence waits for this too.
    fn wait(&mut self, waits: &mut Slab<Wait>, wait: Key) -> Done {
        self.waits.push(waits, wait);
        self.count = self.count.saturating_add(1);
        Done::Waits
    }
}

/// Whether an operation is done, or its wait has begun and will write the record.
enum Done {
    Now,
    Waits,
}

impl<H: Host> Device<H> {
    /// Runs a submission and answers it when its waits have ended. An errno stands for a payload
    /// that is not there.
    pub(crate) fn run(&mut self, host: &mut H, turn: &Turn<'_>, payload: Result<&[u8], Errno>) {
        let ctx_id = turn.request.ctx_id;
        let response = match self.contexts.get(&ctx_id) {
            None => Some(ResponseError::InvalidContextId),
            Some(context) if !context.operations && payload != Ok(&[]) => {
                Some(ResponseError::Unspec)
            }
            Some(_) => None,
        };
        if let Some(error) = response {
            return self.finish(host, turn, Response::Err(error));
        }
        let mut started = Started {
            waits: List::default(),
            count: 0,
            over_quota: false,
            looks: self.limits.looks,
        };
        let response = match payload {
            Ok(payload) => self.run_steps(host, turn, payload, &mut started),
            Err(error) => Err(self.uncut(host, turn, error)),
        };
        let response = match response {
            Ok(()) if started.over_quota => Response::Err(ResponseError::OutOfMemory),
            Ok(()) => Response::Ok,
            Err(error) => Response::Err(error),
        };
        let Started { waits, count, .. } = started;
        let first = waits.first(&self.waits);
        let Some(fence) = self.park(host, turn, response, count, waits, None) else {
            return;
        };
        let mut next = first;
        while let Some(key) = next {
            next = List::<OfFence>::after(&self.waits, key);
            if let Some(wait) = self.waits.get_mut(key) {
                wait.fence = Some(fence);
            }
        }
    }

    /// A submission that cannot even be begun to be cut.
    fn uncut(&mut self, host: &mut H, turn: &Turn<'_>, error: Errno) -> ResponseError {
        self.record(host, turn, subject_of_nothing(turn), Some(error));
        ResponseError::InvalidParameter
    }

    fn run_steps(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        payload: &[u8],
        started: &mut Started,
    ) -> Result<(), ResponseError> {
        if payload.len() > to_usize(self.limits.submit_bytes) {
            return Err(self.uncut(host, turn, errno::E2BIG));
        }
        let mut left = self.limits.operations;
        for step in Steps::new(payload) {
            let step = match step {
                Ok(step) => step,
                Err(Framing { cmd, tag, .. }) => {
                    let subject = Subject {
                        cmd,
                        tag,
                        ..subject_of_nothing(turn)
                    };
                    self.record(host, turn, subject, Some(errno::EBADMSG));
                    return Err(ResponseError::InvalidParameter);
                }
            };
            let subject = Subject {
                ctx_id: turn.request.ctx_id,
                cmd: step.cmd,
                ring_idx: step.ring_idx,
                tag: step.tag,
                cookie: step.cookie,
                resource_id: step.resource_id,
                taken_ns: turn.now_ns,
            };
            let Some(rest) = left.checked_sub(1) else {
                self.record(host, turn, subject, Some(errno::E2BIG));
                return Err(ResponseError::InvalidParameter);
            };
            left = rest;
            match self.run_step(host, turn, &step, &subject, started) {
                Ok(Done::Now) => self.record(host, turn, subject, None),
                Ok(Done::Waits) => {}
                Err(error) => {
                    started.over_quota |= error == errno::EDQUOT;
                    self.record(host, turn, subject, Some(error));
                }
            }
        }
        Ok(())
    }

    fn run_step(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        step: &Step,
        subject: &Subject,
        started: &mut Started,
    ) -> Result<Done, Errno> {
        let known = OpCode::from_code(step.cmd).ok_or(errno::ENOSYS)?;
        if self.offered & known.bit() == 0 {
            return Err(errno::ENOSYS);
        }
        let op = step.op.map_err(to_refused)?;
        if step.ring_idx != turn.request.ring_idx {
            return Err(errno::EINVAL);
        }
        match op {
            Op::Export {
                resource_id,
                access,
                cookie,
            } => self.export(host, turn, subject, started, (resource_id, access, cookie)),
            Op::Import {
                resource_id,
                access,
                cookie,
            } => self.import(host, turn, resource_id, access, cookie),
            Op::Merge {
                first,
                second,
                cookie,
            } => self.merge(host, turn, (first, second), cookie),
            Op::Wait { cookie } => self.wait(host, turn, subject, started, cookie),
            Op::Drop { cookie } => self.drop_cookie(turn, cookie),
            Op::Status {
                resource_id,
                offset,
                size,
            } => self.bind_status(host, turn, resource_id, offset, size),
            Op::Deadline {
                cookie,
                deadline_ns,
            } => self.deadline(host, turn, cookie, deadline_ns),
            Op::CpuBegin { access, .. } => {
                self.cpu_access(host, turn, subject, started, (CpuPhase::Begin, access))
            }
            Op::CpuEnd { access, .. } => {
                self.cpu_access(host, turn, subject, started, (CpuPhase::End, access))
            }
            // Its record says when it was taken up.
            Op::Clock => Ok(Done::Now),
            Op::Poll { access, .. } => self.poll(host, turn, subject, started, access),
            Op::Events {
                resource_id,
                offset,
                size,
            } => self.bind_events(host, turn, resource_id, offset, size),
            Op::EventWait { seen } => self.event_wait(host, turn, subject, started, seen),
            Op::Cancel { event } => self.cancel(host, turn, event),
            Op::TlCreate { timeline, flags } => self.create_timeline(host, turn, timeline, flags),
            Op::TlDestroy { timeline } => self.destroy_timeline(host, turn, timeline),
            Op::TlSignal { timeline, point } => self.signal_point(host, turn, timeline, point),
            Op::TlReset { timeline } => self.reset_timeline(host, turn, timeline),
            Op::TlTransfer {
                timeline,
                point,
                cookie,
                direction,
            } => self.transfer(host, turn, (timeline, point), cookie, direction),
            Op::TlWatch {
                timeline,
                point,
                timeout_ns,
                until,
                ..
            } => {
                let watched = timeline::Watched {
                    timeline,
                    point,
                    timeout_ns,
                    until,
                };
                self.watch_point(host, turn, subject, &watched)
            }
            Op::TlShare { timeline, uuid } => self.share_timeline(host, turn, timeline, uuid),
            Op::TlAdopt { timeline, uuid } => self.adopt_timeline(host, turn, timeline, uuid),
            Op::MemWait {
                resource_id,
                offset,
                value,
                event: _,
                timeout_ns,
            } => {
                let wanted = Wanted {
                    resource_id,
                    offset,
                    value,
                    timeout_ns,
                };
                self.mem_wait(host, turn, subject, &wanted)
            }
            Op::MemSignal {
                resource_id,
                offset,
                value,
            } => self.mem_signal(host, turn, resource_id, offset, value),
            Op::Snapshot {
                resource_id,
                cookie,
            } => self.snapshot(host, turn, started, resource_id, cookie),
            Op::FromRing {
                ctx_id,
                ring,
                cookie,
            } => self.take_from_ring(host, turn, started, (ctx_id, ring), cookie),
        }
    }

    fn bind_status(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        offset: u64,
        size: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        if resource_id == 0 {
            context.status = None;
            return Ok(Done::Now);
        }
        let blob = attached(context.resources.contains(&resource_id), || {
            self.blobs.get(&resource_id)
        })?;
        let place = Place {
            resource_id,
            offset,
            size,
            blob_size: blob.size,
        };
        let status = Status::bind(host, &blob.buffer, &place)?;
        context.status = Some(status);
        Ok(Done::Now)
    }

    fn room_for_cookie(&mut self, ctx_id: u32, cookie: u64) -> Result<(), Errno> {
        let context = self.contexts.get(&ctx_id).ok_or(errno::ENOENT)?;
        if context.cookies.contains_key(&cookie) {
            return Err(errno::EEXIST);
        }
        if context.cookies.len() >= to_usize(self.limits.cookies) {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
            return Err(errno::EDQUOT);
        }
        Ok(())
    }

    fn room_for_wait(&mut self, started: &Started) -> Result<(), Errno> {
        if started.count == 0 && self.full() {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
            return Err(errno::EDQUOT);
        }
        Ok(())
    }

    fn room_for_fds(&mut self, more: u32) -> Result<(), Errno> {
        if self.fds().saturating_add(more) > self.limits.fds {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
            return Err(errno::EMFILE);
        }
        Ok(())
    }

    /// Writes the record of an operation that is over.
    fn record(&mut self, host: &mut H, turn: &Turn<'_>, subject: Subject, error: Option<Errno>) {
        if error.is_some() {
            self.counters.operations_failed = self.counters.operations_failed.saturating_add(1);
        }
        let ending = Ending {
            error,
            flags: RecordFlags::empty(),
            signalled_ns: 0,
            done_ns: turn.now_ns,
        };
        if let Some(context) = self.contexts.get_mut(&subject.ctx_id)
            && let Some(status) = &mut context.status
        {
            status.write(host, &subject, &ending);
        }
    }
}

const fn new_wait(kind: Kind, ctx_serial: u64, subject: &Subject) -> Wait {
    Wait {
        kind,
        fence: None,
        siblings: Link::new(),
        subject: *subject,
        ctx_serial,
    }
}

/// The record of a submission that cannot be cut.
const fn subject_of_nothing(turn: &Turn<'_>) -> Subject {
    Subject {
        ctx_id: turn.request.ctx_id,
        cmd: 0,
        ring_idx: turn.request.ring_idx,
        tag: 0,
        cookie: 0,
        resource_id: 0,
        taken_ns: turn.now_ns,
    }
}

fn attached<T>(is: bool, blob: impl FnOnce() -> Option<T>) -> Result<T, Errno> {
    if is {
        blob().ok_or(errno::ENOENT)
    } else {
        Err(errno::ENOENT)
    }
}
