//! The memory of blobs is made by a thread of its own, and nothing waits for it but commands.
//!
//! A test stops that thread where the kernel would keep it: an allocation that takes so long as to
//! be seen, or hangs, cannot be had of a real allocator. The thread is the real one; which allocator
//! it would have asked makes no difference, so that guest pages will do and a machine without any.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use stile_frontend::gpu::{
    Command, GUEST, HOST3D, assign_uuid, attach, create_blob, create_context, submit, unref,
};
use stile_frontend::{Chain, Daemon, HANG, Manner, Options, Plan, Ram, Reply, Ticket, Vm};
use stile_wire::gpu::layout::UpdateCursor;
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;
use zerocopy::FromZeros;

fn daemon(arguments: &[&str]) -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(arguments))
}

/// A guest with context 1 and blob 1, whose front end acknowledges what the test says.
#[track_caller]
fn guest(daemon: &Daemon) -> Vm {
    let mut vm = daemon.connect_with(Plan {
        manner: Manner::Ask,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let blob = blob(&vm, 1);
    vm.expect(&blob, RESP_OK_NODATA);
    vm
}

fn blob(vm: &Vm, id: u32) -> Command {
    let page = vm.room(4096);
    create_blob(id, GUEST, 0, 4096, &[page])
}

#[track_caller]
fn send_blob(vm: &mut Vm, id: u32) -> Ticket {
    let blob = blob(vm, id);
    vm.send(&blob)
}

/// The daemon has looked at everything that was sent to it before.
#[track_caller]
fn settle(vm: &Vm) {
    vm.frontend.get_features().unwrap();
}

#[test]
fn commands_wait_for_the_memory_of_a_blob_and_take_effect_in_their_order() {
    let daemon = daemon(&[]);
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    let before = vm.order().len();
    let mut sent = vec![vm.send(&submit(1, &[]))];
    for id in 2..5 {
        sent.push(send_blob(&mut vm, id));
        sent.push(vm.send(&attach(1, id)));
        sent.push(vm.send(&unref(id)));
    }
    settle(&vm);
    assert_eq!(vm.order()[before..], sent[..1]);
    drop(frozen);
    for ticket in &sent {
        assert_eq!(vm.wait(*ticket).kind(), RESP_OK_NODATA, "{ticket:?}");
    }
    assert_eq!(vm.order()[before..], sent);
}

#[test]
fn fences_and_front_ends_do_not_wait_for_the_memory_of_a_blob() {
    let daemon = daemon(&[]);
    let mut vm = guest(&daemon);
    let fence = vm.send(&assign_uuid(1).context(1).ring_fence(3, 1));
    vm.request();
    let frozen = daemon.freeze("allocator");
    let waits = send_blob(&mut vm, 2);
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(fence).fence(), Some((Some(3), 1)));
    let more = Ram::new(&[(0x2_0000_0000, 1 << 20)], true);
    vm.frontend.add_mem_region(&more.regions()[0]).unwrap();
    let flags = VhostUserConfigFlags::WRITABLE;
    vm.frontend.get_config(0, 4, flags, &[0; 4]).unwrap();
    vm.frontend.remove_mem_region(&more.regions()[0]).unwrap();
    assert!(!vm.is_answered(waits));
    drop(frozen);
    assert_eq!(vm.wait(waits).kind(), RESP_OK_NODATA);
}

#[test]
fn the_cursor_waits_with_the_control_ring() {
    let daemon = daemon(&[]);
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    let blob = send_blob(&mut vm, 2);
    settle(&vm);
    let cursor = Command::new(CMD_MOVE_CURSOR).body(&UpdateCursor::new_zeroed());
    let (readable, writable) = (vm.piece(&cursor.bytes()), vm.room(64));
    vm.cursor.put(&Chain {
        readable: vec![readable],
        writable: vec![writable],
        indirect: false,
    });
    vm.cursor.show();
    vm.cursor.kick();
    settle(&vm);
    assert_eq!(vm.cursor.used_index(), 0);
    drop(frozen);
    vm.wait(blob);
    assert_eq!(vm.cursor.wait().written, 24);
}

#[test]
fn the_daemon_sleeps_while_memory_is_made_and_commands_lie_in_the_ring() {
    let daemon = daemon(&[]);
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    let blob = send_blob(&mut vm, 2);
    let behind = vm.send(&submit(1, &[]));
    settle(&vm);
    daemon.assert_asleep(Duration::from_millis(50));
    drop(frozen);
    vm.wait(blob);
    vm.wait(behind);
    daemon.assert_asleep(Duration::from_millis(50));
}

#[test]
fn an_allocator_that_hangs_is_out_of_memory_once_and_then_at_once() {
    let daemon = daemon(&["--fence-deadline-ms=50"]);
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    let first = send_blob(&mut vm, 2);
    let behind = vm.send(&submit(1, &[]));
    assert_eq!(vm.wait(first).kind(), RESP_ERR_OUT_OF_MEMORY);
    assert_eq!(vm.wait(behind).kind(), RESP_OK_NODATA);
    daemon.wait_for_line("takes longer than a fence may");
    let begin = Instant::now();
    for id in 2..1000 {
        let refused = [blob(&vm, id), create_blob(id, HOST3D, 0, 4096, &[])];
        for blob in refused {
            vm.expect(&blob, RESP_ERR_OUT_OF_MEMORY);
        }
    }
    // If each had to wait for its own deadline, it would be 100 seconds.
    assert!(begin.elapsed() < HANG);
    drop(frozen);
    daemon.wait_for_line("nobody waited for");
    vm.expect(&unref(2), RESP_ERR_INVALID_RESOURCE_ID);
    let again = blob(&vm, 2);
    vm.expect(&again, RESP_OK_NODATA);
}

#[test]
fn a_fenced_blob_whose_memory_hangs_signals_its_fence() {
    let daemon = daemon(&["--fence-deadline-ms=50"]);
    let mut vm = guest(&daemon);
    let _frozen = daemon.freeze("allocator");
    let fenced = blob(&vm, 2).context(1).ring_fence(7, 9);
    let answer = vm.expect(&fenced, RESP_ERR_OUT_OF_MEMORY);
    assert_eq!(answer.fence(), Some((Some(7), 9)));
}

#[test]
fn memory_that_is_made_while_a_ring_is_stopped_is_kept_for_its_start() {
    let daemon = daemon(&[]);
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    // With a fence its answer is none that has been in this memory before.
    let fenced = blob(&vm, 2).fence(77);
    let blob = vm.send(&fenced);
    let behind = vm.send(&attach(1, 2));
    settle(&vm);
    let memory = vm.response_memory(blob);
    let base = vm.stop_ring(0);
    drop(frozen);
    daemon.assert_asleep(Duration::from_millis(50));
    assert_eq!(vm.response_memory(blob), memory);
    vm.start_ring(0, base);
    assert_eq!(vm.wait(blob).kind(), RESP_OK_NODATA);
    assert_eq!(vm.wait(behind).kind(), RESP_OK_NODATA);
}

#[test]
fn memory_is_waited_for_over_a_stop_and_given_up_after_it() {
    let daemon = daemon(&["--fence-deadline-ms=50"]);
    let mut vm = guest(&daemon);
    let _frozen = daemon.freeze("allocator");
    let blob = send_blob(&mut vm, 2);
    settle(&vm);
    let used = vm.control.used_index();
    let base = vm.stop_ring(0);
    std::thread::sleep(Duration::from_millis(100));
    settle(&vm);
    assert_eq!(vm.control.used_index(), used);
    vm.start_ring(0, base);
    assert_eq!(vm.wait(blob).kind(), RESP_ERR_OUT_OF_MEMORY);
}

#[test]
fn a_guest_that_begins_anew_does_not_get_the_blob_of_the_one_before() {
    let daemon = daemon(&[]);
    for reset_device in [false, true] {
        let mut vm = guest(&daemon);
        let frozen = daemon.freeze("allocator");
        send_blob(&mut vm, 2);
        vm.send(&attach(1, 2));
        settle(&vm);
        if reset_device {
            vm.frontend.reset_device().unwrap();
            vm.forget();
            vm.start_ring(0, 0);
            vm.start_ring(1, 0);
        } else {
            vm.reboot();
        }
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        vm.expect(&attach(1, 2), RESP_ERR_INVALID_RESOURCE_ID);
        // Its own blob is made behind that of the other.
        let blob = send_blob(&mut vm, 1);
        settle(&vm);
        assert!(!vm.is_answered(blob));
        drop(frozen);
        assert_eq!(vm.wait(blob).kind(), RESP_OK_NODATA);
        vm.expect(&unref(2), RESP_ERR_INVALID_RESOURCE_ID);
        vm.expect(&unref(1), RESP_OK_NODATA);
    }
}

#[test]
fn a_front_end_that_goes_while_memory_is_made_leaves_nothing_behind() {
    let daemon = daemon(&[]);
    let before = {
        let _vm = daemon.connect();
        (daemon.open_fds(), daemon.threads())
    };
    let mut vm = guest(&daemon);
    let frozen = daemon.freeze("allocator");
    send_blob(&mut vm, 2);
    settle(&vm);
    drop(vm);
    // The next one has an allocator of its own.
    let mut next = guest(&daemon);
    next.expect(&unref(2), RESP_ERR_INVALID_RESOURCE_ID);
    next.expect(&unref(1), RESP_OK_NODATA);
    drop(next);
    drop(frozen);
    let begin = Instant::now();
    loop {
        let _ended = daemon.connect();
        let now = (daemon.open_fds(), daemon.threads());
        if now == before {
            return;
        }
        assert!(begin.elapsed() < HANG, "{before:#?} has become {now:#?}");
    }
}
