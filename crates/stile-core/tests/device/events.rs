//! Events by example: EVENTS, EVENT_WAIT, CANCEL.

use stile_core::errno;
use stile_wire::gpu::Response;
use stile_wire::sync::{Op, RecordFlags};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, operation};

fn status(resource_id: u32) -> Vec<u8> {
    let (offset, size) = (0, 65536);
    let status = Op::Status {
        resource_id,
        offset,
        size,
    };
    operation(0, status)
}

fn events(tag: u32, resource_id: u32, offset: u64, size: u64) -> Vec<u8> {
    let events = Op::Events {
        resource_id,
        offset,
        size,
    };
    operation(tag, events)
}

fn event_wait(tag: u32, seen: u64) -> Vec<u8> {
    operation(tag, Op::EventWait { seen })
}

/// With a status blob in resource 2, and the blobs 1 and 3.
fn bench() -> Bench {
    let mut bench = Bench::with_blobs(3);
    bench.ok(&GuestCommand::submit(1, &[status(2)]));
    bench
}

/// Tag and errno of the last record.
fn last(bench: &Bench) -> (u32, u32) {
    let errors = bench.records(2, 0).errors();
    errors.last().copied().expect("a record")
}

#[test]
fn a_ring_is_zeroed_and_has_a_header() {
    let mut bench = bench();
    bench.sim.storage(1).bytes.borrow_mut().resize(8192, 0xaa);
    bench.unfenced(&[events(7, 1, 128, 64 + 3 * 64 + 63)]);
    assert_eq!(last(&bench), (7, 0));
    let header = bench.ring(1, 128).header;
    assert_eq!(&header.magic.get().to_le_bytes(), b"STEV");
    assert_eq!((header.version.get(), header.record_bytes.get()), (1, 64));
    assert_eq!((header.capacity.get(), header.head.get()), (3, 0));
    assert_eq!(header.overflow.get(), 0);
    let storage = bench.sim.storage(1);
    let bytes = storage.bytes.borrow();
    assert!(bytes[..128].iter().all(|byte| *byte == 0xaa));
    assert!(bytes[192..447].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[447], 0xaa, "what is behind it stays");
}

#[test]
fn a_place_that_does_not_fit_is_einval_and_the_old_ring_stays() {
    let mut bench = bench();
    bench.unfenced(&[events(0, 1, 0, 128)]);
    let size = 16 * 4096;
    for (offset, length) in [
        (0, 127),
        (0, 0),
        (1, 128),
        (32, 128),
        (0, size + 64),
        (size, 128),
        (64, u64::MAX),
        (u64::MAX - 63, 128),
    ] {
        bench.unfenced(&[events(3, 1, offset, length)]);
        assert_eq!(last(&bench), (3, 22), "{length} bytes at {offset}");
    }
    bench.unfenced(&[events(4, 9, 0, 128)]);
    assert_eq!(last(&bench), (4, 2));
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    bench.unfenced(&[events(5, 1, 0, 128)]);
    assert_eq!(last(&bench), (5, 12));
    bench.unfenced(&[event_wait(6, 0)]);
    assert_eq!(last(&bench), (6, 0), "the old ring");
}

#[test]
fn to_end_a_ring_that_is_not_there_is_well_and_leaves_a_record() {
    let mut bench = bench();
    bench.unfenced(&[events(3, 0, 1, u64::MAX)]);
    assert_eq!(last(&bench), (3, 0));
    bench.unfenced(&[events(4, 1, 0, 128), events(5, 0, 1, 1), events(6, 0, 1, 1)]);
    assert_eq!(bench.records(2, 0).errors()[2..], [(4, 0), (5, 0), (6, 0)]);
}

#[test]
fn nobody_checks_whether_a_ring_lies_over_the_status_blob() {
    let mut bench = bench();
    bench.ok(&GuestCommand::submit(1, &[events(3, 2, 0, 4096)]));
    let storage = bench.sim.storage(2);
    let bytes = storage.bytes.borrow();
    assert_eq!(bytes[..4], *b"STEV");
    // The operation's own record is the status blob's second, and in the ring's `head`.
    assert_eq!(bytes[16..24], 2_u64.to_le_bytes());
}

