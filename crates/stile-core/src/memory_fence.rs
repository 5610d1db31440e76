//! Memory fences: 64-bit counters in blobs, which anybody raises and nobody need raise ever.
//!
//! The device looks at a counter when somebody raises it by MEM_SIGNAL, in the guest or on the
//! host, and when somebody begins to wait for it. What it sees then wakes all whose value it has
//! reached. So a program that stores into the memory itself has to say so.

mod check;

use crate::device::Device;
use crate::events::Happened;
use crate::host::{Errno, Host, errno};
use crate::request::RequestId;
use crate::slab::Key;
use crate::waiters::Through;

/// Bytes of a counter.
const COUNTER_BYTES: u64 = 8;

/// Who waits for a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A host process.
    Request(RequestId),
    /// A context, which watches for an event.
    Event(Key),
}

impl<H: Host> Device<H> {
    /// Raises a counter to `value` if it is below, tells those whom it has reached, and gives what
    /// it holds. A `value` of 0 only looks.
    pub(crate) fn raise(
        &mut self,
        host: &mut H,
        now_ns: u64,
        resource_id: u32,
        offset: u64,
        value: u64,
    ) -> Result<u64, Errno> {
        let blob = self.blobs.get_mut(&resource_id).ok_or(errno::ENOENT)?;
        let end = offset.checked_add(COUNTER_BYTES);
        let inside = end.is_some_and(|end| end <= blob.size);
        if !inside || !offset.is_multiple_of(COUNTER_BYTES) {
            return Err(errno::EINVAL);
        }
        let words = match blob.words.take() {
            Some(words) => words,
            None => host.words(&blob.buffer)?,
        };
        let words = blob.words.insert(words);
        let found = host.raise(words, offset, value)?;
        let serial = blob.serial;
        while let Some(waiter) = self.waiters.pop_reached(serial, offset, found) {
            self.wake(host, now_ns, waiter, Ok(found));
        }
        Ok(found)
    }

    /// When somebody gives a counter up: at some time, since it may never come so far.
    ///
    /// # Errors
    /// `EINVAL` for no time at all, or more than the limit.
    pub(crate) fn limited(&self, now_ns: u64, timeout_ns: u64) -> Result<u64, Errno> {
        if timeout_ns == 0 {
            return Err(errno::EINVAL);
        }
        self.event_deadline(now_ns, timeout_ns)
    }

    /// A blob is gone, and its counters with it.
    pub(crate) fn cancel_waiters(&mut self, host: &mut H, now_ns: u64, serial: u64) {
        while let Some(waiter) = self.waiters.pop_of_blob(serial) {
            self.wake(host, now_ns, waiter, Err(errno::ECANCELED));
        }
    }

    /// A context has lost a blob.
    pub(crate) fn cancel_waiters_through(
        &mut self,
        host: &mut H,
        now_ns: u64,
        serial: u64,
        through: Through,
    ) {
        while let Some(waiter) = self.waiters.pop_through(serial, through) {
            self.wake(host, now_ns, waiter, Err(errno::ECANCELED));
        }
    }

    /// Tells one that does not wait any more.
    fn wake(&mut self, host: &mut H, now_ns: u64, waiter: Waiter, found: Result<u64, Errno>) {
        match waiter {
            Waiter::Request(id) => self.end_request(host, id, found),
            Waiter::Event(watch) => {
                let happened = Happened {
                    value: found.unwrap_or(0),
                    error: found.err(),
                    time_ns: now_ns,
                };
                self.fire(host, watch, happened);
            }
        }
    }
}
