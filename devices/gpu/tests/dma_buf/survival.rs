//! Guests and front ends that end in the middle of it all, and those that make no sense.

use std::time::Instant;

use proptest::test_runner::{Config, TestRunner};
use stile_frontend::gpu::{attach, destroy_context, map_blob, unref};
use stile_frontend::{HANG, Plan};
use stile_gpu::bridge::Client;
use stile_host::{Access, VgemGpu};
use stile_wire::gpu::types::*;
use stile_wire::sync::{encode_export, encode_wait};

use crate::rig::{READ, Rig, daemon};

#[test]
fn a_new_guest_finds_no_fence_and_no_buffer_of_the_old() {
    let mut rig = Rig::new(&[]);
    for _ in 0..3 {
        let buffer = rig.blob(1);
        let fence = rig.busy(&buffer, Access::WRITE);
        rig.export(3, 1, READ, 10);
        rig.submit(4, &encode_wait(4, 1, 10));
        rig.vm.reboot();
        assert!(rig.bridge.by_id(1).is_err());
        let used = rig.vm.control.used_index();
        assert_eq!(used, 0);
        fence.signal().unwrap();
        rig.furnish();
        // Four commands, four answers.
        assert_eq!(rig.vm.control.used_index(), 4);
        rig.vm.expect(&unref(1), RESP_ERR_INVALID_RESOURCE_ID);
        // The next life of the ring begins at 0 too.
        rig.vm.expect(&destroy_context(1), RESP_OK_NODATA);
        rig.vm.reboot();
        rig.furnish();
    }
}

#[test]
fn nothing_is_left_of_front_ends_that_die_with_fences_pending() {
    let daemon = daemon(&[]);
    let gpu = VgemGpu::find().unwrap();
    let path = daemon.folder().join("bridge.sock");
    let in_use = || {
        let vm = daemon.connect();
        let use_now = (daemon.open_fds(), daemon.threads());
        drop(vm);
        use_now
    };
    let before = in_use();
    for _ in 0..5 {
        let mut vm = daemon.connect();
        vm.expect(&stile_frontend::gpu::create_context(1, 30), RESP_OK_NODATA);
        let bridge = Client::connect(&path).unwrap();
        let mut fences = Vec::new();
        for id in 1..=20_u32 {
            let flags = stile_frontend::gpu::MAPPABLE;
            let blob = stile_frontend::gpu::create_blob(id, 2, flags, 4096, &[]);
            vm.expect(&blob, RESP_OK_NODATA);
            vm.expect(&attach(1, id), RESP_OK_NODATA);
            vm.expect(&map_blob(id, u64::from(id) << 12), RESP_OK_MAP_INFO);
            let buffer = bridge.by_id(id).unwrap().buffer;
            fences.push(gpu.attach(&buffer, Access::WRITE).unwrap());
            let ring = id as u8;
            let export = encode_export(ring, 1, id, READ, u64::from(id));
            let wait = encode_wait(ring, 1, u64::from(id));
            let payload = [&export[..], &wait].concat();
            vm.send(&stile_frontend::gpu::submit(1, &payload).ring_fence(ring, 1));
        }
        vm.expect(&stile_frontend::gpu::submit(1, &[]), RESP_OK_NODATA);
        drop(bridge);
        drop(vm);
    }
    let begin = Instant::now();
    loop {
        let now = in_use();
        if now == before {
            break;
        }
        assert!(begin.elapsed() < HANG, "{before:#?} has become {now:#?}");
    }
}

#[test]
fn fences_that_wait_or_have_signalled_keep_nobody_awake() {
    let time = std::time::Duration::from_millis(300);
    let mut rig = Rig::new(&[]);
    let (one, two) = (rig.blob(1), rig.blob(2));
    let fences = [rig.busy(&one, Access::WRITE), rig.busy(&two, Access::WRITE)];
    let export = rig.export(3, 1, READ, 10);
    let waits: Vec<_> = (4..8)
        .map(|ring| rig.submit(ring, &encode_wait(ring, 1, 10)))
        .collect();
    let pending = rig.export(9, 2, READ, 11);
    rig.assert_pending(export);
    rig.daemon.assert_asleep(time);
    // The cookies keep the signalled fence open.
    fences[0].signal().unwrap();
    for ticket in waits {
        rig.assert_signals(ticket);
    }
    rig.daemon.assert_asleep(time);
    // Signalled while the ring is stopped.
    let base = rig.vm.stop_ring(0);
    fences[1].signal().unwrap();
    rig.daemon.assert_asleep(time);
    rig.vm.start_ring(0, base);
    rig.assert_signals(pending);
    rig.daemon.assert_asleep(time);
}

#[test]
fn every_chain_is_used_once_whatever_it_says_and_whatever_the_host_has() {
    let daemon = daemon(&["--fence-deadline-ms=1000"]);
    let mut runner = TestRunner::new(Config {
        // Emulated, each takes some time.
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&crate::arbitrary::puts(), |puts| {
        let mut vm = daemon.connect_with(Plan {
            control_size: 1024,
            ..crate::arbitrary::plan()
        });
        crate::arbitrary::survives(&mut vm, &puts);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
