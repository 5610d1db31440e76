//! Cookies: IMPORT, MERGE, WAIT and DROP.

use stile_host::Access;
use stile_wire::sync::{encode_drop, encode_export, encode_import, encode_merge, encode_wait};

use crate::rig::{READ, Rig, WRITE};

#[test]
fn an_imported_fence_keeps_the_hosts_others_waiting() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    for (access, readers_wait) in [(READ, false), (WRITE, true), (READ | WRITE, true)] {
        let fence = rig.busy(&one, Access::WRITE);
        // One submission: the import uses what the export made.
        let payload = [
            &encode_export(0, 1, 1, READ, 77)[..],
            &encode_import(0, 2, 2, access, 77),
            &encode_drop(0, 3, 77),
        ];
        rig.run(&payload.concat());
        assert_eq!(two.poll(Access::READ).unwrap(), !readers_wait);
        assert!(!two.poll(Access::WRITE).unwrap());
        let reader = rig.export(3, 2, READ, 0);
        let writer = rig.export(4, 2, WRITE, 0);
        rig.assert_pending(writer);
        assert_eq!(rig.vm.is_answered(reader), !readers_wait);
        fence.signal().unwrap();
        rig.assert_signals(writer);
        rig.assert_signals(reader);
        assert!(two.poll(Access::WRITE).unwrap());
    }
}

#[test]
fn a_signalled_cookie_is_imported_without_effect() {
    let mut rig = Rig::new(&[]);
    let (_one, two) = (rig.blob(1), rig.blob(2));
    rig.run(&encode_export(0, 1, 1, READ, 5));
    rig.run(&encode_import(0, 1, 2, WRITE, 5));
    assert!(two.poll(Access::WRITE).unwrap());
}

#[test]
fn a_merged_cookie_signals_when_both_have() {
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    for first_signals in [0, 1] {
        let fences = [rig.busy(&one, Access::WRITE), rig.busy(&two, Access::WRITE)];
        let payload = [
            &encode_export(0, 1, 1, READ, 10)[..],
            &encode_export(0, 2, 2, READ, 11),
            &encode_merge(0, 3, 10, 11, 12),
            // The result outlives its parts.
            &encode_drop(0, 4, 10),
            &encode_drop(0, 5, 11),
        ];
        rig.run(&payload.concat());
        let ticket = rig.submit(6, &encode_wait(6, 7, 12));
        rig.assert_pending(ticket);
        fences[first_signals].signal().unwrap();
        rig.assert_pending(ticket);
        fences[1 - first_signals].signal().unwrap();
        rig.assert_signals(ticket);
        rig.run(&encode_drop(0, 8, 12));
    }
}

#[test]
fn merging_with_a_signalled_one_or_with_itself_is_the_same_fence() {
    let mut rig = Rig::new(&[]);
    let (busy, _idle) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&busy, Access::WRITE);
    let payload = [
        &encode_export(0, 1, 1, READ, 10)[..],
        &encode_export(0, 2, 2, READ, 11),
        &encode_merge(0, 3, 11, 10, 12),
        &encode_merge(0, 4, 10, 10, 13),
        &encode_merge(0, 5, 11, 11, 14),
    ];
    rig.run(&payload.concat());
    let with_signalled = rig.submit(6, &encode_wait(6, 7, 12));
    let with_itself = rig.submit(7, &encode_wait(7, 7, 13));
    let both_signalled = rig.submit(8, &encode_wait(8, 7, 14));
    rig.assert_signals(both_signalled);
    rig.assert_pending(with_signalled);
    rig.assert_pending(with_itself);
    fence.signal().unwrap();
    rig.assert_signals(with_signalled);
    rig.assert_signals(with_itself);
}

#[test]
fn one_cookie_may_be_waited_for_by_many_and_dropped_meanwhile() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    let export = rig.export(0, 1, READ, 10);
    let mut tickets: Vec<_> = (1..10)
        .map(|ring| rig.submit(ring, &encode_wait(ring, 50, 10)))
        .collect();
    // Twice in one submission too.
    let twice = [encode_wait(20, 51, 10), encode_wait(20, 52, 10)].concat();
    tickets.push(rig.submit(20, &twice));
    tickets.push(export);
    rig.run(&encode_drop(0, 60, 10));
    assert_eq!(rig.errnos(&encode_drop(0, 61, 10)), [2]);
    for ticket in &tickets {
        rig.assert_pending(*ticket);
    }
    fence.signal().unwrap();
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
    assert_eq!(rig.status.errnos(&rig.vm.ram, 50), [0; 9]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 51), [0]);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 52), [0]);
}

#[test]
fn a_cookie_that_is_signalled_is_waited_for_at_once_and_says_when_it_was() {
    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    rig.run(&encode_export(0, 1, 1, READ, 10));
    fence.signal().unwrap();
    let ticket = rig.submit(3, &encode_wait(3, 2, 10));
    rig.assert_signals(ticket);
    let record = rig.last();
    assert_eq!((record.cmd, record.errno.get()), (0x83, 0));
    assert!(record.signalled_ns.get() > 0);
    assert!(record.signalled_ns.get() < record.taken_ns.get());
}

