//! Counters in shared memory, in every direction.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use guest_tests::gpu::{Gpu, HostBuffer};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Blob, BlobOptions, Submission};

use crate::stage::{Guest, PAGE, PATIENCE, Result, not_told_before};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a counter that the guest raises wakes who has waited for so much on the host",
        run: guest_to_host,
    },
    Case {
        name: "a counter that the host raises is an event in the guest when it is enough",
        run: host_to_guest,
    },
    Case {
        name: "a counter that one context raises is an event in another",
        run: guest_to_guest,
    },
    Case {
        name: "a counter that its program has stored itself is looked at when it says so",
        run: stored_by_its_program,
    },
    Case {
        name: "a counter is never lowered, and what it has reached is told at once",
        run: never_lowered,
    },
    Case {
        name: "a counter that is not raised in time is told so, and a late raise wakes nobody",
        run: too_late,
    },
    Case {
        name: "of the waiters of two contexts a raise wakes those that it reaches, and no others",
        run: those_that_it_reaches,
    },
    Case {
        name: "the events of a blob that goes are cancelled",
        run: a_blob_that_goes,
    },
];

/// An offset of a counter that is not the blob's first.
const OFFSET: u64 = 1024;

/// Has the guest wait for each of these values of a counter. Gives the values by the events' numbers.
pub(super) fn wait_for_each(
    guest: &mut Guest,
    blob: &Blob,
    offset: u64,
    values: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, u64>> {
    let batch = guest.session.context().capset().max_operations.get();
    let mut waited = BTreeMap::new();
    let mut values = values.peekable();
    while values.peek().is_some() {
        let mut submission = Submission::on_ring(0);
        for value in values.by_ref().take(usize::try_from(batch)?) {
            let event = guest.session.event_number();
            submission = submission.wait_memory(blob, offset, value, event, PATIENCE, 0);
            waited.insert(event.get(), value);
        }
        guest.session.submit(&submission)?;
    }
    guest.settle()?;
    Ok(waited)
}

/// Buffers of both kinds, and their host sides.
fn of_both_kinds<'a>(gpu: &'a Gpu, guest: &Guest) -> Result<Vec<(Blob, HostBuffer<'a>)>> {
    let mut buffers = Vec::new();
    for options in [BlobOptions::host(PAGE), BlobOptions::guest(PAGE)] {
        let blob = guest.blob(&options)?;
        let host = gpu.take(blob.resource_id())?;
        buffers.push((blob, host));
    }
    Ok(buffers)
}

fn guest_to_host() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    for (blob, host) in of_both_kinds(&gpu, &guest)? {
        let enough = host.memory_sleeper(OFFSET, 5, PATIENCE)?;
        let more = host.memory_sleeper(OFFSET, 6, PATIENCE)?;
        guest.session.signal_memory(&blob, OFFSET, 4)?;
        // Another counter of the blob is another counter.
        guest.session.signal_memory(&blob, OFFSET + 8, 9)?;
        let before = gpu.clock_ns()?;
        guest.session.signal_memory(&blob, OFFSET, 5)?;
        let woken = enough.woken_ns()?;
        assert!(woken >= before, "woken at {woken}, {before} was before");
        assert_eq!(host.load(OFFSET)?, 5);
        let before = gpu.clock_ns()?;
        guest.session.signal_memory(&blob, OFFSET, u64::MAX)?;
        let woken = more.woken_ns()?;
        assert!(woken >= before, "woken at {woken}, {before} was before");
    }
    Ok(())
}

fn host_to_guest() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    for (blob, host) in of_both_kinds(&gpu, &guest)? {
        let waited = guest.session.wait_memory(&blob, OFFSET, 3, PATIENCE)?;
        host.signal_memory(OFFSET, 2)?;
        host.signal_memory(OFFSET + 8, 3)?;
        guest.no_event()?;
        let raised = host.signal_memory(OFFSET, 7)?;
        let event = guest.event()?;
        assert_eq!((event.number, event.value), (waited.get(), 7));
        not_told_before(&event, &raised);
        let seen = blob.map()?.load_u64(usize::try_from(OFFSET)?)?;
        assert_eq!(u64::from_le(seen), 7);
        guest.no_event()?;
    }
    Ok(())
}

fn guest_to_guest() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::with_events(&gpu)?, Guest::with_events(&gpu)?);
    let blob = one.buffer()?;
    let shared = two.session.context().import_blob(&blob.dma_buf()?)?;
    // There and back.
    for round in 1..=2 {
        let ping = two.session.wait_memory(&shared, 0, round, PATIENCE)?;
        let pong = one.session.wait_memory(&blob, 8, round, PATIENCE)?;
        two.no_event()?;
        one.session.signal_memory(&blob, 0, round)?;
        let event = two.event()?;
        assert_eq!((event.number, event.value), (ping.get(), round));
        one.no_event()?;
        two.session.signal_memory(&shared, 8, round)?;
        let event = one.event()?;
        assert_eq!((event.number, event.value), (pong.get(), round));
    }
    Ok(())
}

