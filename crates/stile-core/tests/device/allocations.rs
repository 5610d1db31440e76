//! The memory of blobs by example: it takes its time, and nothing else waits for it but commands.

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::{Response, ResponseError, Timeline};
use stile_wire::sync::{Access, encode_export};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails};

const PAGE: u64 = 4096;
const MEMORY: ResponseError = ResponseError::OutOfMemory;
const GUEST: u32 = 1;

/// A device with context 1 and blob 1, whose host takes its time from now on.
fn slow(limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, [1]);
    bench.slow = true;
    bench
}

fn export(ring: u8) -> Vec<u8> {
    encode_export(ring, 0, 1, Access::READ, 0).to_vec()
}

#[test]
fn no_command_is_taken_up_until_the_memory_of_a_blob_is_there() {
    let mut bench = slow(Limits::default());
    let guest = GuestCommand::create_blob(2, GUEST, 0, PAGE, 4096);
    for command in [guest, GuestCommand::blob(3, PAGE)] {
        let blob = bench.send(&command, Fenced::No);
        assert!(bench.device.is_paused() && bench.is_pending(blob));
        assert_eq!(bench.device.population(), (1, bench.sim.published.len(), 0));
        bench.make_buffer();
        assert!(!bench.device.is_paused());
        assert_eq!(bench.response(blob), Some(Response::Ok));
    }
    bench.ok(&GuestCommand::attach(1, 2));
    bench.ok(&GuestCommand::attach(1, 3));
}

#[test]
fn fences_signal_jobs_end_and_deadlines_pass_while_memory_is_made() {
    let mut bench = slow(Limits::default());
    let work = bench.writer(1);
    let fence = bench.fenced(0, 1, &[export(0)]);
    bench.pass_ms(4_000);
    bench.writer(1);
    let hangs = bench.fenced(1, 2, &[export(1)]);
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.pass_ms(1);
    let blob = bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
    bench.signal(work);
    assert_eq!(bench.response(fence), Some(Response::Ok));
    bench.job(0, Ok(()));
    assert!(!bench.is_pending(map));
    bench.pass_ms(9_999);
    assert_eq!(bench.device.counters().fences_overdue, 1);
    assert!(!bench.is_pending(hangs) && bench.device.is_paused());
    bench.make_buffer();
    assert_eq!(bench.response(blob), Some(Response::Ok));
}

#[test]
fn memory_that_cannot_be_made_leaves_nothing_behind() {
    let mut bench = slow(Limits {
        resources: 2,
        host_bytes: 17 * PAGE,
        ..Limits::default()
    });
    for (error, response) in [
        (errno::ENOMEM, MEMORY),
        (errno::EINVAL, ResponseError::InvalidParameter),
        (Errno(5), ResponseError::Unspec),
    ] {
        let blob = bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
        bench.fail_buffer(error);
        assert_eq!(bench.response(blob), Some(Response::Err(response)));
        assert!(!bench.device.is_paused());
    }
    // Nor does what cannot even be begun.
    bench.sim.fails = HostFails::now(errno::EINVAL);
    let refused = bench.refused(&GuestCommand::blob(2, PAGE));
    assert_eq!(refused, ResponseError::InvalidParameter);
    assert!(!bench.device.is_paused());
    let blob = bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
    bench.make_buffer();
    assert_eq!(bench.response(blob), Some(Response::Ok));
}

#[test]
fn memory_that_is_not_there_at_the_deadline_is_out_of_memory_and_dropped_when_it_comes() {
    for fenced in [Fenced::No, Fenced::Global(1), Fenced::Ring(3, 1)] {
        let mut bench = slow(Limits::default());
        let blob = bench.send(&GuestCommand::blob(2, PAGE).of(1), fenced);
        let deadline_ns = bench.now_ns + 10_000_000_000;
        assert_eq!(bench.device.next_deadline_ns(), Some(deadline_ns));
        bench.pass_ms(9_999);
        assert!(bench.is_pending(blob));
        bench.pass_ms(1);
        assert_eq!(bench.response(blob), Some(Response::Err(MEMORY)));
        let fence = bench.answer(blob).unwrap().fence;
        assert_eq!(fence.is_some(), fenced != Fenced::No);
        assert!(!bench.device.is_paused());
        assert_eq!(bench.device.next_deadline_ns(), None);
        // An allocator that hangs makes nobody wait a second time.
        let guest = GuestCommand::create_blob(3, GUEST, 0, PAGE, 4096);
        assert_eq!(bench.refused(&GuestCommand::blob(2, PAGE)), MEMORY);
        assert_eq!(bench.refused(&guest), MEMORY);
        assert_eq!(bench.device.counters().allocations_overdue, 1);
        assert_eq!(bench.device.counters().allocations_refused, 2);
        bench.ok(&GuestCommand::detach(1, 1));
        bench.ok(&GuestCommand::unref(1));
        bench.make_buffer();
        let unknown = ResponseError::InvalidResourceId;
        assert_eq!(bench.refused(&GuestCommand::unref(2)), unknown);
        bench.slow = false;
        bench.ok(&GuestCommand::blob(2, PAGE));
        bench.ok(&GuestCommand::unref(2));
        bench.ok(&GuestCommand::ctx_destroy(1));
        bench.sim.assert_empty();
    }
}

