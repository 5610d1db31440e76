//! The life of a fence.
//!
//! A fence is a promise to the guest: *this response comes when that work is done*. It belongs to
//! one timeline, and the guest takes the response of a fence for the completion of **every** fence
//! before it on that timeline. So a fence may leave only from the head of its timeline.
//!
//! | state | meaning | goes to | when | answer |
//! | --- | --- | --- | --- | --- |
//! | *parked* | some waits are open | signalled | [`Fences::wait_ended`] for the last of them | none yet |
//! | *parked* | | signalled | [`Fences::next_overdue`], its deadline passed; the caller ends its waits | none yet |
//! | *signalled* | no wait is open, but a fence before it is parked | replied | that fence is replied | none yet |
//! | *signalled* | it is the head of its timeline | replied | [`Fences::pop_replied`] | its response, once |
//! | *signalled* | it is held at the end of its timeline, and another fence without waits comes | displaced | [`Fences::displace`], for the quota's sake | its response **without** the fence, once |
//! | any | | cancelled | [`Fences::clear`] (reset): the queues are gone | none: there is nobody to answer |
//! | — | no wait, and the timeline is empty | replied | [`Fences::submit`] | [`Submitted::Now`] |
//! | — | its id is not above the timeline's last | refused | [`Fences::submit`] | [`Submitted::Stale`] |
//!
//! **Displaced.** Each fence holds descriptors of a queue that all of the guest shares, so a full
//! queue must not be one timeline's to make. A fence without open waits behind one with open waits
//! signals when that one does; so does the next of its kind. The earlier of the two is answered at
//! once without its fence, which tells the guest that its command is done and nothing else, and the
//! later one's response will signal both. The guest sees each at the same moment as before: none is
//! early, and none is lost as long as the later one is there. So it is one step: no fence is
//! displaced for one that is refused, none that has open waits, and none that is not held.
//!
//! A destroyed context leaves its fences where they are ([`Fences::close`]): somebody else in the
//! guest may wait for them, and the work is not done.
//!
//! **Never early**: only the head leaves, and only without open waits. **Never lost**: each fence
//! with open waits is in the deadline list, so it ends, and the others with it. **Never out of order**: ids on a timeline only go up,
//! and it is a queue. **Never twice**: leaving removes the fence, and its key dies with it.
//!
//! All of it takes constant time: timelines and deadlines are lists threaded through one slab.

mod check;

use crate::list::{Link, Linked, List};
use crate::slab::{Key, Place, Slab};

/// Names a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineKey(Key);

/// Names a parked fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceKey(Key);

/// What became of a new fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Submitted<A> {
    /// Nothing to wait for: answer it now.
    Now(A),
    /// It waits, for its work or for the fences before it.
    Parked(FenceKey),
    /// Its id is not above the timeline's last. Answered as a fence it would signal others early.
    Stale(A),
}

#[derive(Debug)]
struct Fence<A> {
    answer: A,
    /// Its timeline's, which stays as long as it does.
    timeline: Option<Place>,
    /// Waits that have not ended.
    open_waits: u32,
    deadline_ns: u64,
    /// In the timeline.
    queued: Link,
    /// In the list of deadlines, while waits are open.
    due: Link,
}

/// The list of a timeline's fences, oldest first.
#[derive(Debug)]
enum Queued {}

/// The list of all fences with open waits, soonest deadline first.
#[derive(Debug)]
enum Due {}

impl<A> Linked<Queued> for Fence<A> {
    fn link(&mut self) -> &mut Link {
        &mut self.queued
    }

    fn linked(&self) -> Link {
        self.queued
    }
}

impl<A> Linked<Due> for Fence<A> {
    fn link(&mut self) -> &mut Link {
        &mut self.due
    }

    fn linked(&self) -> Link {
        self.due
    }
}

#[derive(Debug, Default)]
struct Timeline {
    last_id: Option<u64>,
    queue: List<Queued>,
    closed: bool,
}

impl Timeline {
    fn refuses(&self, id: u64) -> bool {
        self.closed || self.last_id.is_some_and(|last| id <= last)
    }
}

/// All fences of a device. `A` is what the guest is answered.
#[derive(Debug)]
pub struct Fences<A> {
    fences: Slab<Fence<A>>,
    timelines: Slab<Timeline>,
    deadlines: List<Due>,
}

impl<A> Default for Fences<A> {
    fn default() -> Self {
        Self {
            fences: Slab::new(),
            timelines: Slab::new(),
            deadlines: List::default(),
        }
    }
}

impl<A> Fences<A> {
    /// Fences that are not replied yet.
    pub const fn pending(&self) -> usize {
        self.fences.len()
    }

    /// Timelines that are open, or closed with fences on them.
    pub const fn timelines(&self) -> usize {
        self.timelines.len()
    }

    /// A new timeline without fences.
    pub fn open(&mut self) -> TimelineKey {
        TimelineKey(self.timelines.insert(Timeline::default()))
    }

    /// The timeline takes no new fences; those on it live on.
    pub fn close(&mut self, key: TimelineKey) {
        if let Some(timeline) = self.timelines.get_mut(key.0) {
            timeline.closed = true;
            if timeline.queue.is_empty() {
                self.timelines.remove(key.0);
            }
        }
    }

    /// Whether the timeline would refuse the fence `id`.
    pub fn is_stale(&self, key: TimelineKey, id: u64) -> bool {
        self.timelines
            .get(key.0)
            .is_none_or(|timeline| timeline.refuses(id))
    }

