//! Fences by example: never early, never lost, never out of order, never twice.

use stile_core::Limits;
use stile_wire::gpu::{Response, ResponseError, Timeline};
use stile_wire::sync::{Access, RecordFlags, encode_export, encode_status, encode_wait};

use crate::sim::{Bench, Fenced, GuestCommand};

/// EXPORT for reading, without a cookie.
fn export(ring: u8, resource_id: u32) -> Vec<u8> {
    encode_export(ring, 0, resource_id, Access::READ, 0).to_vec()
}

fn ring(ctx_id: u32, ring_idx: u8, id: u64) -> Option<(Timeline, u64)> {
    Some((Timeline::Ring { ctx_id, ring_idx }, id))
}

#[test]
fn a_fence_is_answered_when_the_host_signals_and_not_before() {
    let mut bench = Bench::with_blobs(1);
    let work = bench.writer(1);
    let chain = bench.fenced(0, 1, &[export(0, 1)]);
    assert!(bench.is_pending(chain));
    bench.deliver();
    bench.pass_ms(9_999);
    assert!(bench.is_pending(chain));
    bench.signal(work);
    let answer = bench.answer(chain).unwrap();
    assert_eq!(answer.response, Response::Ok);
    assert_eq!(answer.fence, ring(1, 0, 1));
}

#[test]
fn two_fences_on_one_ring_signalled_in_the_wrong_order_are_answered_in_order() {
    let mut bench = Bench::with_blobs(2);
    let (first_work, second_work) = (bench.writer(1), bench.writer(2));
    let first = bench.fenced(3, 1, &[export(3, 1)]);
    let second = bench.fenced(3, 2, &[export(3, 2)]);
    bench.signal(second_work);
    assert!(bench.is_pending(first) && bench.is_pending(second));
    bench.answered();
    bench.signal(first_work);
    assert_eq!(bench.answered(), [first, second]);
}

#[test]
fn rings_are_independent_of_each_other_and_of_the_global_timeline() {
    let mut bench = Bench::with_blobs(3);
    let work = [1, 2, 3].map(|resource| bench.writer(resource));
    let first = bench.fenced(3, 1, &[export(3, 1)]);
    let second = bench.fenced(4, 2, &[export(4, 2)]);
    let command = GuestCommand::submit(1, &[export(0, 3)]);
    let third = bench.send(&command, Fenced::Global(3));
    bench.signal(work[2]);
    assert_eq!(
        bench.answer(third).unwrap().fence,
        Some((Timeline::Global, 3))
    );
    assert!(bench.is_pending(first) && bench.is_pending(second));
    bench.signal(work[1]);
    assert!(bench.is_pending(first) && !bench.is_pending(second));
    bench.signal(work[0]);
    assert!(!bench.is_pending(first));
}

#[test]
fn the_same_ring_of_two_contexts_is_two_timelines() {
    let mut bench = Bench::with_blobs(1);
    bench.context_with_blobs(2, []);
    bench.writer(1);
    let held = bench.fenced(5, 1, &[export(5, 1)]);
    let free = bench.send(&GuestCommand::submit(2, &[]), Fenced::Ring(5, 2));
    assert!(bench.is_pending(held));
    assert_eq!(bench.answer(free).unwrap().fence, ring(2, 5, 2));
}

#[test]
fn a_fence_waits_for_all_of_its_operations() {
    let mut bench = Bench::with_blobs(2);
    let work = [bench.writer(1), bench.writer(2)];
    let chain = bench.fenced(0, 1, &[export(0, 1), export(0, 2)]);
    bench.signal(work[1]);
    assert!(bench.is_pending(chain));
    bench.signal(work[0]);
    assert!(!bench.is_pending(chain));
}

#[test]
fn a_fence_without_work_waits_for_those_before_it() {
    let mut bench = Bench::with_blobs(1);
    let work = bench.writer(1);
    let first = bench.fenced(0, 1, &[export(0, 1)]);
    let empty = bench.fenced(0, 2, &[]);
    let other = bench.send(&GuestCommand::display_info().of(1), Fenced::Ring(0, 3));
    let refused = bench.send(&GuestCommand::attach(1, 99), Fenced::Ring(0, 4));
    assert!(bench.answer(empty).is_none() && bench.answer(refused).is_none());
    bench.answered();
    bench.signal(work);
    let responses = [empty, other, refused].map(|chain| bench.response(chain).unwrap());
    let unknown = Response::Err(ResponseError::InvalidResourceId);
    assert_eq!(responses, [Response::Ok, Response::NoDisplays, unknown]);
    assert_eq!(bench.answered(), [first, empty, other, refused]);
}

