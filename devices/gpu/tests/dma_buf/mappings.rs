//! MAP_BLOB and UNMAP_BLOB, and front ends that take their time.

use stile_frontend::gpu::{HOST3D, MAPPABLE, create_blob, map_blob, submit, unmap_blob, unref};
use stile_frontend::{Manner, Reply, Request};
use stile_host::DmaBuf;
use stile_wire::gpu::layout::MapInfo;
use stile_wire::gpu::types::*;

use crate::rig::Rig;

/// The next request, as a mapping of so many bytes.
#[track_caller]
fn map_request(rig: &Rig, at: u64, bytes: u64) -> DmaBuf {
    match rig.vm.request() {
        Request::Map {
            shmid: 1,
            offset,
            size,
            file_offset: 0,
            writable: true,
            file,
        } if (offset, size) == (at, bytes) => DmaBuf::from_fd(file.into()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unmap_request(rig: &Rig, at: u64, bytes: u64) {
    match rig.vm.request() {
        Request::Unmap {
            shmid: 1,
            offset,
            size,
        } if (offset, size) == (at, bytes) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_map_is_answered_when_the_front_end_has_acknowledged_it() {
    let mut rig = Rig::with(&[], Manner::Ask);
    let buffer = rig.blob_of(1, 5000);
    let ticket = rig.vm.send(&map_blob(1, 8192));
    let mapped = map_request(&rig, 8192, 8192);
    rig.assert_pending(ticket);
    rig.vm.reply(Reply::Accept);
    let answer = rig.vm.wait(ticket);
    assert_eq!(answer.kind(), RESP_OK_MAP_INFO);
    assert_eq!(answer.body::<MapInfo>().map_info.get(), 1);
    // It is the blob's own memory.
    mapped.map(0..8192).unwrap().write(100, b"guest").unwrap();
    let mut read = [0; 5];
    buffer.map(0..8192).unwrap().read(100, &mut read).unwrap();
    assert_eq!(&read, b"guest");

    let ticket = rig.vm.send(&unmap_blob(1));
    unmap_request(&rig, 8192, 8192);
    rig.assert_pending(ticket);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_NODATA);
    rig.vm.expect(&unmap_blob(1), RESP_ERR_INVALID_PARAMETER);
}

#[test]
fn a_map_is_answered_when_it_is_there_though_it_was_acknowledged_before() {
    for passed in [Reply::Refuse, Reply::Accept] {
        let mut rig = Rig::with(&[], Manner::AskTwice);
        rig.blob(1);
        let ticket = rig.vm.send(&map_blob(1, 0));
        map_request(&rig, 0, 65536);
        rig.vm.reply(Reply::Accept);
        assert!(matches!(rig.vm.request(), Request::Through));
        // QEMU has acknowledged it by now, and maps.
        rig.assert_pending(ticket);
        rig.vm.reply(passed);
        assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
    }
}

#[test]
fn a_map_that_was_refused_is_not_asked_after() {
    let mut rig = Rig::with(&[], Manner::AskTwice);
    rig.blob(1);
    let ticket = rig.vm.send(&map_blob(1, 0));
    map_request(&rig, 0, 65536);
    rig.vm.reply(Reply::Refuse);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_ERR_UNSPEC);
}

#[test]
fn a_map_with_a_fence_signals_it_with_its_answer() {
    let mut rig = Rig::with(&[], Manner::Ask);
    rig.blob(1);
    let map = rig.vm.send(&map_blob(1, 0).context(1).ring_fence(3, 100));
    let behind = rig.vm.send(&submit(1, &[]).ring_fence(3, 101));
    map_request(&rig, 0, 65536);
    rig.assert_pending(behind);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(behind).kind(), RESP_OK_NODATA);
    let answer = rig.vm.wait(map);
    assert_eq!(answer.kind(), RESP_OK_MAP_INFO);
    assert_eq!(answer.fence(), Some((Some(3), 100)));
}

#[test]
fn a_map_that_the_front_end_refuses_fails_and_may_be_tried_again() {
    let mut rig = Rig::with(&[], Manner::Ask);
    rig.blob(1);
    let ticket = rig.vm.send(&map_blob(1, 4096));
    rig.vm.request();
    rig.vm.reply(Reply::Refuse);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_ERR_UNSPEC);
    let ticket = rig.vm.send(&map_blob(1, 4096));
    map_request(&rig, 4096, 65536);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
}

#[test]
fn a_front_end_that_hangs_delays_its_map_and_nothing_else() {
    let mut rig = Rig::with(&[], Manner::Ask);
    let buffer = rig.blob(1);
    rig.blob(2);
    let hangs = rig.vm.send(&map_blob(1, 0));
    let after = rig.vm.send(&map_blob(2, 1 << 20));
    rig.vm.request();
    for _ in 0..20 {
        let fence = rig.busy(&buffer, stile_host::Access::WRITE);
        let export = rig.export(3, 1, crate::rig::READ, 0);
        fence.signal().unwrap();
        rig.assert_signals(export);
    }
    rig.assert_pending(hangs);
    rig.assert_pending(after);
    // The same blob again, while the first is under way.
    rig.vm
        .expect(&map_blob(1, 2 << 20), RESP_ERR_INVALID_PARAMETER);
    rig.vm.expect(&unmap_blob(1), RESP_ERR_INVALID_PARAMETER);
}

#[test]
fn a_blob_that_goes_while_it_is_mapped_is_unmapped_afterwards() {
    let mut rig = Rig::with(&[], Manner::Ask);
    rig.blob_of(1, 5000);
    let ticket = rig.vm.send(&map_blob(1, 0));
    map_request(&rig, 0, 8192);
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    // A new one of the same id is another.
    rig.blob(1);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_ERR_INVALID_RESOURCE_ID);
    unmap_request(&rig, 0, 8192);
    // Its place may be used again; the front end hears of that in order.
    let ticket = rig.vm.send(&map_blob(1, 0));
    rig.assert_pending(ticket);
    rig.vm.reply(Reply::Accept);
    map_request(&rig, 0, 65536);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
    // And one that goes while it is there is taken out.
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    unmap_request(&rig, 0, 65536);
    rig.vm.reply(Reply::Accept);
}

