//! The operations on timelines by example.

use stile_core::errno;
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Direction, Op, PointEvent, TimelineFlags, encode_export, encode_wait};

use crate::sim::{Bench, GuestCommand, HostFails, Points, operation};

const EACH: Direction = Direction::ToPoint;
const BACK: Direction = Direction::ToCookie;

/// Context 1 with a status blob in resource 1, an event ring in 2, and the blob 3.
pub(crate) fn bench() -> Bench {
    let mut bench = Bench::with_blobs(3);
    let (offset, size) = (0, 65536);
    let (status, ring) = (1, 2);
    let status = Op::Status {
        resource_id: status,
        offset,
        size,
    };
    let events = Op::Events {
        resource_id: ring,
        offset,
        size,
    };
    let both = [operation(0, status), operation(0, events)];
    assert_eq!(bench.unfenced(&both), Response::Ok);
    bench
}

/// Runs one operation and gives the errno of its record.
pub(crate) fn run(bench: &mut Bench, op: Op) -> u32 {
    bench.unfenced(&[operation(77, op)]);
    let records = bench.records(1, 0).records;
    let mut records = records.iter().rev();
    let record = records.find(|record| record.tag.get() == 77);
    let record = record.expect("its record");
    assert_eq!(record.cmd, op.code().code());
    record.errno.get()
}

pub(crate) fn ok(bench: &mut Bench, op: Op) {
    assert_eq!(run(bench, op), 0, "{op:?}");
}

fn create(timeline: u64, flags: TimelineFlags) -> Op {
    Op::TlCreate { timeline, flags }
}

pub(crate) fn timeline(timeline: u64) -> Op {
    create(timeline, TimelineFlags::empty())
}

pub(crate) fn signal(timeline: u64, point: u64) -> Op {
    Op::TlSignal { timeline, point }
}

pub(crate) fn watch(timeline: u64, point: u64, event: u64, until: PointEvent) -> Op {
    Op::TlWatch {
        timeline,
        point,
        event,
        timeout_ns: 0,
        until,
    }
}

fn transfer(timeline: u64, point: u64, cookie: u64, direction: Direction) -> Op {
    Op::TlTransfer {
        timeline,
        point,
        cookie,
        direction,
    }
}

pub(crate) const AVAILABLE: PointEvent = PointEvent::Available;
pub(crate) const SIGNALLED: PointEvent = PointEvent::Signalled;

#[test]
fn a_name_is_taken_once_in_a_context_and_free_in_others() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    assert_eq!(run(&mut bench, timeline(5)), 17);
    assert_eq!(run(&mut bench, Op::TlDestroy { timeline: 6 }), 2);
    bench.context_with_blobs(2, []);
    let other = [operation(0, timeline(5))];
    bench.ok(&GuestCommand::submit(2, &other));
    ok(&mut bench, Op::TlDestroy { timeline: 5 });
    assert_eq!(run(&mut bench, Op::TlDestroy { timeline: 5 }), 2);
    ok(&mut bench, timeline(5));
}

#[test]
fn nothing_can_be_done_with_a_timeline_that_does_not_exist() {
    let mut bench = bench();
    bench.unfenced(&[encode_export(0, 0, 3, stile_wire::sync::Access::READ, 9).to_vec()]);
    for op in [
        signal(5, 1),
        Op::TlReset { timeline: 5 },
        transfer(5, 1, 9, EACH),
        transfer(5, 1, 8, BACK),
        watch(5, 1, 1, AVAILABLE),
        Op::TlShare {
            timeline: 5,
            uuid: [1; 16],
        },
        Op::TlAdopt {
            timeline: 5,
            uuid: [1; 16],
        },
    ] {
        assert_eq!(run(&mut bench, op), 2, "{op:?}");
    }
}

#[test]
fn a_timeline_has_no_point_0_and_a_binary_one_no_other() {
    let mut bench = bench();
    bench.unfenced(&[encode_export(0, 0, 3, stile_wire::sync::Access::READ, 9).to_vec()]);
    ok(&mut bench, timeline(5));
    ok(&mut bench, create(6, TimelineFlags::BINARY));
    for (name, point) in [(5, 0), (6, 1), (6, u64::MAX)] {
        for op in [
            signal(name, point),
            transfer(name, point, 9, EACH),
            transfer(name, point, 8, BACK),
            watch(name, point, 1, SIGNALLED),
        ] {
            assert_eq!(run(&mut bench, op), 22, "{op:?}");
        }
    }
    assert_eq!(run(&mut bench, create(7, TimelineFlags::SIGNALLED)), 22);
    ok(&mut bench, create(7, TimelineFlags::all()));
    ok(&mut bench, watch(7, 0, 1, SIGNALLED));
    bench.deliver_points();
    assert_eq!(bench.ring(2, 0).numbers(), [(1, 0)]);
}

