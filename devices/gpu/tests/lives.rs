//! Front ends and guests come and go, at the worst moments; the daemon serves the next one as if
//! nothing had been.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::io::Read;
use std::time::Instant;

use stile_frontend::gpu::{GUEST, assign_uuid, create_blob, create_context, submit, unref};
use stile_frontend::raw::{Message, handshake};
use stile_frontend::{Daemon, HANG, Manner, Options, Plan, Ram, Reply, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};

fn daemon() -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")))
}

/// A guest with context 1 and blob 1, whose front end acknowledges what the test says.
#[track_caller]
fn guest(daemon: &Daemon) -> Vm {
    let mut vm = daemon.connect_with(Plan {
        manner: Manner::Ask,
        ..Plan::default()
    });
    furnish(&mut vm);
    vm
}

#[track_caller]
fn furnish(vm: &mut Vm) {
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let page = vm.room(4096);
    vm.expect(&create_blob(1, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
}

/// A fence that waits for the front end.
#[track_caller]
fn park(vm: &mut Vm, id: u64) -> stile_frontend::Ticket {
    let ticket = vm.send(&assign_uuid(1).context(1).ring_fence(3, id));
    vm.request();
    ticket
}

/// Sees that the device is one that nobody has used: the ids of [`furnish`] are free, and any fence
/// id is above the last.
#[track_caller]
fn assert_new(vm: &mut Vm) {
    vm.expect(&unref(1), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&submit(1, &[]), RESP_ERR_INVALID_CONTEXT_ID);
    vm.expect(&create_context(1, CAPSET_ID).fence(0), RESP_OK_NODATA);
    vm.expect(&submit(1, &[]).ring_fence(3, 0), RESP_OK_NODATA);
}

/// Waits until the daemon has as many descriptors and threads as it had, while it serves one front
/// end after the other. The thread of a closed back-end channel ends by itself a moment later.
#[track_caller]
fn assert_no_leak(daemon: &Daemon, before: &(Vec<String>, Vec<String>)) {
    let begin = Instant::now();
    loop {
        let _ended = daemon.connect();
        let now = (daemon.open_fds(), daemon.threads());
        if now == *before {
            return;
        }
        assert!(begin.elapsed() < HANG, "{before:#?} has become {now:#?}");
    }
}

/// Descriptors and threads while one front end is there.
#[track_caller]
fn in_use(daemon: &Daemon) -> (Vec<String>, Vec<String>) {
    let _vm = daemon.connect();
    (daemon.open_fds(), daemon.threads())
}

#[test]
fn a_second_front_end_finds_a_device_that_nobody_has_used() {
    let daemon = daemon();
    let mut first = guest(&daemon);
    first.expect(&submit(1, &[]).fence(100), RESP_OK_NODATA);
    park(&mut first, 50);
    drop(first);
    let mut second = daemon.connect();
    assert_new(&mut second);
    second.expect(&submit(1, &[]).fence(1), RESP_OK_NODATA);
}

#[test]
fn a_front_end_waits_while_another_is_served() {
    let daemon = daemon();
    let mut first = guest(&daemon);
    let waiting = daemon.dial();
    first.expect(&submit(1, &[]), RESP_OK_NODATA);
    drop(first);
    let mut second = Vm::start(waiting, Plan::default());
    assert_new(&mut second);
}

#[test]
fn reset_device_forgets_everything_and_answers_nothing_of_it() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    park(&mut vm, 1);
    vm.send(&submit(1, &[]).ring_fence(3, 2));
    vm.frontend.reset_device().unwrap();
    let used = vm.control.used_index();
    vm.reply(Reply::Accept);
    assert_eq!(vm.control.used_index(), used);
    vm.forget();
    vm.start_ring(0, 0);
    vm.start_ring(1, 0);
    assert_new(&mut vm);
    assert_eq!(
        vm.control.used_index(),
        4,
        "one for each command of this life"
    );
}

#[test]
fn a_guest_that_boots_again_finds_a_device_that_nobody_has_used() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    for life in 0..5 {
        park(&mut vm, 7);
        vm.send(&submit(1, &[]).ring_fence(3, 8));
        if life % 2 == 0 {
            vm.reboot();
            vm.reply(Reply::Accept);
        } else {
            vm.reply(Reply::Accept);
            vm.reboot();
        }
        // The name that was given is taken back.
        vm.request();
        vm.reply(Reply::Accept);
        assert_new(&mut vm);
        let page = vm.room(4096);
        vm.expect(&create_blob(1, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
        assert_eq!(vm.control.used_index(), 5);
    }
}

#[test]
fn a_ring_that_is_stopped_and_started_again_has_lost_nothing() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let parked = park(&mut vm, 1);
    let behind = vm.send(&submit(1, &[]).ring_fence(3, 2));
    vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    let base = vm.stop_ring(0);
    assert_eq!(base, vm.control.available_index());
    let used = vm.control.used_index();
    // Signalled while the ring is stopped, and commands that nobody sees yet.
    vm.reply(Reply::Accept);
    let unseen = vm.send(&submit(1, &[]).ring_fence(4, 1));
    vm.frontend.get_features().unwrap();
    assert_eq!(vm.control.used_index(), used);
    vm.start_ring(0, base);
    assert_eq!(vm.wait(parked).kind(), RESP_OK_RESOURCE_UUID);
    assert_eq!(vm.wait(behind).fence(), Some((Some(3), 2)));
    assert_eq!(vm.wait(unseen).fence(), Some((Some(4), 1)));
    vm.expect(&unref(1), RESP_OK_NODATA);
}

#[test]
fn memory_of_a_stopped_ring_is_not_written_whatever_ends() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let parked = park(&mut vm, 1);
    let memory = vm.response_memory(parked);
    let base = vm.stop_ring(0);
    vm.reply(Reply::Accept);
    std::thread::sleep(std::time::Duration::from_millis(100));
    vm.frontend.get_features().unwrap();
    assert_eq!(vm.response_memory(parked), memory);
    vm.start_ring(0, base);
    assert_eq!(vm.wait(parked).kind(), RESP_OK_RESOURCE_UUID);
}

