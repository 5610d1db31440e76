//! Timelines by name.

use stile_guest::{Timeline, TimelineFlags};

use super::Machine;
use crate::failure::Failure;
use crate::uuid::Uuid;

impl Machine {
    /// TL_CREATE.
    pub(crate) fn create_timeline(
        &mut self,
        name: &str,
        flags: TimelineFlags,
    ) -> Result<(), Failure> {
        let made = self.session.create_timeline(flags)?;
        self.timelines.insert(name.into(), made);
        let fields = [
            ("binary", flags.contains(TimelineFlags::BINARY).into()),
            ("signalled", flags.contains(TimelineFlags::SIGNALLED).into()),
        ];
        self.output.event("timeline", name, &fields)
    }

    /// TL_DESTROY.
    pub(crate) fn destroy_timeline(&mut self, name: &str) -> Result<(), Failure> {
        let timeline = self.timeline(name)?;
        self.session.destroy_timeline(timeline)?;
        self.timelines.remove(name);
        self.output.event("destroyed", name, &[])
    }

    /// TL_SIGNAL.
    pub(crate) fn signal_point(&mut self, name: &str, point: u64) -> Result<(), Failure> {
        let timeline = self.timeline(name)?;
        self.session.signal_point(timeline, point)?;
        let fields = [("point", point.into())];
        self.output.event("signal", name, &fields)
    }

    /// TL_RESET.
    pub(crate) fn reset_timeline(&mut self, name: &str) -> Result<(), Failure> {
        let timeline = self.timeline(name)?;
        self.session.reset_timeline(timeline)?;
        self.output.event("reset", name, &[])
    }

    /// TL_TRANSFER, to the point.
    pub(crate) fn cookie_to_point(
        &mut self,
        name: &str,
        point: u64,
        cookie: &str,
    ) -> Result<(), Failure> {
        let (timeline, named) = (self.timeline(name)?, self.cookie(cookie)?);
        self.session.cookie_to_point(named, timeline, point)?;
        let fields = [("point", point.into()), ("cookie", cookie.into())];
        self.output.event("to-point", name, &fields)
    }

    /// TL_TRANSFER, to a cookie.
    pub(crate) fn point_to_cookie(
        &mut self,
        name: &str,
        point: u64,
        cookie: &str,
    ) -> Result<(), Failure> {
        let timeline = self.timeline(name)?;
        let made = self.session.point_to_cookie(timeline, point)?;
        self.cookies.insert(cookie.into(), made);
        let fields = [("timeline", name.into()), ("point", point.into())];
        self.output.event("to-cookie", cookie, &fields)
    }

    /// TL_SHARE.
    pub(crate) fn share(&mut self, name: &str, uuid: Uuid) -> Result<(), Failure> {
        let timeline = self.timeline(name)?;
        self.session.share_timeline(timeline, uuid.bytes())?;
        let fields = [("uuid", uuid.to_string().into())];
        self.output.event("share", name, &fields)
    }

    /// TL_ADOPT.
    pub(crate) fn adopt_timeline(&mut self, name: &str, uuid: Uuid) -> Result<(), Failure> {
        let made = self.session.adopt_timeline(uuid.bytes())?;
        self.timelines.insert(name.into(), made);
        let fields = [("uuid", uuid.to_string().into())];
        self.output.event("adopt", name, &fields)
    }

    pub(super) fn timeline(&self, name: &str) -> Result<Timeline, Failure> {
        let text = || Failure::Usage(format!("There is no timeline {name}"));
        self.timelines.get(name).copied().ok_or_else(text)
    }
}
