//! What can be put into a submission, an operation a method.

use std::time::Duration;

use stile_host::PointEvent;
use stile_wire::sync::{self, Access, Direction, Op, TimelineFlags};

use super::{ResourceId, Submission};

/// Nanoseconds of a time-out; one of no time at all is over at once, and 0 would be for ever.
fn nanoseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// Buffers and the fences on them.
impl Submission<'_> {
    /// EXPORT: the fence waits for what is on the buffer now, and `cookie` names it (0: nothing
    /// does).
    #[must_use]
    pub fn export(
        self,
        resource: impl Into<ResourceId>,
        access: Access,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ResourceId(resource_id) = resource.into();
        let cookie = cookie.into();
        let op = Op::Export {
            resource_id,
            access,
            cookie,
        };
        self.op(&op, tag)
    }

    /// IMPORT: the fences of `cookie` go on the buffer.
    #[must_use]
    pub fn import(
        self,
        resource: impl Into<ResourceId>,
        access: Access,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ResourceId(resource_id) = resource.into();
        let cookie = cookie.into();
        let op = Op::Import {
            resource_id,
            access,
            cookie,
        };
        self.op(&op, tag)
    }

    /// POLL: the fence waits for what is on the buffer when the fences before it on its ring have
    /// signalled.
    #[must_use]
    pub fn poll(self, resource: impl Into<ResourceId>, access: Access, tag: u32) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::Poll {
            resource_id,
            access,
        };
        self.op(&op, tag)
    }

    /// CPU_BEGIN: the fence waits until the CPU may use the buffer like this.
    #[must_use]
    pub fn cpu_begin(self, resource: impl Into<ResourceId>, access: Access, tag: u32) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::CpuBegin {
            resource_id,
            access,
        };
        self.op(&op, tag)
    }

    /// CPU_END: the fence waits until that use has taken effect.
    #[must_use]
    pub fn cpu_end(self, resource: impl Into<ResourceId>, access: Access, tag: u32) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::CpuEnd {
            resource_id,
            access,
        };
        self.op(&op, tag)
    }
}

/// Cookies.
impl Submission<'_> {
    /// MERGE: `cookie` names what signals when `first` and `second` have.
    #[must_use]
    pub fn merge(
        self,
        first: impl Into<u64>,
        second: impl Into<u64>,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let op = Op::Merge {
            first: first.into(),
            second: second.into(),
            cookie: cookie.into(),
        };
        self.op(&op, tag)
    }

    /// WAIT: the fence waits for `cookie`.
    #[must_use]
    pub fn wait(self, cookie: impl Into<u64>, tag: u32) -> Self {
        let cookie = cookie.into();
        self.op(&Op::Wait { cookie }, tag)
    }

    /// DROP: `cookie` is forgotten; what waits for it goes on.
    #[must_use]
    pub fn drop_cookie(self, cookie: impl Into<u64>, tag: u32) -> Self {
        let cookie = cookie.into();
        self.op(&Op::Drop { cookie }, tag)
    }

    /// DEADLINE: the host's drivers hear by when the fences of `cookie` are wanted, in nanoseconds
    /// of the host's `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn deadline(self, cookie: impl Into<u64>, deadline_ns: u64, tag: u32) -> Self {
        let cookie = cookie.into();
        let op = Op::Deadline {
            cookie,
            deadline_ns,
        };
        self.op(&op, tag)
    }

    /// SNAPSHOT: `cookie` names what signals when everything has that the contexts that hold the
    /// buffer have queued so far.
    #[must_use]
    pub fn snapshot(
        self,
        resource: impl Into<ResourceId>,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ResourceId(resource_id) = resource.into();
        let cookie = cookie.into();
        let op = Op::Snapshot {
            resource_id,
            cookie,
        };
        self.op(&op, tag)
    }

    /// FROM_RING: `cookie` names what signals when the last fence on a ring of this context has.
    #[must_use]
    pub fn from_ring(self, ring: u8, cookie: impl Into<u64>, tag: u32) -> Self {
        let op = Op::FromRing {
            ctx_id: 0,
            ring: ring.into(),
            cookie: cookie.into(),
        };
        self.op(&op, tag)
    }
}

/// Where the device writes, and what it is asked for the sake of its record.
impl Submission<'_> {
    /// STATUS: records go to `size` bytes from `offset` on of the resource.
    #[must_use]
    pub fn status(self, resource: impl Into<ResourceId>, offset: u64, size: u64, tag: u32) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::Status {
            resource_id,
            offset,
            size,
        };
        self.op(&op, tag)
    }

    /// CLOCK: the record has the host's time.
    #[must_use]
    pub fn clock(self, tag: u32) -> Self {
        self.op(&Op::Clock, tag)
    }

    /// EVENTS: events go to `size` bytes from `offset` on of the resource.
    #[must_use]
    pub fn events(self, resource: impl Into<ResourceId>, offset: u64, size: u64, tag: u32) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::Events {
            resource_id,
            offset,
            size,
        };
        self.op(&op, tag)
    }

    /// EVENT_WAIT: events up to `seen` have been read; the fence waits for a newer one. It stands
    /// for nothing that was submitted: never hand it to anybody else.
    #[must_use]
    pub fn event_wait(self, seen: u64, tag: u32) -> Self {
        self.op(&Op::EventWait { seen }, tag)
    }

    /// CANCEL: the event will not come.
    #[must_use]
    pub fn cancel(self, event: impl Into<u64>, tag: u32) -> Self {
        let event = event.into();
        self.op(&Op::Cancel { event }, tag)
    }
}