#[test]
fn a_command_without_a_fence_waits_for_nobody() {
    let mut bench = Bench::with_blobs(1);
    bench.writer(1);
    let fenced = bench.send(&GuestCommand::submit(1, &[export(0, 1)]), Fenced::Global(1));
    assert_eq!(bench.unfenced(&[export(0, 1)]), Response::Ok);
    let chain = bench.send(
        &GuestCommand::submit(1, &[export(7, 1)]),
        Fenced::RingOnly(7),
    );
    let answer = bench.answer(chain).unwrap();
    assert_eq!((answer.response, answer.fence), (Response::Ok, None));
    assert!(bench.is_pending(fenced));
}

#[test]
fn an_idle_buffer_is_answered_when_the_host_has_looked() {
    let mut bench = Bench::with_blobs(1);
    bench.reader(1);
    let chain = bench.fenced(0, 1, &[export(0, 1)]);
    assert!(bench.is_pending(chain));
    bench.deliver();
    assert!(
        !bench.is_pending(chain),
        "a reader is not waited for by a reader"
    );
}

#[test]
fn the_deadline_answers_and_says_so_in_the_status() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(
        1,
        &[encode_status(0, 1, 2, 0, 4096).to_vec()],
    ));
    bench.writer(1);
    let taken = bench.now_ns;
    let chain = bench.fenced(0, 1, &[encode_export(0, 7, 1, Access::READ, 5).to_vec()]);
    assert_eq!(
        bench.device.next_deadline_ns(),
        Some(taken + 10_000_000_000)
    );
    bench.pass_ms(9_999);
    assert!(bench.is_pending(chain));
    bench.pass_ms(1);
    let answer = bench.answer(chain).unwrap();
    assert_eq!(
        (answer.response, answer.fence),
        (Response::Ok, ring(1, 0, 1))
    );
    let records = bench.records(2, 0).records;
    let [_, record] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(
        (record.tag.get(), record.errno.get(), record.cookie.get()),
        (7, 110, 5)
    );
    assert_eq!(record.flags.get(), RecordFlags::DEADLINE.bits());
    assert_eq!(
        (record.taken_ns.get(), record.done_ns.get()),
        (taken, bench.now_ns)
    );
    assert_eq!(record.signalled_ns.get(), 0);
    assert_eq!(bench.device.counters().fences_overdue, 1);
    assert_eq!(bench.device.next_deadline_ns(), None);
    assert_eq!(bench.sim.watches(), 0);
}

#[test]
fn the_deadline_of_one_fence_frees_those_behind_it_and_no_other_ring() {
    let mut bench = Bench::with_blobs(2);
    let (_stuck, work) = (bench.writer(1), bench.writer(2));
    let stuck = bench.fenced(0, 1, &[export(0, 1)]);
    bench.pass_ms(5_000);
    let done = bench.fenced(0, 2, &[export(0, 2)]);
    let still = bench.fenced(1, 3, &[export(1, 1)]);
    bench.signal(work);
    assert!(bench.is_pending(done));
    bench.answered();
    bench.pass_ms(5_000);
    assert_eq!(bench.answered(), [stuck, done]);
    assert!(bench.is_pending(still));
    bench.pass_ms(5_000);
    assert_eq!(bench.answered(), [still]);
}

#[test]
fn a_late_signal_after_the_deadline_changes_nothing() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(
        1,
        &[encode_status(0, 1, 2, 0, 4096).to_vec()],
    ));
    let work = bench.writer(1);
    let late = bench.fenced(0, 1, &[export(0, 1)]);
    let (wait, _) = bench.sim.new_watches[0];
    bench.pass_ms(10_000);
    bench.answered();
    bench.writer(1);
    let next = bench.fenced(0, 2, &[export(0, 1)]);
    bench.signal(work);
    bench
        .device
        .signalled(&mut bench.sim, bench.now_ns, wait, false);
    bench.deliver();
    assert!(!bench.is_pending(late) && bench.is_pending(next));
    assert_eq!(bench.answered(), []);
    assert_eq!(bench.device.counters().late_signals, 1);
    assert_eq!(bench.records(2, 0).errors(), [(1, 0), (0, 110)]);
}

