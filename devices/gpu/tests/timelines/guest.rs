//! A guest with an event ring, and a host process beside it.

use stile_frontend::Ticket;
use stile_frontend::events::EventRing;
use stile_frontend::gpu::{GUEST, attach, create_blob, submit};
use stile_host::{Syncobj, SyncobjNode};
use stile_wire::gpu::types::*;
use stile_wire::sync::{Direction, EventRecord, Op, PointEvent, StatusRecord, TimelineFlags};

use crate::rig::Rig;

/// The blob of the event ring.
pub(crate) const RING_ID: u32 = 1001;
const RING_PAGES: usize = 16;

pub(crate) const AVAILABLE: PointEvent = PointEvent::Available;
pub(crate) const SIGNALLED: PointEvent = PointEvent::Signalled;

/// The mark of what [`Guest::run`] runs.
pub(crate) const TAG: u32 = 7;
/// The ring of the EVENT_WAITs.
const WAITS: u8 = 62;

/// Context 1 of a [`Rig`] has an event ring.
pub(crate) struct Guest {
    pub(crate) rig: Rig,
    pub(crate) ring: EventRing,
    pub(crate) seen: u64,
    /// A DRM file of a host process.
    pub(crate) node: SyncobjNode,
}

impl Guest {
    #[track_caller]
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let rig = Rig::new(arguments);
        let mut guest = Self {
            ring: EventRing { pages: Vec::new() },
            rig,
            seen: 0,
            node: SyncobjNode::find().unwrap(),
        };
        guest.furnish();
        guest
    }

    /// The event ring, in a new blob.
    #[track_caller]
    pub(crate) fn furnish(&mut self) {
        let vm = &mut self.rig.vm;
        self.ring.pages = (0..RING_PAGES).map(|_| vm.room(4096)).collect();
        let bytes = 4096 * RING_PAGES as u64;
        let blob = create_blob(RING_ID, GUEST, 0, bytes, &self.ring.pages);
        vm.expect(&blob, RESP_OK_NODATA);
        vm.expect(&attach(1, RING_ID), RESP_OK_NODATA);
        self.bind(bytes);
    }

    /// The event ring begins anew, with so many bytes.
    #[track_caller]
    pub(crate) fn bind(&mut self, bytes: u64) {
        let events = Op::Events {
            resource_id: RING_ID,
            offset: 0,
            size: bytes,
        };
        self.ok(events);
        self.seen = 0;
    }

    /// Runs an operation without a fence and gives its errno.
    #[track_caller]
    pub(crate) fn run(&mut self, op: Op) -> u32 {
        // EVENT_WAITs that go on may end meanwhile.
        let rig = &mut self.rig;
        let before = rig.status.header(&rig.vm.ram).head.get();
        rig.vm.ask(&submit(1, &op.encode(0, TAG)));
        let records = rig.status.records(&rig.vm.ram);
        let its = |record: &&StatusRecord| record.seq.get() > before && record.tag.get() == TAG;
        records.iter().find(its).expect("its record").errno.get()
    }

    /// Runs an operation that does what it is to do.
    #[track_caller]
    pub(crate) fn ok(&mut self, op: Op) {
        assert_eq!(self.run(op), 0, "{op:?}");
    }

    #[track_caller]
    pub(crate) fn create(&mut self, timeline: u64) {
        self.ok(create(timeline, TimelineFlags::empty()));
    }

    /// Begins to wait for an event that was not seen.
    #[track_caller]
    pub(crate) fn ask(&mut self) -> Ticket {
        let wait = Op::EventWait { seen: self.seen };
        self.rig.submit(WAITS, &wait.encode(WAITS, 8))
    }

    /// The events that there are when an EVENT_WAIT has ended; there is one at least.
    #[track_caller]
    pub(crate) fn told(&mut self, asked: Ticket) -> Vec<EventRecord> {
        self.rig.assert_signals(asked);
        let events = self.ring.after(&self.rig.vm.ram, self.seen);
        self.seen = events.last().expect("an event").seq.get();
        events
    }

    /// Waits for events.
    #[track_caller]
    pub(crate) fn events(&mut self) -> Vec<EventRecord> {
        let asked = self.ask();
        self.told(asked)
    }

    /// Waits until so many events have come, and gives their numbers and errnos.
    #[track_caller]
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<(u64, u32)> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let events = self.events();
            numbers.extend(events.iter().map(|one| (one.event.get(), one.errno.get())));
        }
        numbers
    }

    /// Sees that there is no event, also after the daemon has done all that it knows of.
    #[track_caller]
    pub(crate) fn assert_silent(&mut self) {
        let asked = self.ask();
        self.rig.assert_pending(asked);
        // The wait ends with the next event, which the caller brings about.
        assert_eq!(self.ring.header(&self.rig.vm.ram).head.get(), self.seen);
    }

    /// A timeline of the guest's, in a host process.
    #[track_caller]
    pub(crate) fn share(&mut self, timeline: u64) -> Syncobj {
        let uuid = [timeline as u8; 16];
        self.ok(Op::TlShare { timeline, uuid });
        let fd = self.rig.bridge.timeline(uuid).unwrap();
        self.node.import_fd(std::os::fd::AsFd::as_fd(&fd)).unwrap()
    }
}

pub(crate) const fn create(timeline: u64, flags: TimelineFlags) -> Op {
    Op::TlCreate { timeline, flags }
}

pub(crate) const fn signal(timeline: u64, point: u64) -> Op {
    Op::TlSignal { timeline, point }
}

pub(crate) const fn watch(timeline: u64, point: u64, event: u64, until: PointEvent) -> Op {
    Op::TlWatch {
        timeline,
        point,
        event,
        timeout_ns: 0,
        until,
    }
}

pub(crate) const fn to_point(timeline: u64, point: u64, cookie: u64) -> Op {
    Op::TlTransfer {
        timeline,
        point,
        cookie,
        direction: Direction::ToPoint,
    }
}

pub(crate) const fn to_cookie(timeline: u64, point: u64, cookie: u64) -> Op {
    Op::TlTransfer {
        timeline,
        point,
        cookie,
        direction: Direction::ToCookie,
    }
}