fn stored_by_its_program() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let blob = guest.buffer()?;
    let host = gpu.take(blob.resource_id())?;
    // By the host, for the guest.
    let waited = guest.session.wait_memory(&blob, OFFSET, 3, PATIENCE)?;
    host.store(OFFSET, 3)?;
    guest.no_event()?;
    let said = host.signal_memory(OFFSET, 0)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (waited.get(), 3));
    not_told_before(&event, &said);

    // By the guest, for the host.
    let sleeper = host.memory_sleeper(OFFSET, 9, PATIENCE)?;
    let memory = blob.map()?;
    memory.store_u64(usize::try_from(OFFSET)?, 9_u64.to_le())?;
    let before = gpu.clock_ns()?;
    guest.session.signal_memory(&blob, OFFSET, 0)?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= before, "nobody was told before {before}: {woken}");
    assert_eq!(host.load(OFFSET)?, 9);
    Ok(())
}

fn never_lowered() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let blob = guest.buffer()?;
    let host = gpu.take(blob.resource_id())?;
    guest.session.signal_memory(&blob, OFFSET, 9)?;
    guest.session.signal_memory(&blob, OFFSET, 3)?;
    host.signal_memory(OFFSET, 8)?;
    assert_eq!(host.load(OFFSET)?, 9);
    for value in [0, 3, 9] {
        let waited = guest.session.wait_memory(&blob, OFFSET, value, PATIENCE)?;
        // It was told before the operation's own record.
        let event = guest.session.next_event()?.ok_or("no event is there")?;
        assert_eq!((event.number, event.value), (waited.get(), 9));
        host.memory_sleeper(OFFSET, value, PATIENCE)?.woken_ns()?;
    }
    guest.session.wait_memory(&blob, OFFSET, 10, PATIENCE)?;
    guest.no_event()
}

fn too_late() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let blob = guest.buffer()?;
    let host = gpu.take(blob.resource_id())?;
    let times = [60, 20, 40].map(Duration::from_millis);
    let before = gpu.clock_ns()?;
    let mut late = Vec::new();
    for timeout in times {
        let waited = guest.session.wait_memory(&blob, OFFSET, 1, timeout)?;
        late.push((waited.get(), timeout));
    }
    let patient = guest.session.wait_memory(&blob, OFFSET, 1, PATIENCE)?;
    let sleeper = host.memory_sleeper(OFFSET, 1, Duration::from_millis(20))?;
    for _ in times {
        let event = guest.event()?;
        assert!(event.timed_out(), "{event:?}");
        assert_eq!(event.value, 0);
        let place = late.iter().position(|(number, _)| *number == event.number);
        let (_, timeout) = late.remove(place.ok_or("it has come already")?);
        let took = Duration::from_nanos(event.time_ns.saturating_sub(before));
        assert!(took >= timeout, "after {took:?} of {timeout:?}");
    }
    assert_eq!(sleeper.ended()?, None);
    guest.no_event()?;
    let raised = host.signal_memory(OFFSET, 1)?;
    let event = guest.event()?;
    assert_eq!(event.number, patient.get());
    not_told_before(&event, &raised);
    guest.no_event()
}

fn those_that_it_reaches() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guests = [Guest::with_events(&gpu)?, Guest::with_events(&gpu)?];
    let [one, two] = &mut guests;
    let blob = one.buffer()?;
    let shared = two.session.context().import_blob(&blob.dma_buf()?)?;
    let host = gpu.take(blob.resource_id())?;
    let mut waited = [
        wait_for_each(one, &blob, OFFSET, 1..=60)?,
        wait_for_each(two, &shared, OFFSET, 31..=90)?,
    ];
    for reached in [45, 46, 1000] {
        let raised = host.signal_memory(OFFSET, reached)?;
        for (guest, waited) in guests.iter_mut().zip(&mut waited) {
            let most = waited.values().filter(|value| **value <= reached).count();
            for _ in 0..most {
                let event = guest.event()?;
                not_told_before(&event, &raised);
                let value = waited.remove(&event.number).ok_or("it has come twice")?;
                assert!(value <= reached, "{value} is not reached: {event:?}");
            }
            guest.no_event()?;
        }
    }
    assert!(waited.iter().all(BTreeMap::is_empty), "{waited:?}");
    Ok(())
}

fn a_blob_that_goes() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::with_events(&gpu)?, Guest::with_events(&gpu)?);
    let blob = one.buffer()?;
    let shared = two.session.context().import_blob(&blob.dma_buf()?)?;
    let host = gpu.take(blob.resource_id())?;
    let gone = one.session.wait_memory(&blob, OFFSET, 1, PATIENCE)?;
    let stays = two.session.wait_memory(&shared, OFFSET, 1, PATIENCE)?;
    // It leaves one context; the other one still has it.
    drop(blob);
    let event = one.event()?;
    assert_eq!((event.number, event.cancelled()), (gone.get(), true));
    two.no_event()?;
    host.signal_memory(OFFSET, 1)?;
    assert_eq!(two.event()?.number, stays.get());

    let gone = two.session.wait_memory(&shared, OFFSET, 2, PATIENCE)?;
    let sleeper = host.memory_sleeper(OFFSET, 2, PATIENCE)?;
    drop(shared);
    let event = two.event()?;
    assert_eq!((event.number, event.cancelled()), (gone.get(), true));
    assert_eq!(sleeper.ended()?, None, "there is no resource any more");
    one.no_event()
}
