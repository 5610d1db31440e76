//! Many points at a time.

use std::time::Duration;

use stile_frontend::gpu::submit;
use stile_wire::sync::Op;

use crate::guest::{Guest, SIGNALLED, signal, watch};

/// Watches that fit into one submission, and so into one look of the guest.
const AT_ONCE: u64 = 100;

/// Watches `points` points of each timeline, in turn: event 1 is the first point of the first.
fn watch_all(guest: &mut Guest, timelines: u64, points: u64) {
    let watches: Vec<Op> = (0..points * timelines)
        .map(|nth| watch(1 + nth % timelines, 1 + nth / timelines, 1 + nth, SIGNALLED))
        .collect();
    for some in watches.chunks(AT_ONCE as usize) {
        let payload: Vec<u8> = some
            .iter()
            .flat_map(|op| op.encode(0, 7).to_vec())
            .collect();
        guest.rig.run(&payload);
    }
}

#[test]
fn a_thousand_points_that_come_at_one_time_are_told_in_order_with_a_few_waits() {
    let mut guest = Guest::new(&[]);
    for timeline in 1..=4 {
        guest.create(timeline);
    }
    watch_all(&mut guest, 4, 250);
    let asked = guest.ask();
    guest.rig.assert_pending(asked);
    // Nobody looks around meanwhile.
    guest.rig.daemon.assert_asleep(Duration::from_millis(100));
    let signals: Vec<u8> = (1..=4)
        .flat_map(|timeline| signal(timeline, 250).encode(0, 7).to_vec())
        .collect();
    let signalled = guest.rig.vm.send(&submit(1, &signals));
    // What one look of the daemon finds, some hundreds, is written before the guest is told.
    while !guest.rig.vm.is_answered(asked) {}
    let head = guest.ring.header(&guest.rig.vm.ram).head.get();
    assert!(head >= 250, "{head} events when the guest is told");
    guest.rig.vm.wait(signalled);
    let mut numbers: Vec<u64> = Vec::new();
    let mut asked = Some(asked);
    let mut waits = 0;
    while numbers.len() < 1000 {
        let asked = asked.take().unwrap_or_else(|| guest.ask());
        let events = guest.told(asked);
        numbers.extend(events.iter().map(|event| event.event.get()));
        waits += 1;
    }
    // As they were signalled: one timeline after the other, each from its first point on.
    let expected = (1..=4).flat_map(|timeline| (0..250).map(move |nth| timeline + 4 * nth));
    assert!(numbers.iter().copied().eq(expected), "{numbers:?}");
    assert!(waits <= 10, "{waits} EVENT_WAITs for 1000 events");
}

#[test]
fn a_ring_that_is_too_small_keeps_a_thousand_events_back_and_in_order() {
    let mut guest = Guest::new(&[]);
    for timeline in 1..=4 {
        guest.create(timeline);
    }
    watch_all(&mut guest, 4, 250);
    guest.bind(64 + 8 * 64);
    for timeline in 1..=4 {
        guest.ok(signal(timeline, 250));
    }
    let mut of_timeline = vec![Vec::new(); 4];
    let mut total = 0;
    let mut overflowed = false;
    while total < 1000 {
        let events = guest.events();
        assert!(events.len() <= 8);
        total += events.len();
        for event in events {
            let timeline = (event.event.get() - 1) % 4;
            of_timeline[timeline as usize].push(event.value.get());
        }
        let header = guest.ring.header(&guest.rig.vm.ram);
        overflowed |= header.overflow.get() > 0;
    }
    assert!(overflowed);
    for values in of_timeline {
        assert!(values.into_iter().eq(1..=250));
    }
    guest.assert_silent();
    assert_eq!(guest.ring.header(&guest.rig.vm.ram).overflow.get(), 0);
}