#[test]
fn a_watch_tells_when_a_point_materialises_and_when_it_signals() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    let wait = [operation(0, Op::EventWait { seen: 0 })];
    let asked = bench.fenced(0, 1, &wait);
    ok(&mut bench, watch(5, 3, 30, AVAILABLE));
    ok(&mut bench, watch(5, 3, 31, SIGNALLED));
    bench.deliver_points();
    assert!(bench.is_pending(asked), "nobody has submitted the point");
    let work = bench.writer(3);
    bench.unfenced(&[encode_export(0, 0, 3, stile_wire::sync::Access::READ, 9).to_vec()]);
    ok(&mut bench, transfer(5, 3, 9, EACH));
    bench.pass_ms(7);
    bench.deliver_points();
    assert!(!bench.is_pending(asked));
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(30, 0)]);
    let event = ring.events[0];
    assert_eq!((event.value.get(), event.time_ns.get()), (3, bench.now_ns));
    assert_eq!((event.cmd, event.tag.get()), (0x95, 77));
    assert_eq!(event.resource_id.get(), 0);
    let asked = bench.fenced(0, 2, &[operation(0, Op::EventWait { seen: 1 })]);
    bench.signal(work);
    assert!(bench.is_pending(asked));
    bench.deliver_points();
    assert!(!bench.is_pending(asked));
    assert_eq!(bench.ring(2, 0).numbers(), [(30, 0), (31, 0)]);
}

#[test]
fn a_point_without_a_fence_is_never_one() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    assert_eq!(run(&mut bench, transfer(5, 3, 9, BACK)), 22);
    ok(&mut bench, signal(5, 2));
    assert_eq!(run(&mut bench, transfer(5, 3, 9, BACK)), 22);
    ok(&mut bench, transfer(5, 2, 9, BACK));
    let chain = bench.fenced(0, 1, &[encode_wait(0, 0, 9).to_vec()]);
    bench.deliver();
    assert!(!bench.is_pending(chain));
    // After a reset it has none again; the cookie keeps what it has.
    ok(&mut bench, Op::TlReset { timeline: 5 });
    assert_eq!(run(&mut bench, transfer(5, 2, 8, BACK)), 22);
}

#[test]
fn a_cookie_goes_to_a_point_and_comes_back_from_it() {
    let mut bench = bench();
    let access = stile_wire::sync::Access::READ;
    ok(&mut bench, timeline(5));
    let first = bench.writer(3);
    bench.unfenced(&[encode_export(0, 0, 3, access, 9).to_vec()]);
    ok(&mut bench, transfer(5, 4, 9, EACH));
    ok(&mut bench, transfer(5, 4, 10, BACK));
    assert_eq!(run(&mut bench, transfer(5, 4, 10, BACK)), 17);
    assert_eq!(run(&mut bench, transfer(5, 5, 11, EACH)), 2, "no cookie");
    let chain = bench.fenced(0, 1, &[encode_wait(0, 0, 10).to_vec()]);
    bench.deliver();
    assert!(bench.is_pending(chain));
    bench.signal(first);
    assert!(!bench.is_pending(chain));
    let records = bench.records(1, 0).records;
    let transfer = records.iter().find(|record| record.cmd == 0x94);
    assert_eq!(transfer.expect("one").cookie.get(), 9, "the cookie");
}

#[test]
fn quotas_of_timelines_events_and_descriptors() {
    let limits = stile_core::Limits {
        timelines: 2,
        events: 3,
        fds: 9,
        ..stile_core::Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, 1..=3);
    let (offset, size) = (0, 65536);
    let events = |resource_id| Op::Events {
        resource_id,
        offset,
        size,
    };
    let status = Op::Status {
        resource_id: 1,
        offset,
        size,
    };
    bench.unfenced(&[operation(0, status), operation(0, events(2))]);
    ok(&mut bench, timeline(1));
    ok(&mut bench, timeline(2));
    let over = [operation(0, timeline(3))];
    let answer = bench.unfenced(&over);
    assert_eq!(answer, Response::Err(ResponseError::OutOfMemory));
    assert_eq!(bench.device.counters().over_quota, 1);
    for event in 1..=3 {
        ok(&mut bench, watch(1, 1, event, SIGNALLED));
    }
    assert_eq!(run(&mut bench, watch(1, 1, 4, SIGNALLED)), 122);
    // Three blobs, two timelines, three watches: one descriptor is left.
    ok(&mut bench, Op::Cancel { event: 3 });
    ok(&mut bench, watch(1, 1, 4, SIGNALLED));
    ok(&mut bench, Op::Cancel { event: 4 });
    assert_eq!(run(&mut bench, watch(1, 1, 5, SIGNALLED)), 24);
    ok(&mut bench, Op::TlDestroy { timeline: 2 });
    ok(&mut bench, watch(1, 1, 5, SIGNALLED));
    assert_eq!(run(&mut bench, timeline(2)), 24);
    // Events that are kept back count, too.
    ok(&mut bench, events(0));
    ok(&mut bench, signal(1, 1));
    bench.deliver_points();
    bench.context_with_blobs(2, [2]);
    bench.ok(&GuestCommand::submit(2, &[operation(0, events(2))]));
    let over = [
        operation(0, timeline(1)),
        operation(0, watch(1, 1, 1, SIGNALLED)),
    ];
    let answer = bench.now(&GuestCommand::submit(2, &over));
    assert_eq!(answer, Response::Err(ResponseError::OutOfMemory));
}

