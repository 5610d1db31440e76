//! Who waits, and who is woken.

use std::collections::BTreeSet;
use std::time::Duration;

use stile_frontend::gpu::{
    GUEST, assign_uuid, attach, create_blob, create_context, detach, submit, unref,
};
use stile_gpu::bridge::ResourceName;
use stile_wire::gpu::types::*;
use stile_wire::sync::CAPSET_ID;

use crate::rig::*;

#[test]
fn the_guest_signals_and_a_host_process_wakes() {
    let mut rig = Rig::new();
    let client = rig.client();
    client.mem_wait(5, COUNTERS, 4096 + 8, 3, LONG).unwrap();
    settle(&rig, &client);
    rig.run(&signal(4096 + 8, 2));
    settle(&rig, &client);
    assert_quiet(&client);
    rig.run(&signal(4096 + 8, 4));
    assert_eq!(reply(&client), to_wait(5, Ok(4)));
    assert_eq!(rig.load(4096 + 8), 4);
}

#[test]
fn a_host_process_signals_and_the_guest_wakes() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 1, 11, LONG));
    let wait = rig.event_wait(0);
    // Nobody looks at the counter meanwhile.
    rig.daemon.assert_asleep(Duration::from_millis(100));
    client.mem_signal(1, COUNTERS, 0, 9).unwrap();
    assert_eq!(rig.vm.wait(wait).kind(), RESP_OK_NODATA);
    assert_eq!(rig.events(), [(11, 9, 0)]);
    assert_eq!(reply(&client), to_signal(1, Ok(9)));
    assert_eq!(rig.load(0), 9);
}

#[test]
fn whoever_has_stored_itself_says_so() {
    let mut rig = Rig::new();
    let client = rig.client();
    let last = SIZE - 8;
    client.mem_wait(1, COUNTERS, last, 7, LONG).unwrap();
    settle(&rig, &client);
    rig.store(last, 7);
    rig.run(&signal(last, 0));
    assert_eq!(reply(&client), to_wait(1, Ok(7)));
    assert_eq!(rig.load(last), 7);
    // Nothing was written but by the guest.
    assert_eq!(rig.load(last - 8), 0);
    client.mem_signal(2, COUNTERS, last, 0).unwrap();
    assert_eq!(reply(&client), to_signal(2, Ok(7)));
}

#[test]
fn one_context_wakes_another_with_nobody_between() {
    let mut rig = Rig::new();
    let vm = &mut rig.vm;
    vm.expect(&create_context(2, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&attach(2, 1), RESP_OK_NODATA);
    rig.run(&wait_for(16, 1, 3, LONG));
    let wait = rig.event_wait(0);
    rig.vm.expect(&submit(2, &signal(16, 1)), RESP_OK_NODATA);
    rig.vm.wait(wait);
    assert_eq!(rig.events(), [(3, 1, 0)]);
}

#[test]
fn a_resource_may_be_named_by_its_uuid() {
    let mut rig = Rig::new();
    let answer = rig.vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID);
    let uuid: [u8; 16] = answer.body();
    let client = rig.client();
    client
        .mem_signal(1, ResourceName::Uuid(uuid), 0, 1)
        .unwrap();
    assert_eq!(reply(&client), to_signal(1, Ok(1)));
    assert_eq!(rig.load(0), 1);
}

#[test]
fn what_does_not_come_in_time_is_over() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 1, 1, 1_000_000));
    let wait = rig.event_wait(0);
    client.mem_wait(2, COUNTERS, 0, 1, 2_000_000).unwrap();
    rig.vm.wait(wait);
    assert_eq!(rig.events(), [(1, 0, ETIMEDOUT)]);
    assert_eq!(reply(&client), to_wait(2, Err(ETIMEDOUT)));
    client.mem_signal(3, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(3, Ok(1)));
    assert_eq!(rig.events().len(), 1);
}

