//! POLL over real fences, and how it differs from EXPORT.

use stile_frontend::gpu::unref;
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{Op, encode_export};

use crate::rig::{READ, Rig, WRITE};

const ENOENT: u32 = 2;
const EINVAL: u32 = 22;
const ETIMEDOUT: u32 = 110;

fn poll(ring: u8, id: u32, access: stile_wire::sync::Access) -> Vec<u8> {
    let op = Op::Poll {
        resource_id: id,
        access,
    };
    op.encode(ring, id).to_vec()
}

#[test]
fn a_poll_sees_what_comes_before_its_turn_and_an_export_what_is_there_when_it_is_taken_up() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let before = rig.busy(&one, Access::WRITE);
    let first = rig.export(3, 1, READ, 0);
    let polled = rig.submit(3, &poll(3, 2, READ));
    let exported = rig.export(4, 2, READ, 0);
    rig.assert_signals(exported);
    // In between.
    let between = rig.busy(&two, Access::WRITE);
    rig.assert_pending(first);
    rig.assert_pending(polled);
    before.signal().unwrap();
    rig.assert_signals(first);
    // Its turn has come. What follows does not count.
    let after = rig.busy(&two, Access::WRITE);
    rig.assert_pending(polled);
    between.signal().unwrap();
    rig.assert_signals(polled);
    let record = rig.last();
    assert_eq!((record.cmd, record.errno.get()), (0x86, 0));
    let [taken, signalled, done] =
        [record.taken_ns, record.signalled_ns, record.done_ns].map(|ns| ns.get());
    assert!(taken < signalled && signalled <= done);
    after.signal().unwrap();
}

#[test]
fn a_poll_with_nothing_before_it_starts_at_once_as_reader_or_writer() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    for (access, waits) in [(READ, false), (WRITE, true), (READ | WRITE, true)] {
        let fence = rig.busy(&buffer, Access::READ);
        let ticket = rig.submit(5, &poll(5, 1, access));
        if waits {
            rig.assert_pending(ticket);
        } else {
            rig.assert_signals(ticket);
        }
        let later = rig.busy(&buffer, Access::READ);
        fence.signal().unwrap();
        if waits {
            rig.assert_signals(ticket);
        }
        later.signal().unwrap();
    }
}

#[test]
fn a_chain_of_polls_goes_through_in_one_go() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    rig.blob(2);
    let fence = rig.busy(&buffer, Access::WRITE);
    let tickets: Vec<_> = (0..60)
        .map(|nth| rig.submit(3, &poll(3, 1 + nth % 2, READ)))
        .collect();
    rig.assert_pending(tickets[0]);
    rig.assert_pending(tickets[59]);
    fence.signal().unwrap();
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
    assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [0; 30]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 2), [0; 30]);
}

#[test]
fn a_blob_that_is_gone_when_its_turn_comes_is_enoent_and_the_ring_goes_on() {
    let mut rig = Rig::new(&[]);
    let (one, _two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let first = rig.export(3, 1, READ, 0);
    let gone = rig.submit(3, &poll(3, 2, READ));
    let behind = rig.submit(3, &poll(3, 1, READ));
    rig.vm.expect(&unref(2), RESP_OK_NODATA);
    rig.assert_pending(gone);
    fence.signal().unwrap();
    rig.assert_signals(first);
    rig.assert_signals(gone);
    rig.assert_signals(behind);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 2), [ENOENT]);
}

#[test]
fn a_poll_ends_with_its_deadline_whether_its_turn_has_come_or_not() {
    let mut rig = Rig::new(&["--fence-deadline-ms=300"]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let _fences = [rig.busy(&one, Access::WRITE), rig.busy(&two, Access::WRITE)];
    let started = rig.submit(3, &poll(3, 1, READ));
    let behind = rig.submit(3, &poll(3, 2, READ));
    rig.assert_pending(started);
    rig.assert_signals(started);
    rig.assert_signals(behind);
    for tag in [1, 2] {
        assert_eq!(rig.status.errnos(&rig.vm.ram, tag), [ETIMEDOUT]);
    }
}

#[test]
fn a_poll_whose_turn_comes_while_the_ring_is_stopped_starts_with_the_ring() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let first = rig.busy(&one, Access::WRITE);
    let export = rig.export(3, 1, READ, 0);
    let polled = rig.submit(3, &poll(3, 2, READ));
    rig.assert_pending(polled);
    let base = rig.vm.stop_ring(0);
    first.signal().unwrap();
    let second = rig.busy(&two, Access::WRITE);
    rig.vm.start_ring(0, base);
    rig.assert_signals(export);
    rig.assert_pending(polled);
    second.signal().unwrap();
    rig.assert_signals(polled);
}

#[test]
fn a_poll_without_a_fence_or_of_nothing_is_refused() {
    let mut rig = Rig::new(&[]);
    rig.blob(1);
    assert_eq!(rig.errnos(&poll(0, 1, READ)), [EINVAL]);
    let payload = [
        poll(3, 9, READ),
        poll(3, 1, stile_wire::sync::Access::from_bits_retain(4)),
        poll(4, 1, READ),
        encode_export(3, 5, 1, READ, 0).to_vec(),
    ];
    let ticket = rig.submit(3, &payload.concat());
    rig.assert_signals(ticket);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 9), [ENOENT]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [EINVAL; 3]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 5), [0]);
}
