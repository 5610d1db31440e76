//! What must be true of the events between any two calls. For tests.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Awaited, Events, Inbox};
use crate::device::{Device, to_usize};
use crate::host::Host;
use crate::slab::Key;
use crate::wait::Kind;

impl Events {
    /// Whether each watch is in the lists that it must be in, once, and nothing can be written that
    /// is not. `inboxes` are those of all contexts, with their ids.
    ///
    /// # Errors
    /// What is wrong.
    fn check<'a, R: 'a>(
        &self,
        inboxes: impl Iterator<Item = (u32, &'a Inbox<R>)>,
    ) -> Result<(), &'static str> {
        let mut watches: usize = 0;
        let mut kept_back: usize = 0;
        for (ctx_id, inbox) in inboxes {
            watches = watches.saturating_add(inbox.numbers.len());
            for (number, key) in &inbox.numbers {
                let watch = self.watches.get(*key).ok_or("A number's watch is gone")?;
                let subject = (watch.subject.ctx_id, watch.subject.cookie);
                if subject != (ctx_id, *number) {
                    return Err("A number names the watch of another");
                }
            }
            let kept = inbox.kept.check(&self.watches)?;
            for key in &kept {
                let watch = self.watches.get(*key).ok_or("A kept event is gone")?;
                if watch.happened.is_none() || watch.deadline_ns.is_some() {
                    return Err("An event is kept back that has not happened");
                }
                if inbox.numbers.get(&watch.subject.cookie) != Some(key) {
                    return Err("An event is kept back for another context");
                }
            }
            if u64::try_from(kept.len()) != Ok(inbox.kept_back) {
                return Err("The events that are kept back are miscounted");
            }
            kept_back = kept_back.saturating_add(kept.len());
            if let Some(ring) = &inbox.ring {
                let (capacity, overflow) = ring.bounds();
                if ring.unread() > capacity {
                    return Err("An event that was not read is overwritten");
                }
                if ring.has_room() && !kept.is_empty() {
                    return Err("An event is kept back though there is room");
                }
                if overflow != inbox.kept_back {
                    return Err("An event ring's overflow is wrong");
                }
            } else if !inbox.waits.is_empty() {
                return Err("An EVENT_WAIT has no ring");
            }
        }
        if !self.due.is_empty() {
            return Err("An EVENT_WAIT is over and goes on");
        }
        self.check_watches(watches, kept_back)
    }

    /// The context and the object of an armed watch.
    pub(crate) fn armed(&self, key: Key) -> Option<(u32, Awaited)> {
        let watch = self.watches.get(key)?;
        let armed = watch.happened.is_none();
        armed.then_some((watch.subject.ctx_id, watch.awaited))
    }

    /// How many armed watches watch for something of this kind.
    pub(crate) fn count_armed(&self, of_kind: impl Fn(Awaited) -> bool) -> usize {
        let armed = self.watches.keys().filter_map(|key| self.armed(key));
        armed.filter(|(_, awaited)| of_kind(*awaited)).count()
    }

    fn check_watches(&self, expected: usize, kept_back: usize) -> Result<(), &'static str> {
        let watches = self.watches.check()?;
        if watches.len() != expected {
            return Err("A watch is no context's");
        }
        let happened = watches.iter().filter(|(_, watch)| watch.happened.is_some());
        if happened.count() != kept_back {
            return Err("An event is in no queue");
        }
        let time_outs: BTreeSet<_> = watches
            .iter()
            .filter_map(|(key, watch)| Some((watch.deadline_ns?, *key)))
            .collect();
        if time_outs != self.time_outs {
            return Err("The time-outs are not those of the watches");
        }
        Ok(())
    }
}

impl<H: Host> Device<H> {
    /// The events, and the waits for them.
    pub(crate) fn check_events(&self) -> Result<(), &'static str> {
        let contexts = self.contexts.iter();
        self.events
            .check(contexts.map(|(ctx_id, context)| (*ctx_id, &context.inbox)))?;
        if self.events.watches.len() > to_usize(self.limits.events) {
            return Err("There are too many watches");
        }
        let watches = self.events.watches.keys().filter_map(|key| {
            let watch = self.events.watches.get(key)?;
            watch.happened.is_none().then_some((key, watch.awaited))
        });
        let armed: Vec<_> = watches.collect();
        let names = self.contexts.values();
        let names = names.flat_map(|context| context.timelines.values().copied());
        self.timelines.check(&names.collect::<Vec<_>>(), &armed)?;
        let mut open: usize = 0;
        for (ctx_id, context) in &self.contexts {
            if context.timelines.len() > to_usize(self.limits.timelines) {
                return Err("A context has too many timelines");
            }
            if let Some(ring) = &context.inbox.ring
                && !context.resources.contains(&ring.resource_id())
            {
                return Err("An event ring outlives its blob");
            }
            for wait in &context.inbox.waits {
                let wait = self.waits.get(*wait).ok_or("An EVENT_WAIT is gone")?;
                let owner = (wait.subject.ctx_id, wait.ctx_serial);
                if wait.kind != Kind::Event || owner != (*ctx_id, context.serial) {
                    return Err("An EVENT_WAIT is none, or another context's");
                }
                open = open.saturating_add(1);
            }
        }
        let waits = self.waits.check()?;
        let event_waits = waits.iter().filter(|(_, wait)| wait.kind == Kind::Event);
        if event_waits.count() != open {
            return Err("An EVENT_WAIT waits for no ring");
        }
        Ok(())
    }
}
