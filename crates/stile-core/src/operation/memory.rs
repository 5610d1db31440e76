//! The operations on memory fences: MEM_WAIT, MEM_SIGNAL.

use super::{Done, attached};
use crate::device::{Device, Turn};
use crate::events::{Awaited, Happened};
use crate::host::{Errno, Host, errno};
use crate::memory_fence::Waiter;
use crate::status::Subject;
use crate::waiters::Through;

/// What MEM_WAIT waits for.
pub(super) struct Wanted {
    pub(super) resource_id: u32,
    pub(super) offset: u64,
    pub(super) value: u64,
    pub(super) timeout_ns: u64,
}

impl<H: Host> Device<H> {
    /// MEM_WAIT: an event when the counter is there, which may be now.
    pub(super) fn mem_wait(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        wanted: &Wanted,
    ) -> Result<Done, Errno> {
        let Wanted {
            resource_id,
            offset,
            value,
            timeout_ns,
        } = *wanted;
        let (ctx_id, now_ns) = (turn.request.ctx_id, turn.now_ns);
        let deadline_ns = self.limited(now_ns, timeout_ns)?;
        self.room_for_event(ctx_id, subject.cookie)?;
        let found = self.look(host, turn, resource_id, offset, 0)?;
        let blob = self.blobs.get(&resource_id).ok_or(errno::ENOENT)?;
        let context = self.contexts.get_mut(&ctx_id).ok_or(errno::ENOENT)?;
        let waiter = self.waiters.name(blob.serial, offset, value);
        let awaited = Awaited::Counter(waiter);
        let watch = self
            .events
            .arm(&mut context.inbox, subject, awaited, Some(deadline_ns));
        if found >= value {
            let happened = Happened {
                value: found,
                error: None,
                time_ns: now_ns,
            };
            self.fire(host, watch, happened);
        } else {
            let through = Through::Context(context.serial);
            self.waiters.add(waiter, through, Waiter::Event(watch));
        }
        Ok(Done::Now)
    }

    /// MEM_SIGNAL: raises a counter, and tells those whose value it has reached.
    pub(super) fn mem_signal(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        offset: u64,
        value: u64,
    ) -> Result<Done, Errno> {
        self.look(host, turn, resource_id, offset, value)?;
        Ok(Done::Now)
    }

    /// Raises a counter of a blob that is attached to the context, and gives what it holds.
    fn look(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        offset: u64,
        value: u64,
    ) -> Result<u64, Errno> {
        let context = self.contexts.get(&turn.request.ctx_id);
        let context = context.ok_or(errno::ENOENT)?;
        attached(context.resources.contains(&resource_id), || Some(()))?;
        self.raise(host, turn.now_ns, resource_id, offset, value)
    }
}
