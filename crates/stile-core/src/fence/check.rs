//! What must be true of the fences between any two calls. For tests.

use super::{FenceKey, Fences, TimelineKey};

/// A fence, as a check of what it belongs to needs it.
#[derive(Debug)]
pub(crate) struct Seen<'a, A> {
    pub(crate) key: FenceKey,
    pub(crate) answer: &'a A,
    pub(crate) open_waits: u32,
}

impl<A> Fences<A> {
    /// Bytes of memory that a fence takes.
    #[cfg(test)]
    pub(crate) const FENCE_BYTES: usize = crate::slab::Slab::<super::Fence<A>>::ENTRY_BYTES;

    /// Whether every fence is in the lists that it must be in, once and in order.
    ///
    /// # Errors
    /// What is wrong.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), &'static str> {
        self.seen().map(|_| ())
    }

    /// Whether the timeline is open.
    pub(crate) fn is_open(&self, key: TimelineKey) -> bool {
        self.timelines
            .get(key.0)
            .is_some_and(|timeline| !timeline.closed)
    }

    /// All fences, after a check.
    pub(crate) fn seen(&self) -> Result<alloc::vec::Vec<Seen<'_, A>>, &'static str> {
        let mut queued: usize = 0;
        for (key, timeline) in self.timelines.check()? {
            let queue = timeline.queue.check(&self.fences)?;
            queued = queued.saturating_add(queue.len());
            if timeline.closed && queue.is_empty() {
                return Err("A closed timeline stays without a fence");
            }
            for fence in queue {
                let fence = self.fences.get(fence).ok_or("A timeline's fence is gone")?;
                if fence.timeline.and_then(|place| self.timelines.at(place)) != Some(key) {
                    return Err("A fence is in the queue of another timeline");
                }
            }
        }
        if queued != self.fences.len() {
            return Err("A fence is in no queue");
        }
        let mut due: usize = 0;
        let mut latest = 0;
        for fence in self.deadlines.check(&self.fences)? {
            let fence = self.fences.get(fence).ok_or("An overdue fence is gone")?;
            if fence.open_waits == 0 {
                return Err("A fence has a deadline and waits for nothing");
            }
            if fence.deadline_ns < latest {
                return Err("The deadlines are out of order");
            }
            latest = fence.deadline_ns;
            due = due.saturating_add(1);
        }
        let fences = self.fences.check()?;
        let waiting = fences.iter().filter(|(_, fence)| fence.open_waits > 0);
        if waiting.count() != due {
            return Err("A fence waits and has no deadline");
        }
        let seen = fences.into_iter().map(|(key, fence)| Seen {
            key: FenceKey(key),
            answer: &fence.answer,
            open_waits: fence.open_waits,
        });
        Ok(seen.collect())
    }

    /// Whether every timeline has said everything that it could.
    pub(crate) fn is_settled(&self) -> bool {
        self.timelines.keys().all(|key| {
            let head = self
                .timelines
                .get(key)
                .and_then(|timeline| timeline.queue.first(&self.fences));
            head.and_then(|head| self.fences.get(head))
                .is_none_or(|head| head.open_waits > 0)
        })
    }
}
