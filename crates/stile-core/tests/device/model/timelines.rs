//! What the model makes of the operations on timelines, and of host processes that share them.

use stile_core::{Errno, PointId, errno};
use stile_wire::sync::{Direction, Op, PointEvent, TimelineFlags};

use super::inbox::Fate;
use super::operations::{Done, Run};
use super::{Model, named};
use crate::sim::{Points, Sim, SyncFile};

/// A context's name for a syncobj.
#[derive(Debug)]
pub(super) struct ModelTimeline {
    /// Index of `Model::syncobjs`.
    pub(super) syncobj: usize,
    binary: bool,
    uuid: Option<[u8; 16]>,
}

/// A watch of the host's on a point. Its index is its id in the model's syncobjs.
#[derive(Debug)]
pub(super) struct ModelPoint {
    id: Option<PointId>,
    context: u64,
    /// The timeline's name.
    timeline: u64,
    syncobj: usize,
    /// Index of `Model::events`.
    event: usize,
    over: bool,
}

/// Watches that the host's kernel keeps for one timeline.
const MAX_WATCHES: usize = 256;

impl Model {
    pub(super) fn timelines(&self) -> usize {
        let contexts = self.contexts.values();
        contexts.map(|context| context.timelines.len()).sum()
    }

    /// Watches that the host keeps.
    pub(super) fn point_watches(&self) -> usize {
        self.points.iter().filter(|point| !point.over).count()
    }

    fn timeline(&self, run: &Run, name: u64) -> Result<&ModelTimeline, Errno> {
        let timelines = &self.contexts[&run.ctx_id].timelines;
        timelines.get(&name).ok_or(errno::ENOENT)
    }

    /// The syncobj of a timeline that can have this point.
    fn syncobj(&self, run: &Run, name: u64, point: u64) -> Result<usize, Errno> {
        let timeline = self.timeline(run, name)?;
        if timeline.binary == (point == 0) {
            Ok(timeline.syncobj)
        } else {
            Err(errno::EINVAL)
        }
    }

    fn room_for_timeline(&self, run: &Run, name: u64) -> Result<(), Errno> {
        let timelines = &self.contexts[&run.ctx_id].timelines;
        if timelines.contains_key(&name) {
            return Err(errno::EEXIST);
        }
        if timelines.len() == self.limits.timelines as usize {
            return Err(errno::EDQUOT);
        }
        self.room_for_fds(1)
    }

    fn add_timeline(&mut self, run: &Run, name: u64, syncobj: usize, binary: bool) {
        let uuid = None;
        let timeline = ModelTimeline {
            syncobj,
            binary,
            uuid,
        };
        self.context(run).timelines.insert(name, timeline);
    }

    /// An operation on events or timelines.
    pub(super) fn op(&mut self, run: &Run, op: Op, tag: u32) -> Result<Done, Errno> {
        match op {
            Op::Events {
                resource_id,
                offset,
                size,
            } => {
                if resource_id == 0 {
                    self.unbind_ring(run.context);
                } else {
                    let (offset, size) = self.place(run, resource_id, offset, size)?;
                    self.bind_ring(run.context, resource_id, offset, size);
                }
            }
            Op::EventWait { seen } => return self.event_wait(run, seen),
            Op::Cancel { event } => self.cancel(run.context, named(event)?)?,
            Op::TlCreate { timeline, flags } => self.create_timeline(run, timeline, flags)?,
            Op::TlDestroy { timeline } => self.destroy_timeline(run, named(timeline)?)?,
            Op::TlSignal { timeline, point } => {
                let syncobj = self.syncobj(run, named(timeline)?, point)?;
                self.host_call()?;
                self.syncobjs[syncobj].put(point, SyncFile::new());
            }
            Op::TlReset { timeline } => {
                let syncobj = self.timeline(run, named(timeline)?)?.syncobj;
                self.host_call()?;
                self.syncobjs[syncobj].reset();
            }
            Op::TlTransfer {
                timeline,
                point,
                cookie,
                direction,
            } => {
                let (timeline, cookie) = (named(timeline)?, named(cookie)?);
                self.transfer(run, timeline, point, cookie, direction)?;
            }
            Op::TlWatch {
                timeline,
                point,
                event,
                timeout_ns,
                until,
            } => {
                let (timeline, event) = (named(timeline)?, named(event)?);
                let deadline_ns = self.watch(run, timeline, point, event, timeout_ns)?;
                let syncobj = self.syncobj(run, timeline, point)?;
                self.host_call()?;
                self.watch_point(run, syncobj, timeline, point, until);
                self.arm(run.context, op, tag, deadline_ns);
            }
            Op::TlShare { timeline, uuid } => {
                let found = self.timeline(run, named(timeline)?)?;
                if found.uuid.is_some() {
                    return Err(errno::EEXIST);
                }
                let syncobj = found.syncobj;
                self.host_call()?;
                if self.shared.contains_key(&uuid) || self.offered.contains_key(&uuid) {
                    return Err(errno::EEXIST);
                }
                self.shared.insert(uuid, syncobj);
                let timelines = &mut self.context(run).timelines;
                timelines.get_mut(&timeline).expect("it was there").uuid = Some(uuid);
            }
            Op::TlAdopt { timeline, uuid } => {
                self.room_for_timeline(run, named(timeline)?)?;
                self.host_call()?;
                let (syncobj, binary) = self.offered.remove(&uuid).ok_or(errno::ENOENT)?;
                self.add_timeline(run, timeline, syncobj, binary);
            }
            other => panic!("the model does not know {other:?}"),
        }
        Ok(Done::Now)
    }

