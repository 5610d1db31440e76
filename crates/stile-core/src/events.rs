//! The life of an event.
//!
//! What may never happen is no fence: a point that nobody has submitted, a counter that nobody may
//! ever raise. A context *watches* for it, and is told in its event ring.
//!
//! | state | meaning | goes to | when |
//! | --- | --- | --- | --- |
//! | *armed* | somebody watches for it | kept | [`Events::fire`]: it has happened, will not any more, or its time is over |
//! | *armed* | | gone | CANCEL; its context is destroyed |
//! | *kept* | it has happened, and is in the context's queue | written | it is the oldest of the queue, and the ring has room: at once, with EVENT_WAIT, or with a new ring |
//! | *kept* | | gone | CANCEL; its context is destroyed |
//!
//! The watch is the storage of its event until that is written, so that nothing can be lost for want
//! of room, and the quota of watches bounds everything. Queues are threaded through the slab of the
//! watches. Arming, firing and writing take constant time, but for the look-up of the event's number
//! and the order of the time-outs, which are trees.
//!
//! An EVENT_WAIT is not ended by the event, but after everything else that happens at the same time:
//! see [`Device::end_event_waits`](crate::Device).

mod check;
mod device;
mod ring;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::host::{Errno, Host, errno};
use crate::limits::Limits;
use crate::list::{Link, Linked, List};
use crate::slab::{Key, Slab};
use crate::status::Subject;
use crate::waiters::WaiterKey;

pub(crate) use ring::EventRing;

/// What a watch watches for, and so who has to know when it ends in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The host's watch on a point ([`crate::timeline`]).
    Point { watch: Key },
    /// A counter in a blob ([`crate::memory_fence`]).
    Counter(WaiterKey),
}

impl Awaited {
    pub(crate) const fn is_point(self) -> bool {
        matches!(self, Self::Point { .. })
    }
}

/// How an event came about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    /// The point, or what the counter was seen to hold.
    pub(crate) value: u64,
    /// Why it will not happen.
    pub(crate) error: Option<Errno>,
    pub(crate) time_ns: u64,
}

/// One awaited event.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Of the operation; its `cookie` is the event's number.
    subject: Subject,
    awaited: Awaited,
    /// When it is given up, while it is armed.
    deadline_ns: Option<u64>,
    /// `None` while it is armed.
    happened: Option<Happened>,
    /// In the context's queue, once it has happened.
    queued: Link,
}

/// The queue of a context's events that are not written, oldest first.
#[derive(Debug)]
enum Kept {}

impl Linked<Kept> for Watch {
    fn link(&mut self) -> &mut Link {
        &mut self.queued
    }

    fn linked(&self) -> Link {
        self.queued
    }
}

/// A context's events.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    ring: Option<EventRing<R>>,
    /// Its watches, by the events' numbers.
    numbers: BTreeMap<u64, Key>,
    kept: List<Kept>,
    kept_back: u64,
    /// Its open EVENT_WAITs, oldest first.
    waits: VecDeque<Key>,
}

impl<R> Inbox<R> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: None,
            numbers: BTreeMap::new(),
            kept: List::new(),
            kept_back: 0,
            waits: VecDeque::new(),
        }
    }

    /// The blob that the ring lies in.
    pub(crate) fn ring_resource(&self) -> Option<u32> {
        self.ring.as_ref().map(EventRing::resource_id)
    }

    /// Whether there is an event that a reader who has read up to `seen` has not: written, or kept
    /// back for want of the room that he makes.
    ///
    /// # Errors
    /// `ENXIO` without a ring; `EINVAL` for a `seen` above its newest event.
    pub(crate) fn has_news(&self, seen: u64) -> Result<bool, Errno> {
        let head = self.ring.as_ref().ok_or(errno::ENXIO)?.head();
        match head.checked_sub(seen) {
            None => Err(errno::EINVAL),
            Some(unread) => Ok(unread > 0 || self.kept_back > 0),
        }
    }

    /// An EVENT_WAIT begins.
    pub(crate) fn wait_begins(&mut self, wait: Key) {
        self.waits.push_back(wait);
    }

    /// An EVENT_WAIT has ended.
    pub(crate) fn wait_ended(&mut self, wait: Key) {
        // What ends one before its event is its deadline, and the oldest's is the soonest.
        if let Some(at) = self.waits.iter().position(|open| *open == wait) {
            self.waits.remove(at);
        }
    }
}

