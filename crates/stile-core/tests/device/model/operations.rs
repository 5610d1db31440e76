//! What the model makes of a submission.

use stile_core::{Errno, errno};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Access, Op, StatusRecord};

use super::pieces::Piece;
use super::waits::Cause;
use super::{Model, ModelStatus, ModelWait, Turn, named, verify};
use crate::sim::{Kernel, SyncFile, record};

const INVALID: Response = Response::Err(ResponseError::InvalidParameter);

/// What an operation leaves to be done.
pub(super) enum Done {
    Now,
    Waits(Cause),
}

/// A submission as the model runs it.
pub(super) struct Run {
    pub(super) context: u64,
    pub(super) ctx_id: u32,
    ring: u8,
    pub(super) fenced: bool,
    /// The timeline of its fence.
    line: Option<usize>,
    /// What SNAPSHOT and FROM_RING may look at yet.
    looks: u32,
    /// Indices of `Model::waits`.
    waits: Vec<usize>,
}

fn access(bits: u32) -> Result<Access, Errno> {
    let access = Access::from_bits(bits).filter(|access| !access.is_empty());
    access.ok_or(errno::EINVAL)
}

/// The code, cookie and resource that a record of the piece names.
fn names(piece: Piece) -> (u8, u64, u32) {
    match piece {
        Piece::Export {
            resource, cookie, ..
        } => (0x80, cookie, resource),
        Piece::Import {
            resource, cookie, ..
        } => (0x81, cookie, resource),
        Piece::Merge { cookie, .. } => (0x82, cookie, 0),
        Piece::Wait { cookie } => (0x83, cookie, 0),
        Piece::Drop { cookie } | Piece::WrongRing { cookie } => (0x84, cookie, 0),
        Piece::Status { resource, .. } => (0x85, 0, resource),
        Piece::Deadline { cookie, .. } => (0x87, cookie, 0),
        Piece::Cpu {
            begins, resource, ..
        } => (if begins { 0x88 } else { 0x89 }, 0, resource),
        Piece::FromRing { cookie, .. } => (0x9d, cookie, 0),
        Piece::Snapshot { resource, cookie } => (0x9c, cookie, resource),
        Piece::Clock => (0x8a, 0, 0),
        Piece::Poll { resource, .. } => (0x86, 0, resource),
        Piece::MemSignal { resource, .. } => (0x99, 0, resource),
        Piece::Op(op) => names_of(op),
        Piece::Unknown => (0xbf, 0, 0),
        Piece::WrongSize => (0x80, 0, 0),
        Piece::Broken => (0x84, 0, 0),
    }
}

/// The same of an operation on events or timelines.
fn names_of(op: Op) -> (u8, u64, u32) {
    let (cookie, resource) = match op {
        Op::Events { resource_id, .. } => (0, resource_id),
        Op::Cancel { event } | Op::TlWatch { event, .. } => (event, 0),
        Op::TlTransfer { cookie, .. } => (cookie, 0),
        Op::TlCreate { timeline, .. }
        | Op::TlDestroy { timeline }
        | Op::TlSignal { timeline, .. }
        | Op::TlReset { timeline }
        | Op::TlShare { timeline, .. }
        | Op::TlAdopt { timeline, .. } => (timeline, 0),
        _ => (0, 0),
    };
    (op.code().code(), cookie, resource)
}

impl Model {
    /// The response to a submission, and the waits that its fence has.
    pub(super) fn submit(
        &mut self,
        turn: &Turn<'_>,
        pieces: &[Piece],
        cut_short: bool,
    ) -> (Response, Vec<usize>) {
        let Some(context) = self.contexts.get(&turn.command.ctx_id) else {
            return (Response::Err(ResponseError::InvalidContextId), Vec::new());
        };
        if !context.operations && (cut_short || !pieces.is_empty()) {
            return (Response::Err(ResponseError::Unspec), Vec::new());
        }
        let mut run = Run {
            context: context.life,
            ctx_id: turn.command.ctx_id,
            ring: turn.ring(),
            fenced: turn.line.is_some(),
            line: turn.line,
            looks: self.limits.looks,
            waits: Vec::new(),
        };
        let ring = run.ring;
        let bytes: usize = pieces.iter().map(|piece| piece.encode(ring, 0).len()).sum();
        // What is cut short has claimed eight bytes more.
        let claimed = bytes + if cut_short { 8 } else { 0 };
        let uncut = if claimed > self.limits.submit_bytes as usize {
            Some(errno::E2BIG)
        } else {
            cut_short.then_some(errno::EBADMSG)
        };
        if let Some(errno) = uncut {
            self.note(&run, record(0, 0, 0, errno.0));
            return (INVALID, Vec::new());
        }
        let mut over_quota = false;
        for (nth, piece) in pieces.iter().enumerate() {
            let (cmd, cookie, resource) = names(*piece);
            let mut record = record(0, cmd, nth as u32, 0);
            record.cookie = cookie.into();
            record.resource_id = resource.into();
            if matches!(piece, Piece::Broken) {
                record.errno = errno::EBADMSG.0.into();
                self.note(&run, record);
                return (INVALID, run.waits);
            }
            let other_ring = u8::from(matches!(piece, Piece::WrongRing { .. }));
            record.ring_idx = ring.wrapping_add(other_ring);
            if nth == self.limits.operations as usize {
                record.errno = errno::E2BIG.0.into();
                self.note_of(&run, record);
                return (INVALID, run.waits);
            }
            match self.operation(&mut run, *piece, nth as u32) {
                Ok(Done::Now) => self.note_of(&run, record),
                Ok(Done::Waits(cause)) => {
                    record.taken_ns = self.now_ns.into();
                    run.waits.push(self.waits.len());
                    if matches!(cause, Cause::Fence(_)) {
                        self.watched.push(self.waits.len());
                    }
                    let context = run.context;
                    self.waits.push(ModelWait {
                        cause,
                        id: None,
                        ended: None,
                        context,
                        record,
                    });
                }
                Err(error) => {
                    over_quota |= error == errno::EDQUOT;
                    record.errno = error.0.into();
                    self.note_of(&run, record);
                }
            }
        }
        let response = if over_quota {
            Response::Err(ResponseError::OutOfMemory)
        } else {
            Response::Ok
        };
        (response, run.waits)
    }

