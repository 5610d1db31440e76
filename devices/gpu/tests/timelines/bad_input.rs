//! What makes no sense, for each operation; and devices without timelines.

use std::path::Path;

use stile_frontend::gpu::{create_context, submit};
use stile_frontend::{Daemon, Options};
use stile_host::VgemNode;
use stile_wire::gpu::types::*;
use stile_wire::sync::{Capset, Direction, Op, OpCode, TimelineFlags};

use crate::guest::{AVAILABLE, Guest, SIGNALLED, create, signal, to_cookie, to_point, watch};
use crate::rig::{READ, Rig};

const ENOENT: u32 = 2;
const ENXIO: u32 = 6;
const EEXIST: u32 = 17;
const EINVAL: u32 = 22;
const EMFILE: u32 = 24;
const ENOSYS: u32 = 38;
const EDQUOT: u32 = 122;

/// One of each operation on the timeline 5, and the cookies 9 and 10.
fn one_of_each() -> [Op; 8] {
    let uuid = [5; 16];
    [
        create(6, TimelineFlags::empty()),
        signal(5, 1),
        Op::TlReset { timeline: 5 },
        to_point(5, 2, 9),
        to_cookie(5, 2, 10),
        watch(5, 1, 1, AVAILABLE),
        Op::TlShare { timeline: 5, uuid },
        Op::TlDestroy { timeline: 5 },
    ]
}

#[test]
fn one_of_each_is_done() {
    let mut guest = Guest::new(&[]);
    guest.rig.blob(1);
    guest.rig.export(0, 1, READ, 9);
    guest.create(5);
    for op in one_of_each() {
        guest.ok(op);
    }
}

#[test]
fn fields_that_mean_nothing_are_einval() {
    let mut guest = Guest::new(&[]);
    guest.rig.blob(1);
    guest.rig.export(0, 1, READ, 9);
    guest.create(5);
    for op in one_of_each() {
        // No name, another size, another ring.
        let whole = op.encode(0, 7).to_vec();
        let mut nameless = whole.clone();
        nameless[8..16].fill(0);
        let mut short = whole[..8].to_vec();
        short[2] = 8;
        let mut ring = whole.clone();
        ring[1] = 1;
        for wrong in [nameless, short, ring] {
            assert_eq!(guest.rig.errnos(&wrong), [EINVAL], "{op:?}");
        }
    }
    let with = |op: Op, at: usize, value: u32| {
        let mut bytes = op.encode(0, 7).to_vec();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let plain = create(7, TimelineFlags::empty());
    for wrong in [
        with(plain, 16, 4),
        with(plain, 16, TimelineFlags::SIGNALLED.bits()),
        with(plain, 20, 1),
        with(to_point(5, 2, 9), 32, 0),
        with(to_point(5, 2, 9), 32, 3),
        with(to_point(5, 2, 9), 36, 1),
        with(to_cookie(5, 2, 0), 32, Direction::ToCookie.code()),
        with(watch(5, 1, 1, AVAILABLE), 40, 0),
        with(watch(5, 1, 1, AVAILABLE), 40, 3),
        with(watch(5, 1, 1, AVAILABLE), 44, 1),
        watch(5, 1, 0, AVAILABLE).encode(0, 7).to_vec(),
        with(watch(5, 1, 1, AVAILABLE), 36, 0xffff_ffff),
    ] {
        assert_eq!(guest.rig.errnos(&wrong), [EINVAL], "{wrong:?}");
    }
    // Points that a timeline cannot have.
    guest.ok(create(8, TimelineFlags::BINARY));
    for (timeline, point) in [(5, 0), (8, 1)] {
        for op in [
            signal(timeline, point),
            to_point(timeline, point, 9),
            to_cookie(timeline, point, 10),
            watch(timeline, point, 1, SIGNALLED),
        ] {
            assert_eq!(guest.run(op), EINVAL, "{op:?}");
        }
    }
    // Nothing of it has left anything behind.
    for op in one_of_each() {
        guest.ok(op);
    }
}

#[test]
fn names_that_are_not_there_or_taken() {
    let mut guest = Guest::new(&[]);
    guest.rig.blob(1);
    guest.rig.export(0, 1, READ, 9);
    for op in one_of_each().into_iter().skip(1) {
        assert_eq!(guest.run(op), ENOENT, "{op:?}");
    }
    guest.create(5);
    assert_eq!(guest.run(create(5, TimelineFlags::BINARY)), EEXIST);
    assert_eq!(guest.run(to_point(5, 1, 11)), ENOENT);
    guest.ok(signal(5, 1));
    assert_eq!(guest.run(to_cookie(5, 1, 9)), EEXIST);
    let uuid = [7; 16];
    assert_eq!(guest.run(Op::TlAdopt { timeline: 5, uuid }), EEXIST);
    assert_eq!(guest.run(Op::TlAdopt { timeline: 6, uuid }), ENOENT);
    guest.ok(watch(5, 2, 1, SIGNALLED));
    assert_eq!(guest.run(watch(5, 3, 1, SIGNALLED)), EEXIST);
    // Another context has names of its own.
    let vm = &mut guest.rig.vm;
    vm.expect(&create_context(2, 30), RESP_OK_NODATA);
    let same = create(5, TimelineFlags::empty()).encode(0, 1);
    vm.expect(&submit(2, &same), RESP_OK_NODATA);
    let no_ring = watch(5, 1, 1, SIGNALLED).encode(0, 1);
    vm.expect(&submit(2, &no_ring), RESP_OK_NODATA);
    guest.ok(signal(5, 2));
    assert_eq!(guest.numbers(1), [(1, 0)]);
}

#[test]
fn without_an_event_ring_nothing_is_watched() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    let none = Op::Events {
        resource_id: 0,
        offset: 0,
        size: 0,
    };
    guest.ok(none);
    assert_eq!(guest.run(watch(5, 1, 1, SIGNALLED)), ENXIO);
}