#[test]
fn what_the_host_refuses_leaves_nothing_behind() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    for op in [
        timeline(6),
        signal(5, 1),
        Op::TlReset { timeline: 5 },
        watch(5, 1, 1, SIGNALLED),
        transfer(5, 1, 8, BACK),
        Op::TlShare {
            timeline: 5,
            uuid: [1; 16],
        },
        Op::TlAdopt {
            timeline: 6,
            uuid: [1; 16],
        },
    ] {
        bench.sim.fails = HostFails::now(errno::ENOMEM);
        assert_eq!(run(&mut bench, op), 12, "{op:?}");
    }
    ok(&mut bench, timeline(6));
    ok(&mut bench, watch(5, 1, 1, SIGNALLED));
}

#[test]
fn a_timeline_is_shared_under_one_name_until_it_is_destroyed() {
    let mut bench = bench();
    let uuid = [7; 16];
    let share = |timeline, uuid| Op::TlShare { timeline, uuid };
    ok(&mut bench, timeline(5));
    ok(&mut bench, timeline(6));
    ok(&mut bench, share(5, uuid));
    assert_eq!(run(&mut bench, share(5, [8; 16])), 17);
    assert_eq!(run(&mut bench, share(6, uuid)), 17);
    let points = bench.sim.graphics.shared[&uuid].clone();
    ok(&mut bench, watch(5, 1, 1, SIGNALLED));
    points.borrow_mut().put(1, crate::sim::SyncFile::new());
    bench.deliver_points();
    assert_eq!(bench.ring(2, 0).numbers(), [(1, 0)]);
    ok(&mut bench, Op::TlDestroy { timeline: 5 });
    assert!(bench.sim.graphics.shared.is_empty());
    ok(&mut bench, share(6, uuid));
    bench.ok(&GuestCommand::ctx_destroy(1));
    assert!(bench.sim.graphics.shared.is_empty());
}

#[test]
fn what_a_host_process_gave_away_is_adopted_once() {
    let mut bench = bench();
    let uuid = [7; 16];
    let adopt = |timeline| Op::TlAdopt { timeline, uuid };
    let points = std::rc::Rc::new(std::cell::RefCell::new(Points::default()));
    bench
        .sim
        .graphics
        .offered
        .insert(uuid, (points.clone(), false));
    ok(&mut bench, timeline(5));
    assert_eq!(run(&mut bench, adopt(5)), 17);
    ok(&mut bench, adopt(6));
    assert_eq!(run(&mut bench, adopt(7)), 2);
    ok(&mut bench, watch(6, 4, 1, AVAILABLE));
    points.borrow_mut().put(4, crate::sim::SyncFile::new());
    bench.deliver_points();
    assert_eq!(bench.ring(2, 0).numbers(), [(1, 0)]);
    ok(&mut bench, signal(6, 5));
    assert!(points.borrow().find(5).is_some());
    // A binary one has the point 0.
    let points = std::rc::Rc::new(std::cell::RefCell::new(Points::default()));
    bench.sim.graphics.offered.insert(uuid, (points, true));
    ok(&mut bench, adopt(7));
    ok(&mut bench, signal(7, 0));
    assert_eq!(run(&mut bench, signal(7, 1)), 22);
}

#[test]
fn a_destroyed_context_takes_its_timelines_and_watches_along() {
    let mut bench = bench();
    for name in 1..=3 {
        ok(&mut bench, timeline(name));
        ok(&mut bench, watch(name, 1, name, SIGNALLED));
    }
    ok(&mut bench, Op::Cancel { event: 2 });
    ok(&mut bench, signal(3, 1));
    let late = bench.sim.reached_points();
    let chain = bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 0 })]);
    bench.ok(&GuestCommand::ctx_destroy(1));
    assert!(!bench.is_pending(chain));
    assert_eq!(bench.sim.graphics.held(), 0);
    assert_eq!(bench.device.next_deadline_ns(), None);
    // Of what was under way, nothing comes through.
    let (device, sim) = (&mut bench.device, &mut bench.sim);
    device.points_reached(sim, bench.now_ns, late);
    assert_eq!(bench.device.counters().late_signals, 1);
    assert_eq!(bench.ring(2, 0).numbers(), []);
}

#[test]
fn a_reset_forgets_them_all() {
    let mut bench = bench();
    ok(&mut bench, timeline(1));
    let share = Op::TlShare {
        timeline: 1,
        uuid: [1; 16],
    };
    ok(&mut bench, share);
    ok(&mut bench, watch(1, 1, 1, SIGNALLED));
    bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 0 })]);
    bench.reset();
    bench.sim.assert_empty();
    assert_eq!(bench.device.next_deadline_ns(), None);
}