    /// The record of what is over, about the submission's ring.
    fn note(&mut self, run: &Run, mut record: StatusRecord) {
        record.ring_idx = run.ring;
        self.note_of(run, record);
    }

    fn note_of(&mut self, run: &Run, mut record: StatusRecord) {
        record.taken_ns = self.now_ns.into();
        record.done_ns = self.now_ns.into();
        self.record(run.context, record);
    }

    fn operation(&mut self, run: &mut Run, piece: Piece, tag: u32) -> Result<Done, Errno> {
        match piece {
            Piece::Export {
                resource,
                access: bits,
                cookie,
            } => {
                let access = access(bits)?;
                self.room_for_cookie(run, cookie)?;
                self.room_for_wait(run)?;
                self.room_for_fds(usize::from(cookie != 0) + usize::from(run.fenced))?;
                self.attached(run, resource)?;
                self.host_call()?;
                let file = self.export(resource, access);
                if run.fenced {
                    self.host_call()?;
                }
                if cookie != 0 {
                    let wait = run.fenced.then_some(self.waits.len());
                    self.context(run)
                        .cookies
                        .insert(cookie, (file.clone(), wait));
                }
                Ok(if run.fenced {
                    Done::Waits(Cause::Fence(file))
                } else {
                    Done::Now
                })
            }
            Piece::Import {
                resource,
                access: bits,
                cookie,
            } => {
                let access = access(bits)?;
                let file = self.cookie(run, named(cookie)?)?;
                self.attached(run, resource)?;
                self.host_call()?;
                self.import(resource, access, &file);
                Ok(Done::Now)
            }
            Piece::Merge {
                first,
                second,
                cookie,
            } => {
                for cookie in [first, second, cookie] {
                    named(cookie)?;
                }
                self.room_for_cookie(run, cookie)?;
                self.room_for_fds(1)?;
                let mut both = self.cookie(run, first)?;
                both.extend(self.cookie(run, second)?);
                self.host_call()?;
                self.context(run).cookies.insert(cookie, (both, None));
                Ok(Done::Now)
            }
            Piece::Wait { cookie } => {
                named(cookie)?;
                if !run.fenced {
                    return Err(errno::EINVAL);
                }
                self.room_for_wait(run)?;
                self.room_for_fds(1)?;
                let file = self.cookie(run, cookie)?;
                self.host_call()?;
                Ok(Done::Waits(Cause::Fence(file)))
            }
            Piece::Drop { cookie } => {
                let gone = self.context(run).cookies.remove(&named(cookie)?);
                gone.map(|_| Done::Now).ok_or(errno::ENOENT)
            }
            Piece::Status {
                resource,
                offset,
                size,
            } => {
                self.bind(run, resource, offset, size)?;
                Ok(Done::Now)
            }
            Piece::Deadline {
                cookie,
                deadline_ns,
            } => {
                let file = self.cookie(run, named(cookie)?)?;
                self.host_call()?;
                self.host_deadlines.push((file, deadline_ns));
                Ok(Done::Now)
            }
            Piece::Cpu {
                begins,
                resource,
                access: bits,
            } => {
                let access = access(bits)?;
                if !run.fenced {
                    return Err(errno::EINVAL);
                }
                self.room_for_wait(run)?;
                self.room_for_fds(1)?;
                self.attached(run, resource)?;
                self.host_call()?;
                let nth = self.access_begins(begins, resource, access)?;
                Ok(Done::Waits(Cause::Cpu(nth)))
            }
            Piece::FromRing { ctx, from, cookie } => {
                named(cookie)?;
                if from > 63 {
                    return Err(errno::EINVAL);
                }
                if ctx != 0 && ctx != run.ctx_id {
                    return Err(errno::EPERM);
                }
                self.room_for_cookie(run, cookie)?;
                self.room_for_fds(1)?;
                let file = self.join_ring(run.ctx_id, from, &mut run.looks)?;
                self.context(run).cookies.insert(cookie, (file, None));
                Ok(Done::Now)
            }
            Piece::Snapshot { resource, cookie } => {
                named(cookie)?;
                self.room_for_cookie(run, cookie)?;
                self.room_for_fds(1)?;
                self.attached(run, resource)?;
                let file = self.join_users(resource, &mut run.looks)?;
                self.context(run).cookies.insert(cookie, (file, None));
                Ok(Done::Now)
            }
            Piece::Clock => Ok(Done::Now),
            Piece::Op(op) => self.op(run, op, tag),
            Piece::Poll {
                resource,
                access: bits,
            } => {
                let access = access(bits)?;
                let line = run.line.ok_or(errno::EINVAL)?;
                self.room_for_wait(run)?;
                self.room_for_fds(1)?;
                self.attached(run, resource)?;
                let blob = self.blobs[&resource].life;
                Ok(Done::Waits(if self.is_idle(line) {
                    Cause::Fence(self.start_poll(blob, access)?)
                } else {
                    Cause::Poll { blob, access }
                }))
            }
            Piece::MemSignal {
                resource,
                offset,
                value,
            } => {
                self.attached(run, resource)?;
                self.raise(resource, offset, value)?;
                Ok(Done::Now)
            }
            Piece::WrongRing { .. } | Piece::WrongSize | Piece::Broken => Err(errno::EINVAL),
            Piece::Unknown => Err(errno::ENOSYS),
        }
    }

