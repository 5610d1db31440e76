//! Events as the rest of the device sees them.

use stile_wire::sync::RecordFlags;

use super::{Awaited, Happened};
use crate::device::Device;
use crate::host::{Errno, Host, WaitId, errno};
use crate::slab::Key;
use crate::status::Ending;

impl<H: Host> Device<H> {
    /// What an armed watch watches for has happened, or will not. The caller knows that nobody
    /// watches any more, or says so by [`Device::disarm`].
    pub(crate) fn fire(&mut self, host: &mut H, watch: Key, happened: Happened) {
        if let Some(ctx_id) = self.events.context_of(watch)
            && let Some(context) = self.contexts.get_mut(&ctx_id)
        {
            self.events.fire(host, &mut context.inbox, watch, happened);
        }
    }

    /// A watch is over before what it watched for: whoever would have fired it is told. Gives the
    /// `value` of its event, if it has one.
    pub(crate) fn disarm(&mut self, _host: &mut H, awaited: Awaited) -> u64 {
        match awaited {
            Awaited::Point { watch } => self.timelines.detach(watch),
            Awaited::Counter(waiter) => {
                self.waiters.remove(waiter);
                0
            }
        }
    }

    /// Whether a context may watch for the event `number`.
    ///
    /// # Errors
    /// `ENXIO` without an event ring; `EEXIST` where it does; `EDQUOT` over the quota.
    pub(crate) fn room_for_event(&mut self, ctx_id: u32, number: u64) -> Result<(), Errno> {
        let context = self.contexts.get(&ctx_id).ok_or(errno::ENOENT)?;
        let room = self.events.room(&context.inbox, number, &self.limits);
        if room == Err(errno::EDQUOT) {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
        }
        room
    }

    /// When a watch is given up that may take so long.
    ///
    /// # Errors
    /// `EINVAL` for a time above the limit.
    pub(crate) fn event_deadline(&self, now_ns: u64, timeout_ns: u64) -> Result<u64, Errno> {
        let most = u64::from(self.limits.timeout_ms).saturating_mul(1_000_000);
        if timeout_ns > most {
            return Err(errno::EINVAL);
        }
        Ok(now_ns.saturating_add(timeout_ns))
    }

    /// Ends the watches whose time is over.
    pub(crate) fn end_overdue_watches(&mut self, host: &mut H, now_ns: u64) {
        while let Some((watch, awaited)) = self.events.next_overdue(now_ns) {
            let happened = Happened {
                value: self.disarm(host, awaited),
                error: Some(errno::ETIMEDOUT),
                time_ns: now_ns,
            };
            self.fire(host, watch, happened);
        }
    }

    /// Ends the EVENT_WAITs that have what they wait for. Everything that may write an event ends
    /// with this, so that a reader who is woken finds all the events of that time, and no fence
    /// ends whose submission is still being read.
    pub(crate) fn end_event_waits(&mut self, host: &mut H, now_ns: u64) {
        while let Some((wait, error)) = self.events.next_due() {
            let ending = Ending {
                error,
                flags: RecordFlags::empty(),
                signalled_ns: 0,
                done_ns: now_ns,
            };
            self.end_wait(host, WaitId(wait), &ending);
        }
    }
}