/// Timelines.
impl Submission<'_> {
    /// TL_CREATE: `timeline` names a new drm_syncobj of the host.
    #[must_use]
    pub fn create_timeline(self, timeline: impl Into<u64>, flags: TimelineFlags, tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlCreate { timeline, flags }, tag)
    }

    /// TL_DESTROY: `timeline` is forgotten; whoever else has the syncobj keeps it.
    #[must_use]
    pub fn destroy_timeline(self, timeline: impl Into<u64>, tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlDestroy { timeline }, tag)
    }

    /// TL_SIGNAL: the point has a fence that has signalled.
    #[must_use]
    pub fn signal_point(self, timeline: impl Into<u64>, point: u64, tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlSignal { timeline, point }, tag)
    }

    /// TL_RESET: the timeline is as if it were new.
    #[must_use]
    pub fn reset_timeline(self, timeline: impl Into<u64>, tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlReset { timeline }, tag)
    }

    /// TL_TRANSFER: the fences of `cookie` go to the point, which materialises.
    #[must_use]
    pub fn cookie_to_point(
        self,
        cookie: impl Into<u64>,
        timeline: impl Into<u64>,
        point: u64,
        tag: u32,
    ) -> Self {
        let op = Op::TlTransfer {
            timeline: timeline.into(),
            point,
            cookie: cookie.into(),
            direction: Direction::ToPoint,
        };
        self.op(&op, tag)
    }

    /// TL_TRANSFER: `cookie` names the point's fences; the point must have materialised.
    #[must_use]
    pub fn point_to_cookie(
        self,
        timeline: impl Into<u64>,
        point: u64,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let op = Op::TlTransfer {
            timeline: timeline.into(),
            point,
            cookie: cookie.into(),
            direction: Direction::ToCookie,
        };
        self.op(&op, tag)
    }

    /// TL_WATCH: the event `event` when the point has come so far, or after `timeout`.
    #[must_use]
    pub fn watch_point(
        self,
        timeline: impl Into<u64>,
        point: u64,
        until: PointEvent,
        event: impl Into<u64>,
        timeout: Option<Duration>,
        tag: u32,
    ) -> Self {
        let op = Op::TlWatch {
            timeline: timeline.into(),
            point,
            event: event.into(),
            timeout_ns: timeout.map_or(0, nanoseconds),
            until: match until {
                PointEvent::Available => sync::PointEvent::Available,
                PointEvent::Signalled => sync::PointEvent::Signalled,
            },
        };
        self.op(&op, tag)
    }

    /// TL_SHARE: processes of the host get the syncobj from the bridge by `uuid`.
    #[must_use]
    pub fn share_timeline(self, timeline: impl Into<u64>, uuid: [u8; 16], tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlShare { timeline, uuid }, tag)
    }

    /// TL_ADOPT: `timeline` names the syncobj that a process of the host put on the bridge under
    /// `uuid`.
    #[must_use]
    pub fn adopt_timeline(self, timeline: impl Into<u64>, uuid: [u8; 16], tag: u32) -> Self {
        let timeline = timeline.into();
        self.op(&Op::TlAdopt { timeline, uuid }, tag)
    }
}

/// Counters in memory.
impl Submission<'_> {
    /// MEM_WAIT: the event `event` when the counter is at least `value`, or after `timeout`.
    #[must_use]
    pub fn wait_memory(
        self,
        resource: impl Into<ResourceId>,
        offset: u64,
        value: u64,
        event: impl Into<u64>,
        timeout: Duration,
        tag: u32,
    ) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::MemWait {
            resource_id,
            offset,
            value,
            event: event.into(),
            timeout_ns: nanoseconds(timeout),
        };
        self.op(&op, tag)
    }

    /// MEM_SIGNAL: the counter is at least `value` from now on, and who waits for it hears of it.
    /// `value` 0 says that the guest has stored it itself.
    #[must_use]
    pub fn signal_memory(
        self,
        resource: impl Into<ResourceId>,
        offset: u64,
        value: u64,
        tag: u32,
    ) -> Self {
        let ResourceId(resource_id) = resource.into();
        let op = Op::MemSignal {
            resource_id,
            offset,
            value,
        };
        self.op(&op, tag)
    }
}
