//! Blobs of every kind, and their bytes.

use stile_frontend::gpu::{
    GUEST, HOST3D, HOST3D_GUEST, assign_uuid, attach, create_blob, create_context, submit, unref,
};
use stile_frontend::status::StatusBlob;
use stile_frontend::{Piece, Plan};
use stile_gpu::bridge::{Client, ClientError};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, encode_drop, encode_export, encode_status};

use crate::rig::{READ, Rig, daemon};

const EOPNOTSUPP: u32 = 95;

#[test]
fn a_host_blob_of_every_allocator_is_zeroed_memory_of_whole_pages() {
    for allocator in ["udmabuf", "heap", "vgem"] {
        let mut rig = Rig::new(&["--allocator", allocator]);
        for (id, bytes) in (1..).zip([1, 4096, 4097, 1 << 20]) {
            let buffer = rig.blob_of(id, bytes);
            assert_eq!(buffer.size(), bytes.next_multiple_of(4096), "{allocator}");
            let mapping = buffer.map(0..buffer.size()).unwrap();
            let mut read = vec![1; mapping.len()];
            mapping.read(0, &mut read).unwrap();
            assert!(read.iter().all(|byte| *byte == 0), "{allocator}");
        }
    }
}

#[test]
fn a_guest_blob_is_the_guests_own_pages_in_its_order() {
    let mut rig = Rig::new(&[]);
    let mut pages: Vec<Piece> = (0..8).map(|_| rig.vm.room(4096)).collect();
    pages.reverse();
    pages.swap(2, 5);
    let blob = create_blob(1, GUEST, 0, 8 * 4096, &pages);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    rig.vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let buffer = rig.bridge.by_id(1).unwrap().buffer;
    assert_eq!(buffer.size(), 8 * 4096);
    let mapping = buffer.map(0..buffer.size()).unwrap();
    for (number, page) in pages.iter().enumerate() {
        let mark = [number as u8 + 1; 16];
        rig.vm.ram.write(page.address + 100, &mark);
        let mut read = [0; 16];
        mapping.read(number * 4096 + 100, &mut read).unwrap();
        assert_eq!(read, mark);
        mapping.write(number * 4096 + 200, &mark).unwrap();
        assert_eq!(rig.vm.ram.read(page.address + 200, 16), mark);
    }
    let fence = rig.busy(&buffer, Access::WRITE);
    let ticket = rig.export(3, 1, READ, 0);
    rig.assert_pending(ticket);
    fence.signal().unwrap();
    rig.assert_signals(ticket);
}

#[test]
fn a_guest_blob_may_lie_in_two_regions_of_memory() {
    let mut rig = Rig::new(&[]);
    let at = |address, bytes| Piece { address, bytes };
    // The first region's last pages, and the second region's first.
    let pages = [at(0x10_0000 + (64 << 20) - 8192, 8192), at(1 << 32, 4096)];
    let blob = create_blob(1, GUEST, 0, 3 * 4096, &pages);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    let buffer = rig.bridge.by_id(1).unwrap().buffer;
    let mapping = buffer.map(0..buffer.size()).unwrap();
    mapping.write(4096, &[5; 4096]).unwrap();
    mapping.write(8192, &[6; 4096]).unwrap();
    assert_eq!(rig.vm.ram.read(pages[0].address + 4096, 4096), [5; 4096]);
    assert_eq!(rig.vm.ram.read(1 << 32, 4096), [6; 4096]);
}

