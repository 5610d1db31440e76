//! Timelines: a context's names for drm_syncobjs of the host, and the watches on their points.
//!
//! A watch on a point is the host kernel's, and it cannot be taken back: when its event is cancelled
//! or timed out it stays, and counts, until its point comes or the timeline is destroyed. So there
//! are two objects: the event ([`crate::events`]), and the host's watch that will fire it.

use crate::events::Awaited;
use crate::host::{Errno, Host, PointId, errno};
use crate::list::{Link, Linked, List};
use crate::slab::{Key, Slab};

/// Watches on the points of one timeline that the host keeps at most.
const MAX_WATCHES: u32 = 256;

/// A drm_syncobj under a name of the guest's.
#[derive(Debug)]
pub(crate) struct Timeline<S> {
    pub(crate) syncobj: S,
    /// Its one point is 0; else its points are 1 and above.
    pub(crate) binary: bool,
    /// The name under which host processes may have it.
    pub(crate) uuid: Option<[u8; 16]>,
    watches: List<OfTimeline>,
    watch_count: u32,
}

impl<S> Timeline<S> {
    pub(crate) const fn new(syncobj: S, binary: bool) -> Self {
        Self {
            syncobj,
            binary,
            uuid: None,
            watches: List::new(),
            watch_count: 0,
        }
    }

    /// Whether it can have this point.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) const fn checked_point(&self, point: u64) -> Result<u64, Errno> {
        if self.binary == (point == 0) {
            Ok(point)
        } else {
            Err(errno::EINVAL)
        }
    }
}

/// A watch of the host's on a point.
#[derive(Debug)]
struct PointWatch {
    timeline: Key,
    point: u64,
    /// The event that it fires; `None` when that is over.
    event: Option<Key>,
    siblings: Link,
}

/// The list of the watches on one timeline's points.
#[derive(Debug)]
enum OfTimeline {}

impl Linked<OfTimeline> for PointWatch {
    fn link(&mut self) -> &mut Link {
        &mut self.siblings
    }

    fn linked(&self) -> Link {
        self.siblings
    }
}

/// All timelines of a device.
#[derive(Debug)]
pub(crate) struct Timelines<S> {
    timelines: Slab<Timeline<S>>,
    watches: Slab<PointWatch>,
}

impl<S> Timelines<S> {
    pub(crate) const fn new() -> Self {
        Self {
            timelines: Slab::new(),
            watches: Slab::new(),
        }
    }

    /// What counts like a file descriptor: each timeline, and each watch.
    pub(crate) const fn fds(&self) -> usize {
        self.timelines.len().saturating_add(self.watches.len())
    }

