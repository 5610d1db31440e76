//! Points and their events, inside of the guest.

use stile_host::Access;
use stile_wire::sync::{Op, TimelineFlags, encode_import, encode_wait};

use crate::guest::{AVAILABLE, Guest, SIGNALLED, create, signal, to_cookie, to_point, watch};
use crate::rig::{READ, WRITE};

const ETIMEDOUT: u32 = 110;
const ECANCELED: u32 = 125;

#[test]
fn a_point_is_waited_for_before_anybody_has_submitted_it() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    let buffer = guest.rig.blob(1);
    guest.ok(watch(5, 3, 30, AVAILABLE));
    guest.ok(watch(5, 3, 31, SIGNALLED));
    let asked = guest.ask();
    guest.rig.assert_pending(asked);
    // It materialises with work of the host that goes on.
    let fence = guest.rig.busy(&buffer, Access::WRITE);
    guest.rig.export(0, 1, READ, 9);
    guest.ok(to_point(5, 3, 9));
    let events = guest.told(asked);
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((event.event.get(), event.errno.get()), (30, 0));
    assert_eq!(
        (event.value.get(), event.cmd, event.tag.get()),
        (3, 0x95, 7)
    );
    let asked = guest.ask();
    guest.rig.assert_pending(asked);
    fence.signal().unwrap();
    let events = guest.told(asked);
    assert_eq!((events.len(), events[0].event.get()), (1, 31));
    assert!(events[0].time_ns > event.time_ns);
}

#[test]
fn a_point_that_has_come_is_told_at_once_and_so_is_every_one_below() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    guest.ok(signal(5, 10));
    for (event, point) in [(1, 10), (2, 1), (3, 9)] {
        guest.ok(watch(5, point, event, SIGNALLED));
        assert_eq!(guest.numbers(1), [(event, 0)]);
    }
    guest.ok(watch(5, 11, 4, AVAILABLE));
    guest.assert_silent();
    guest.ok(signal(5, 11));
    assert_eq!(guest.numbers(1), [(4, 0)]);
}

#[test]
fn a_point_signals_no_sooner_than_those_before_it() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    let buffer = guest.rig.blob(1);
    let fence = guest.rig.busy(&buffer, Access::WRITE);
    guest.rig.export(0, 1, READ, 9);
    guest.ok(to_point(5, 1, 9));
    guest.ok(signal(5, 2));
    guest.ok(watch(5, 2, 20, AVAILABLE));
    guest.ok(watch(5, 2, 21, SIGNALLED));
    assert_eq!(guest.numbers(1), [(20, 0)]);
    guest.assert_silent();
    fence.signal().unwrap();
    assert_eq!(guest.numbers(1), [(21, 0)]);
}

#[test]
fn fences_go_from_a_cookie_to_a_point_and_on_to_another_buffer() {
    let mut guest = Guest::new(&[]);
    let (one, two) = (guest.rig.blob(1), guest.rig.blob(2));
    for (timeline, flags, point) in [
        (5, TimelineFlags::empty(), 7),
        (6, TimelineFlags::BINARY, 0),
    ] {
        guest.ok(create(timeline, flags));
        let fence = guest.rig.busy(&one, Access::WRITE);
        guest.rig.export(0, 1, READ, timeline);
        guest.ok(to_point(timeline, point, timeline));
        guest.ok(Op::Drop { cookie: timeline });
        guest.ok(to_cookie(timeline, point, timeline));
        guest.rig.run(&encode_import(0, 1, 2, WRITE, timeline));
        assert!(!two.poll(Access::READ).unwrap());
        let waits = guest.rig.submit(3, &encode_wait(3, 1, timeline));
        guest.rig.assert_pending(waits);
        fence.signal().unwrap();
        guest.rig.assert_signals(waits);
        assert!(two.poll(Access::READ).unwrap());
        guest.ok(Op::Drop { cookie: timeline });
    }
}

