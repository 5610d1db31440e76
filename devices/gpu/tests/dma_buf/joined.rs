//! FROM_RING and SNAPSHOT over real fences: what is pending is handed on while it is pending.

use stile_frontend::gpu::{assign_uuid, attach, create_context, submit};
use stile_frontend::{Manner, Reply};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, Op, encode_drop, encode_export, encode_import, encode_wait};

use crate::rig::{READ, Rig, WRITE};

const EOPNOTSUPP: u32 = 95;
const ETIMEDOUT: u32 = 110;

fn from_ring(ring: u32, cookie: u64) -> Vec<u8> {
    let op = Op::FromRing {
        ctx_id: 0,
        ring,
        cookie,
    };
    op.encode(0, 50).to_vec()
}

fn snapshot(resource_id: u32, cookie: u64) -> Vec<u8> {
    let op = Op::Snapshot {
        resource_id,
        cookie,
    };
    op.encode(0, 51).to_vec()
}

fn import(resource_id: u32, cookie: u64) -> Vec<u8> {
    encode_import(0, 52, resource_id, WRITE, cookie).to_vec()
}

#[test]
fn a_rings_last_fence_is_imported_elsewhere_before_anything_signals() {
    let mut rig = Rig::new(&[]);
    let (one, two, other) = (rig.blob(1), rig.blob(2), rig.blob(3));
    let fences = [rig.busy(&one, Access::WRITE), rig.busy(&two, Access::WRITE)];
    let first = rig.export(3, 1, READ, 0);
    let second = rig.export(3, 2, READ, 0);
    let held = rig.submit(3, &[]);
    rig.run(&[from_ring(3, 10), import(3, 10)].concat());
    for ticket in [first, second, held] {
        rig.assert_pending(ticket);
    }
    assert!(!other.poll(Access::READ).unwrap());
    // On its way to others too, also without its name.
    rig.run(&encode_drop(0, 53, 10));
    let reader = rig.export(4, 3, READ, 0);
    rig.assert_pending(reader);
    fences[1].signal().unwrap();
    rig.assert_pending(reader);
    assert!(!other.poll(Access::READ).unwrap());
    fences[0].signal().unwrap();
    for ticket in [first, second, held, reader] {
        rig.assert_signals(ticket);
    }
    assert!(other.poll(Access::WRITE).unwrap());
}

#[test]
fn a_chain_of_rings_is_one_chain_of_the_hosts() {
    let mut rig = Rig::new(&[]);
    let (first, _second, third) = (rig.blob(1), rig.blob(2), rig.blob(3));
    let fence = rig.busy(&first, Access::WRITE);
    let mut tickets = vec![rig.export(3, 1, READ, 0)];
    rig.run(&[from_ring(3, 10), import(2, 10)].concat());
    tickets.push(rig.export(4, 2, READ, 0));
    rig.run(&[from_ring(4, 11), import(3, 11)].concat());
    tickets.push(rig.export(5, 3, READ, 0));
    for ticket in &tickets {
        rig.assert_pending(*ticket);
    }
    // The host's buffer at the end is done with the fence at the beginning, whatever the guest does.
    let base = rig.vm.stop_ring(0);
    assert!(!third.poll(Access::READ).unwrap());
    fence.signal().unwrap();
    assert!(third.poll(Access::READ).unwrap());
    rig.vm.start_ring(0, base);
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
}

#[test]
fn a_snapshot_joins_all_rings_of_all_contexts_that_hold_the_buffer() {
    let mut rig = Rig::new(&[]);
    let buffers = [rig.blob(1), rig.blob(2), rig.blob(3)];
    let shared = rig.blob(4);
    rig.vm.expect(&create_context(2, CAPSET_ID), RESP_OK_NODATA);
    for id in [3, 4] {
        rig.vm.expect(&attach(2, id), RESP_OK_NODATA);
    }
    let fences = [0, 1, 2].map(|nth: usize| rig.busy(&buffers[nth], Access::WRITE));
    let mut tickets = vec![rig.export(3, 1, READ, 0), rig.export(4, 2, READ, 0)];
    let of_two = submit(2, &encode_export(0, 3, 3, READ, 0)).ring_fence(0, 1);
    tickets.push(rig.vm.send(&of_two));
    rig.run(&[snapshot(4, 10), import(4, 10)].concat());
    for (fence, ticket) in fences.iter().zip(tickets) {
        assert!(!shared.poll(Access::READ).unwrap());
        rig.assert_pending(ticket);
        fence.signal().unwrap();
        rig.assert_signals(ticket);
    }
    assert!(shared.poll(Access::WRITE).unwrap());
}

