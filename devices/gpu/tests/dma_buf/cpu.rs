//! CPU_BEGIN and CPU_END over real fences: the kernel waits without limit, and nobody with it.

use std::rc::Rc;
use std::time::Instant;

use stile_frontend::gpu::unref;
use stile_frontend::{HANG, Ticket};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{Op, encode_export};

use crate::rig::{READ, Rig, WRITE, daemon};

const EINVAL: u32 = 22;
const EBUSY: u32 = 16;
const ETIMEDOUT: u32 = 110;
const DEADLINE: u16 = 1;

fn begin(ring: u8, id: u32, access: stile_wire::sync::Access) -> Vec<u8> {
    let op = Op::CpuBegin {
        resource_id: id,
        access,
    };
    op.encode(ring, id).to_vec()
}

fn end(ring: u8, id: u32, access: stile_wire::sync::Access) -> Vec<u8> {
    let op = Op::CpuEnd {
        resource_id: id,
        access,
    };
    op.encode(ring, id).to_vec()
}

/// Submits a CPU_BEGIN that hangs, and sees that it does.
#[track_caller]
fn hang(rig: &mut Rig, ring: u8, id: u32) -> Ticket {
    let ticket = rig.submit(ring, &begin(ring, id, READ));
    rig.assert_pending(ticket);
    ticket
}

#[test]
fn an_access_begins_when_the_fences_are_done_that_it_waits_for() {
    for allocator in ["udmabuf", "heap", "vgem"] {
        let mut rig = Rig::new(&["--allocator", allocator]);
        let buffer = rig.blob(1);
        let fence = rig.busy(&buffer, Access::WRITE);
        let reader = hang(&mut rig, 3, 1);
        let writer = rig.submit(4, &begin(4, 1, WRITE));
        rig.assert_pending(writer);
        // The end of an access waits for nobody.
        let ends = rig.submit(5, &end(5, 1, READ));
        rig.assert_signals(ends);
        rig.assert_pending(reader);
        fence.signal().unwrap();
        rig.assert_signals(reader);
        rig.assert_signals(writer);
        let ended = rig.submit(3, &[end(3, 1, READ), end(3, 1, WRITE)].concat());
        rig.assert_signals(ended);
        assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [0; 5], "{allocator}");
        // Readers do not wait for readers.
        let _reader = rig.busy(&buffer, Access::READ);
        let reads = rig.submit(3, &begin(3, 1, READ));
        rig.assert_signals(reads);
    }
}