#[test]
fn memory_that_cannot_be_sealed_makes_blobs_without_a_dma_buf_and_the_log_says_what_helps() {
    let daemon = daemon(&[]);
    let mut vm = daemon.connect_with(Plan {
        sealable: false,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let status = StatusBlob {
        pages: vec![vm.room(4096)],
        offset: 0,
    };
    vm.expect(
        &create_blob(1, GUEST, 0, 4096, &status.pages),
        RESP_OK_NODATA,
    );
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let payload = [
        &encode_status(0, 1, 1, 0, 4096)[..],
        &encode_export(0, 2, 1, READ, 0),
    ];
    vm.expect(&submit(1, &payload.concat()), RESP_OK_NODATA);
    assert_eq!(status.errnos(&vm.ram, 2), [EOPNOTSUPP]);
    daemon.wait_for_line("memory-backend-memfd");
    let bridge = Client::connect(&daemon.folder().join("bridge.sock")).unwrap();
    assert!(matches!(bridge.by_id(1), Err(ClientError::NotFound)));
}

#[test]
fn a_status_blob_may_lie_in_host_memory() {
    for allocator in ["udmabuf", "heap", "vgem"] {
        let mut rig = Rig::new(&["--allocator", allocator]);
        let buffer = rig.blob(1);
        let offset = 4096 * 3 + 64 * 5;
        rig.vm.ask(&submit(1, &encode_status(0, 9, 1, offset, 512)));
        rig.vm.ask(&submit(1, &encode_drop(0, 10, 99)));
        let mapping = buffer.map(0..buffer.size()).unwrap();
        let mut bytes = [0; 512];
        mapping.read(offset as usize, &mut bytes).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(&bytes[..4], b"STIL");
        assert_eq!((word(8), word(16)), (7, 2), "{allocator}");
        assert_eq!((word(64), word(64 + 16), word(64 + 20)), (1, 9, 0));
        assert_eq!((word(128), word(128 + 16), word(128 + 20)), (2, 10, 2));
        // Not a byte outside.
        let mut before = vec![0; offset as usize];
        mapping.read(0, &mut before).unwrap();
        assert!(before.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn host_memory_with_guest_pages_is_host_memory() {
    let mut rig = Rig::new(&[]);
    let page = rig.vm.room(4096);
    let blob = create_blob(1, HOST3D_GUEST, 0, 4096, &[page]);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    rig.vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let buffer = rig.bridge.by_id(1).unwrap().buffer;
    let fence = rig.busy(&buffer, Access::WRITE);
    let ticket = rig.export(3, 1, READ, 0);
    rig.assert_pending(ticket);
    fence.signal().unwrap();
    rig.assert_signals(ticket);
}

#[test]
fn the_bridge_knows_a_resource_by_its_uuid_until_it_is_gone() {
    let mut rig = Rig::new(&[]);
    rig.blob(1);
    assert_eq!(rig.bridge.by_id(1).unwrap().uuid, None);
    let uuid: [u8; 16] = rig.vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID).body();
    for found in [rig.bridge.by_id(1), rig.bridge.by_uuid(uuid)] {
        let found = found.unwrap();
        assert_eq!((found.resource_id, found.uuid), (1, Some(uuid)));
        assert_eq!(found.buffer.size(), 65536);
    }
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    assert!(matches!(rig.bridge.by_id(1), Err(ClientError::NotFound)));
    let gone = rig.bridge.by_uuid(uuid);
    assert!(matches!(gone, Err(ClientError::NotFound)));
}

#[test]
fn another_device_gets_a_resource_by_its_uuid_through_the_front_end() {
    use stile_frontend::Request;
    use vhost::vhost_user::VhostUserFrontend;
    use vhost::vhost_user::message::VhostUserSharedMsg;

    let mut rig = Rig::new(&[]);
    let buffer = rig.blob(1);
    let bytes: [u8; 16] = rig.vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID).body();
    assert!(matches!(rig.vm.request(), Request::Share(uuid) if uuid == bytes));
    let uuid = VhostUserSharedMsg {
        uuid: uuid::Uuid::from_bytes(bytes),
    };
    let file = rig.vm.frontend.get_shared_object(&uuid).unwrap();
    let same = stile_host::DmaBuf::from_fd(file.into()).unwrap();
    let mark = [7; 32];
    same.map(0..4096).unwrap().write(0, &mark).unwrap();
    let mut read = [0; 32];
    buffer.map(0..4096).unwrap().read(0, &mut read).unwrap();
    assert_eq!(read, mark);

    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    assert!(matches!(rig.vm.request(), Request::Unshare(uuid) if uuid == bytes));
    assert!(rig.vm.frontend.get_shared_object(&uuid).is_err());
    // And the connection is as good as before.
    rig.blob(1);
}

#[test]
fn a_blob_that_the_host_cannot_make_is_an_error_and_nothing_more() {
    let mut rig = Rig::new(&["--max-host-mib=1000000"]);
    for (id, bytes) in (1..).zip([1 << 27, 1 << 39, 1 << 62, u64::MAX]) {
        let answer = rig.vm.ask(&create_blob(id, HOST3D, 0, bytes, &[]));
        assert!(
            [
                RESP_ERR_OUT_OF_MEMORY,
                RESP_ERR_UNSPEC,
                RESP_ERR_INVALID_PARAMETER
            ]
            .contains(&answer.kind()),
            "{bytes}: {:#x}",
            answer.kind()
        );
        rig.vm.expect(&unref(id), RESP_ERR_INVALID_RESOURCE_ID);
    }
    rig.blob(1);
}