#[test]
fn quotas_are_kept() {
    let arguments = ["--max-timelines=3", "--max-events=4", "--max-fds=12"];
    let mut guest = Guest::new(&arguments);
    for timeline in 1..=3 {
        guest.create(timeline);
    }
    assert_eq!(guest.run(create(4, TimelineFlags::empty())), EDQUOT);
    for event in 1..=4 {
        guest.ok(watch(1, event, event, SIGNALLED));
    }
    assert_eq!(guest.run(watch(1, 5, 5, SIGNALLED)), EDQUOT);
    // Two blobs, three timelines, four watches: three descriptors are left, and the kernel does not
    // give back what is cancelled.
    for event in 5..=7 {
        guest.ok(Op::Cancel { event: event - 1 });
        guest.ok(watch(1, event, event, SIGNALLED));
    }
    guest.ok(Op::Cancel { event: 7 });
    assert_eq!(guest.run(watch(1, 8, 8, SIGNALLED)), EMFILE);
    guest.ok(Op::TlDestroy { timeline: 1 });
    assert_eq!(guest.numbers(3), [(1, 125), (2, 125), (3, 125)]);
    guest.create(4);
    guest.ok(watch(2, 1, 8, SIGNALLED));
}

#[test]
fn the_host_keeps_at_most_256_watches_of_a_timeline() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    for first in [1, 129] {
        let both = |event| [watch(5, event, event, SIGNALLED), Op::Cancel { event }];
        let ops = (first..first + 128).flat_map(both);
        let payload: Vec<u8> = ops.flat_map(|op| op.encode(0, 7).to_vec()).collect();
        guest.rig.run(&payload);
    }
    assert_eq!(guest.run(watch(5, 1, 1, SIGNALLED)), EDQUOT);
    // The points of half of them come.
    guest.ok(signal(5, 128));
    // Each comes back when the daemon has heard of its point.
    while guest.run(watch(5, 300, 1, SIGNALLED)) == EDQUOT {}
    guest.ok(signal(5, 300));
    assert_eq!(guest.numbers(1), [(1, 0)]);
}

#[test]
fn without_a_node_there_are_no_timelines() {
    let mut rig = Rig::new(&["--syncobj-node=none"]);
    let capset = stile_frontend::gpu::capset(30, 1);
    let capset: Capset = rig.vm.expect(&capset, RESP_OK_CAPSET).body();
    let operations = capset.operations.get();
    assert_eq!(operations & OpCode::TlCreate.bit(), 0);
    assert_ne!(operations & OpCode::Events.bit(), 0);
    for op in one_of_each() {
        assert_eq!(rig.errnos(&op.encode(0, 1)), [ENOSYS], "{op:?}");
    }
    let uuid = [1; 16];
    let adopt = Op::TlAdopt { timeline: 1, uuid };
    assert_eq!(rig.errnos(&adopt.encode(0, 1)), [ENOSYS]);
}

#[test]
fn a_node_that_is_named_and_has_no_timelines_ends_the_daemon() {
    let vgem = VgemNode::find().unwrap();
    for node in [vgem.path(), Path::new("/nowhere")] {
        let argument = format!("--syncobj-node={}", node.display());
        let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(&[&argument]);
        let mut daemon = Daemon::spawn(options, None);
        assert!(!daemon.wait_for_end().success(), "{argument}");
        daemon.wait_for_line(&format!("Timelines cannot be on {}", node.display()));
    }
}

#[test]
fn a_node_can_be_named() {
    let node = stile_host::SyncobjNode::find().unwrap();
    let named = format!("--syncobj-node={}", node.path().display());
    let mut guest = Guest::new(&[&named]);
    guest.create(5);
}