    pub(super) fn context(&mut self, run: &Run) -> &mut super::ModelContext {
        self.contexts
            .get_mut(&run.ctx_id)
            .expect("the submission's context")
    }

    pub(super) fn cookie(&mut self, run: &Run, cookie: u64) -> Result<SyncFile, Errno> {
        self.context(run)
            .cookies
            .get(&cookie)
            .map(|(file, _)| file.clone())
            .ok_or(errno::ENOENT)
    }

    fn attached(&mut self, run: &Run, resource: u32) -> Result<(), Errno> {
        let attached = self.context(run).resources.contains(&resource);
        attached.then_some(()).ok_or(errno::ENOENT)
    }

    pub(super) fn room_for_cookie(&mut self, run: &Run, cookie: u64) -> Result<(), Errno> {
        let most = self.limits.cookies as usize;
        let cookies = &self.context(run).cookies;
        if cookie == 0 {
            Ok(())
        } else if cookies.contains_key(&cookie) {
            Err(errno::EEXIST)
        } else if cookies.len() == most {
            Err(errno::EDQUOT)
        } else {
            Ok(())
        }
    }

    pub(super) fn room_for_wait(&self, run: &Run) -> Result<(), Errno> {
        if run.fenced && run.waits.is_empty() && self.full() {
            Err(errno::EDQUOT)
        } else {
            Ok(())
        }
    }

    pub(super) fn room_for_fds(&self, more: usize) -> Result<(), Errno> {
        let full = self.fds() + more > self.limits.fds as usize;
        if full { Err(errno::EMFILE) } else { Ok(()) }
    }

    fn bind(&mut self, run: &Run, resource: u32, offset: u64, size: u64) -> Result<(), Errno> {
        if resource == 0 {
            self.context(run).status = None;
            return Ok(());
        }
        let (offset, size) = self.place(run, resource, offset, size)?;
        let bytes = &mut self
            .blobs
            .get_mut(&resource)
            .expect("an attached blob")
            .bytes;
        bytes.resize(bytes.len().max(offset + size), 0);
        let capacity = verify::write_header(&mut bytes[offset..offset + size]);
        let status = ModelStatus {
            resource_id: resource,
            offset,
            capacity,
            seq: 0,
        };
        self.context(run).status = Some(status);
        Ok(())
    }

    /// Where a status blob or an event ring is to be.
    pub(super) fn place(
        &mut self,
        run: &Run,
        resource: u32,
        offset: u64,
        size: u64,
    ) -> Result<(usize, usize), Errno> {
        self.attached(run, resource)?;
        let fits = offset + size <= self.blobs[&resource].size;
        if !fits || !offset.is_multiple_of(64) || !(128..=65536).contains(&size) {
            return Err(errno::EINVAL);
        }
        self.host_call()?;
        Ok((offset as usize, size as usize))
    }

    fn export(&self, resource: u32, access: Access) -> SyncFile {
        self.blobs[&resource]
            .reservation
            .export(&self.kernel, access)
    }

    fn import(&mut self, resource: u32, access: Access, file: &SyncFile) {
        let kernel: &Kernel = &self.kernel;
        let blob = self.blobs.get_mut(&resource).expect("an attached blob");
        blob.reservation.import(kernel, access, file);
    }
}
