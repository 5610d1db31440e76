//! Guests that end, stop and begin anew in the middle of it.

use stile_frontend::gpu::{destroy_context, unref};
use stile_wire::gpu::types::*;
use stile_wire::sync::{Op, PointEvent};

use crate::guest::{AVAILABLE, Guest, RING_ID, SIGNALLED, signal, watch};

/// Timelines, one of them shared, with watches of all kinds, and an EVENT_WAIT.
fn busy(guest: &mut Guest) -> stile_host::Syncobj {
    for timeline in 1..=3 {
        guest.create(timeline);
        for event in 1..=10 {
            guest.ok(watch(timeline, event, timeline * 100 + event, AVAILABLE));
        }
    }
    guest.ok(Op::Cancel { event: 105 });
    guest.ask();
    guest.share(2)
}

#[test]
fn nothing_is_left_of_a_guest_that_begins_anew_or_of_its_context() {
    let mut guest = Guest::new(&[]);
    let before = guest.rig.daemon.quiet_fds();
    let host = busy(&mut guest);
    assert_eq!(guest.rig.daemon.quiet_fds().len(), before.len() + 30);
    guest.rig.vm.reboot();
    // Of the old one's watches, the new one hears nothing.
    guest.rig.furnish();
    guest.furnish();
    assert_eq!(guest.rig.daemon.quiet_fds(), before);
    host.signal(10).unwrap();
    guest.assert_silent();
    let host = busy(&mut guest);
    let vm = &mut guest.rig.vm;
    vm.expect(&destroy_context(1), RESP_OK_NODATA);
    host.signal(10).unwrap();
    for resource in [1000, RING_ID] {
        vm.expect(&unref(resource), RESP_OK_NODATA);
    }
    guest.rig.furnish();
    guest.furnish();
    assert_eq!(guest.rig.daemon.quiet_fds(), before);
    guest.assert_silent();
}

#[test]
fn the_event_wait_of_a_destroyed_context_does_not_stay() {
    let mut guest = Guest::new(&[]);
    let asked = guest.ask();
    guest.rig.assert_pending(asked);
    let vm = &mut guest.rig.vm;
    vm.expect(&destroy_context(1), RESP_OK_NODATA);
    let answer = vm.wait(asked);
    assert!(answer.fence().is_some());
}

#[test]
fn events_of_a_stopped_ring_are_kept_back_until_it_starts_again() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    let host = guest.share(5);
    for event in 1..=3 {
        guest.ok(watch(5, event, event, SIGNALLED));
    }
    let late = Op::TlWatch {
        timeline: 5,
        point: 9,
        event: 4,
        timeout_ns: 1_000_000,
        until: PointEvent::Available,
    };
    let asked = guest.ask();
    guest.rig.assert_pending(asked);
    let payload = late.encode(3, 7);
    let told = guest.rig.submit(3, &payload);
    guest.rig.assert_signals(told);
    let base = guest.rig.vm.stop_ring(0);
    host.signal(3).unwrap();
    // The bridge answers while the guest's ring is stopped; that takes the daemon's time as well.
    for _ in 0..20 {
        guest.rig.bridge.timeline([5; 16]).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    // What timed out before the stop may have been told.
    let head = guest.ring.header(&guest.rig.vm.ram).head.get();
    assert!(head <= 1, "{head} events");
    guest.rig.vm.start_ring(0, base);
    let mut numbers = guest.numbers(4);
    numbers.sort_unstable();
    assert_eq!(numbers, [(1, 0), (2, 0), (3, 0), (4, 110)]);
    guest.rig.assert_signals(asked);
    guest.ok(signal(5, 4));
}