#[test]
fn many_fences_are_joined_and_nothing_is_left_open() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let other = rig.blob(2);
    let fences: Vec<_> = (0..3).map(|_| rig.busy(&buffer, Access::READ)).collect();
    // Ninety waits for the same three fences.
    let exports: Vec<u8> = (0..10)
        .flat_map(|_| encode_export(3, 1, 1, WRITE, 0).to_vec())
        .collect();
    let tickets: Vec<_> = (0..9).map(|_| rig.submit(3, &exports)).collect();
    rig.assert_pending(tickets[0]);
    let before = rig.daemon.quiet_fds().len();
    rig.run(&from_ring(3, 10));
    assert_eq!(rig.daemon.quiet_fds().len(), before + 1);
    rig.run(&[import(2, 10), encode_drop(0, 53, 10).to_vec()].concat());
    assert_eq!(rig.daemon.quiet_fds().len(), before);
    for fence in fences {
        assert!(!other.poll(Access::READ).unwrap());
        fence.signal().unwrap();
    }
    assert!(other.poll(Access::READ).unwrap());
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
}

#[test]
fn with_nothing_pending_the_cookie_has_signalled() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    let done = rig.export(3, 1, READ, 0);
    fence.signal().unwrap();
    rig.assert_signals(done);
    rig.run(&[from_ring(3, 10), from_ring(9, 11), snapshot(1, 12)].concat());
    for cookie in [10, 11, 12] {
        let ticket = rig.submit(4, &encode_wait(4, 54, cookie));
        rig.assert_signals(ticket);
        rig.run(&import(1, cookie));
    }
    assert_eq!(rig.status.errnos(&rig.vm.ram, 54), [0; 3]);
    assert!(buffer.poll(Access::WRITE).unwrap());
}

#[test]
fn nothing_stands_for_a_poll_an_access_or_the_front_end() {
    let mut rig = Rig::with(&[], Manner::Ask);
    let (one, _two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let access = READ;
    let export = rig.export(3, 1, READ, 0);
    let poll = Op::Poll {
        resource_id: 2,
        access,
    };
    let polled = rig.submit(3, &poll.encode(3, 1));
    let begin = Op::CpuBegin {
        resource_id: 1,
        access,
    };
    let begun = rig.submit(4, &begin.encode(4, 1));
    let id = rig.id();
    let named = rig.vm.send(&assign_uuid(1).context(1).ring_fence(5, id));
    rig.vm.request();
    let all = [
        from_ring(3, 10),
        from_ring(4, 10),
        from_ring(5, 10),
        snapshot(1, 10),
    ];
    assert_eq!(rig.errnos(&all.concat()), [EOPNOTSUPP; 4]);
    rig.assert_pending(polled);
    fence.signal().unwrap();
    rig.vm.reply(Reply::Accept);
    for ticket in [export, polled, begun] {
        rig.assert_signals(ticket);
    }
    rig.vm.wait(named);
    rig.run(&snapshot(1, 10));
}

#[test]
fn a_fence_that_was_given_up_is_no_longer_the_rings() {
    let mut rig = Rig::new(&["--fence-deadline-ms=300"]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let overdue = rig.export(3, 1, READ, 0);
    rig.run(&[from_ring(3, 10), import(2, 10)].concat());
    rig.assert_signals(overdue);
    assert_eq!(rig.last().errno.get(), ETIMEDOUT);
    // What was joined is the host's fence, which has not signalled. The ring has nothing pending.
    assert!(!two.poll(Access::READ).unwrap());
    rig.run(&from_ring(3, 11));
    let ticket = rig.submit(4, &encode_wait(4, 54, 11));
    rig.assert_signals(ticket);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 54), [0]);
    fence.signal().unwrap();
    assert!(two.poll(Access::READ).unwrap());
}