#[test]
fn answers_from_before_the_call_fd_call_the_driver() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let parked = park(&mut vm, 1);
    let base = vm.stop_ring(0);
    let unseen = vm.send(&submit(1, &[]).ring_fence(4, 1));
    vm.reply(Reply::Accept);
    vm.control.calls();
    vm.start_ring_before_its_call(0, base);
    vm.control.wait_call();
    vm.wait(unseen);
    vm.wait(parked);
}

#[test]
fn a_ring_that_is_disabled_is_left_alone_until_it_is_enabled() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let parked = park(&mut vm, 1);
    vm.frontend.set_vring_enable(0, false).unwrap();
    let used = vm.control.used_index();
    vm.reply(Reply::Accept);
    let unseen = vm.send(&submit(1, &[]).fence(1));
    vm.frontend.get_features().unwrap();
    assert_eq!(vm.control.used_index(), used);
    vm.frontend.set_vring_enable(0, true).unwrap();
    vm.wait(parked);
    vm.wait(unseen);
}

#[test]
fn a_deadline_that_passes_while_a_ring_is_stopped_is_answered_afterwards() {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.with(&["--fence-deadline-ms=50"]));
    let mut vm = guest(&daemon);
    let parked = park(&mut vm, 1);
    let memory = vm.response_memory(parked);
    let base = vm.stop_ring(0);
    let used = vm.control.used_index();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(vm.control.used_index(), used);
    // It may be another guest's by now.
    assert_eq!(vm.response_memory(parked), memory);
    vm.start_ring(0, base);
    assert_eq!(vm.wait(parked).kind(), RESP_ERR_UNSPEC);
}

#[test]
fn a_command_without_a_fence_is_answered_though_its_front_end_hangs() {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.with(&["--fence-deadline-ms=50"]));
    let mut vm = guest(&daemon);
    vm.expect(&assign_uuid(1), RESP_ERR_UNSPEC);
    vm.request();
    // The answer comes late and answers nobody. The name holds.
    vm.reply(Reply::Accept);
    vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID);
    vm.expect(&submit(1, &[]), RESP_OK_NODATA);
}

#[test]
fn commands_that_were_put_before_the_ring_starts_are_taken_up_without_a_kick() {
    let daemon = daemon();
    let mut vm = Vm::introduce(daemon.dial(), &Plan::default());
    vm.share_memory();
    let early = vm.put(&create_context(1, CAPSET_ID).bytes());
    vm.control.show();
    vm.start_ring(0, 0);
    assert_eq!(vm.wait(early).kind(), RESP_OK_NODATA);
}

#[test]
fn a_front_end_without_protocol_features_is_served() {
    let daemon = daemon();
    let mut vm = Vm::introduce(
        daemon.dial(),
        &Plan {
            protocol_features: VhostUserProtocolFeatures::empty(),
            ..Plan::default()
        },
    );
    vm.share_memory();
    vm.start_ring(0, 0);
    furnish(&mut vm);
    // Without a back-end channel a UUID serves the bridge.
    vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID);
}

#[test]
fn the_front_end_dies_at_every_byte_of_its_messages() {
    let daemon = daemon();
    let before = in_use(&daemon);
    let Vm {
        ram,
        control,
        cursor,
        offered,
        protocol,
        ..
    } = Vm::introduce(daemon.dial(), &Plan::default());
    let messages = handshake(&ram, [&control, &cursor], offered, protocol);
    let mut lives = 0;
    for dies_in in 0..messages.len() {
        for length in 0..=messages[dies_in].bytes.len() {
            let mut stream = daemon.dial();
            let send = |message: &Message, length| {
                // The daemon may have hung up at a message that makes no sense to it.
                let _closed = message.send(&stream, length);
            };
            for message in &messages[..dies_in] {
                send(message, message.bytes.len());
            }
            send(&messages[dies_in], length);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // The daemon hangs up.
            let mut rest = Vec::new();
            stream.set_read_timeout(Some(HANG)).unwrap();
            let end = stream.read_to_end(&mut rest);
            assert!(
                end.is_ok() || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
                "the daemon hangs in message {dies_in} at byte {length}"
            );
            lives += 1;
        }
    }
    assert!(lives > 500);
    let mut vm = daemon.connect();
    assert_new(&mut vm);
    drop(vm);
    assert_no_leak(&daemon, &before);
}

