//! The operations on timelines: TL_CREATE, TL_DESTROY, TL_SIGNAL, TL_RESET, TL_TRANSFER, TL_WATCH,
//! TL_SHARE, TL_ADOPT.
//!
//! Nothing here makes a fence of a point that has not materialised: the kernel could wait for it for
//! ever. What waits for such a point is an event.

use stile_wire::sync::{Direction, PointEvent, TimelineFlags};

use super::Done;
use crate::device::{Device, Turn, to_usize};
use crate::events::{Awaited, Happened};
use crate::host::{Adopted, Errno, Host, PointId, errno};
use crate::slab::Key;
use crate::status::Subject;
use crate::timeline::Timeline;

/// What TL_WATCH watches for.
pub(super) struct Watched {
    pub(super) timeline: u64,
    pub(super) point: u64,
    pub(super) timeout_ns: u64,
    pub(super) until: PointEvent,
}

impl<H: Host> Device<H> {
    /// TL_CREATE: a new drm_syncobj.
    pub(super) fn create_timeline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
        flags: TimelineFlags,
    ) -> Result<Done, Errno> {
        let binary = flags.contains(TimelineFlags::BINARY);
        let signalled = flags.contains(TimelineFlags::SIGNALLED);
        if signalled && !binary {
            return Err(errno::EINVAL);
        }
        self.room_for_timeline(turn, name)?;
        let syncobj = host.create_syncobj(signalled)?;
        self.add_timeline(turn, name, Timeline::new(syncobj, binary))
    }

    /// TL_DESTROY: the name is free, and nobody waits for its points any more.
    pub(super) fn destroy_timeline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        let key = context.timelines.remove(&name).ok_or(errno::ENOENT)?;
        while let Some(id) = self.timelines.first_watch(key) {
            self.end_point_watch(host, turn.now_ns, id, Some(errno::ECANCELED));
        }
        self.timelines.remove(host, key);
        Ok(Done::Now)
    }

    /// TL_SIGNAL: the point has a fence that has signalled.
    pub(super) fn signal_point(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
        point: u64,
    ) -> Result<Done, Errno> {
        let (_, timeline) = self.named_timeline(turn, name)?;
        host.signal_point(&timeline.syncobj, timeline.checked_point(point)?)?;
        Ok(Done::Now)
    }

    /// TL_RESET: no points.
    pub(super) fn reset_timeline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
    ) -> Result<Done, Errno> {
        let (_, timeline) = self.named_timeline(turn, name)?;
        host.reset_syncobj(&timeline.syncobj)?;
        Ok(Done::Now)
    }

    /// TL_TRANSFER: fences from a cookie to a point, or back.
    pub(super) fn transfer(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        (name, point): (u64, u64),
        cookie: u64,
        direction: Direction,
    ) -> Result<Done, Errno> {
        let ctx_id = turn.request.ctx_id;
        match direction {
            Direction::ToPoint => {
                let (_, timeline) = self.named_timeline(turn, name)?;
                let context = self.contexts.get(&ctx_id).ok_or(errno::ENOENT)?;
                let fence = context.fence(cookie).ok_or(errno::ENOENT)?;
                let point = timeline.checked_point(point)?;
                host.put_fence(&timeline.syncobj, point, fence)?;
                Ok(Done::Now)
            }
            Direction::ToCookie => {
                self.room_for_cookie(ctx_id, cookie)?;
                self.room_for_fds(1)?;
                let (_, timeline) = self.named_timeline(turn, name)?;
                let point = timeline.checked_point(point)?;
                let fence = host.get_fence(&timeline.syncobj, point)?;
                self.add_cookie(ctx_id, cookie, fence)
            }
        }
    }

    /// TL_WATCH: an event when the point has come so far.
    pub(super) fn watch_point(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        watched: &Watched,
    ) -> Result<Done, Errno> {
        let ctx_id = turn.request.ctx_id;
        let deadline_ns = match watched.timeout_ns {
            0 => None,
            timeout_ns => Some(self.event_deadline(turn.now_ns, timeout_ns)?),
        };
        self.room_for_event(ctx_id, subject.cookie)?;
        let named = self.named_timeline(turn, watched.timeline);
        if let Ok((key, _)) = named
            && !self.timelines.has_room(key)
        {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
            return Err(errno::EDQUOT);
        }
        self.room_for_fds(1)?;
        let (key, timeline) = self.named_timeline(turn, watched.timeline)?;
        let point = timeline.checked_point(watched.point)?;
        let watch = self.timelines.watch(host, key, point, watched.until)?;
        let context = self.contexts.get_mut(&ctx_id).ok_or(errno::ENOENT)?;
        let awaited = Awaited::Point { watch };
        let event = self
            .events
            .arm(&mut context.inbox, subject, awaited, deadline_ns);
        self.timelines.attach(watch, event);
        Ok(Done::Now)
    }

    /// TL_SHARE: host processes may have it.
    pub(super) fn share_timeline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
        uuid: [u8; 16],
    ) -> Result<Done, Errno> {
        let (key, timeline) = self.named_timeline(turn, name)?;
        if timeline.uuid.is_some() {
            return Err(errno::EEXIST);
        }
        host.share_syncobj(uuid, &timeline.syncobj)?;
        if let Some(timeline) = self.timelines.get_mut(key) {
            timeline.uuid = Some(uuid);
        }
        Ok(Done::Now)
    }

    /// TL_ADOPT: a timeline that a host process has made.
    pub(super) fn adopt_timeline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        name: u64,
        uuid: [u8; 16],
    ) -> Result<Done, Errno> {
        self.room_for_timeline(turn, name)?;
        let Adopted { syncobj, binary } = host.adopt_syncobj(uuid)?;
        self.add_timeline(turn, name, Timeline::new(syncobj, binary))
    }

    /// Watched points have come so far. All their events are written before any EVENT_WAIT for them
    /// ends: what is seen at one time is to be told in one call.
    pub fn points_reached(
        &mut self,
        host: &mut H,
        now_ns: u64,
        ids: impl IntoIterator<Item = PointId>,
    ) {
        for id in ids {
            self.end_point_watch(host, now_ns, id, None);
        }
        self.end_event_waits(host, now_ns);
    }

    /// The context is gone: so are its timelines. Its events are gone before.
    pub(crate) fn drop_timelines(&mut self, host: &mut H, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            while let Some(id) = self.timelines.first_watch(key) {
                self.timelines.reached(host, id);
            }
            self.timelines.remove(host, key);
        }
    }

    fn end_point_watch(&mut self, host: &mut H, now_ns: u64, id: PointId, error: Option<Errno>) {
        match self.timelines.reached(host, id) {
            None => self.counters.late_signals = self.counters.late_signals.saturating_add(1),
            Some((_, None)) => {}
            Some((value, Some(event))) => {
                let happened = Happened {
                    value,
                    error,
                    time_ns: now_ns,
                };
                self.fire(host, event, happened);
            }
        }
    }

    fn room_for_timeline(&mut self, turn: &Turn<'_>, name: u64) -> Result<(), Errno> {
        let context = self
            .contexts
            .get(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        if context.timelines.contains_key(&name) {
            return Err(errno::EEXIST);
        }
        if context.timelines.len() >= to_usize(self.limits.timelines) {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
            return Err(errno::EDQUOT);
        }
        self.room_for_fds(1)
    }

    /// A new timeline, whose name was seen to be free.
    fn add_timeline(
        &mut self,
        turn: &Turn<'_>,
        name: u64,
        timeline: Timeline<H::Syncobj>,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        context
            .timelines
            .insert(name, self.timelines.insert(timeline));
        Ok(Done::Now)
    }

    fn named_timeline(
        &self,
        turn: &Turn<'_>,
        name: u64,
    ) -> Result<(Key, &Timeline<H::Syncobj>), Errno> {
        let context = self
            .contexts
            .get(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        let key = *context.timelines.get(&name).ok_or(errno::ENOENT)?;
        let timeline = self.timelines.get(key).ok_or(errno::ENOENT)?;
        Ok((key, timeline))
    }
}