#[test]
fn an_access_that_hangs_delays_no_other_operation_and_too_many_are_ebusy() {
    let mut rig = Rig::new(&["--max-cpu-accesses=3"]);
    let (one, _two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let hung = [hang(&mut rig, 3, 1), hang(&mut rig, 4, 1)];
    // Everything else goes on at once, accesses too.
    for _ in 0..20 {
        let payload = [
            encode_export(5, 2, 2, READ, 0).to_vec(),
            begin(5, 2, READ | WRITE),
        ];
        let ticket = rig.submit(5, &payload.concat());
        rig.assert_signals(ticket);
        let ticket = rig.submit(5, &end(5, 2, READ | WRITE));
        rig.assert_signals(ticket);
    }
    assert_eq!(rig.status.errnos(&rig.vm.ram, 2), [0; 60]);
    let third = hang(&mut rig, 6, 1);
    let refused = rig.submit(5, &begin(5, 2, READ));
    rig.assert_signals(refused);
    assert_eq!(rig.last().errno.get(), EBUSY);
    for ticket in [hung[0], hung[1], third] {
        assert!(!rig.vm.is_answered(ticket), "an access is early");
    }
    fence.signal().unwrap();
    for ticket in [hung[0], hung[1], third] {
        rig.assert_signals(ticket);
    }
    let ticket = rig.submit(5, &begin(5, 2, READ));
    rig.assert_signals(ticket);
    assert_eq!(rig.last().errno.get(), 0);
    let threads = rig.daemon.threads();
    let pool = threads.iter().filter(|name| *name == "cpu-access").count();
    assert!(pool <= 3, "{threads:?}");
}

#[test]
fn one_that_its_deadline_ended_counts_until_the_kernel_has_done_with_it() {
    let mut rig = Rig::new(&["--max-cpu-accesses=1", "--fence-deadline-ms=300"]);
    let (one, _two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let overdue = rig.submit(3, &begin(3, 1, READ));
    rig.assert_pending(overdue);
    rig.assert_signals(overdue);
    let record = rig.last();
    assert_eq!((record.cmd, record.errno.get()), (0x88, ETIMEDOUT));
    assert_eq!(record.flags.get(), DEADLINE);
    let refused = rig.submit(3, &begin(3, 2, READ));
    rig.assert_signals(refused);
    assert_eq!(rig.last().errno.get(), EBUSY);
    // Its blob may go: the kernel has it.
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    fence.signal().unwrap();
    begins_again(&mut rig);
}

/// The kernel lets an access go: then there is room for another one.
#[track_caller]
fn begins_again(rig: &mut Rig) {
    let start = Instant::now();
    loop {
        let ticket = rig.submit(3, &begin(3, 2, READ));
        rig.assert_signals(ticket);
        match rig.last().errno.get() {
            0 => return,
            errno => assert_eq!(errno, EBUSY),
        }
        assert!(start.elapsed() < HANG, "an access counts for ever");
    }
}

#[test]
fn an_access_that_ends_while_the_ring_is_stopped_is_told_when_it_starts() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    let ticket = hang(&mut rig, 3, 1);
    let memory = rig.vm.response_memory(ticket);
    let base = rig.vm.stop_ring(0);
    fence.signal().unwrap();
    rig.daemon
        .assert_asleep(std::time::Duration::from_millis(200));
    assert_eq!(rig.vm.response_memory(ticket), memory);
    rig.vm.start_ring(0, base);
    rig.assert_signals(ticket);
    assert_eq!(rig.last().errno.get(), 0);
}

#[test]
fn a_new_guest_hears_nothing_of_the_accesses_of_the_old() {
    let mut rig = Rig::new(&["--max-cpu-accesses=1"]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    hang(&mut rig, 3, 1);
    rig.vm.reboot();
    rig.furnish();
    rig.blob(2);
    let refused = rig.submit(3, &begin(3, 2, READ));
    rig.assert_signals(refused);
    assert_eq!(rig.last().errno.get(), EBUSY);
    fence.signal().unwrap();
    begins_again(&mut rig);
}

#[test]
fn front_ends_that_die_with_accesses_that_hang_leave_nothing_but_those() {
    let daemon = Rc::new(daemon(&["--max-cpu-accesses=2"]));
    let mut fences = Vec::new();
    let in_use = || {
        let vm = daemon.connect();
        let use_now = (daemon.open_fds(), daemon.threads());
        drop(vm);
        use_now
    };
    let before = in_use();
    for round in 0..3 {
        let mut rig = Rig::on(&daemon);
        let buffer = rig.blob(1);
        fences.push(rig.busy(&buffer, Access::WRITE));
        let tickets = [3, 4].map(|ring| rig.submit(ring, &begin(ring, 1, READ)));
        if round == 0 {
            rig.assert_pending(tickets[0]);
            rig.assert_pending(tickets[1]);
        } else {
            for ticket in tickets {
                rig.assert_signals(ticket);
            }
            assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [EBUSY; 2]);
        }
    }
    // The next front end was served at once, and is when they are done.
    for fence in fences {
        fence.signal().unwrap();
    }
    let mut rig = Rig::on(&daemon);
    rig.blob(2);
    begins_again(&mut rig);
    drop(rig);
    let start = Instant::now();
    loop {
        let mut now = in_use();
        // The threads are kept, the buffers are not.
        now.1.retain(|name| name != "cpu-access");
        if now == before {
            return;
        }
        assert!(start.elapsed() < HANG, "{before:#?} has become {now:#?}");
    }
}

#[test]
fn an_access_without_a_fence_or_of_nothing_is_refused() {
    let mut rig = Rig::new(&[]);
    rig.blob(1);
    let no_access = stile_wire::sync::Access::empty();
    let payload = [begin(0, 1, READ), end(0, 1, WRITE), begin(0, 1, no_access)];
    assert_eq!(rig.errnos(&payload.concat()), [EINVAL; 3]);
    let payload = [begin(3, 9, READ), end(3, 9, READ), begin(4, 9, READ)];
    let ticket = rig.submit(3, &payload.concat());
    rig.assert_signals(ticket);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 9), [2, 2, EINVAL]);
}