/// All watches of a device.
#[derive(Debug)]
pub(crate) struct Events {
    watches: Slab<Watch>,
    /// The armed watches that have a time-out, soonest first.
    time_outs: BTreeSet<(u64, Key)>,
    /// EVENT_WAITs that are over, with the error of those whose ring is gone.
    due: VecDeque<(Key, Option<Errno>)>,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            watches: Slab::new(),
            time_outs: BTreeSet::new(),
            due: VecDeque::new(),
        }
    }

    /// Whether a context may watch for the event `number`.
    ///
    /// # Errors
    /// `ENXIO` without a ring; `EEXIST` where it does; `EDQUOT` over the device's quota.
    pub(crate) fn room<R>(
        &self,
        inbox: &Inbox<R>,
        number: u64,
        limits: &Limits,
    ) -> Result<(), Errno> {
        if inbox.ring.is_none() {
            return Err(errno::ENXIO);
        }
        if inbox.numbers.contains_key(&number) {
            return Err(errno::EEXIST);
        }
        if self.watches.len() >= crate::device::to_usize(limits.events) {
            return Err(errno::EDQUOT);
        }
        Ok(())
    }

    /// Begins to watch: `subject.cookie` is the event's number, for which there is [`Events::room`].
    pub(crate) fn arm<R>(
        &mut self,
        inbox: &mut Inbox<R>,
        subject: &Subject,
        awaited: Awaited,
        deadline_ns: Option<u64>,
    ) -> Key {
        let key = self.watches.insert(Watch {
            subject: *subject,
            awaited,
            deadline_ns,
            happened: None,
            queued: Link::new(),
        });
        inbox.numbers.insert(subject.cookie, key);
        if let Some(deadline_ns) = deadline_ns {
            self.time_outs.insert((deadline_ns, key));
        }
        key
    }

    /// The context that watches, while the watch is armed.
    pub(crate) fn context_of(&self, key: Key) -> Option<u32> {
        let watch = self.watches.get(key)?;
        watch.happened.is_none().then_some(watch.subject.ctx_id)
    }

    /// An armed watch is over. Its event is written, or kept back.
    pub(crate) fn fire<H: Host>(
        &mut self,
        host: &mut H,
        inbox: &mut Inbox<H::Records>,
        key: Key,
        happened: Happened,
    ) {
        let Some(watch) = self.watches.get_mut(key) else {
            return;
        };
        if watch.happened.is_some() {
            return;
        }
        watch.happened = Some(happened);
        if let Some(deadline_ns) = watch.deadline_ns.take() {
            self.time_outs.remove(&(deadline_ns, key));
        }
        inbox.kept.push(&mut self.watches, key);
        inbox.kept_back = inbox.kept_back.saturating_add(1);
        self.write(host, inbox);
    }

    /// There will be no event of this number. Gives what was watched for, unless it has happened.
    ///
    /// # Errors
    /// `ENOENT` where nobody watches for it.
    pub(crate) fn cancel<H: Host>(
        &mut self,
        host: &mut H,
        inbox: &mut Inbox<H::Records>,
        number: u64,
    ) -> Result<Option<Awaited>, Errno> {
        let key = inbox.numbers.remove(&number).ok_or(errno::ENOENT)?;
        let watch = self.watches.get(key).ok_or(errno::ENOENT)?;
        let armed = watch.happened.is_none();
        if !armed {
            inbox.kept.remove(&mut self.watches, key);
            inbox.kept_back = inbox.kept_back.saturating_sub(1);
            self.write(host, inbox);
        }
        let awaited = self.forget(key);
        Ok(awaited.filter(|_| armed))
    }

    /// The context's ring is here from now on, and begins with what was kept back.
    pub(crate) fn bind<H: Host>(
        &mut self,
        host: &mut H,
        inbox: &mut Inbox<H::Records>,
        ring: EventRing<H::Records>,
    ) {
        self.unbind(inbox);
        inbox.ring = Some(ring);
        self.write(host, inbox);
    }

    /// The context has no ring any more. Those who wait for an event in it wait for nothing.
    pub(crate) fn unbind<R>(&mut self, inbox: &mut Inbox<R>) {
        inbox.ring = None;
        let waits = core::mem::take(&mut inbox.waits);
        let ended = waits.into_iter().map(|wait| (wait, Some(errno::ECANCELED)));
        self.due.extend(ended);
    }

    /// The context has lost a resource, which may have held its ring.
    pub(crate) fn detach<R>(&mut self, inbox: &mut Inbox<R>, resource_id: u32) {
        let ring = inbox.ring.as_ref();
        if ring.is_some_and(|ring| ring.resource_id() == resource_id) {
            self.unbind(inbox);
        }
    }

    /// The guest has read the events up to `seen`, which [`Inbox::has_news`] has looked at.
    pub(crate) fn seen<H: Host>(&mut self, host: &mut H, inbox: &mut Inbox<H::Records>, seen: u64) {
        if let Some(ring) = &mut inbox.ring {
            ring.seen(seen);
        }
        self.write(host, inbox);
    }

    /// The context is gone, and its watches with it. Gives what those watched for that were armed.
    pub(crate) fn close<R>(&mut self, mut inbox: Inbox<R>) -> Vec<Awaited> {
        self.unbind(&mut inbox);
        let mut awaited = Vec::new();
        for key in inbox.numbers.into_values() {
            let armed = self.context_of(key).is_some();
            awaited.extend(self.forget(key).filter(|_| armed));
        }
        awaited
    }

    /// When the soonest time-out is over.
    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.time_outs.first().map(|(deadline_ns, _)| *deadline_ns)
    }

    /// An armed watch whose time is over, and what it watches for. The caller fires it.
    pub(crate) fn next_overdue(&self, now_ns: u64) -> Option<(Key, Awaited)> {
        let (deadline_ns, key) = *self.time_outs.first()?;
        let overdue = deadline_ns <= now_ns;
        let watch = self.watches.get(key).filter(|_| overdue)?;
        Some((key, watch.awaited))
    }

    /// An EVENT_WAIT that is over. To be asked until there is none.
    pub(crate) fn next_due(&mut self) -> Option<(Key, Option<Errno>)> {
        self.due.pop_front()
    }

    /// Forgets everything. Keys from before name nothing.
    pub(crate) fn clear(&mut self) {
        self.watches.clear();
        self.time_outs.clear();
        self.due.clear();
    }

    fn forget(&mut self, key: Key) -> Option<Awaited> {
        let watch = self.watches.remove(key)?;
        if let Some(deadline_ns) = watch.deadline_ns {
            self.time_outs.remove(&(deadline_ns, key));
        }
        Some(watch.awaited)
    }

    /// Writes what is kept back, as far as there is room.
    fn write<H: Host>(&mut self, host: &mut H, inbox: &mut Inbox<H::Records>) {
        let Some(ring) = &mut inbox.ring else {
            return;
        };
        let before = ring.head();
        while ring.has_room()
            && let Some(key) = inbox.kept.first(&self.watches)
        {
            inbox.kept.remove(&mut self.watches, key);
            inbox.kept_back = inbox.kept_back.saturating_sub(1);
            let Some(watch) = self.watches.remove(key) else {
                continue;
            };
            inbox.numbers.remove(&watch.subject.cookie);
            if let Some(happened) = &watch.happened {
                ring.write(host, &watch.subject, happened);
            }
        }
        ring.write_overflow(host, inbox.kept_back);
        if ring.head() != before {
            let waits = core::mem::take(&mut inbox.waits);
            self.due.extend(waits.into_iter().map(|wait| (wait, None)));
        }
    }
}
