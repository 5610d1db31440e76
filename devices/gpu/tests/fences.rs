//! Fences that need no dma-buf. What waits here waits for the front end: a fenced
//! RESOURCE_ASSIGN_UUID is answered when the front end has acknowledged SHARED_OBJECT_ADD.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use stile_frontend::gpu::{
    GUEST, assign_uuid, create_blob, create_context, destroy_context, submit, unref,
};
use stile_frontend::{Daemon, Manner, Options, Plan, Reply, Request, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;

fn daemon() -> Daemon {
    daemon_with(&[])
}

fn daemon_with(arguments: &[&str]) -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(arguments))
}

/// A guest with context 1 and blobs 1 to 4, whose front end acknowledges what the test says.
#[track_caller]
fn guest(daemon: &Daemon) -> Vm {
    let mut vm = daemon.connect_with(Plan {
        manner: Manner::Ask,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    for id in 1..=4 {
        let page = vm.room(4096);
        vm.expect(&create_blob(id, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
    }
    vm
}

/// A round trip on a ring where nothing waits: what the daemon began before is done afterwards.
#[track_caller]
fn settle(vm: &mut Vm) {
    vm.expect(&submit(1, &[]), RESP_OK_NODATA);
}

#[test]
fn an_empty_submission_signals_its_fence_at_once() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    for ring in [0, 1, 63] {
        let answer = vm.expect(&submit(1, &[]).ring_fence(ring, 7), RESP_OK_NODATA);
        assert_eq!(answer.fence(), Some((Some(ring), 7)));
        assert_eq!(answer.header().ctx_id.get(), 1);
    }
    let answer = vm.expect(&submit(1, &[]).fence(7), RESP_OK_NODATA);
    assert_eq!(answer.fence(), Some((None, 7)));
    let answer = vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    assert_eq!(answer.fence(), None);
}

#[test]
fn a_fence_waits_for_its_work_and_for_the_fences_before_it() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    let behind = vm.send(&submit(1, &[]).ring_fence(3, 2));
    let again = vm.send(&submit(1, &[]).ring_fence(3, 5));
    let other = vm.send(&submit(1, &[]).ring_fence(4, 3));
    let global = vm.send(&submit(1, &[]).fence(4));
    let Request::Share(uuid) = vm.request() else {
        panic!("not a share")
    };
    settle(&mut vm);
    assert!(vm.is_answered(other) && vm.is_answered(global));
    for early in [work, behind, again] {
        assert!(!vm.is_answered(early), "a fence is early");
    }
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(again).fence(), Some((Some(3), 5)));
    assert_eq!(vm.wait(behind).fence(), Some((Some(3), 2)));
    let answer = vm.wait(work);
    assert_eq!(answer.fence(), Some((Some(3), 1)));
    assert_eq!(answer.body::<[u8; 16]>(), uuid);
    let order = vm.order();
    let place = |ticket| order.iter().position(|done| *done == ticket).unwrap();
    assert!(place(work) < place(behind) && place(behind) < place(again));
}

#[test]
fn fences_of_the_same_ring_number_in_two_contexts_are_independent() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    vm.expect(&create_context(2, CAPSET_ID), RESP_OK_NODATA);
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 10));
    let answer = vm.expect(&submit(2, &[]).ring_fence(3, 4), RESP_OK_NODATA);
    assert_eq!(answer.fence(), Some((Some(3), 4)));
    assert!(!vm.is_answered(work));
    vm.request();
    vm.reply(Reply::Accept);
    vm.wait(work);
}

#[test]
fn a_fence_id_that_does_not_go_up_signals_nothing() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 10));
    for id in [10, 9, 0] {
        let answer = vm.expect(
            &submit(1, &[]).ring_fence(3, id),
            RESP_ERR_INVALID_PARAMETER,
        );
        assert_eq!(answer.fence(), None);
    }
    // Nor does any other command with it do anything.
    let answer = vm.expect(
        &unref(2).context(1).ring_fence(3, 10),
        RESP_ERR_INVALID_PARAMETER,
    );
    assert_eq!(answer.fence(), None);
    vm.expect(&unref(2), RESP_OK_NODATA);
    assert!(!vm.is_answered(work));
    vm.request();
    vm.reply(Reply::Accept);
    vm.wait(work);
    // The highest id is the last.
    vm.expect(&submit(1, &[]).ring_fence(3, u64::MAX), RESP_OK_NODATA);
    let answer = vm.expect(
        &submit(1, &[]).ring_fence(3, u64::MAX),
        RESP_ERR_INVALID_PARAMETER,
    );
    assert_eq!(answer.fence(), None);
}

#[test]
fn a_ring_from_64_on_is_refused_with_its_fence() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    for ring in [64, 65, 255] {
        let answer = vm.expect(
            &submit(1, &[]).ring_fence(ring, 1),
            RESP_ERR_INVALID_PARAMETER,
        );
        assert_eq!(answer.fence(), Some((Some(ring), 1)));
    }
    let answer = vm.expect(
        &submit(9, &[]).ring_fence(0, 1),
        RESP_ERR_INVALID_CONTEXT_ID,
    );
    assert_eq!(answer.fence(), Some((Some(0), 1)));
}