#[test]
fn a_request_may_be_given_up() {
    let rig = Rig::new();
    let client = rig.client();
    client.mem_wait(1, COUNTERS, 0, 1, LONG).unwrap();
    client.cancel(1).unwrap();
    assert_eq!(reply(&client), to_wait(1, Err(ECANCELED)));
    assert_eq!(reply(&client), to_cancel(1, Ok(0)));
    client.cancel(1).unwrap();
    assert_eq!(reply(&client), to_cancel(1, Err(ENOENT)));
    client.mem_signal(2, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(2, Ok(1)));
    assert_quiet(&client);
}

#[test]
fn a_blob_that_goes_and_a_guest_that_boots_again_tell_who_waits() {
    let mut rig = Rig::new();
    let client = rig.client();
    for (nth, goes) in [unref(1), detach(1, 1)].into_iter().enumerate() {
        let tag = nth as u64;
        client.mem_wait(tag, COUNTERS, 8, 1, LONG).unwrap();
        settle(&rig, &client);
        rig.run(&wait_for(8, 1, tag + 1, LONG));
        rig.vm.expect(&goes, RESP_OK_NODATA);
        assert_eq!(rig.events().last(), Some(&(tag + 1, 0, ECANCELED)));
        if nth == 0 {
            assert_eq!(reply(&client), to_wait(tag, Err(ECANCELED)));
            let counters = create_blob(1, GUEST, 0, SIZE, &rig.pages);
            rig.vm.expect(&counters, RESP_OK_NODATA);
            rig.vm.expect(&attach(1, 1), RESP_OK_NODATA);
        }
    }
    rig.vm.reboot();
    // The new guest's first kick resets the device.
    rig.furnish();
    assert_eq!(reply(&client), to_wait(1, Err(ECANCELED)));
}

#[test]
fn a_front_end_that_goes_leaves_nobody_waiting() {
    let mut rig = Rig::new();
    let client = rig.client();
    for tag in 0..100 {
        client.mem_wait(tag, COUNTERS, tag * 8, 1, LONG).unwrap();
    }
    settle(&rig, &client);
    let Rig { vm, daemon, .. } = rig;
    drop(vm);
    let told: BTreeSet<u64> = (0..100)
        .map(|_| {
            let reply = reply(&client);
            assert_eq!(reply, to_wait(reply.tag, Err(ECANCELED)));
            reply.tag
        })
        .collect();
    assert_eq!(told, (0..100).collect());
    client.mem_wait(1, COUNTERS, 0, 0, LONG).unwrap();
    assert_eq!(reply(&client), to_wait(1, Err(ENOENT)));
    client.mem_signal(1, COUNTERS, 0, 0).unwrap();
    assert_eq!(reply(&client), to_signal(1, Err(ENOENT)));
    // The next guest's resources are others.
    let vm = daemon.connect();
    client.mem_signal(2, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(2, Err(ENOENT)));
    drop(vm);
    rig = Rig::new();
    rig.run(&signal(0, 1));
}

#[test]
fn while_the_ring_is_stopped_requests_wait_and_nothing_is_written() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 5, 1, LONG));
    let base = rig.vm.stop_ring(0);
    client.mem_signal(1, COUNTERS, 0, 5).unwrap();
    client.mem_wait(2, COUNTERS, 0, 1, LONG).unwrap();
    client.mem_wait(3, COUNTERS, 0, 9, LONG).unwrap();
    client.cancel(3).unwrap();
    assert_eq!(reply(&client), to_wait(3, Err(ECANCELED)));
    assert_eq!(reply(&client), to_cancel(3, Ok(0)));
    heard(&client);
    assert_quiet(&client);
    assert_eq!((rig.load(0), rig.events()), (0, vec![]));
    rig.vm.start_ring(0, base);
    assert_eq!(reply(&client), to_signal(1, Ok(5)));
    assert_eq!(reply(&client), to_wait(2, Ok(5)));
    assert_eq!((rig.load(0), rig.events()), (5, vec![(1, 5, 0)]));
}