#[test]
fn an_allocation_that_is_given_up_counts_until_it_ends() {
    for ends_well in [true, false] {
        let mut bench = slow(Limits {
            resources: 2,
            ..Limits::default()
        });
        bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
        bench.pass_ms(10_000);
        // The quota of resources says no before the allocator does.
        assert_eq!(bench.refused(&GuestCommand::blob(2, PAGE)), MEMORY);
        assert_eq!(bench.device.counters().over_quota, 1);
        assert_eq!(bench.device.counters().allocations_refused, 0);
        if ends_well {
            bench.make_buffer();
        } else {
            bench.fail_buffer(errno::ENOMEM);
        }
        bench.slow = false;
        bench.ok(&GuestCommand::blob(2, PAGE));
    }
}

#[test]
fn a_descriptor_is_kept_for_what_is_being_made() {
    let mut bench = slow(Limits {
        fds: 2,
        ..Limits::default()
    });
    bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
    bench.pass_ms(10_000);
    let cookie = encode_export(0, 0, 1, Access::READ, 7).to_vec();
    bench.unfenced(std::slice::from_ref(&cookie));
    assert_eq!(bench.device.population().2, 0);
    assert_eq!(bench.device.counters().over_quota, 1);
    bench.make_buffer();
    bench.unfenced(&[cookie]);
    assert_eq!(bench.device.population().2, 1);
}

#[test]
fn a_fenced_allocation_is_answered_in_the_order_of_its_timeline() {
    let mut bench = slow(Limits::default());
    let work = bench.writer(1);
    let before = bench.fenced(3, 1, &[export(3)]);
    let blob = bench.send(&GuestCommand::blob(2, PAGE).of(1), Fenced::Ring(3, 2));
    bench.make_buffer();
    assert!(bench.is_pending(blob) && !bench.device.is_paused());
    bench.ok(&GuestCommand::attach(1, 2));
    let after = bench.fenced(3, 3, &[]);
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.answered(), [before, blob, after]);
    // And a wait on another timeline holds up neither.
    bench.writer(1);
    bench.fenced(4, 4, &[export(4)]);
    let blob = bench.send(&GuestCommand::blob(3, PAGE).of(1), Fenced::Ring(3, 5));
    bench.make_buffer();
    assert_eq!(bench.response(blob), Some(Response::Ok));
}

#[test]
fn a_fenced_allocation_takes_none_of_the_pending_fences() {
    let mut bench = slow(Limits {
        pending_fences: 1,
        ..Limits::default()
    });
    let work = bench.writer(1);
    let first = bench.fenced(3, 1, &[export(3)]);
    let held = bench.fenced(3, 2, &[]);
    let blob = bench.send(&GuestCommand::blob(2, PAGE).of(1), Fenced::Ring(3, 3));
    assert_eq!(bench.device.pending_fences(), 2);
    bench.answered();
    bench.make_buffer();
    // It takes the place of the one that is held, as every command without waits does.
    assert_eq!(bench.answered(), [held]);
    bench.signal(work);
    assert_eq!(bench.answered(), [first, blob]);
}

#[test]
fn a_reset_ends_the_pause_and_what_was_begun_counts_until_it_ends() {
    let limits = Limits {
        host_bytes: 20 * PAGE,
        guest_bytes: 4 * PAGE,
        ..Limits::default()
    };
    let mut bench = slow(limits);
    let guest = |id, pages: u32| {
        GuestCommand::create_blob(id, GUEST, 0, u64::from(pages) * PAGE, pages * 4096)
    };
    bench.send(&GuestCommand::blob(2, 3 * PAGE), Fenced::Global(9));
    bench.reset();
    assert!(!bench.device.is_paused());
    assert_eq!(bench.device.next_deadline_ns(), None);
    assert_eq!(bench.refused(&GuestCommand::blob(1, 18 * PAGE)), MEMORY);
    bench.send(&guest(1, 3), Fenced::No);
    bench.reset();
    assert_eq!(bench.refused(&guest(1, 2)), MEMORY);
    // The blob that is made first is the first life's, and none of this one's.
    let blob = bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
    bench.make_buffer();
    bench.fail_buffer(errno::ENOMEM);
    assert!(bench.is_pending(blob) && bench.device.is_paused());
    assert_eq!(bench.device.population(), (0, 0, 0));
    bench.make_buffer();
    assert_eq!(bench.response(blob), Some(Response::Ok));
    bench.slow = false;
    bench.ok(&GuestCommand::blob(3, 19 * PAGE));
    bench.ok(&guest(4, 4));
}

#[test]
fn an_allocator_that_hangs_hangs_for_the_next_guest_too() {
    let mut bench = slow(Limits::default());
    bench.send(&GuestCommand::blob(2, PAGE), Fenced::No);
    bench.pass_ms(10_000);
    bench.reset();
    assert_eq!(bench.refused(&GuestCommand::blob(1, PAGE)), MEMORY);
    bench.make_buffer();
    bench.slow = false;
    bench.ok(&GuestCommand::blob(1, PAGE));
    bench.reset();
    bench.sim.assert_empty();
}

#[test]
fn a_command_that_comes_during_a_pause_is_refused_and_signals_no_fence() {
    let mut bench = slow(Limits::default());
    let blob = bench.send(&GuestCommand::blob(2, PAGE), Fenced::Global(1));
    let command = GuestCommand::display_info().of(1);
    for fenced in [Fenced::No, Fenced::Global(2), Fenced::Ring(3, 2)] {
        let early = bench.send(&command, fenced);
        let answer = bench.answer(early).unwrap();
        assert_eq!(answer.response, Response::Err(ResponseError::Unspec));
        assert_eq!(answer.fence, None);
    }
    bench.make_buffer();
    let fence = bench.answer(blob).unwrap().fence;
    assert_eq!(fence, Some((Timeline::Global, 1)));
}
