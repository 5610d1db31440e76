//! Memory fences by example: MEM_WAIT and MEM_SIGNAL of contexts and of host processes.

use stile_core::{Limits, Request, RequestId, ResourceName, errno};
use stile_wire::gpu::Response;
use stile_wire::sync::Op;

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, operation};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn status() -> Vec<u8> {
    let (resource_id, offset, size) = (2, 0, 65536);
    operation(
        0,
        Op::Status {
            resource_id,
            offset,
            size,
        },
    )
}

fn events(resource_id: u32) -> Vec<u8> {
    let (offset, size) = (0, 4096);
    operation(
        0,
        Op::Events {
            resource_id,
            offset,
            size,
        },
    )
}

fn signal(tag: u32, resource_id: u32, offset: u64, value: u64) -> Vec<u8> {
    operation(
        tag,
        Op::MemSignal {
            resource_id,
            offset,
            value,
        },
    )
}

fn wait_for(tag: u32, (resource_id, offset): (u32, u64), value: u64, event: u64) -> Vec<u8> {
    let timeout_ns = SECOND;
    operation(
        tag,
        Op::MemWait {
            resource_id,
            offset,
            value,
            event,
            timeout_ns,
        },
    )
}

/// Context 1 has a status blob in resource 2, its events in resource 3, and counters in 1; context
/// 2 has its events in 4, and the same counters.
fn bench() -> Bench {
    bench_with(Limits::default())
}

fn bench_with(limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, 1..=4);
    bench.context_with_blobs(2, [1, 4]);
    bench.ok(&GuestCommand::submit(1, &[status(), events(3)]));
    bench.ok(&GuestCommand::submit(2, &[events(4)]));
    bench
}

/// Tag and errno of the last record.
fn last(bench: &Bench) -> (u32, u32) {
    let errors = bench.records(2, 0).errors();
    errors.last().copied().expect("a record")
}

/// The events of context 1: number, value and errno.
fn seen(bench: &Bench) -> Vec<(u64, u64, u32)> {
    seen_in(bench, 3)
}

fn seen_in(bench: &Bench, resource_id: u32) -> Vec<(u64, u64, u32)> {
    let events = bench.ring(resource_id, 0).events;
    events
        .iter()
        .map(|event| (event.event.get(), event.value.get(), event.errno.get()))
        .collect()
}

fn host_signal(bench: &mut Bench, offset: u64, value: u64) -> RequestId {
    let resource = ResourceName::Id(1);
    bench.ask(Request::Signal {
        resource,
        offset,
        value,
    })
}

fn host_wait(bench: &mut Bench, offset: u64, value: u64) -> RequestId {
    let resource = ResourceName::Id(1);
    bench.ask(Request::Wait {
        resource,
        offset,
        value,
        timeout_ns: SECOND,
    })
}

#[test]
fn what_is_there_already_is_an_event_at_once() {
    let mut bench = bench();
    bench.sim.storage(1).store(8, 5);
    bench.unfenced(&[
        wait_for(1, (1, 8), 5, 10),
        wait_for(2, (1, 8), 4, 11),
        wait_for(3, (1, 8), 6, 12),
        wait_for(4, (1, 16), 0, 13),
    ]);
    assert_eq!(seen(&bench), [(10, 5, 0), (11, 5, 0), (13, 0, 0)]);
    let ring = bench.ring(3, 0);
    let event = ring.events[0];
    assert_eq!((event.cmd, event.tag.get()), (0x98, 1));
    assert_eq!(event.resource_id.get(), 1);
    assert_eq!(event.time_ns.get(), bench.now_ns);
}

#[test]
fn a_signal_wakes_those_whose_value_it_has_reached_and_nobody_else() {
    let mut bench = bench();
    bench.unfenced(&[
        wait_for(1, (1, 8), 7, 1),
        wait_for(2, (1, 8), 3, 2),
        wait_for(3, (1, 8), 5, 3),
        wait_for(4, (1, 16), 1, 4),
    ]);
    bench.ok(&GuestCommand::submit(2, &[wait_for(5, (1, 8), 5, 1)]));
    let host = host_wait(&mut bench, 8, 5);
    bench.unfenced(&[signal(6, 1, 8, 2)]);
    assert_eq!(seen(&bench), []);
    bench.unfenced(&[signal(7, 1, 8, 5)]);
    assert_eq!(seen(&bench), [(2, 5, 0), (3, 5, 0)]);
    assert_eq!(seen_in(&bench, 4), [(1, 5, 0)]);
    assert_eq!(bench.told(host), Some(Ok(5)));
    bench.unfenced(&[signal(8, 1, 8, u64::MAX)]);
    assert_eq!(seen(&bench).last(), Some(&(1, u64::MAX, 0)));
    assert_eq!(bench.sim.storage(1).load(8), u64::MAX);
    assert_eq!(bench.sim.storage(1).load(16), 0);
}