#[test]
fn a_fence_that_is_not_above_the_last_is_refused_without_a_flag_and_runs_nothing() {
    let mut bench = Bench::with_blobs(1);
    let work = bench.writer(1);
    let first = bench.fenced(0, 5, &[export(0, 1)]);
    for stale in [5, 4, 0] {
        let operations = [encode_export(0, 0, 1, Access::READ, 9).to_vec()];
        let chain = bench.fenced(0, stale, &operations);
        let answer = bench.answer(chain).unwrap();
        let refused = Response::Err(ResponseError::InvalidParameter);
        assert_eq!((answer.response, answer.fence), (refused, None));
    }
    assert_eq!(bench.device.population(), (1, 1, 0), "no cookie was made");
    assert!(bench.is_pending(first));
    assert_eq!(bench.device.counters().fences_stale, 3);
    bench.signal(work);
    // Done or not: the timeline does not go back.
    let chain = bench.fenced(0, 5, &[]);
    assert_eq!(bench.answer(chain).unwrap().fence, None);
    let chain = bench.fenced(1, 5, &[]);
    assert_eq!(bench.answer(chain).unwrap().fence, ring(1, 1, 5));
}

#[test]
fn a_destroyed_context_keeps_its_fences() {
    let mut bench = Bench::with_blobs(2);
    let work = bench.writer(1);
    bench.writer(2);
    let cookie = encode_export(0, 0, 1, Access::READ, 9).to_vec();
    let first = bench.fenced(0, 1, &[cookie]);
    let second = bench.fenced(1, 2, &[export(1, 2)]);
    let destroyed = bench.send(&GuestCommand::ctx_destroy(1), Fenced::Ring(0, 3));
    assert_eq!(bench.device.population(), (0, 2, 0));
    assert!(
        [first, second, destroyed]
            .iter()
            .all(|chain| bench.is_pending(*chain))
    );
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.answered(), [first, destroyed]);
    bench.pass_ms(10_000);
    assert_eq!(bench.answered(), [second]);
}

#[test]
fn a_context_id_that_comes_back_is_another_context() {
    let mut bench = Bench::with_blobs(2);
    let work = bench.writer(1);
    let old = bench.fenced(0, 7, &[encode_export(0, 1, 1, Access::READ, 9).to_vec()]);
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.context_with_blobs(1, [1, 2]);
    bench.ok(&GuestCommand::submit(
        1,
        &[encode_status(0, 2, 2, 0, 4096).to_vec()],
    ));
    // Its ring begins anew, and is not held up by the old one's.
    let new = bench.fenced(0, 1, &[]);
    assert_eq!(bench.answer(new).unwrap().fence, ring(1, 0, 1));
    // The old one's cookies are gone.
    let chain = bench.fenced(0, 2, &[encode_wait(0, 3, 9).to_vec()]);
    assert_eq!(bench.response(chain), Some(Response::Ok));
    bench.signal(work);
    assert!(!bench.is_pending(old));
    // And its record is not told to the new one.
    assert_eq!(bench.records(2, 0).errors(), [(2, 0), (3, 2)]);
}

#[test]
fn a_ring_over_63_is_refused_at_once_fenced_or_not() {
    let mut bench = Bench::with_blobs(1);
    bench.writer(1);
    let refused = Response::Err(ResponseError::InvalidParameter);
    for number in [64, 65, 255] {
        let chain = bench.fenced(number, 1, &[export(number, 1)]);
        let answer = bench.answer(chain).unwrap();
        assert_eq!(
            (answer.response, answer.fence),
            (refused.clone(), ring(1, number, 1))
        );
        let command = GuestCommand::submit(1, &[export(number, 1)]);
        let chain = bench.send(&command, Fenced::RingOnly(number));
        assert_eq!(bench.response(chain), Some(refused.clone()));
    }
    assert_eq!(bench.sim.watches(), 0);
    let chain = bench.fenced(63, 1, &[export(63, 1)]);
    assert!(bench.is_pending(chain));
}

