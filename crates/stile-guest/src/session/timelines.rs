//! Timelines: drm_syncobjs of the host.

use std::time::Duration;

use stile_host::PointEvent;
use stile_wire::sync::{Direction, Op, OpCode, TimelineFlags};

use super::Session;
use crate::error::Result;
use crate::name::{Cookie, EventNumber, Timeline};
use crate::reader::Record;
use crate::submission::Submission;

/// All return when the device has done it; all fail with [`crate::Error::NotOffered`] where the host has no
/// DRM node for timelines, with [`crate::Error::Refused`], [`crate::Error::Timeout`], or as
/// [`crate::Context::submit`] does.
///
/// A timeline has points from 1 on; a binary one has the one point 0.
impl Session {
    /// TL_CREATE: a new timeline.
    ///
    /// # Errors
    /// Those of all; `EDQUOT` where the context has as many as it may have.
    pub fn create_timeline(&mut self, flags: TimelineFlags) -> Result<Timeline> {
        let timeline = self.timeline();
        self.at_once(&Op::TlCreate {
            timeline: timeline.get(),
            flags,
        })?;
        Ok(timeline)
    }

    /// TL_DESTROY: the name is forgotten, and what is still waited for ends with a cancelled event.
    ///
    /// # Errors
    /// Those of all.
    pub fn destroy_timeline(&mut self, timeline: Timeline) -> Result<Record> {
        let timeline = timeline.get();
        self.at_once(&Op::TlDestroy { timeline })
    }

    /// TL_SIGNAL: a fence that has signalled is put at the point, which materialises.
    ///
    /// # Errors
    /// Those of all.
    pub fn signal_point(&mut self, timeline: Timeline, point: u64) -> Result<Record> {
        let timeline = timeline.get();
        self.at_once(&Op::TlSignal { timeline, point })
    }

    /// TL_RESET: takes all points and fences away.
    ///
    /// # Errors
    /// Those of all.
    pub fn reset_timeline(&mut self, timeline: Timeline) -> Result<Record> {
        let timeline = timeline.get();
        self.at_once(&Op::TlReset { timeline })
    }

    /// TL_TRANSFER: the cookie's fences are put at the point, which materialises.
    ///
    /// # Errors
    /// Those of all.
    pub fn cookie_to_point(
        &mut self,
        cookie: Cookie,
        timeline: Timeline,
        point: u64,
    ) -> Result<Record> {
        self.at_once(&Op::TlTransfer {
            timeline: timeline.get(),
            point,
            cookie: cookie.get(),
            direction: Direction::ToPoint,
        })
    }

    /// TL_TRANSFER: a cookie for the point's fences.
    ///
    /// # Errors
    /// Those of all; `EINVAL` where the point has not materialised.
    pub fn point_to_cookie(&mut self, timeline: Timeline, point: u64) -> Result<Cookie> {
        let cookie = self.cookie();
        self.at_once(&Op::TlTransfer {
            timeline: timeline.get(),
            point,
            cookie: cookie.get(),
            direction: Direction::ToCookie,
        })?;
        Ok(cookie)
    }

    /// TL_WATCH: an event when the point has a fence, or that fence has signalled; with a `timeout`,
    /// one that says so when that is over. See [`Session::next_event`].
    ///
    /// # Errors
    /// Those of all; [`crate::Error::NoEvents`].
    pub fn watch_point(
        &mut self,
        timeline: Timeline,
        point: u64,
        until: PointEvent,
        timeout: Option<Duration>,
    ) -> Result<EventNumber> {
        self.needs_events()?;
        let (event, tag) = (self.event_number(), self.tag());
        let submission =
            Submission::on_ring(0).watch_point(timeline, point, until, event, timeout, tag);
        self.submit_at_once(submission, OpCode::TlWatch, tag)?;
        Ok(event)
    }

    /// TL_SHARE: processes of the host get the syncobj from the bridge by `uuid`.
    ///
    /// # Errors
    /// Those of all; `EEXIST` where the UUID is taken.
    pub fn share_timeline(&mut self, timeline: Timeline, uuid: [u8; 16]) -> Result<Record> {
        let timeline = timeline.get();
        self.at_once(&Op::TlShare { timeline, uuid })
    }

    /// TL_ADOPT: a timeline of the syncobj that a process of the host has put on the bridge under
    /// `uuid`.
    ///
    /// # Errors
    /// Those of all; `ENOENT` where none has.
    pub fn adopt_timeline(&mut self, uuid: [u8; 16]) -> Result<Timeline> {
        let timeline = self.timeline();
        self.at_once(&Op::TlAdopt {
            timeline: timeline.get(),
            uuid,
        })?;
        Ok(timeline)
    }
}
