//! Rings of every shape, and what a driver may do to them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use stile_frontend::gpu::{Command, create_context, submit};
use stile_frontend::{Chain, Daemon, Options, Piece, Plan, Vm, descriptor};
use stile_wire::gpu::layout::UpdateCursor;
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_WRITE};
use zerocopy::FromZeros;

fn daemon() -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")))
}

/// Puts a chain into the control ring, waits until it is used, and reads the response.
#[track_caller]
fn ask_chain(vm: &mut Vm, chain: &Chain) -> Vec<u8> {
    let head = vm.control.put(chain);
    vm.control.show();
    vm.control.kick();
    let used = vm.control.wait();
    assert_eq!(used.head, head);
    let written = chain.writable.iter().map(|piece| piece.bytes).sum::<u32>();
    assert!(used.written <= written);
    let mut bytes = Vec::new();
    for piece in &chain.writable {
        bytes.extend(vm.ram.read(piece.address, piece.bytes as usize));
    }
    bytes.truncate(used.written as usize);
    bytes
}

/// A round trip of the cursor queue: what the daemon began before is done afterwards.
#[track_caller]
fn move_cursor(vm: &mut Vm) {
    vm.cursor.put(&Chain {
        readable: vec![vm.room(24)],
        writable: vec![],
        indirect: false,
    });
    vm.cursor.show();
    vm.cursor.kick();
    vm.cursor.wait();
}

#[track_caller]
fn kind(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

#[test]
fn commands_and_responses_may_be_split_anywhere_and_indirect() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    for indirect in [false, true] {
        for piece_bytes in [1, 2, 7, 24, 100] {
            let bytes = Command::new(CMD_GET_DISPLAY_INFO).fence(1).bytes();
            let readable = bytes
                .chunks(piece_bytes)
                .map(|part| vm.piece(part))
                .collect();
            let writable = (0..(24 + 384_usize).div_ceil(piece_bytes.max(7)))
                .map(|_| vm.room(piece_bytes.max(7) as u32))
                .collect();
            let chain = Chain {
                readable,
                writable,
                indirect,
            };
            let answer = ask_chain(&mut vm, &chain);
            // The second has a fence id that is not above the first's.
            let expected = if (indirect, piece_bytes) == (false, 1) {
                RESP_OK_DISPLAY_INFO
            } else {
                RESP_ERR_INVALID_PARAMETER
            };
            assert_eq!(kind(&answer), expected, "{piece_bytes} {indirect}");
        }
    }
}

#[test]
fn a_response_is_written_as_far_as_there_is_room() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    for room in [1_u32, 4, 23, 24, 25, 408, 409] {
        let command = vm.piece(&Command::new(CMD_GET_DISPLAY_INFO).bytes());
        let guard = vm.piece(&[0x5a; 512]);
        let writable = Piece {
            bytes: room,
            ..guard
        };
        let answer = ask_chain(
            &mut vm,
            &Chain {
                readable: vec![command],
                writable: vec![writable],
                indirect: false,
            },
        );
        assert_eq!(answer.len(), room.min(408) as usize);
        let behind = vm.ram.read(guard.address, 512);
        assert!(behind[answer.len()..].iter().all(|byte| *byte == 0x5a));
    }
}

#[test]
fn a_command_without_room_for_an_answer_is_done_and_used() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    for indirect in [false, true] {
        let command = vm.piece(&create_context(1, CAPSET_ID).bytes());
        let chain = Chain {
            readable: vec![command],
            writable: vec![],
            indirect,
        };
        assert_eq!(ask_chain(&mut vm, &chain), []);
    }
    vm.expect(&create_context(1, CAPSET_ID), RESP_ERR_INVALID_CONTEXT_ID);
}

#[test]
fn a_chain_without_a_command_gets_an_error() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let chain = Chain {
        readable: vec![],
        writable: vec![vm.room(64)],
        indirect: false,
    };
    assert_eq!(
        kind(&ask_chain(&mut vm, &chain)),
        RESP_ERR_INVALID_PARAMETER
    );
}