#[test]
fn places_that_make_no_sense_are_refused_without_a_word_to_the_front_end() {
    let mut rig = Rig::with(&["--hostmem-mib=1", "--max-maps=2"], Manner::Ask);
    for id in 1..=3 {
        rig.blob(id);
    }
    let plain = create_blob(4, HOST3D, 0, 4096, &[]);
    rig.vm.expect(&plain, RESP_OK_NODATA);
    rig.vm.expect(&map_blob(4, 0), RESP_ERR_INVALID_PARAMETER);
    for offset in [
        1,
        4095,
        (1 << 20) - 4096,
        1 << 20,
        u64::MAX - 4095,
        u64::MAX,
    ] {
        rig.vm
            .expect(&map_blob(1, offset), RESP_ERR_INVALID_PARAMETER);
    }
    let first = rig.vm.send(&map_blob(1, 65536));
    map_request(&rig, 65536, 65536);
    for offset in [65536, 4096, 65536 + 4096, 131_072 - 4096] {
        rig.vm
            .expect(&map_blob(2, offset), RESP_ERR_INVALID_PARAMETER);
    }
    let second = rig.vm.send(&map_blob(2, (1 << 20) - 65536));
    rig.vm.expect(&map_blob(3, 0), RESP_ERR_OUT_OF_MEMORY);
    rig.vm.reply(Reply::Accept);
    map_request(&rig, (1 << 20) - 65536, 65536);
    rig.vm.reply(Reply::Accept);
    for ticket in [first, second] {
        assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
    }
}

#[test]
fn a_guest_that_boots_again_finds_an_empty_region() {
    let mut rig = Rig::with(&[], Manner::Ask);
    rig.blob(1);
    let there = rig.vm.send(&map_blob(1, 0));
    map_request(&rig, 0, 65536);
    rig.vm.reply(Reply::Accept);
    rig.vm.wait(there);
    rig.blob(2);
    rig.vm.send(&map_blob(2, 1 << 20));
    map_request(&rig, 1 << 20, 65536);
    rig.vm.reboot();
    rig.vm.reply(Reply::Accept);
    unmap_request(&rig, 0, 65536);
    rig.vm.reply(Reply::Accept);
    unmap_request(&rig, 1 << 20, 65536);
    rig.vm.reply(Reply::Accept);
    rig.furnish();
    rig.blob_of(1, 1 << 20);
    let ticket = rig.vm.send(&map_blob(1, 65536));
    map_request(&rig, 65536, 1 << 20);
    rig.vm.reply(Reply::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
}

#[test]
fn many_maps_come_and_go() {
    let mut rig = Rig::new(&[]);
    for round in 0..3 {
        for id in 1..=100_u32 {
            let blob = create_blob(id, HOST3D, MAPPABLE, 4096, &[]);
            rig.vm.expect(&blob, RESP_OK_NODATA);
            let offset = u64::from(id + round) * 4096;
            rig.vm.expect(&map_blob(id, offset), RESP_OK_MAP_INFO);
        }
        for id in 1..=100 {
            rig.vm.expect(&unmap_blob(id), RESP_OK_NODATA);
            rig.vm.expect(&unref(id), RESP_OK_NODATA);
        }
    }
}
