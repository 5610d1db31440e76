//! POLL by example.

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Access, Op, RecordFlags, encode_export, encode_import};

use crate::operations::{READ, STATUS, errors, limited};
use crate::sim::{Bench, Fenced, GuestCommand, HostFails};

const WRITE: Access = Access::WRITE;

fn poll_on(ring: u8, tag: u32, resource_id: u32, access: Access) -> Vec<u8> {
    let op = Op::Poll {
        resource_id,
        access,
    };
    op.encode(ring, tag).to_vec()
}

fn poll(tag: u32, resource_id: u32) -> Vec<u8> {
    poll_on(0, tag, resource_id, READ)
}

fn export(tag: u32, resource_id: u32) -> Vec<u8> {
    encode_export(0, tag, resource_id, READ, 0).to_vec()
}

fn bench() -> Bench {
    limited(Limits::default())
}

#[test]
fn behind_a_pending_fence_a_poll_waits_for_what_comes_in_between_and_an_export_does_not() {
    let mut bench = bench();
    let before = bench.writer(1);
    let first = bench.fenced(0, 1, &[export(1, 1)]);
    let polled = bench.fenced(0, 2, &[poll(2, 2)]);
    let on_another = GuestCommand::submit(1, &[export_on(1, 3, 2)]);
    let exported = bench.send(&on_another, Fenced::Ring(1, 3));
    let between = bench.writer(2);
    bench.deliver();
    assert!(!bench.is_pending(exported) && bench.is_pending(first));
    bench.signal(before);
    assert!(!bench.is_pending(first) && bench.is_pending(polled));
    // What comes after the wait has started counts for neither.
    bench.writer(2);
    bench.deliver();
    assert!(bench.is_pending(polled));
    bench.signal(between);
    assert!(!bench.is_pending(polled));
    assert_eq!(errors(&bench), [(3, 0), (1, 0), (2, 0)]);
}

fn export_on(ring: u8, tag: u32, resource_id: u32) -> Vec<u8> {
    encode_export(ring, tag, resource_id, READ, 0).to_vec()
}

#[test]
fn with_nothing_before_it_a_poll_starts_at_once() {
    let mut bench = bench();
    let work = bench.writer(1);
    // Also before what follows in its own submission.
    let other = bench.writer(2);
    let cookie = encode_export(0, 1, 2, READ, 5).to_vec();
    bench.unfenced(&[cookie]);
    let import = encode_import(0, 3, 1, WRITE, 5).to_vec();
    let chain = bench.fenced(0, 1, &[poll(2, 1), import]);
    bench.writer(1);
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    bench.signal(other);
}

#[test]
fn a_read_waits_for_writers_and_a_write_for_everybody() {
    let mut bench = bench();
    let reader = bench.reader(1);
    let accesses = [READ, WRITE, READ | WRITE];
    let chains: Vec<_> = (0_u8..)
        .zip(accesses)
        .map(|(ring, access)| bench.fenced(ring, 1, &[poll_on(ring, 1, 1, access)]))
        .collect();
    bench.deliver();
    let pending = |bench: &Bench| {
        chains
            .iter()
            .map(|chain| bench.is_pending(*chain))
            .collect()
    };
    let now: Vec<bool> = pending(&bench);
    assert_eq!(now, [false, true, true]);
    bench.signal(reader);
    let now: Vec<bool> = pending(&bench);
    assert_eq!(now, [false; 3]);
}