#[test]
fn a_mapping_cannot_be_fenced_where_there_is_no_timeline() {
    let mut bench = Bench::with_blobs(1);
    let map = GuestCommand::map(1, 0);
    for (command, fenced, error) in [
        (
            map.clone().of(1),
            Fenced::Ring(64, 1),
            ResponseError::InvalidParameter,
        ),
        (
            map.of(2),
            Fenced::Ring(0, 1),
            ResponseError::InvalidContextId,
        ),
    ] {
        let chain = bench.send(&command, fenced);
        assert_eq!(bench.response(chain), Some(Response::Err(error)));
        assert!(bench.answer(chain).unwrap().fence.is_some());
    }
    assert_eq!(bench.tasks(), []);
}

#[test]
fn a_fence_of_an_unknown_context_is_answered_at_once() {
    let mut bench = Bench::with_blobs(1);
    let refused = Response::Err(ResponseError::InvalidContextId);
    let chain = bench.send(&GuestCommand::submit(2, &[]), Fenced::Ring(0, 1));
    let answer = bench.answer(chain).unwrap();
    assert_eq!(
        (answer.response, answer.fence),
        (refused.clone(), ring(2, 0, 1))
    );
    // A context may be made under a fence of its own.
    let chain = bench.send(&GuestCommand::context(2), Fenced::Ring(0, 2));
    let answer = bench.answer(chain).unwrap();
    assert_eq!(
        (answer.response, answer.fence),
        (Response::Ok, ring(2, 0, 2))
    );
}

#[test]
fn the_destruction_of_an_unknown_context_keeps_the_order() {
    let mut bench = Bench::with_blobs(1);
    let work = bench.writer(1);
    let first = bench.send(&GuestCommand::submit(1, &[export(0, 1)]), Fenced::Global(1));
    let second = bench.send(&GuestCommand::ctx_destroy(9), Fenced::Global(2));
    assert!(bench.is_pending(second));
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.answered(), [first, second]);
}

#[test]
fn a_reset_forgets_everything_and_answers_nothing() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(
        1,
        &[encode_status(0, 1, 2, 0, 4096).to_vec()],
    ));
    let work = bench.writer(1);
    bench.fenced(0, 8, &[encode_export(0, 0, 1, Access::READ, 9).to_vec()]);
    bench.send(&GuestCommand::map(1, 0), Fenced::Global(9));
    let (wait, _) = bench.sim.new_watches[0];
    bench.answered();
    bench.reset();
    assert_eq!(bench.answered(), []);
    assert_eq!(bench.device.population(), (0, 0, 0));
    assert_eq!(
        (
            bench.device.pending_fences(),
            bench.device.next_deadline_ns()
        ),
        (0, None)
    );
    bench.sim.assert_empty();
    // The next life begins anew, whatever comes late from the old one.
    bench.context_with_blobs(1, [1, 2]);
    bench.writer(1);
    let chain = bench.fenced(0, 1, &[export(0, 1)]);
    let global = bench.send(&GuestCommand::submit(1, &[export(0, 1)]), Fenced::Global(1));
    bench.signal(work);
    bench
        .device
        .signalled(&mut bench.sim, bench.now_ns, wait, false);
    bench.job(0, Ok(()));
    bench.job(1, Ok(()));
    assert!(bench.is_pending(chain) && bench.is_pending(global));
    bench.pass_ms(10_000);
    assert!(!bench.is_pending(chain) && !bench.is_pending(global));
}

#[test]
fn a_deadline_that_is_zero_answers_at_the_next_tick() {
    let mut bench = Bench::new(Limits {
        fence_deadline_ms: 0,
        ..Limits::default()
    });
    bench.context_with_blobs(1, [1]);
    bench.writer(1);
    let chain = bench.fenced(0, 1, &[export(0, 1)]);
    assert!(bench.is_pending(chain));
    bench.pass_ms(0);
    assert!(!bench.is_pending(chain));
}