#[test]
fn messages_that_make_no_sense_end_the_connection_and_nothing_else() {
    let daemon = daemon();
    let before = in_use(&daemon);
    let word = |value: u64| value.to_ne_bytes().to_vec();
    let state = |index: u32, value: u32| [index.to_ne_bytes(), value.to_ne_bytes()].concat();
    let addresses = |address: u64| {
        [
            word(0),
            word(address),
            word(address),
            word(address),
            word(0),
        ]
    };
    let messages = [
        ("a queue too many", FrontendReq::SET_VRING_NUM, state(2, 16)),
        ("size 0", FrontendReq::SET_VRING_NUM, state(0, 0)),
        ("size 3", FrontendReq::SET_VRING_NUM, state(0, 3)),
        ("too long", FrontendReq::SET_VRING_NUM, state(0, 65536)),
        ("base", FrontendReq::SET_VRING_BASE, state(0, 65536)),
        (
            "nowhere",
            FrontendReq::SET_VRING_ADDR,
            addresses(16).concat(),
        ),
        (
            "far",
            FrontendReq::SET_VRING_ADDR,
            addresses(u64::MAX).concat(),
        ),
        ("feature 63", FrontendReq::SET_FEATURES, word(1 << 63)),
        ("no fd", FrontendReq::SET_VRING_KICK, word(0)),
        ("queue 9", FrontendReq::GET_VRING_BASE, state(9, 0)),
        ("short", FrontendReq::SET_VRING_NUM, vec![0; 4]),
        ("long", FrontendReq::SET_OWNER, vec![0; 8]),
        ("no table", FrontendReq::SET_MEM_TABLE, vec![0; 8]),
        ("a lie", FrontendReq::SET_MEM_TABLE, word(8)),
        ("no channel", FrontendReq::SET_BACKEND_REQ_FD, vec![]),
        ("unasked", FrontendReq::SET_LOG_BASE, word(0)),
    ];
    for (name, request, body) in messages {
        let mut stream = daemon.dial();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let message = Message::new(request, &body);
        message.send(&stream, message.bytes.len()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect(name);
        assert_eq!(rest, [], "{name}");
    }
    assert_no_leak(&daemon, &before);
}

#[test]
fn nothing_is_left_of_a_front_end_that_dies_with_everything_in_use() {
    let daemon = daemon();
    let before = in_use(&daemon);
    for _ in 0..20 {
        let mut vm = guest(&daemon);
        for id in 2..100 {
            let page = vm.room(4096);
            vm.expect(&create_blob(id, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
        }
        park(&mut vm, 1);
        for id in 2..50 {
            vm.send(&assign_uuid(id as u32).context(1).ring_fence(5, id));
        }
        for id in 50..100 {
            vm.send(&submit(1, &[]).ring_fence(3, id));
        }
    }
    assert_no_leak(&daemon, &before);
}

#[test]
fn memory_that_is_taken_away_under_a_running_ring_does_not_stop_the_daemon() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let other = Ram::new(&[(0x8000_0000, 1 << 20)], true);
    vm.frontend.set_mem_table(&other.regions()).unwrap();
    vm.send(&submit(1, &[]));
    vm.frontend.get_features().unwrap();
    // With the old memory it goes on where it was.
    vm.share_memory();
    vm.expect(&submit(1, &[]).fence(9), RESP_OK_NODATA);
}

#[test]
fn memory_is_added_and_removed_while_the_rings_run() {
    let daemon = daemon();
    let mut vm = guest(&daemon);
    let more = Ram::new(&[(0x2_0000_0000, 1 << 20)], true);
    let page = stile_frontend::Piece {
        address: 0x2_0000_0000,
        bytes: 4096,
    };
    let blob = create_blob(2, GUEST, 0, 4096, &[page]);
    vm.expect(&blob, RESP_ERR_INVALID_PARAMETER);
    assert!(vm.frontend.get_max_mem_slots().unwrap() >= 500);
    for _ in 0..3 {
        vm.frontend.add_mem_region(&more.regions()[0]).unwrap();
        vm.expect(&blob, RESP_OK_NODATA);
        vm.expect(&unref(2), RESP_OK_NODATA);
        vm.frontend.remove_mem_region(&more.regions()[0]).unwrap();
        vm.expect(&blob, RESP_ERR_INVALID_PARAMETER);
    }
}