#[test]
fn a_cookie_is_made_once_and_belongs_to_its_context() {
    use stile_frontend::gpu::{attach, create_context, submit};
    use stile_wire::gpu::types::*;

    let mut rig = Rig::new(&[]);
    rig.blob(1);
    rig.run(&encode_export(0, 1, 1, READ, 10));
    let again = [
        &encode_export(0, 2, 1, READ, 10)[..],
        &encode_merge(0, 3, 10, 10, 10),
    ];
    assert_eq!(rig.errnos(&again.concat()), [17, 17]);
    // It is still the first.
    rig.run(&encode_import(0, 4, 1, READ, 10));
    // Another context has its own.
    rig.vm.expect(&create_context(2, 30), RESP_OK_NODATA);
    rig.vm.expect(&attach(2, 1), RESP_OK_NODATA);
    let same = submit(2, &encode_export(0, 5, 1, READ, 10));
    rig.vm.expect(&same, RESP_OK_NODATA);
    assert_eq!(rig.errnos(&encode_drop(0, 6, 10)), [0]);
    let answer = rig
        .vm
        .expect(&submit(2, &encode_wait(0, 7, 10)).fence(1), RESP_OK_NODATA);
    assert_eq!(answer.fence(), Some((None, 1)));
    rig.run(&encode_export(0, 8, 1, READ, u64::MAX));
}

#[test]
fn an_operation_on_a_resource_that_is_not_attached_fails() {
    use stile_frontend::gpu::detach;
    use stile_wire::gpu::types::*;

    let mut rig = Rig::new(&[]);
    rig.blob(1);
    rig.run(&encode_export(0, 1, 1, READ, 10));
    rig.vm.expect(&detach(1, 1), RESP_OK_NODATA);
    let payload = [
        &encode_export(0, 2, 1, READ, 0)[..],
        &encode_import(0, 3, 1, READ, 10),
    ];
    assert_eq!(rig.errnos(&payload.concat()), [2, 2]);
}

#[test]
fn the_kernel_takes_deadlines_for_pending_and_signalled_cookies() {
    use stile_frontend::gpu::capset;
    use stile_wire::gpu::types::*;
    use stile_wire::sync::{CAPSET_ID, Capset, Op, OpCode};

    let mut rig = Rig::new(&[]);
    let answer = rig.vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET);
    let operations = answer.body::<Capset>().operations.get();
    assert_eq!(operations & OpCode::Deadline.bit(), OpCode::Deadline.bit());
    let (one, two) = (rig.blob(1), rig.blob(2));
    let fences = [rig.busy(&one, Access::WRITE), rig.busy(&two, Access::WRITE)];
    let payload = [
        &encode_export(0, 1, 1, READ, 10)[..],
        &encode_export(0, 2, 2, READ, 11),
        &encode_merge(0, 3, 10, 11, 12),
    ];
    rig.run(&payload.concat());
    let now = rig.last().taken_ns.get();
    let set = |cookie, deadline_ns| {
        let op = Op::Deadline {
            cookie,
            deadline_ns,
        };
        op.encode(0, 4).to_vec()
    };
    for deadline_ns in [0, now, now + 16_000_000, u64::MAX] {
        rig.run(&[set(10, deadline_ns), set(12, deadline_ns)].concat());
    }
    // It is a hint: nothing signals for it.
    let ticket = rig.submit(3, &encode_wait(3, 5, 12));
    rig.assert_pending(ticket);
    for fence in fences {
        fence.signal().unwrap();
    }
    rig.assert_signals(ticket);
    rig.run(&set(12, now));
    assert_eq!(rig.errnos(&set(13, now)), [2]);
}

#[test]
fn a_kernel_that_takes_no_deadlines_is_found_out_and_the_operation_is_not_supported() {
    use std::rc::Rc;

    use stile_frontend::Daemon;
    use stile_frontend::gpu::capset;
    use stile_wire::gpu::types::*;
    use stile_wire::sync::{CAPSET_ID, Capset, Op, OpCode};

    use crate::rig;

    const SYNC_IOC_SET_DEADLINE: u32 = 0x4010_3E05;
    const ENOSYS: u32 = 38;

    let lacking = rig::options().without_ioctl(SYNC_IOC_SET_DEADLINE);
    let daemon = Rc::new(Daemon::start(lacking));
    let mut rig = Rig::on(&daemon);
    let answer = rig.vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET);
    let operations = answer.body::<Capset>().operations.get();
    assert_eq!(operations, OpCode::mask() & !(1 << 7), "all others are");
    let said = |line: &String| line.contains("DEADLINE is not offered");
    assert!(daemon.lines().iter().any(said));

    let buffer = rig.blob(1);
    let fence = rig.busy(&buffer, Access::WRITE);
    rig.run(&encode_export(0, 1, 1, READ, 10));
    // Whatever the cookie: one that pends, none at all, one that nobody has.
    let deadline = |cookie| {
        let op = Op::Deadline {
            cookie,
            deadline_ns: 1,
        };
        op.encode(0, 2).to_vec()
    };
    for cookie in [10, 0, 11] {
        assert_eq!(rig.errnos(&deadline(cookie)), [ENOSYS], "cookie {cookie}");
    }
    // The cookie is as good as it was.
    let ticket = rig.submit(3, &encode_wait(3, 3, 10));
    rig.assert_pending(ticket);
    fence.signal().unwrap();
    rig.assert_signals(ticket);
}
