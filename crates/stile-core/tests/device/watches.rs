//! Watches on points by example: how their events are told, kept back, given up and counted.

use stile_wire::sync::Op;

use crate::sim::{GuestCommand, operation};
use crate::timelines::{AVAILABLE, SIGNALLED, bench, ok, run, signal, timeline, watch};

#[test]
fn a_full_ring_keeps_events_back_in_order_until_there_is_room() {
    let mut bench = bench();
    let small = Op::Events {
        resource_id: 2,
        offset: 0,
        size: 64 + 3 * 64,
    };
    ok(&mut bench, small);
    ok(&mut bench, timeline(5));
    for event in 1..=8 {
        ok(&mut bench, watch(5, event, event, SIGNALLED));
    }
    ok(&mut bench, signal(5, 8));
    bench.deliver_points();
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(ring.header.overflow.get(), 5);
    // Its number is taken until it is written, or cancelled before.
    assert_eq!(run(&mut bench, watch(5, 9, 5, SIGNALLED)), 17);
    ok(&mut bench, Op::Cancel { event: 5 });
    assert_eq!(bench.ring(2, 0).header.overflow.get(), 4);
    assert_eq!(run(&mut bench, Op::Cancel { event: 3 }), 2, "written");
    let chain = bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 2 })]);
    assert!(!bench.is_pending(chain));
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(3, 0), (4, 0), (6, 0)]);
    assert_eq!((ring.header.head.get(), ring.header.overflow.get()), (5, 2));
    // What was said before stays said.
    ok(&mut bench, Op::EventWait { seen: 0 });
    assert_eq!(bench.ring(2, 0).header.head.get(), 5);
    // A new ring begins with what is kept back, at 1.
    ok(&mut bench, small);
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(7, 0), (8, 0)]);
    assert_eq!(ring.header.overflow.get(), 0);
}

#[test]
fn without_a_ring_events_are_kept_back_and_nothing_new_is_watched() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    ok(&mut bench, watch(5, 1, 1, SIGNALLED));
    bench.ok(&GuestCommand::detach(1, 2));
    assert_eq!(run(&mut bench, watch(5, 2, 2, SIGNALLED)), 6);
    ok(&mut bench, signal(5, 1));
    bench.deliver_points();
    let events = Op::Events {
        resource_id: 3,
        offset: 64,
        size: 128,
    };
    ok(&mut bench, events);
    assert_eq!(bench.ring(3, 64).numbers(), [(1, 0)]);
}

#[test]
fn a_number_is_waited_for_once_until_it_is_written() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    ok(&mut bench, watch(5, 1, 1, SIGNALLED));
    assert_eq!(run(&mut bench, watch(5, 2, 1, SIGNALLED)), 17);
    ok(&mut bench, Op::Cancel { event: 1 });
    assert_eq!(run(&mut bench, Op::Cancel { event: 1 }), 2);
    ok(&mut bench, watch(5, 2, 1, SIGNALLED));
    ok(&mut bench, signal(5, 2));
    bench.deliver_points();
    ok(&mut bench, watch(5, 2, 1, SIGNALLED));
    bench.deliver_points();
    assert_eq!(bench.ring(2, 0).numbers(), [(1, 0), (1, 0)]);
}

#[test]
fn a_watch_that_takes_too_long_ends_with_its_time_out() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    let late = |event, timeout_ns| Op::TlWatch {
        timeline: 5,
        point: 9,
        event,
        timeout_ns,
        until: AVAILABLE,
    };
    assert_eq!(run(&mut bench, late(1, 3_600_000_000_001)), 22);
    ok(&mut bench, late(1, 3_600_000_000_000));
    ok(&mut bench, late(2, 20_000_000));
    ok(&mut bench, late(3, 10_000_000));
    ok(&mut bench, late(4, 0));
    let due = bench.device.next_deadline_ns();
    assert_eq!(due, Some(bench.now_ns + 10_000_000));
    let chain = bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 0 })]);
    bench.pass_ms(9);
    assert!(bench.is_pending(chain));
    bench.pass_ms(20);
    assert!(!bench.is_pending(chain));
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(3, 110), (2, 110)]);
    assert_eq!(ring.events[0].value.get(), 9);
    // The host's watches are still there, and say nothing more.
    ok(&mut bench, signal(5, 9));
    bench.deliver_points();
    assert_eq!(bench.ring(2, 0).numbers()[2..], [(1, 0), (4, 0)]);
}

#[test]
fn a_destroyed_timeline_ends_its_watches_in_their_order() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    ok(&mut bench, timeline(6));
    for event in 1..=3 {
        ok(&mut bench, watch(5, event, event, SIGNALLED));
    }
    ok(&mut bench, watch(6, 1, 4, SIGNALLED));
    ok(&mut bench, Op::Cancel { event: 2 });
    let chain = bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 0 })]);
    ok(&mut bench, Op::TlDestroy { timeline: 5 });
    assert!(!bench.is_pending(chain));
    let ring = bench.ring(2, 0);
    assert_eq!(ring.numbers(), [(1, 125), (3, 125)]);
    assert_eq!(ring.events[1].value.get(), 3);
}

#[test]
fn the_host_keeps_at_most_256_watches_of_a_timeline() {
    let mut bench = bench();
    ok(&mut bench, timeline(5));
    for event in 1..=256 {
        ok(&mut bench, watch(5, 1 + event % 2, event, SIGNALLED));
        // The kernel does not give them back.
        ok(&mut bench, Op::Cancel { event });
    }
    assert_eq!(run(&mut bench, watch(5, 1, 1, SIGNALLED)), 122);
    ok(&mut bench, timeline(6));
    ok(&mut bench, watch(6, 1, 1, SIGNALLED));
    // Until their points come.
    ok(&mut bench, signal(5, 1));
    bench.deliver_points();
    ok(&mut bench, watch(5, 1, 2, SIGNALLED));
    assert_eq!(bench.ring(2, 0).numbers(), []);
}

#[test]
fn a_thousand_points_of_one_ioctl_come_in_order_and_in_one_go() {
    let mut bench = bench();
    for name in 1..=4 {
        ok(&mut bench, timeline(name));
    }
    for nth in 0..1_000 {
        let point = 1 + nth / 4;
        ok(&mut bench, watch(1 + nth % 4, point, 1 + nth, SIGNALLED));
    }
    let chain = bench.fenced(0, 1, &[operation(0, Op::EventWait { seen: 0 })]);
    for name in 1..=4 {
        ok(&mut bench, signal(name, 250));
    }
    assert!(bench.is_pending(chain));
    bench.deliver_points();
    assert!(!bench.is_pending(chain));
    let numbers = bench.ring(2, 0).numbers();
    assert!(numbers.into_iter().eq((1..=1_000).map(|event| (event, 0))));
}