#[test]
fn event_wait_without_a_ring_is_enxio_and_beyond_its_head_einval() {
    let mut bench = bench();
    let chain = bench.fenced(0, 1, &[event_wait(1, 0)]);
    assert_eq!(last(&bench), (1, 6));
    assert!(!bench.is_pending(chain));
    bench.unfenced(&[events(2, 1, 0, 4096), event_wait(3, 1)]);
    assert_eq!(last(&bench), (3, 22));
    bench.unfenced(&[events(4, 0, 1, 1), event_wait(5, 0)]);
    assert_eq!(last(&bench), (5, 6));
}

#[test]
fn an_event_wait_without_events_ends_at_its_deadline() {
    let mut bench = bench();
    bench.unfenced(&[events(1, 1, 0, 4096)]);
    let chain = bench.fenced(0, 1, &[event_wait(2, 0)]);
    assert!(bench.is_pending(chain));
    bench.pass_ms(10_000);
    assert_eq!(bench.response(chain), Some(Response::Ok));
    assert_eq!(last(&bench), (2, 110));
    let flags = bench.records(2, 0).records.last().expect("one").flags;
    assert_eq!(flags.get(), RecordFlags::DEADLINE.bits());
    // Without a fence it does not wait.
    bench.unfenced(&[event_wait(3, 0)]);
    assert_eq!(last(&bench), (3, 0));
}

#[test]
fn an_event_wait_ends_with_its_ring() {
    let ends: [(&str, Vec<GuestCommand>); 5] = [
        (
            "unbound",
            vec![GuestCommand::submit(1, &[events(9, 0, 0, 0)])],
        ),
        (
            "bound anew",
            vec![GuestCommand::submit(1, &[events(9, 3, 0, 128)])],
        ),
        ("detached", vec![GuestCommand::detach(1, 1)]),
        ("destroyed", vec![GuestCommand::unref(1)]),
        ("without a context", vec![GuestCommand::ctx_destroy(1)]),
    ];
    for (end, commands) in ends {
        let mut bench = bench();
        bench.unfenced(&[events(1, 1, 0, 4096)]);
        let chains = [
            bench.fenced(0, 1, &[event_wait(2, 0), event_wait(3, 0)]),
            bench.fenced(1, 2, &[operation(0, Op::Clock), event_wait(4, 0)]),
        ];
        assert!(bench.is_pending(chains[0]), "{end}");
        for command in &commands {
            bench.ok(command);
        }
        assert!(!bench.is_pending(chains[0]), "{end}");
        if end != "without a context" {
            let errors = bench.records(2, 0).errors();
            assert!(errors.ends_with(&[(2, 125), (3, 125)]), "{end}: {errors:?}");
        }
    }
}

#[test]
fn in_one_submission_with_the_end_of_its_ring_it_ends_too() {
    let mut bench = bench();
    bench.unfenced(&[events(1, 1, 0, 4096)]);
    let wait = [event_wait(2, 0), events(3, 0, 0, 0)];
    let chain = bench.fenced(0, 1, &wait);
    assert!(!bench.is_pending(chain));
    assert_eq!(bench.records(2, 0).errors()[2..], [(3, 0), (2, 125)]);
}

#[test]
fn an_event_wait_needs_room_like_any_wait() {
    let mut bench = Bench::new(stile_core::Limits {
        pending_fences: 1,
        ..stile_core::Limits::default()
    });
    bench.context_with_blobs(1, 1..=2);
    bench.ok(&GuestCommand::submit(
        1,
        &[status(2), events(1, 1, 0, 4096)],
    ));
    let command = GuestCommand::submit(1, &[event_wait(2, 0)]);
    let first = bench.send(&command, Fenced::Ring(0, 1));
    let second = bench.fenced(0, 2, &[event_wait(3, 0)]);
    assert!(bench.is_pending(first));
    assert_eq!(last(&bench), (3, 122));
    bench.reset();
    assert!(!bench.is_pending(second));
}

#[test]
fn cancel_of_what_nobody_waits_for_is_enoent() {
    let mut bench = bench();
    bench.unfenced(&[operation(1, Op::Cancel { event: 5 })]);
    assert_eq!(last(&bench), (1, 2));
    bench.unfenced(&[events(2, 1, 0, 4096), operation(3, Op::Cancel { event: 5 })]);
    assert_eq!(last(&bench), (3, 2));
}