#[test]
fn a_counter_is_never_lowered() {
    let mut bench = bench();
    bench.unfenced(&[signal(1, 1, 0, 9), signal(2, 1, 0, 3), signal(3, 1, 0, 0)]);
    assert_eq!(last(&bench), (3, 0));
    assert_eq!(bench.sim.storage(1).load(0), 9);
    let lower = host_signal(&mut bench, 0, 4);
    assert_eq!(bench.told(lower), Some(Ok(9)));
    assert_eq!(bench.sim.storage(1).load(0), 9);
}

#[test]
fn whoever_stores_without_a_word_wakes_nobody_until_somebody_looks() {
    let mut bench = bench();
    bench.unfenced(&[wait_for(1, (1, 24), 2, 1)]);
    bench.sim.storage(1).store(24, 2);
    bench.unfenced(&[signal(2, 1, 32, 9)]);
    assert_eq!(seen(&bench), []);
    bench.unfenced(&[signal(3, 1, 24, 0)]);
    assert_eq!(seen(&bench), [(1, 2, 0)]);
    // Whoever waits looks, too.
    let first = host_wait(&mut bench, 24, 4);
    bench.sim.storage(1).store(24, 4);
    let second = host_wait(&mut bench, 24, 5);
    assert_eq!(bench.told(first), Some(Ok(4)));
    assert_eq!(bench.told(second), None);
}

#[test]
fn the_host_wakes_the_guest_and_the_guest_the_host() {
    let mut bench = bench();
    bench.unfenced(&[wait_for(1, (1, 0), 1, 77)]);
    let host = host_wait(&mut bench, 8, 1);
    let raised = host_signal(&mut bench, 0, 1);
    assert_eq!(bench.told(raised), Some(Ok(1)));
    assert_eq!(seen(&bench), [(77, 1, 0)]);
    bench.unfenced(&[signal(2, 1, 8, 3)]);
    assert_eq!(bench.told(host), Some(Ok(3)));
}

#[test]
fn an_event_wait_ends_when_a_host_process_has_signalled() {
    let mut bench = bench();
    let event_wait = operation(2, Op::EventWait { seen: 0 });
    let chain = bench.fenced(0, 1, &[wait_for(1, (1, 0), 1, 5), event_wait]);
    assert!(bench.is_pending(chain));
    host_signal(&mut bench, 0, 1);
    assert_eq!(bench.response(chain), Some(Response::Ok));
    assert_eq!(last(&bench), (2, 0));
}