    pub(crate) fn insert(&mut self, timeline: Timeline<S>) -> Key {
        self.timelines.insert(timeline)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Timeline<S>> {
        self.timelines.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Timeline<S>> {
        self.timelines.get_mut(key)
    }

    /// Whether the host may keep one more watch on the timeline.
    pub(crate) fn has_room(&self, key: Key) -> bool {
        let timeline = self.timelines.get(key);
        timeline.is_some_and(|timeline| timeline.watch_count < MAX_WATCHES)
    }

    /// Has the host watch a point. The event is said by [`Timelines::attach`].
    ///
    /// # Errors
    /// The host's errno.
    pub(crate) fn watch<H: Host<Syncobj = S>>(
        &mut self,
        host: &mut H,
        key: Key,
        point: u64,
        until: stile_wire::sync::PointEvent,
    ) -> Result<Key, Errno> {
        let timeline = self.timelines.get_mut(key).ok_or(errno::ENOENT)?;
        let watch = self.watches.insert(PointWatch {
            timeline: key,
            point,
            event: None,
            siblings: Link::new(),
        });
        if let Err(error) = host.watch_point(PointId(watch), &timeline.syncobj, point, until) {
            self.watches.remove(watch);
            return Err(error);
        }
        timeline.watches.push(&mut self.watches, watch);
        timeline.watch_count = timeline.watch_count.saturating_add(1);
        Ok(watch)
    }

    /// The event that a watch fires.
    pub(crate) fn attach(&mut self, watch: Key, event: Key) {
        if let Some(watch) = self.watches.get_mut(watch) {
            watch.event = Some(event);
        }
    }

    /// The event of a watch is over. Gives its point.
    pub(crate) fn detach(&mut self, watch: Key) -> u64 {
        let Some(watch) = self.watches.get_mut(watch) else {
            return 0;
        };
        watch.event = None;
        watch.point
    }

    /// The host's watch is over. Gives its point and its event.
    fn take(&mut self, watch: Key) -> Option<(u64, Option<Key>)> {
        let of = self.watches.get(watch)?.timeline;
        if let Some(timeline) = self.timelines.get_mut(of) {
            timeline.watches.remove(&mut self.watches, watch);
            timeline.watch_count = timeline.watch_count.saturating_sub(1);
        }
        let watch = self.watches.remove(watch)?;
        Some((watch.point, watch.event))
    }

    /// A watch has come so far, or its timeline is destroyed: the host's part of it ends. `None` if
    /// it has before.
    pub(crate) fn reached<H: Host>(
        &mut self,
        host: &mut H,
        id: PointId,
    ) -> Option<(u64, Option<Key>)> {
        let ended = self.take(id.0)?;
        host.unwatch_point(id);
        Some(ended)
    }

    /// The next watch of a timeline that is to be destroyed.
    pub(crate) fn first_watch(&self, key: Key) -> Option<PointId> {
        let timeline = self.timelines.get(key)?;
        timeline.watches.first(&self.watches).map(PointId)
    }

    /// Destroys a timeline without watches.
    pub(crate) fn remove<H: Host<Syncobj = S>>(&mut self, host: &mut H, key: Key) {
        if let Some(timeline) = self.timelines.remove(key)
            && let Some(uuid) = timeline.uuid
        {
            host.unshare_syncobj(uuid);
        }
    }

    /// Ends all watches and destroys all timelines.
    pub(crate) fn clear<H: Host<Syncobj = S>>(&mut self, host: &mut H) {
        for watch in self.watches.keys() {
            host.unwatch_point(PointId(watch));
        }
        for key in self.timelines.keys() {
            if let Some(uuid) = self.timelines.get(key).and_then(|timeline| timeline.uuid) {
                host.unshare_syncobj(uuid);
            }
        }
        self.watches.clear();
        self.timelines.clear();
    }

    /// Whether each watch is in its timeline's list, and each armed event of a point is its watch's.
    /// `named` are the timelines that contexts name; `armed` says which event awaits which watch.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(
        &self,
        named: &[Key],
        armed: &[(Key, Awaited)],
    ) -> Result<(), &'static str> {
        let timelines = self.timelines.check()?;
        if named.len() != timelines.len() {
            return Err("A timeline has no name");
        }
        let mut listed: usize = 0;
        for key in named {
            let timeline = self
                .timelines
                .get(*key)
                .ok_or("A name's timeline is gone")?;
            let watches = timeline.watches.check(&self.watches)?;
            let count = usize::try_from(timeline.watch_count).unwrap_or(usize::MAX);
            if watches.len() != count || timeline.watch_count > MAX_WATCHES {
                return Err("A timeline miscounts its watches, or has too many");
            }
            for watch in &watches {
                if self.watches.get(*watch).map(|watch| watch.timeline) != Some(*key) {
                    return Err("A watch is in the list of another timeline");
                }
            }
            listed = listed.saturating_add(watches.len());
        }
        let watches = self.watches.check()?;
        if watches.len() != listed {
            return Err("A watch is no timeline's");
        }
        let fires: alloc::vec::Vec<_> = watches
            .iter()
            .filter_map(|(key, watch)| Some((watch.event?, *key)))
            .collect();
        let awaits = |event, watch| {
            let point = Awaited::Point { watch };
            armed.contains(&(event, point))
        };
        if !fires.iter().all(|(event, watch)| awaits(*event, *watch)) {
            return Err("A watch fires an event that does not await it");
        }
        let points = armed.iter().filter(|(_, awaited)| awaited.is_point());
        if points.count() != fires.len() {
            return Err("An event awaits a watch that is gone");
        }
        Ok(())
    }
}