    fn event_wait(&mut self, run: &Run, seen: u64) -> Result<Done, Errno> {
        let waits = !self.has_news(run.context, seen)? && run.fenced;
        if waits {
            self.room_for_wait(run)?;
            self.room_for_fds(1)?;
        }
        self.seen(run.context, seen);
        Ok(if waits {
            Done::Waits(super::waits::Cause::Event)
        } else {
            Done::Now
        })
    }

    fn create_timeline(&mut self, run: &Run, name: u64, flags: TimelineFlags) -> Result<(), Errno> {
        if flags.bits() == TimelineFlags::SIGNALLED.bits() || flags.bits() > 3 {
            return Err(errno::EINVAL);
        }
        self.room_for_timeline(run, named(name)?)?;
        self.host_call()?;
        let signalled = flags.contains(TimelineFlags::SIGNALLED);
        self.syncobjs.push(if signalled {
            Points::signalled()
        } else {
            Points::default()
        });
        let binary = flags.contains(TimelineFlags::BINARY);
        self.add_timeline(run, name, self.syncobjs.len() - 1, binary);
        Ok(())
    }

    fn destroy_timeline(&mut self, run: &Run, name: u64) -> Result<(), Errno> {
        let gone = self.context(run).timelines.remove(&name);
        let gone = gone.ok_or(errno::ENOENT)?;
        for nth in 0..self.points.len() {
            let point = &self.points[nth];
            if (point.context, point.timeline) == (run.context, name) && !point.over {
                self.end_point(nth, Some(errno::ECANCELED));
            }
        }
        if let Some(uuid) = gone.uuid {
            self.shared.remove(&uuid);
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        run: &Run,
        timeline: u64,
        point: u64,
        cookie: u64,
        direction: Direction,
    ) -> Result<(), Errno> {
        match direction {
            Direction::ToPoint => {
                self.timeline(run, timeline)?;
                let file = self.cookie(run, cookie)?;
                let syncobj = self.syncobj(run, timeline, point)?;
                self.host_call()?;
                self.syncobjs[syncobj].put(point, file);
            }
            Direction::ToCookie => {
                self.room_for_cookie(run, cookie)?;
                self.room_for_fds(1)?;
                let syncobj = self.syncobj(run, timeline, point)?;
                self.host_call()?;
                let file = self.syncobjs[syncobj].find(point).ok_or(errno::EINVAL)?;
                self.context(run).cookies.insert(cookie, (file, None));
            }
        }
        Ok(())
    }

    /// Whether TL_WATCH may begin, and when it ends.
    fn watch(
        &mut self,
        run: &Run,
        timeline: u64,
        point: u64,
        event: u64,
        timeout_ns: u64,
    ) -> Result<Option<u64>, Errno> {
        if timeout_ns > u64::from(self.limits.timeout_ms) * 1_000_000 {
            return Err(errno::EINVAL);
        }
        if self.context(run).ring.is_none() {
            return Err(errno::ENXIO);
        }
        if self.event_of(run.context, event).is_some() {
            return Err(errno::EEXIST);
        }
        let open = |watch: &&ModelPoint| {
            !watch.over && (watch.context, watch.timeline) == (run.context, timeline)
        };
        let full = self.points.iter().filter(open).count() == MAX_WATCHES;
        if full || self.events() == self.limits.events as usize {
            return Err(errno::EDQUOT);
        }
        self.room_for_fds(1)?;
        self.syncobj(run, timeline, point)?;
        Ok((timeout_ns > 0).then(|| self.now_ns + timeout_ns))
    }

    fn watch_point(
        &mut self,
        run: &Run,
        syncobj: usize,
        timeline: u64,
        point: u64,
        until: PointEvent,
    ) {
        let id = self.points.len() as u64;
        self.syncobjs[syncobj].watch(id, point, until);
        self.points.push(ModelPoint {
            id: None,
            context: run.context,
            timeline,
            syncobj,
            event: self.events.len(),
            over: false,
        });
    }

    /// The host's watch is over; its event, if that is waited for, happens.
    fn end_point(&mut self, nth: usize, error: Option<Errno>) {
        let point = &mut self.points[nth];
        point.over = true;
        let (syncobj, event) = (point.syncobj, point.event);
        assert!(self.syncobjs[syncobj].unwatch(nth as u64));
        if self.events[event].fate == Fate::Armed {
            self.fire(event, error);
        }
    }

    /// The device hears of points that have come so far.
    pub(crate) fn points_reached(&mut self, ids: &[PointId]) {
        for id in ids {
            let points = self.points.iter();
            let mut nth = points
                .enumerate()
                .filter(|(_, point)| point.id == Some(*id));
            let (nth, point) = nth.next().expect("a watch of the model's");
            if point.over {
                self.late += 1;
            } else {
                self.end_point(nth, None);
            }
        }
        self.end_due();
    }

    /// The watches that are over, oldest first.
    pub(crate) fn ended_points(&self) -> Vec<PointId> {
        let over = self.points.iter().filter(|point| point.over);
        over.filter_map(|point| point.id).collect()
    }

    /// Contexts that are gone have lost their timelines.
    pub(super) fn drop_timelines(&mut self, lives: &[u64]) {
        for (nth, point) in self.points.iter_mut().enumerate() {
            if !point.over && !lives.contains(&point.context) {
                point.over = true;
                assert!(self.syncobjs[point.syncobj].unwatch(nth as u64));
            }
        }
        let timelines = self
            .contexts
            .values()
            .flat_map(|one| one.timelines.values());
        let uuids: Vec<_> = timelines.filter_map(|timeline| timeline.uuid).collect();
        self.shared.retain(|uuid, _| uuids.contains(uuid));
    }

    /// The device has watched what it must have, in that order and nothing else.
    pub(crate) fn adopt_points(&mut self, sim: &mut Sim) {
        let new = std::mem::take(&mut sim.graphics.new_watches);
        let mut unnamed = self.points.iter_mut().filter(|point| point.id.is_none());
        for id in new {
            unnamed.next().expect("a watch of the model's").id = Some(id);
        }
        assert_eq!(unnamed.count(), 0, "points that are not watched");
        let mut reached = Vec::new();
        for (nth, point) in self.points.iter().enumerate() {
            let done = self.syncobjs[point.syncobj].reached(&self.kernel);
            reached.extend(done.contains(&(nth as u64)).then_some(point.id).flatten());
        }
        assert_eq!(sim.reached_points(), reached, "the points that have come");
        assert!(sim.graphics.shared.keys().eq(self.shared.keys()));
        assert!(sim.graphics.offered.keys().eq(self.offered.keys()));
    }

    /// A host process offers a syncobj; gives its number. `None` where the name is taken.
    pub(crate) fn offer(&mut self, uuid: [u8; 16], binary: bool) -> Option<usize> {
        if self.shared.contains_key(&uuid) || self.offered.contains_key(&uuid) {
            return None;
        }
        self.syncobjs.push(Points::default());
        let syncobj = self.syncobjs.len() - 1;
        self.offered.insert(uuid, (syncobj, binary));
        Some(syncobj)
    }

    /// The number of a syncobj that a guest shares, and whether it is a binary one.
    pub(crate) fn shared(&self, uuid: [u8; 16]) -> Option<(usize, bool)> {
        let timelines = self
            .contexts
            .values()
            .flat_map(|one| one.timelines.values());
        let mut shared = timelines.filter(|timeline| timeline.uuid == Some(uuid));
        shared
            .next()
            .map(|timeline| (timeline.syncobj, timeline.binary))
    }

    /// A fence of the host's.
    pub(crate) fn new_source(&mut self) {
        self.kernel.new_source();
    }

    pub(crate) fn host_puts(&mut self, syncobj: usize, point: u64, file: SyncFile) {
        self.syncobjs[syncobj].put(point, file);
    }

    pub(crate) fn host_resets(&mut self, syncobj: usize) {
        self.syncobjs[syncobj].reset();
    }
}
