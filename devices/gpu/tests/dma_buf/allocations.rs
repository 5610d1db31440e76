//! Real buffers that are made while something else goes on. How long an allocator takes is the
//! test's to say: it stops the thread that asks it.

use std::time::Instant;

use stile_frontend::HANG;
use stile_frontend::gpu::{GUEST, HOST3D, attach, create_blob, create_context, unref};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;
use vhost::VhostBackend;

use crate::rig::{READ, Rig, daemon};

const ALLOCATORS: [&str; 3] = [
    "--allocator=udmabuf",
    "--allocator=heap",
    "--allocator=vgem",
];

#[test]
fn a_fence_signals_while_a_buffer_is_made_and_what_uses_the_buffer_comes_after() {
    for allocator in ALLOCATORS {
        let mut rig = Rig::new(&[allocator]);
        let busy = rig.blob(1);
        let fence = rig.busy(&busy, Access::WRITE);
        let pending = rig.export(3, 1, READ, 0);
        let frozen = rig.daemon.freeze("allocator");
        let blob = rig.vm.send(&create_blob(2, HOST3D, 0, 1 << 20, &[]));
        let attached = rig.vm.send(&attach(1, 2));
        let used = rig.export(4, 2, READ, 7);
        fence.signal().unwrap();
        let answer = rig.vm.wait(pending);
        assert_eq!(answer.kind(), RESP_OK_NODATA);
        assert!(rig.bridge.by_id(2).is_err());
        for ticket in [blob, attached, used] {
            assert!(!rig.vm.is_answered(ticket));
        }
        drop(frozen);
        for ticket in [blob, attached, used] {
            assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_NODATA, "{allocator}");
        }
        assert_eq!(rig.last().errno.get(), 0);
        assert_eq!(rig.bridge.by_id(2).unwrap().buffer.size(), 1 << 20);
    }
}

#[test]
fn a_buffer_that_comes_too_late_is_closed() {
    for allocator in ALLOCATORS {
        // Longer than a page takes to be made here, emulated and on a busy machine.
        let mut rig = Rig::new(&[allocator, "--fence-deadline-ms=1500"]);
        let page = rig.vm.room(4096);
        let commands = [
            create_blob(2, HOST3D, 0, 4096, &[]),
            create_blob(2, GUEST, 0, 4096, &[page]),
        ];
        let before = rig.daemon.quiet_fds();
        for (late, command) in (1..).zip(&commands) {
            let frozen = rig.daemon.freeze("allocator");
            rig.vm.expect(command, RESP_ERR_OUT_OF_MEMORY);
            rig.vm.expect(command, RESP_ERR_OUT_OF_MEMORY);
            drop(frozen);
            rig.daemon
                .wait_for_line(&format!("nobody waited for any more times={late}"));
            assert_eq!(rig.daemon.quiet_fds(), before, "{allocator}");
            assert!(rig.bridge.by_id(2).is_err());
        }
        for command in &commands {
            rig.vm.expect(command, RESP_OK_NODATA);
            assert_eq!(rig.daemon.quiet_fds().len(), before.len() + 1);
            rig.vm.expect(&unref(2), RESP_OK_NODATA);
        }
    }
}

#[test]
fn a_guest_that_begins_anew_while_a_buffer_is_made_does_not_get_it() {
    let mut rig = Rig::new(&[]);
    let before = rig.daemon.quiet_fds();
    let frozen = rig.daemon.freeze("allocator");
    rig.vm.send(&create_blob(2, HOST3D, 0, 1 << 20, &[]));
    rig.vm.frontend.get_features().unwrap();
    rig.vm.reboot();
    drop(frozen);
    rig.furnish();
    assert!(rig.bridge.by_id(2).is_err());
    rig.vm.expect(&unref(2), RESP_ERR_INVALID_RESOURCE_ID);
    assert_eq!(rig.daemon.quiet_fds(), before);
}

#[test]
fn a_front_end_that_goes_while_a_buffer_is_made_leaves_none() {
    let daemon = daemon(&[]);
    let in_use = || {
        let _vm = daemon.connect();
        (daemon.open_fds(), daemon.threads())
    };
    let before = in_use();
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&create_blob(1, HOST3D, 0, 4096, &[]), RESP_OK_NODATA);
    let frozen = daemon.freeze("allocator");
    vm.send(&create_blob(2, HOST3D, 0, 1 << 20, &[]));
    vm.frontend.get_features().unwrap();
    drop(vm);
    let mut next = daemon.connect();
    next.expect(&create_blob(1, HOST3D, 0, 4096, &[]), RESP_OK_NODATA);
    drop(next);
    drop(frozen);
    let begin = Instant::now();
    loop {
        let now = in_use();
        if now == before {
            break;
        }
        assert!(begin.elapsed() < HANG, "{before:#?} has become {now:#?}");
    }
}