#[test]
fn an_error_carries_its_fence_in_order() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    let error = vm.send(&unref(99).context(1).ring_fence(3, 2));
    let unknown = vm.send(&submit(1, &[1, 2, 3]).ring_fence(3, 3));
    settle(&mut vm);
    assert!(!vm.is_answered(error) && !vm.is_answered(unknown));
    vm.request();
    vm.reply(Reply::Refuse);
    let answer = vm.wait(work);
    // A front end without shared objects is no fault of the guest's.
    assert_eq!(answer.kind(), RESP_OK_RESOURCE_UUID);
    let answer = vm.wait(error);
    assert_eq!(answer.kind(), RESP_ERR_INVALID_RESOURCE_ID);
    assert_eq!(answer.fence(), Some((Some(3), 2)));
    let answer = vm.wait(unknown);
    assert_eq!(answer.kind(), RESP_ERR_INVALID_PARAMETER);
    assert_eq!(answer.fence(), Some((Some(3), 3)));
}

#[test]
fn fences_outlive_their_context_and_its_id_begins_anew() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 10));
    let behind = vm.send(&submit(1, &[]).ring_fence(3, 11));
    // Its own fence is the last of its ring.
    let destroy = vm.send(&destroy_context(1).ring_fence(3, 12));
    vm.expect(&create_context(1, CAPSET_ID).fence(1), RESP_OK_NODATA);
    let answer = vm.expect(&submit(1, &[]).ring_fence(3, 2), RESP_OK_NODATA);
    assert_eq!(answer.fence(), Some((Some(3), 2)));
    for early in [work, behind, destroy] {
        assert!(!vm.is_answered(early), "a fence is early");
    }
    vm.request();
    vm.reply(Reply::Accept);
    vm.wait(destroy);
    assert!(vm.is_answered(work) && vm.is_answered(behind));
}

#[test]
fn a_front_end_that_hangs_delays_its_own_command_only() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let fenced = vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    let bare = vm.send(&assign_uuid(2));
    vm.request();
    for id in 1..=1000 {
        vm.expect(&submit(1, &[]).ring_fence(4, id), RESP_OK_NODATA);
    }
    assert!(!vm.is_answered(fenced) && !vm.is_answered(bare));
    // The resource goes while its name is on its way.
    vm.expect(&unref(1), RESP_OK_NODATA);
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(fenced).kind(), RESP_OK_RESOURCE_UUID);
    assert!(matches!(vm.request(), Request::Share(_)));
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(bare).kind(), RESP_OK_RESOURCE_UUID);
    assert!(matches!(vm.request(), Request::Unshare(_)));
    vm.reply(Reply::Accept);
}

#[test]
fn the_deadline_answers_and_a_late_answer_changes_nothing() {
    let daemon = daemon_with(&["--fence-deadline-ms=150"]);
    let mut vm = guest(&daemon);
    let begin = std::time::Instant::now();
    let work = vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    let behind = vm.send(&submit(1, &[]).ring_fence(3, 2));
    let answer = vm.wait(work);
    assert!(begin.elapsed().as_millis() >= 150, "{:?}", begin.elapsed());
    assert_eq!(answer.kind(), RESP_ERR_UNSPEC);
    assert_eq!(answer.fence(), Some((Some(3), 1)));
    assert_eq!(vm.wait(behind).kind(), RESP_OK_NODATA);
    vm.request();
    let used = vm.control.used_index();
    vm.reply(Reply::Accept);
    // A second one, whose answer comes after the first's acknowledgement was taken.
    let next = vm.send(&assign_uuid(2).context(1).ring_fence(3, 3));
    vm.request();
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(next).kind(), RESP_OK_RESOURCE_UUID);
    assert_eq!(vm.control.used_index(), used.wrapping_add(1));
}

#[test]
fn each_fence_has_its_own_deadline() {
    let daemon = daemon_with(&["--fence-deadline-ms=300"]);
    let mut vm = guest(&daemon);
    let begin = std::time::Instant::now();
    let mut tickets = Vec::new();
    for id in 1..=4_u32 {
        let ring = u8::try_from(id).unwrap();
        tickets.push(vm.send(&assign_uuid(id).context(1).ring_fence(ring, 1)));
        if id == 2 {
            // Half a deadline later.
            settle(&mut vm);
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
    }
    for (number, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(vm.wait(ticket).kind(), RESP_ERR_UNSPEC);
        let least = if number < 2 { 300 } else { 440 };
        let took = begin.elapsed().as_millis();
        assert!(took >= least, "{number}: {took} ms");
    }
    settle(&mut vm);
}

#[test]
fn a_daemon_with_nothing_to_do_sleeps() {
    let time = std::time::Duration::from_millis(200);
    let daemon = daemon();
    daemon.assert_asleep(time);
    let mut vm = guest(&daemon);
    daemon.assert_asleep(time);
    // A fence that waits, a front end that does not answer, a deadline that is far away.
    vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    vm.request();
    daemon.assert_asleep(time);
    vm.stop_ring(0);
    daemon.assert_asleep(time);
    vm.reply(Reply::Accept);
    daemon.assert_asleep(time);
    drop(vm);
    daemon.assert_asleep(time);
}
