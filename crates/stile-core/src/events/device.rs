//! Events as the rest of the device sees them.

use stile_wire::sync::RecordFlags;

use super::{Awaited, Happened};
use crate::device::Device;
use crate::host::{Host, WaitId, errno};
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
        match awaited {}
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