    /// Adds the fence `id` to a timeline. It is done after `waits` calls of [`Fences::wait_ended`],
    /// or at `deadline_ns`.
    ///
    /// Deadlines must not fall from one call to the next: the time a fence may take is the same
    /// for all, and the clock is monotonic. One that does is taken for the latest so far.
    pub fn submit(
        &mut self,
        key: TimelineKey,
        id: u64,
        waits: u32,
        deadline_ns: u64,
        answer: A,
    ) -> Submitted<A> {
        let Some(timeline) = self
            .timelines
            .get_mut(key.0)
            .filter(|line| !line.refuses(id))
        else {
            return Submitted::Stale(answer);
        };
        if waits == 0 && timeline.queue.is_empty() {
            timeline.last_id = Some(id);
            return Submitted::Now(answer);
        }
        timeline.last_id = Some(id);
        let deadline_ns = match self
            .deadlines
            .last(&self.fences)
            .and_then(|latest| self.fences.get(latest))
        {
            Some(latest) => deadline_ns.max(latest.deadline_ns),
            None => deadline_ns,
        };
        let (queued, due) = (Link::default(), Link::default());
        let fence = Fence {
            answer,
            timeline: key.0.place(),
            open_waits: waits,
            deadline_ns,
            queued,
            due,
        };
        let new = self.fences.insert(fence);
        timeline.queue.push(&mut self.fences, new);
        if waits > 0 {
            self.deadlines.push(&mut self.fences, new);
        }
        Submitted::Parked(FenceKey(new))
    }

    /// Adds the fence `id`, which has no waits, as [`Fences::submit`] does, and lets it take the
    /// place of the timeline's last fence if that is only held: has no open waits and a fence
    /// before it. The second value is what was displaced. It is to be answered now, without its
    /// fence: the response of the new one signals both.
    pub fn displace(&mut self, key: TimelineKey, id: u64, answer: A) -> (Submitted<A>, Option<A>) {
        let displaced = if self.is_stale(key, id) {
            None
        } else {
            self.take_held(key)
        };
        (self.submit(key, id, 0, 0, answer), displaced)
    }

    /// Takes the last fence of a timeline out of it if it is held. The timeline is not empty then.
    fn take_held(&mut self, key: TimelineKey) -> Option<A> {
        let timeline = self.timelines.get_mut(key.0)?;
        let last = timeline.queue.last(&self.fences)?;
        let first = timeline.queue.first(&self.fences);
        let held = first != Some(last) && self.fences.get(last)?.open_waits == 0;
        if !held {
            return None;
        }
        timeline.queue.remove(&mut self.fences, last);
        self.fences.remove(last).map(|fence| fence.answer)
    }

    /// One of the fence's waits has ended. `true` if it was the last: then
    /// [`Fences::pop_replied`] may have answers.
    pub fn wait_ended(&mut self, key: FenceKey) -> bool {
        let Some(fence) = self.fences.get_mut(key.0) else {
            return false;
        };
        let Some(open_waits) = fence.open_waits.checked_sub(1) else {
            return false;
        };
        fence.open_waits = open_waits;
        if open_waits > 0 {
            return false;
        }
        self.deadlines.remove(&mut self.fences, key.0);
        true
    }

    /// The timeline of a parked fence.
    pub fn timeline(&self, key: FenceKey) -> Option<TimelineKey> {
        let place = self.fences.get(key.0)?.timeline?;
        self.timelines.at(place).map(TimelineKey)
    }

    /// The answer of a parked fence, to change what it will say.
    pub fn answer_mut(&mut self, key: FenceKey) -> Option<&mut A> {
        self.fences.get_mut(key.0).map(|fence| &mut fence.answer)
    }

    /// The fence that is the next to leave; `None` for a timeline without fences.
    pub fn head(&self, key: TimelineKey) -> Option<FenceKey> {
        let timeline = self.timelines.get(key.0)?;
        timeline.queue.first(&self.fences).map(FenceKey)
    }

    /// What the fences of a timeline answer, oldest first.
    pub fn queue(&self, key: TimelineKey) -> impl Iterator<Item = &A> {
        let timeline = self.timelines.get(key.0);
        let first = timeline.and_then(|timeline| timeline.queue.first(&self.fences));
        core::iter::successors(first, |key| List::<Queued>::after(&self.fences, *key))
            .filter_map(|key| self.fences.get(key))
            .map(|fence| &fence.answer)
    }

    /// Takes the head of the timeline if it is signalled. To be called until it gives `None`.
    pub fn pop_replied(&mut self, key: TimelineKey) -> Option<A> {
        let timeline = self.timelines.get_mut(key.0)?;
        let head = timeline.queue.first(&self.fences)?;
        if self.fences.get(head)?.open_waits > 0 {
            return None;
        }
        timeline.queue.remove(&mut self.fences, head);
        if timeline.closed && timeline.queue.is_empty() {
            self.timelines.remove(key.0);
        }
        self.fences.remove(head).map(|fence| fence.answer)
    }

    /// When the soonest deadline passes; `None` while no fence waits.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let soonest = self.deadlines.first(&self.fences)?;
        self.fences.get(soonest).map(|fence| fence.deadline_ns)
    }

    /// A fence whose deadline has passed. The caller ends all its waits.
    pub fn next_overdue(&self, now_ns: u64) -> Option<FenceKey> {
        let key = self.deadlines.first(&self.fences)?;
        (self.fences.get(key)?.deadline_ns <= now_ns).then_some(FenceKey(key))
    }

    /// Forgets everything without an answer. Keys from before name nothing.
    pub fn clear(&mut self) {
        self.fences.clear();
        self.timelines.clear();
        self.deadlines = List::default();
    }
}