#[test]
fn a_point_without_a_fence_is_no_cookie() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    guest.ok(create(6, TimelineFlags::BINARY));
    let einval = 22;
    assert_eq!(guest.run(to_cookie(5, 1, 9)), einval);
    assert_eq!(guest.run(to_cookie(6, 0, 9)), einval);
    guest.ok(signal(5, 4));
    guest.ok(signal(6, 0));
    assert_eq!(guest.run(to_cookie(5, 5, 9)), einval);
    guest.ok(to_cookie(5, 3, 9));
    guest.ok(to_cookie(6, 0, 10));
    for timeline in [5, 6] {
        guest.ok(Op::TlReset { timeline });
    }
    assert_eq!(guest.run(to_cookie(5, 4, 11)), einval);
    assert_eq!(guest.run(to_cookie(6, 0, 11)), einval);
    // A point can be signalled again, and the cookies are what they were.
    guest.ok(signal(5, 1));
    guest.ok(watch(5, 1, 1, SIGNALLED));
    assert_eq!(guest.numbers(1), [(1, 0)]);
    let waits = guest.rig.submit(3, &encode_wait(3, 1, 9));
    guest.rig.assert_signals(waits);
}

#[test]
fn a_binary_one_holds_one_fence_after_the_other() {
    let mut guest = Guest::new(&[]);
    guest.ok(create(5, TimelineFlags::all()));
    guest.ok(watch(5, 0, 1, SIGNALLED));
    assert_eq!(guest.numbers(1), [(1, 0)]);
    guest.ok(Op::TlReset { timeline: 5 });
    guest.ok(watch(5, 0, 2, AVAILABLE));
    guest.ok(watch(5, 0, 3, SIGNALLED));
    guest.assert_silent();
    let buffer = guest.rig.blob(1);
    let fence = guest.rig.busy(&buffer, Access::WRITE);
    guest.rig.export(0, 1, READ, 9);
    guest.ok(to_point(5, 0, 9));
    assert_eq!(guest.numbers(1), [(2, 0)]);
    fence.signal().unwrap();
    assert_eq!(guest.numbers(1), [(3, 0)]);
}

#[test]
fn a_watch_ends_with_its_time_with_its_timeline_or_without_a_word() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    guest.create(6);
    let timeout_ns = 50_000_000;
    let late = Op::TlWatch {
        timeline: 5,
        point: 9,
        event: 1,
        timeout_ns,
        until: AVAILABLE,
    };
    guest.ok(late);
    let taken = guest.rig.last().taken_ns.get();
    let events = guest.events();
    let event = &events[0];
    assert_eq!((event.event.get(), event.errno.get()), (1, ETIMEDOUT));
    assert_eq!(event.value.get(), 9);
    assert!(event.time_ns.get() >= taken + timeout_ns);
    guest.ok(watch(5, 9, 2, SIGNALLED));
    guest.ok(watch(5, 9, 3, SIGNALLED));
    guest.ok(watch(6, 9, 4, SIGNALLED));
    guest.ok(watch(5, 9, 5, SIGNALLED));
    guest.ok(Op::Cancel { event: 3 });
    assert_eq!(guest.run(Op::Cancel { event: 3 }), 2);
    guest.ok(Op::TlDestroy { timeline: 5 });
    assert_eq!(guest.numbers(2), [(2, ECANCELED), (5, ECANCELED)]);
    // What came to nothing says nothing later.
    guest.ok(signal(6, 9));
    assert_eq!(guest.numbers(1), [(4, 0)]);
    guest.assert_silent();
}

#[test]
fn an_event_wait_ends_at_its_deadline_and_the_next_one_hears_of_the_event() {
    let mut guest = Guest::new(&["--fence-deadline-ms=200"]);
    guest.create(5);
    guest.ok(watch(5, 1, 1, SIGNALLED));
    let asked = guest.ask();
    guest.rig.assert_signals(asked);
    let record = guest.rig.last();
    assert_eq!((record.cmd, record.errno.get()), (0x8c, ETIMEDOUT));
    assert_eq!(record.flags.get(), 1, "DEADLINE");
    guest.ok(signal(5, 1));
    assert_eq!(guest.numbers(1), [(1, 0)]);
}