#[test]
fn a_poll_starts_when_the_last_fence_before_it_has_left_whatever_ended_it() {
    // A host fence, the front end, a deadline.
    for end in 0..3 {
        let mut bench = bench();
        let work = bench.writer(1);
        let first = match end {
            1 => bench.send(&GuestCommand::map(3, 0).of(1), Fenced::Ring(0, 1)),
            _ => bench.fenced(0, 1, &[export(1, 1)]),
        };
        bench.pass_ms(1);
        // Held behind the first, and done.
        let held = bench.fenced(0, 2, &[]);
        let polled = bench.fenced(0, 3, &[poll(3, 2)]);
        let behind = bench.fenced(0, 4, &[]);
        assert_eq!(bench.sim.watches(), usize::from(end != 1));
        let between = bench.writer(2);
        match end {
            0 => bench.signal(work),
            1 => bench.job(0, Ok(())),
            _ => bench.pass_ms(9_999),
        }
        assert!(!bench.is_pending(first) && !bench.is_pending(held));
        bench.deliver();
        assert!(bench.is_pending(polled) && bench.is_pending(behind));
        bench.answered();
        bench.signal(between);
        assert_eq!(bench.answered(), [polled, behind]);
    }
}

#[test]
fn polls_of_one_timeline_start_one_after_the_other() {
    let mut bench = bench();
    let work = bench.writer(1);
    let first = bench.fenced(0, 1, &[poll(1, 1)]);
    let second = bench.fenced(0, 2, &[poll(2, 2), poll(3, 2)]);
    let third = bench.fenced(0, 3, &[poll(4, 3)]);
    assert_eq!(bench.sim.watches(), 1);
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.sim.watches(), 2);
    bench.deliver();
    bench.deliver();
    assert_eq!(bench.answered(), [first, second, third]);
    assert_eq!(errors(&bench), [(1, 0), (2, 0), (3, 0), (4, 0)]);
}

#[test]
fn polls_that_cannot_start_end_with_what_is_wrong_and_let_the_next_start() {
    let mut bench = bench();
    let work = bench.writer(1);
    let first = bench.fenced(0, 1, &[export(1, 1)]);
    let gone = bench.fenced(0, 2, &[poll(2, 2), poll(3, 2)]);
    let refused = bench.fenced(0, 3, &[poll(4, 3)]);
    let starts = bench.fenced(0, 4, &[poll(5, 3)]);
    bench.ok(&GuestCommand::unref(2));
    // Another one with its number is not the one that was named.
    bench.ok(&GuestCommand::blob(2, 4096));
    bench.ok(&GuestCommand::attach(1, 2));
    bench.sim.fails = HostFails::now(Errno(9));
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.answered(), [first, gone, refused]);
    assert_eq!(bench.response(gone), None);
    bench.deliver();
    assert_eq!(bench.answered(), [starts]);
    let expected = [(1, 0), (2, 2), (3, 2), (4, 9), (5, 0)];
    assert_eq!(errors(&bench), expected);
    let records = bench.records(STATUS, 0).records;
    assert!(records.iter().all(|record| record.flags.get() == 0));
    assert_eq!(bench.sim.watches(), 0);
}

#[test]
fn a_poll_whose_turn_comes_with_its_deadline_ends_with_it() {
    let mut bench = bench();
    let work = bench.writer(1);
    let first = bench.fenced(0, 1, &[export(1, 1)]);
    bench.pass_ms(5_000);
    let polled = bench.fenced(0, 2, &[poll(2, 2)]);
    bench.pass_ms(4_000);
    assert!(bench.is_pending(first) && bench.is_pending(polled));
    // Both are over in one tick.
    bench.pass_ms(6_000);
    assert!(!bench.is_pending(first) && !bench.is_pending(polled));
    let records = bench.records(STATUS, 0).records;
    let record = records.last().unwrap();
    assert_eq!((record.tag.get(), record.errno.get()), (2, 110));
    assert_eq!(record.flags.get(), RecordFlags::DEADLINE.bits());
    assert_eq!(bench.sim.watches(), 0);
    bench.signal(work);
    assert_eq!(bench.device.counters().fences_overdue, 2);
}

