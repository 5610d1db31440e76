//! EXPORT: what is on a buffer crosses, and nothing else.

use stile_frontend::gpu::{destroy_context, unref};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::encode_export;

use crate::rig::{READ, Rig, WRITE};

#[test]
fn a_write_fence_of_the_host_keeps_an_export_pending_until_it_signals() {
    for allocator in ["udmabuf", "heap", "heap:system", "vgem"] {
        let mut rig = Rig::new(&["--allocator", allocator]);
        let buffer = rig.blob(1);
        for access in [READ, WRITE, READ | WRITE] {
            let fence = rig.busy(&buffer, Access::WRITE);
            let ticket = rig.export(3, 1, access, 0);
            rig.assert_pending(ticket);
            fence.signal().unwrap();
            rig.assert_signals(ticket);
            let record = rig.last();
            assert_eq!((record.cmd, record.errno.get()), (0x80, 0), "{allocator}");
            let [taken, signalled, done] =
                [record.taken_ns, record.signalled_ns, record.done_ns].map(|ns| ns.get());
            assert!(
                taken < signalled && signalled <= done,
                "{taken} {signalled} {done}"
            );
        }
    }
}

#[test]
fn a_read_fence_of_the_host_is_waited_for_by_writers_only() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::READ);
    let reader = rig.export(3, 1, READ, 0);
    rig.assert_signals(reader);
    let writer = rig.export(3, 1, WRITE, 0);
    let both = rig.export(4, 1, READ | WRITE, 0);
    rig.assert_pending(writer);
    rig.assert_pending(both);
    fence.signal().unwrap();
    rig.assert_signals(writer);
    rig.assert_signals(both);
}

#[test]
fn an_idle_buffer_signals_at_once() {
    let mut rig = Rig::new(&[]);
    rig.blob(1);
    for access in [READ, WRITE] {
        let ticket = rig.export(3, 1, access, 0);
        rig.assert_signals(ticket);
        let record = rig.last();
        assert_eq!((record.errno.get(), record.flags.get()), (0, 0));
        assert_eq!(record.signalled_ns.get(), 0);
    }
}

#[test]
fn fences_that_come_after_the_export_do_not_count() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let first = rig.busy(&buffer, Access::WRITE);
    let ticket = rig.export(3, 1, READ, 0);
    rig.assert_pending(ticket);
    let second = rig.busy(&buffer, Access::WRITE);
    first.signal().unwrap();
    rig.assert_signals(ticket);
    let ticket = rig.export(3, 1, READ, 0);
    rig.assert_pending(ticket);
    second.signal().unwrap();
    rig.assert_signals(ticket);
}

#[test]
fn all_fences_that_are_there_count() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fences: Vec<_> = (0..5).map(|_| rig.busy(&buffer, Access::WRITE)).collect();
    let ticket = rig.export(3, 1, READ, 0);
    for fence in [2, 0, 4, 1] {
        fences[fence].signal().unwrap();
        rig.assert_pending(ticket);
    }
    fences[3].signal().unwrap();
    rig.assert_signals(ticket);
}

#[test]
fn one_ring_is_in_order_and_two_are_independent() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let slow = rig.busy(&one, Access::WRITE);
    let fast = rig.busy(&two, Access::WRITE);
    let first = rig.export(3, 1, READ, 0);
    let second = rig.export(3, 2, READ, 0);
    let apart = rig.export(4, 2, READ, 0);
    fast.signal().unwrap();
    rig.assert_signals(apart);
    rig.assert_pending(second);
    // The record tells at once what the fence tells in its turn.
    assert_eq!(rig.status.errnos(&rig.vm.ram, 2), [0, 0]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [] as [u32; 0]);
    slow.signal().unwrap();
    rig.assert_signals(second);
    assert!(rig.vm.is_answered(first));
    let order = rig.vm.order();
    let place = |ticket| order.iter().position(|done| *done == ticket).unwrap();
    assert!(place(first) < place(second));
}

#[test]
fn a_submission_waits_for_all_its_exports() {
    let mut rig = Rig::new(&[]);
    let buffers = [rig.blob(1), rig.blob(2), rig.blob(3)];
    let busy = [0, 2].map(|at| rig.busy(&buffers[at], Access::WRITE));
    let payload: Vec<u8> = (1..=3)
        .flat_map(|id| encode_export(5, id, id, READ, 0))
        .collect();
    let ticket = rig.submit(5, &payload);
    rig.assert_pending(ticket);
    busy[1].signal().unwrap();
    rig.assert_pending(ticket);
    busy[0].signal().unwrap();
    rig.assert_signals(ticket);
    let tags: Vec<u32> = rig.status.records(&rig.vm.ram)[1..]
        .iter()
        .map(|record| record.tag.get())
        .collect();
    assert_eq!(tags, [2, 3, 1], "in the order in which they ended");
}

#[test]
fn without_a_fence_nothing_waits() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let _fence = rig.busy(&buffer, Access::WRITE);
    rig.run(&encode_export(0, 0, 1, READ, 0));
}

#[test]
fn the_same_buffer_may_be_exported_by_many_at_once() {
    let mut rig = Rig::new(&["--max-pending-fences=200"]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    let tickets: Vec<_> = (0..63).map(|ring| rig.export(ring, 1, READ, 0)).collect();
    for ticket in &tickets {
        rig.assert_pending(*ticket);
    }
    fence.signal().unwrap();
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
}

#[test]
fn an_export_outlives_its_blob_and_its_context() {
    let mut rig = Rig::new(&[]);
    let buffers = [rig.blob(1), rig.blob(2)];
    let fences = [0, 1].map(|at| rig.busy(&buffers[at], Access::WRITE));
    let without_blob = rig.export(3, 1, READ, 7);
    let without_context = rig.export(4, 2, READ, 8);
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    rig.assert_pending(without_blob);
    rig.vm.expect(&destroy_context(1), RESP_OK_NODATA);
    assert!(!rig.vm.is_answered(without_blob) && !rig.vm.is_answered(without_context));
    fences[0].signal().unwrap();
    rig.assert_signals(without_blob);
    assert!(!rig.vm.is_answered(without_context));
    fences[1].signal().unwrap();
    rig.assert_signals(without_context);
}
