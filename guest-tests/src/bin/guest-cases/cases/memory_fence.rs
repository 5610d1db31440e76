//! Userspace memory fences: a counter in a buffer that both sides see, and that nobody may ever raise.

use std::time::Duration;

use guest_tests::gpu::Gpu;
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::Submission;

use crate::stage::{Guest, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a memory fence wakes both sides without a kernel object, as part of the command that \
               raises it",
        run: a_memory_fence_wakes_both_sides,
    },
    Case {
        name: "hundreds of waiters for memory fences cost no thread and no descriptor, and each is \
               woken once",
        run: many_waiters_cost_no_thread,
    },
    Case {
        name: "a memory fence that nobody raises is told as timed out, and that is all of it",
        run: a_memory_fence_that_nobody_raises,
    },
];

fn a_memory_fence_wakes_both_sides() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut producer, mut consumer) = (Guest::new(&gpu)?, Guest::with_events(&gpu)?);
    let buffer = producer.buffer()?;
    let memory = buffer.map()?;
    let shared = consumer.session.context().import_blob(&buffer.dma_buf()?)?;
    let host = gpu.take(buffer.resource_id())?;
    producer.settle()?;
    let before = gpu.descriptors()?;

    // No eventfd, no sync_file: nothing of the kernel's is made for who waits.
    let five = consumer.session.wait_memory(&shared, 64, 5, PATIENCE)?;
    let six = consumer.session.wait_memory(&shared, 64, 6, PATIENCE)?;
    let now = gpu.descriptors()?;
    assert!(now.is_within(&before), "{now:?}, before: {before:?}");
    let sleeper = host.memory_sleeper(64, 5, PATIENCE)?;
    producer.session.signal_memory(&buffer, 64, 4)?;
    consumer.no_event()?;

    // Who is woken is woken within the command that raises the counter: before the device looks at
    // the next one, and before whoever raised it has an answer. No timer ticks, nobody looks around.
    let (raise, after) = (producer.session.tag(), producer.session.tag());
    let submission = Submission::on_ring(0)
        .signal_memory(&buffer, 64, 5, raise)
        .clock(after);
    let fence = producer.submit(submission)?;
    assert!(fence.wait(Some(PATIENCE))?);
    let event = consumer.session.next_event()?.ok_or("it is not told yet")?;
    assert!(event.happened(), "{event:?}");
    assert_eq!((event.number, event.value), (five.get(), 5));
    let raise = producer.session.result(raise)?;
    let after = producer.session.result(after)?;
    assert_eq!(raise.errno, 0);
    let within = raise.taken_ns..=after.taken_ns;
    assert!(within.contains(&event.time_ns), "{event:?}: {within:?}");
    assert!(sleeper.woken_ns()? >= raise.taken_ns);
    consumer.no_event()?;
    assert_eq!(host.load(64)?, 5);

    // A program that stores it itself only rings the bell.
    memory.store_u64(64, 6)?;
    consumer.no_event()?;
    producer.session.signal_memory(&buffer, 64, 0)?;
    let event = consumer.session.next_event()?.ok_or("it is not told yet")?;
    assert_eq!((event.number, event.value), (six.get(), 6));

    // So does the host, for both sides. A counter may go past what somebody waits for.
    let seven = consumer.session.wait_memory(&shared, 64, 7, PATIENCE)?;
    let sleeper = host.memory_sleeper(64, 7, PATIENCE)?;
    host.store(64, 9)?;
    consumer.no_event()?;
    let rung = host.signal_memory(64, 0)?;
    let event = consumer.event()?;
    assert_eq!((event.number, event.value), (seven.get(), 9));
    assert!(event.time_ns >= rung.before_ns, "{event:?}: {rung:?}");
    assert!(sleeper.woken_ns()? >= rung.before_ns);
    assert_eq!(memory.load_u64(64)?, 9);
    consumer.no_event()
}

/// Numbers of the events that have come, in their order.
fn told(guest: &mut Guest) -> Result<Vec<u64>> {
    guest.settle()?;
    let mut numbers = Vec::new();
    while let Some(event) = guest.session.next_event()? {
        assert!(event.happened(), "{event:?}");
        numbers.push(event.number);
    }
    Ok(numbers)
}

/// Where the counters of a page lie.
fn offset_of(counter: u64) -> u64 {
    counter.saturating_mul(8)
}

fn many_waiters_cost_no_thread() -> Outcome {
    const COUNTERS: u64 = 128;
    const SLEEPERS: u64 = 24;
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    guest.session.signal_memory(&buffer, 0, 0)?;
    let (threads, descriptors) = (gpu.threads()?, gpu.descriptors()?);

    // Two for each counter, in submissions as long as they may be.
    let most = guest.session.context().capset().max_operations.get();
    let mut waits = Vec::new();
    for value in [1, 2] {
        for counter in 0..COUNTERS {
            waits.push((offset_of(counter), value, guest.session.event_number()));
        }
    }
    for some in waits.chunks(usize::try_from(most)?) {
        let mut submission = Submission::on_ring(0);
        for (offset, value, event) in some {
            submission = submission.wait_memory(&buffer, *offset, *value, *event, PATIENCE, 0);
        }
        guest.session.submit(&submission)?;
    }
    assert_eq!(told(&mut guest)?, [0; 0]);
    assert_eq!(gpu.threads()?, threads);
    let now = gpu.descriptors()?;
    assert!(
        now.is_within(&descriptors),
        "{now:?}, before: {descriptors:?}"
    );
    // On the host each has a connection, and that is all that it costs.
    let mut sleepers = Vec::new();
    for counter in 0..SLEEPERS {
        sleepers.push(host.memory_sleeper(offset_of(counter), 2, PATIENCE)?);
    }
    assert_eq!(gpu.threads()?, threads);

    // Each is told once, when its own counter is raised, and not with the other's value.
    for value in [1, 2] {
        for some in waits.chunks(usize::try_from(most)?) {
            let raised = some.iter().filter(|wait| wait.1 == value);
            let mut submission = Submission::on_ring(0);
            for (offset, value, _) in raised.clone() {
                submission = submission.signal_memory(&buffer, *offset, *value, 0);
            }
            guest.session.submit(&submission)?;
            let expected: Vec<u64> = raised.map(|wait| wait.2.get()).collect();
            assert_eq!(told(&mut guest)?, expected);
        }
    }
    for sleeper in sleepers {
        sleeper.woken_ns()?;
    }
    assert_eq!(gpu.threads()?, threads);
    Ok(())
}

fn a_memory_fence_that_nobody_raises() -> Outcome {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;

    let begin = gpu.clock_ns()?;
    let sleeper = host.memory_sleeper(8, 1, TIMEOUT)?;
    let wait = guest.session.wait_memory(&buffer, 8, 1, TIMEOUT)?;
    let event = guest.event()?;
    assert!(event.timed_out(), "{event:?}");
    assert_eq!((event.number, event.value), (wait.get(), 0));
    let after = Duration::from_nanos(event.time_ns.saturating_sub(begin));
    assert!(after >= TIMEOUT, "after {after:?}: {event:?}");
    assert_eq!(sleeper.ended()?, None);

    // Nobody waits any more. Who asks now need not.
    guest.session.signal_memory(&buffer, 8, 1)?;
    guest.no_event()?;
    let late = guest.session.wait_memory(&buffer, 8, 1, TIMEOUT)?;
    let event = guest.session.next_event()?.ok_or("it is there already")?;
    assert!(event.happened(), "{event:?}");
    assert_eq!((event.number, event.value), (late.get(), 1));
    guest.no_event()
}