#[test]
fn a_poll_goes_on_when_its_context_and_its_attachment_are_gone() {
    let mut bench = bench();
    let (before, work) = (bench.writer(1), bench.writer(2));
    bench.fenced(0, 1, &[export(1, 1)]);
    let polled = bench.fenced(0, 2, &[poll(2, 2)]);
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.signal(before);
    bench.deliver();
    assert!(bench.is_pending(polled));
    bench.signal(work);
    assert!(!bench.is_pending(polled));
}

#[test]
fn a_reset_forgets_a_poll_that_has_not_started() {
    let mut bench = bench();
    bench.writer(1);
    bench.fenced(0, 1, &[export(1, 1)]);
    bench.fenced(0, 2, &[poll(2, 2)]);
    bench.reset();
    bench.sim.assert_empty();
}

#[test]
fn a_host_fence_that_fails_is_told_and_an_idle_buffer_tells_nothing() {
    let mut bench = bench();
    let work = bench.writer(1);
    bench.fenced(0, 1, &[poll(1, 1)]);
    bench.fail(work, Some(Errno(5)));
    let record = *bench.records(STATUS, 0).records.last().unwrap();
    assert_eq!((record.tag.get(), record.errno.get()), (1, 5));
    assert_eq!(record.flags.get(), RecordFlags::HOST_ERROR.bits());
    assert_eq!(record.signalled_ns.get(), bench.now_ns);
    bench.fenced(0, 2, &[poll(2, 1)]);
    let wait = bench.sim.new_watches.last().unwrap().0;
    let now_ns = bench.now_ns;
    bench.device.signalled(&mut bench.sim, now_ns, wait, true);
    let record = *bench.records(STATUS, 0).records.last().unwrap();
    assert_eq!((record.tag.get(), record.errno.get()), (2, 0));
    assert_eq!((record.cmd, record.resource_id.get()), (0x86, 1));
    assert_eq!((record.cookie.get(), record.signalled_ns.get()), (0, 0));
}

#[test]
fn a_poll_that_makes_no_sense_is_refused_and_what_follows_runs() {
    let mut bench = bench();
    bench.writer(1);
    // Without a fence.
    assert_eq!(bench.unfenced(&[poll(1, 1)]), Response::Ok);
    bench.ok(&GuestCommand::blob(4, 4096));
    let mut no_access = poll(2, 1);
    no_access[12] = 0;
    let mut unknown_access = poll(3, 1);
    unknown_access[12] = 4;
    let mut too_long = poll(4, 1);
    too_long[2] = 24;
    too_long.extend([0; 8]);
    bench.sim.fails = HostFails {
        after: 0,
        error: Some(errno::EOPNOTSUPP),
    };
    let chain = bench.fenced(
        0,
        1,
        &[
            no_access,
            unknown_access,
            too_long,
            poll_on(1, 5, 1, READ),
            poll(6, 0),
            poll(7, 77),
            poll(8, 4),
            poll(9, 1),
            poll(10, 2),
        ],
    );
    bench.deliver();
    assert_eq!(bench.response(chain), Some(Response::Ok));
    let invalid = (1..=5).map(|tag| (tag, 22));
    let unknown = (6..=8).map(|tag| (tag, 2));
    let expected: Vec<_> = invalid.chain(unknown).chain([(9, 95), (10, 0)]).collect();
    assert_eq!(errors(&bench), expected);
}

#[test]
fn polls_count_among_the_pending_fences_and_the_descriptors() {
    let mut bench = limited(Limits {
        pending_fences: 2,
        fds: 7,
        ..Limits::default()
    });
    bench.writer(1);
    // Four blobs, and the wait.
    bench.fenced(0, 1, &[export(1, 1)]);
    bench.fenced(0, 2, &[poll(2, 2), poll(3, 2), poll(4, 2)]);
    let refused = bench.fenced(1, 3, &[poll_on(1, 5, 2, READ)]);
    let memory = Response::Err(ResponseError::OutOfMemory);
    assert_eq!(bench.response(refused), Some(memory));
    assert_eq!(errors(&bench), [(4, 24), (5, 122)]);
}
