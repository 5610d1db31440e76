//! Event rings in guest pages, on a device without timelines: the ring itself, and the fences that
//! wait for it. What fires events is tested on a host kernel (`tests/timelines`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use stile_frontend::events::EventRing;
use stile_frontend::gpu::{
    GUEST, attach, create_blob, create_context, destroy_context, submit, unref,
};
use stile_frontend::status::StatusBlob;
use stile_frontend::{Daemon, Options, Piece, Plan, Ticket, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, Op, PointEvent, TimelineFlags, encode_status};

const PAGES: usize = 4;
const BYTES: u64 = 4096 * PAGES as u64;

/// Context 1 with its status in blob 1, and a blob 2 for an event ring.
struct Guest {
    vm: Vm,
    status: StatusBlob,
    ring: EventRing,
    last_id: u64,
}

fn daemon(arguments: &[&str]) -> Daemon {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(&["--syncobj-node=none"]);
    Daemon::start(options.with(arguments))
}

/// Scattered pages, so that the blob is not one piece.
fn blob(vm: &mut Vm, id: u32) -> Vec<Piece> {
    let mut pages: Vec<Piece> = (0..PAGES).map(|_| vm.room(4096)).collect();
    pages.reverse();
    vm.expect(&create_blob(id, GUEST, 0, BYTES, &pages), RESP_OK_NODATA);
    vm.expect(&attach(1, id), RESP_OK_NODATA);
    pages
}

const fn events(resource_id: u32, offset: u64, size: u64) -> Op {
    Op::Events {
        resource_id,
        offset,
        size,
    }
}

impl Guest {
    #[track_caller]
    fn new(daemon: &Daemon) -> Self {
        let mut vm = daemon.connect_with(Plan {
            sealable: false,
            ..Plan::default()
        });
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        let (pages, offset) = (blob(&mut vm, 1), 0);
        let status = StatusBlob { pages, offset };
        let pages = blob(&mut vm, 2);
        vm.ask(&submit(1, &encode_status(0, 1, 1, 0, BYTES)));
        Self {
            vm,
            status,
            ring: EventRing { pages },
            last_id: 0,
        }
    }

    /// The errno of an operation without a fence.
    #[track_caller]
    fn run(&mut self, op: Op) -> u32 {
        self.vm.ask(&submit(1, &op.encode(0, 7)));
        let errnos = self.status.errnos(&self.vm.ram, 7);
        *errnos.last().expect("a record")
    }

    fn wait(&mut self, ring: u8) -> Ticket {
        self.last_id += 1;
        let wait = Op::EventWait { seen: 0 }.encode(ring, 8);
        self.vm
            .send(&submit(1, &wait).ring_fence(ring, self.last_id))
    }

    #[track_caller]
    fn assert_pending(&mut self, ticket: Ticket) {
        self.vm.expect(&submit(1, &[]), RESP_OK_NODATA);
        assert!(!self.vm.is_answered(ticket));
    }

    /// The errnos of the EVENT_WAITs so far.
    fn waited(&self) -> Vec<u32> {
        self.status.errnos(&self.vm.ram, 8)
    }
}

#[test]
fn the_header_says_where_the_events_are() {
    let daemon = daemon(&[]);
    let mut guest = Guest::new(&daemon);
    let first = guest.ring.pages[0].address;
    guest.vm.ram.write(first, &[0xaa; 4096]);
    assert_eq!(guest.run(events(2, 0, 4096 - 1)), 0);
    let header = guest.ring.header(&guest.vm.ram);
    assert_eq!(header.magic.get().to_le_bytes(), *b"STEV");
    assert_eq!((header.version.get(), header.record_bytes.get()), (1, 64));
    assert_eq!(header.capacity.get(), 62);
    assert_eq!((header.head.get(), header.overflow.get()), (0, 0));
    let bytes = guest.vm.ram.read(first, 4096);
    assert!(bytes[64..4095].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[4095], 0xaa);
}

#[test]
fn places_that_do_not_fit_are_refused() {
    let daemon = daemon(&[]);
    let mut guest = Guest::new(&daemon);
    for (offset, size) in [
        (0, 127),
        (32, 128),
        (BYTES, 128),
        (BYTES - 64, 128),
        (0, 65537),
    ] {
        assert_eq!(guest.run(events(2, offset, size)), 22, "{size} at {offset}");
    }
    assert_eq!(guest.run(events(3, 0, 128)), 2);
    assert_eq!(guest.run(Op::EventWait { seen: 0 }), 6);
    assert_eq!(guest.run(events(2, BYTES - 128, 128)), 0);
    assert_eq!(guest.run(Op::EventWait { seen: 1 }), 22);
    assert_eq!(guest.run(Op::EventWait { seen: 0 }), 0);
    assert_eq!(guest.run(Op::Cancel { event: 1 }), 2);
}

#[test]
fn an_event_wait_goes_on_until_its_deadline_while_others_are_answered() {
    let daemon = daemon(&["--fence-deadline-ms=300"]);
    let mut guest = Guest::new(&daemon);
    assert_eq!(guest.run(events(2, 0, 4096)), 0);
    let waits = [guest.wait(1), guest.wait(2)];
    guest.assert_pending(waits[0]);
    assert!(guest.waited().is_empty());
    for wait in waits {
        assert!(guest.vm.wait(wait).fence().is_some());
    }
    assert_eq!(guest.waited(), [110, 110]);
}

#[test]
fn an_event_wait_ends_with_its_ring() {
    let daemon = daemon(&[]);
    let mut guest = Guest::new(&daemon);
    for end in [events(0, 0, 0), events(2, 64, 4096)] {
        assert_eq!(guest.run(events(2, 0, 4096)), 0);
        let wait = guest.wait(1);
        guest.assert_pending(wait);
        assert_eq!(guest.run(end), 0);
        guest.vm.wait(wait);
    }
    let wait = guest.wait(1);
    guest.assert_pending(wait);
    guest.vm.expect(&unref(2), RESP_OK_NODATA);
    guest.vm.wait(wait);
    assert_eq!(guest.waited(), [125, 125, 125]);
    blob(&mut guest.vm, 2);
    assert_eq!(guest.run(events(2, 0, 4096)), 0);
    let wait = guest.wait(1);
    guest.assert_pending(wait);
    guest.vm.expect(&destroy_context(1), RESP_OK_NODATA);
    guest.vm.wait(wait);
}

#[test]
fn without_a_node_timelines_are_unknown_operations() {
    let daemon = daemon(&[]);
    let mut guest = Guest::new(&daemon);
    let (timeline, point, uuid) = (1, 1, [1; 16]);
    assert_eq!(guest.run(events(2, 0, 4096)), 0);
    let watch = Op::TlWatch {
        timeline,
        point,
        event: 1,
        timeout_ns: 0,
        until: PointEvent::Available,
    };
    let flags = TimelineFlags::empty();
    for op in [
        Op::TlCreate { timeline, flags },
        Op::TlSignal { timeline, point },
        Op::TlReset { timeline },
        Op::TlShare { timeline, uuid },
        Op::TlAdopt { timeline, uuid },
        Op::TlDestroy { timeline },
        watch,
    ] {
        assert_eq!(guest.run(op), 38, "{op:?}");
    }
}