#[test]
fn one_signal_may_wake_more_than_the_ring_has_room_for() {
    let mut bench = bench();
    let small = Op::Events {
        resource_id: 3,
        offset: 0,
        size: 64 + 3 * 64,
    };
    bench.unfenced(&[operation(0, small)]);
    let waits: Vec<_> = (1..=5).map(|nth| wait_for(0, (1, 0), 1, nth)).collect();
    bench.unfenced(&waits);
    host_signal(&mut bench, 0, 1);
    let ring = bench.ring(3, 0);
    assert_eq!(ring.numbers(), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(ring.header.overflow.get(), 2);
    bench.unfenced(&[operation(0, Op::EventWait { seen: 3 })]);
    let ring = bench.ring(3, 0);
    assert_eq!(ring.numbers(), [(3, 0), (4, 0), (5, 0)]);
    assert_eq!(ring.header.overflow.get(), 0);
}

#[test]
fn guest_pages_hold_counters_like_host_memory() {
    let mut bench = bench();
    bench.ok(&GuestCommand::create_blob(9, 1, 0, 4096, 4096));
    bench.ok(&GuestCommand::attach(1, 9));
    bench.unfenced(&[wait_for(1, (9, 4088), 2, 1), signal(2, 9, 4088, 2)]);
    assert_eq!(seen(&bench), [(1, 2, 0)]);
}

#[test]
fn who_has_waited_too_long_is_told_so() {
    let mut bench = bench();
    let timed = Op::MemWait {
        resource_id: 1,
        offset: 0,
        value: 2,
        event: 4,
        timeout_ns: 5 * MS,
    };
    // What the counter holds is not told with an errno.
    host_signal(&mut bench, 0, 1);
    bench.unfenced(&[operation(1, timed), wait_for(2, (1, 0), 2, 5)]);
    let host = host_wait(&mut bench, 0, 2);
    bench.pass_ms(4);
    assert_eq!(seen(&bench), []);
    bench.pass_ms(1);
    assert_eq!(seen(&bench), [(4, 0, 110)]);
    bench.pass_ms(994);
    assert_eq!(bench.told(host), None);
    bench.pass_ms(1);
    assert_eq!(seen(&bench), [(4, 0, 110), (5, 0, 110)]);
    assert_eq!(bench.told(host), Some(Err(errno::ETIMEDOUT)));
    assert_eq!(bench.device.next_deadline_ns(), None);
    host_signal(&mut bench, 0, 2);
    assert_eq!(seen(&bench).len(), 2, "nobody waits any more");
}

#[test]
fn what_is_cancelled_is_no_event() {
    let mut bench = bench();
    bench.unfenced(&[
        wait_for(1, (1, 0), 1, 6),
        operation(2, Op::Cancel { event: 6 }),
        signal(3, 1, 0, 1),
        operation(4, Op::Cancel { event: 6 }),
    ]);
    assert_eq!(seen(&bench), []);
    assert_eq!(last(&bench), (4, 2));
    let host = host_wait(&mut bench, 0, 2);
    bench.withdraw(host);
    host_signal(&mut bench, 0, 2);
    assert_eq!(bench.device.next_deadline_ns(), None);
}

#[test]
fn a_blob_that_goes_cancels_what_waits_for_its_counters() {
    let mut bench = bench();
    bench.unfenced(&[wait_for(1, (1, 0), 1, 1)]);
    bench.ok(&GuestCommand::submit(2, &[wait_for(2, (1, 0), 1, 2)]));
    let host = host_wait(&mut bench, 0, 1);
    bench.ok(&GuestCommand::detach(1, 1));
    assert_eq!(seen(&bench), [(1, 0, 125)]);
    assert_eq!((seen_in(&bench, 4), bench.told(host)), (vec![], None));
    bench.ok(&GuestCommand::unref(1));
    assert_eq!(seen(&bench).len(), 1);
    assert_eq!(seen_in(&bench, 4), [(2, 0, 125)]);
    assert_eq!(bench.told(host), Some(Err(errno::ECANCELED)));
    // Another blob of its id has other counters.
    bench.context_with_blobs(3, [1]);
    let host = host_wait(&mut bench, 0, 1);
    assert_eq!(bench.told(host), None);
    assert_eq!(bench.sim.storage(1).load(0), 0);
}

#[test]
fn a_ring_in_the_blob_that_goes_is_not_written_any_more() {
    let mut bench = bench();
    bench.ok(&GuestCommand::submit(2, &[wait_for(1, (4, 8192), 1, 1)]));
    let before = bench.sim.storage(4);
    bench.ok(&GuestCommand::detach(2, 4));
    assert_eq!(before.load(16), 0, "no event");
    // It is kept for the next ring.
    bench.ok(&GuestCommand::attach(2, 4));
    bench.ok(&GuestCommand::submit(2, &[events(4)]));
    assert_eq!(seen_in(&bench, 4), [(1, 0, 125)]);
}

#[test]
fn a_context_that_goes_waits_for_nothing_any_more() {
    let mut bench = bench();
    bench.unfenced(&[wait_for(1, (1, 0), 1, 1)]);
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.ok(&GuestCommand::submit(2, &[signal(2, 1, 0, 1)]));
    assert_eq!(bench.device.next_deadline_ns(), None);
    let answered = bench.sim.storage(3);
    assert_eq!(answered.load(16), 0, "no event");
}

#[test]
fn a_reset_tells_host_processes_and_nobody_else() {
    let mut bench = bench();
    bench.unfenced(&[wait_for(1, (1, 0), 1, 1)]);
    let host = host_wait(&mut bench, 0, 1);
    bench.reset();
    assert_eq!(bench.told(host), Some(Err(errno::ECANCELED)));
    assert_eq!(bench.device.next_deadline_ns(), None);
    bench.sim.assert_empty();
}

#[test]
fn every_wait_that_makes_no_sense_has_its_errno() {
    let limits = Limits {
        events: 2,
        timeout_ms: 1_000,
        ..Limits::default()
    };
    let mut bench = bench_with(limits);
    let size = 16 * 4096;
    let at = |resource_id, offset, timeout_ns| Op::MemWait {
        resource_id,
        offset,
        value: 1,
        event: 1,
        timeout_ns,
    };
    let op = at(1, 8, SECOND);
    for offset in [4, 7, 9, size - 4, size, u64::MAX, u64::MAX - 7] {
        bench.unfenced(&[operation(1, at(1, offset, SECOND))]);
        assert_eq!(last(&bench), (1, 22), "at {offset}");
        bench.unfenced(&[signal(2, 1, offset, 1)]);
        assert_eq!(last(&bench), (2, 22), "at {offset}");
        let host = host_wait(&mut bench, offset, 1);
        assert_eq!(bench.told(host), Some(Err(errno::EINVAL)));
        let host = host_signal(&mut bench, offset, 1);
        assert_eq!(bench.told(host), Some(Err(errno::EINVAL)));
    }
    for timeout in [0, SECOND + 1, u64::MAX] {
        bench.unfenced(&[operation(3, at(1, 8, timeout))]);
        assert_eq!(last(&bench), (3, 22), "{timeout} ns");
        let host = bench.ask(Request::Wait {
            resource: ResourceName::Id(1),
            offset: 8,
            value: 1,
            timeout_ns: timeout,
        });
        assert_eq!(bench.told(host), Some(Err(errno::EINVAL)));
    }
    bench.unfenced(&[operation(4, at(9, 8, SECOND)), signal(5, 9, 0, 1)]);
    assert_eq!(
        bench.records(2, 0).errors().iter().rev().nth(1),
        Some(&(4, 2))
    );
    assert_eq!(last(&bench), (5, 2));
    // There, but not the context's.
    bench.ok(&GuestCommand::detach(1, 1));
    bench.unfenced(&[operation(4, op), signal(5, 1, 0, 1)]);
    assert_eq!(
        bench.records(2, 0).errors().iter().rev().nth(1),
        Some(&(4, 2))
    );
    assert_eq!(last(&bench), (5, 2));
    bench.ok(&GuestCommand::attach(1, 1));

    bench.unfenced(&[operation(6, op), operation(7, op)]);
    assert_eq!(last(&bench), (7, 17), "the number is waited for");
    bench.unfenced(&[wait_for(8, (1, 8), 1, 2), wait_for(9, (1, 8), 1, 3)]);
    assert_eq!(last(&bench), (9, 122));
    let no_ring = operation(
        0,
        Op::Events {
            resource_id: 0,
            offset: 0,
            size: 0,
        },
    );
    bench.unfenced(&[no_ring, operation(10, op)]);
    assert_eq!(last(&bench), (10, 6));
}

#[test]
fn a_host_that_cannot_look_refuses_and_leaves_nothing() {
    let mut bench = bench();
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    bench.unfenced(&[wait_for(1, (1, 0), 1, 1)]);
    assert_eq!(last(&bench), (1, 12), "no mapping");
    for after in [1, 0] {
        // It is mapped once: the second time only the look can fail.
        let error = Some(errno::EFAULT);
        bench.sim.fails = HostFails { after, error };
        bench.unfenced(&[wait_for(2, (1, 0), 1, 1)]);
        assert_eq!(last(&bench), (2, 14), "no counter");
    }
    let host = host_wait(&mut bench, 0, 1);
    bench.sim.fails = HostFails::now(errno::EAGAIN);
    let raised = host_signal(&mut bench, 0, 1);
    assert_eq!(bench.told(raised), Some(Err(errno::EAGAIN)));
    assert_eq!(bench.told(host), None);
    bench.unfenced(&[wait_for(3, (1, 0), 1, 1), signal(4, 1, 0, 1)]);
    assert_eq!(seen(&bench), [(1, 1, 0)]);
    assert_eq!(bench.told(host), Some(Ok(1)));
}

#[test]
fn a_host_process_names_a_resource_by_id_or_by_uuid() {
    let mut bench = bench();
    let by = |resource| Request::Signal {
        resource,
        offset: 0,
        value: 1,
    };
    for resource in [ResourceName::Id(9), ResourceName::Uuid([1; 16])] {
        let unknown = bench.ask(by(resource));
        assert_eq!(bench.told(unknown), Some(Err(errno::ENOENT)));
    }
    bench.send(&GuestCommand::assign_uuid(1), Fenced::No);
    let known = bench.ask(by(ResourceName::Uuid([1; 16])));
    assert_eq!(bench.told(known), Some(Ok(1)));
    bench.ok(&GuestCommand::unref(1));
    let gone = bench.ask(by(ResourceName::Uuid([1; 16])));
    assert_eq!(bench.told(gone), Some(Err(errno::ENOENT)));
}