#[test]
fn the_cursor_queue_is_served() {
    let daemon = daemon();
    for event_idx in [true, false] {
        let mut vm = daemon.connect_with(Plan {
            event_idx,
            ..Plan::default()
        });
        for room in [0, 24] {
            let bytes = Command::new(CMD_UPDATE_CURSOR)
                .body(&UpdateCursor::new_zeroed())
                .bytes();
            let readable = vec![vm.piece(&bytes)];
            let writable = if room > 0 {
                vec![vm.room(room)]
            } else {
                vec![]
            };
            vm.cursor.put(&Chain {
                readable,
                writable,
                indirect: false,
            });
            vm.cursor.show();
            vm.cursor.kick();
            assert_eq!(vm.cursor.wait().written, room);
        }
    }
}

#[test]
fn the_longest_rings_work() {
    let daemon = daemon();
    let mut vm = daemon.connect_with(Plan {
        control_size: 32768,
        cursor_size: 32768,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    // More than once around, many at a time.
    let mut id = 0;
    for _ in 0..5 {
        let tickets: Vec<_> = (0..8000)
            .map(|_| {
                id += 1;
                vm.put(&submit(1, &[]).fence(id).bytes())
            })
            .collect();
        vm.control.show();
        vm.control.kick();
        let last = tickets[tickets.len() - 1];
        assert_eq!(vm.wait(last).kind(), RESP_OK_NODATA);
        assert_eq!(vm.order().len() as u64, id + 1);
    }
}

#[test]
fn the_shortest_ring_works_and_its_indices_wrap() {
    let daemon = daemon();
    let mut vm = daemon.connect_with(Plan {
        control_size: 2,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    // Beyond 2^16 commands the indices begin again.
    for id in 1..=66_000 {
        let answer = vm.ask(&submit(1, &[]).fence(id));
        assert_eq!(answer.fence(), Some((None, id)));
    }
}

#[test]
fn a_batch_gets_one_call() {
    let daemon = daemon();
    for event_idx in [true, false] {
        let mut vm = daemon.connect_with(Plan {
            event_idx,
            ..Plan::default()
        });
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        move_cursor(&mut vm);
        vm.control.calls();
        vm.control.call_at(vm.control.used_index());
        let tickets: Vec<_> = (1..=64)
            .map(|id| vm.put(&submit(1, &[]).fence(id).bytes()))
            .collect();
        vm.control.show();
        vm.control.kick();
        vm.control.wait_call();
        // The call comes after the whole batch is in the used ring.
        assert!(vm.is_answered(tickets[63]));
        move_cursor(&mut vm);
        assert_eq!(vm.control.calls(), 0, "EVENT_IDX {event_idx}");
    }
}

#[test]
fn a_driver_that_wants_no_calls_gets_none() {
    let daemon = daemon();
    for event_idx in [true, false] {
        let mut vm = daemon.connect_with(Plan {
            event_idx,
            ..Plan::default()
        });
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        // The answer may have been seen before its call came.
        move_cursor(&mut vm);
        vm.control.calls();
        let used = vm.control.used_index();
        vm.control.call_at(used.wrapping_add(9));
        vm.control.want_calls(false);
        for id in 1..=9 {
            vm.send(&submit(1, &[]).fence(id));
        }
        // The cursor ring's answer comes after the control ring's, as kicks are taken in order of
        // their arrival or together.
        while vm.control.used_index() != used.wrapping_add(9) {
            move_cursor(&mut vm);
        }
        assert_eq!(vm.control.calls(), 0, "EVENT_IDX {event_idx}");
        vm.control.want_calls(true);
        vm.send(&submit(1, &[]).fence(10));
        vm.control.wait_call();
    }
}

#[test]
fn the_device_wants_a_kick_only_when_it_sleeps() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let mut kicks = 0;
    for id in 1..=2000_u64 {
        let tickets: Vec<_> = (0..8)
            .map(|part| {
                let ticket = vm.put(&submit(1, &[]).fence(id * 8 + part).bytes());
                vm.control.show();
                kicks += u32::from(vm.control.kick());
                ticket
            })
            .collect();
        for ticket in tickets {
            vm.wait(ticket);
        }
    }
    assert!(kicks < 16_000, "{kicks} kicks for 16000 commands");
}

#[test]
fn an_available_index_that_makes_no_sense_does_not_stop_the_daemon() {
    let daemon = daemon();
    for event_idx in [true, false] {
        let mut vm = daemon.connect_with(Plan {
            event_idx,
            ..Plan::default()
        });
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        for wrong in [257 + 1, 1000, 0x8000, 0xffff] {
            vm.control.show_wrong(wrong);
            vm.control.kick_anyway();
        }
        // The other ring and the front end are still served.
        move_cursor(&mut vm);
        vm.stop_ring(1);
        // And so is this one when its driver has come to its senses.
        vm.control.show();
        vm.control.kick_anyway();
        vm.expect(&submit(1, &[]).fence(1), RESP_OK_NODATA);
    }
}

#[test]
fn chains_that_make_no_sense_do_not_stop_the_daemon() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let at = |address, bytes| Piece { address, bytes };
    let write = VRING_DESC_F_WRITE as u16;
    let indirect = VRING_DESC_F_INDIRECT as u16;
    let table = vm.room(64);
    // A table that refers to itself, and one whose descriptor points beyond it.
    vm.ram
        .write(table.address, &descriptor(table, indirect, None));
    let beyond = vm.room(16);
    vm.ram.write(beyond.address, &descriptor(table, 0, Some(9)));
    let descriptors = [
        descriptor(at(0, 4096), 0, None),
        descriptor(at(u64::MAX, u32::MAX), 0, None),
        descriptor(at(0, 4096), write, None),
        descriptor(at(u64::MAX - 8, 4096), write, Some(0)),
        descriptor(table, 0, Some(9999)),
        descriptor(at(table.address, 16), indirect, None),
        descriptor(at(table.address, 17), indirect, None),
        descriptor(at(table.address, 0), indirect, None),
        descriptor(at(0, 16), indirect, None),
        descriptor(at(table.address, u32::MAX - 15), indirect, None),
        descriptor(beyond, indirect, None),
        // Themselves, again and again.
        descriptor(table, 0, Some(11)),
        descriptor(at(0x10_0000, 1 << 20), write, Some(12)),
    ];
    for (index, bytes) in (0_u16..).zip(&descriptors) {
        vm.control.set_descriptor(index, bytes);
        vm.control.put_head(index);
    }
    // Heads beyond the ring.
    for head in [256, 1000, 0xffff] {
        vm.control.put_head(head);
    }
    let before = vm.control.used_index();
    vm.control.show();
    vm.control.kick_anyway();
    while vm.control.used_index() == before {
        vm.control.wait_call();
    }
    drop(vm);
    let mut next = daemon.connect();
    next.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
}

#[test]
fn a_driver_that_never_stops_putting_does_not_keep_its_front_end_waiting() {
    use vhost::VhostBackend;

    let daemon = daemon();
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let Vm {
        control: ring,
        frontend,
        ram,
        ..
    } = &mut vm;
    // Each entry has its own response, from which the driver sees how far the device is: it shows
    // one more entry for each that is answered, long before it is used.
    let write = VRING_DESC_F_WRITE as u16;
    let bytes = submit(1, &[]).bytes();
    let command = Piece {
        address: ram.take(64),
        bytes: bytes.len() as u32,
    };
    ram.write(command.address, &bytes);
    let responses: Vec<u64> = (0..128).map(|_| ram.take(64)).collect();
    for (number, address) in (0_u16..).zip(&responses) {
        let response = Piece {
            address: *address,
            bytes: 24,
        };
        ring.set_descriptor(number * 2, &descriptor(command, 0, Some(number * 2 + 1)));
        ring.set_descriptor(number * 2 + 1, &descriptor(response, write, None));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0_u16;
            for _ in 0..127 {
                ring.put_head(next % 128 * 2);
                next = next.wrapping_add(1);
            }
            let start = ring.used_index();
            ring.show();
            ring.kick_anyway();
            let mut done = 0_u16;
            while done < 50_000 {
                let response = responses[usize::from(done % 128)];
                if ram.read(response, 4) == [0; 4] {
                    continue;
                }
                ram.write(response, &[0; 4]);
                done = done.wrapping_add(1);
                ring.put_head(next % 128 * 2);
                next = next.wrapping_add(1);
                ring.show();
                ring.kick_anyway();
                let used = ring.used_index().wrapping_sub(start);
                let kept = done.saturating_sub(used);
                assert!(
                    kept <= 256,
                    "{kept} answers that the driver was not told of"
                );
            }
        });
        for _ in 0..100 {
            frontend.get_features().unwrap();
        }
    });
}
