//! Buffers that move: fences are carried over, and the front end maps the new one in the old one's
//! place.

use std::os::fd::AsFd;

use stile_frontend::gpu::{
    GUEST, HOST3D, attach, create_blob, map_blob, submit, unmap_blob, unref,
};
use stile_frontend::{HANG, Manner, Reply as Acknowledge, Request, readable};
use stile_gpu::bridge::{Client, Reply, ReplyTo, ResourceName};
use stile_host::{Access, AllocatorChoice, DmaBuf, DmaHeap};
use stile_wire::gpu::types::*;
use stile_wire::sync::Op;

use crate::rig::{READ, Rig, WRITE};

const LONG: u64 = 60_000_000_000;
const EIO: u32 = 5;
const EBADF: u32 = 9;
const EACCES: u32 = 13;
const EBUSY: u32 = 16;
const EINVAL: u32 = 22;
const EOPNOTSUPP: u32 = 95;
const ETIMEDOUT: u32 = 110;
const ECANCELED: u32 = 125;
const BYTES: u64 = 65536;

/// New memory, of which the first bytes say so.
fn other_buffer(kind: &str, bytes: u64) -> DmaBuf {
    let choice: AllocatorChoice = kind.parse().unwrap();
    let buffer = choice.open().unwrap().allocate(bytes).unwrap();
    buffer.map(0..4096).unwrap().write(0, b"moved").unwrap();
    buffer
}

fn head(buffer: &DmaBuf) -> [u8; 5] {
    let mut bytes = [0; 5];
    buffer.map(0..4096).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

fn replace(client: &Client, tag: u64, id: u32, buffer: &DmaBuf) {
    let name = ResourceName::Id(id);
    client.replace(tag, name, buffer.as_fd(), LONG).unwrap();
}

#[track_caller]
fn expect(client: &Client, tag: u64, answer: Result<u64, u32>) {
    if client.try_reply().unwrap().is_some_and(|reply| {
        assert_eq!(reply, to_replace(tag, answer));
        true
    }) {
        return;
    }
    assert!(readable(client.as_fd(), HANG), "no reply to {tag}");
    assert_eq!(client.reply().unwrap(), to_replace(tag, answer));
}

fn to_replace(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::Replace;
    Reply { kind, tag, answer }
}

/// Sees that nothing is answered, also after the daemon has done what it knows of.
#[track_caller]
fn assert_quiet(rig: &mut Rig) {
    rig.vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    assert_eq!(rig.bridge.try_reply().unwrap(), None);
}

/// The front end's next request is to map this buffer's memory here.
#[track_caller]
fn map_request(rig: &Rig, at: u64) -> DmaBuf {
    match rig.vm.request() {
        Request::Map {
            offset,
            size: BYTES,
            file_offset: 0,
            writable: true,
            file,
            ..
        } if offset == at => DmaBuf::from_fd(file.into()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unmap_request(rig: &Rig, at: u64) {
    match rig.vm.request() {
        Request::Unmap {
            offset,
            size: BYTES,
            ..
        } if offset == at => {}
        other => panic!("{other:?}"),
    }
}

/// A front end that asks, and blob 1 mapped at 0x10000.
#[track_caller]
fn mapped() -> (Rig, DmaBuf) {
    let mut rig = Rig::with(&[], Manner::Ask);
    let old = rig.blob_of(1, BYTES);
    let ticket = rig.vm.send(&map_blob(1, 0x10000));
    map_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
    (rig, old)
}

#[test]
fn pending_fences_are_carried_over_as_what_they_are() {
    for kind in ["udmabuf", "heap:system", "vgem"] {
        let mut rig = Rig::new(&[]);
        let old = rig.blob_of(1, BYTES);
        let readers = [rig.busy(&old, Access::READ), rig.busy(&old, Access::READ)];
        let writer = rig.busy(&old, Access::WRITE);
        let new = other_buffer(kind, BYTES);
        let own = rig.busy(&new, Access::READ);
        assert!(new.poll(Access::READ).unwrap());
        replace(&rig.bridge, 1, 1, &new);
        expect(&rig.bridge, 1, Ok(0));
        assert!(!new.poll(Access::READ).unwrap(), "{kind}: the writer's");
        // The guest's operations are about it from now on.
        let (reads, writes) = (rig.export(1, 1, READ, 0), rig.export(2, 1, WRITE, 0));
        rig.assert_pending(reads);
        writer.signal().unwrap();
        rig.assert_signals(reads);
        assert!(new.poll(Access::READ).unwrap());
        rig.assert_pending(writes);
        for fence in readers {
            assert!(!new.poll(Access::WRITE).unwrap(), "{kind}: a reader's");
            fence.signal().unwrap();
        }
        rig.assert_pending(writes);
        own.signal().unwrap();
        rig.assert_signals(writes);
        assert!(new.poll(Access::WRITE).unwrap());
    }
}

#[test]
fn what_has_begun_stays_with_the_old_buffer_and_what_begins_is_about_the_new() {
    let mut rig = Rig::new(&[]);
    let old = rig.blob_of(1, BYTES);
    let gate = rig.blob_of(2, BYTES);
    let (writer, first) = (
        rig.busy(&old, Access::WRITE),
        rig.busy(&gate, Access::WRITE),
    );
    let begun = rig.export(1, 1, READ, 7);
    // A POLL that has not started, behind another fence of its ring.
    rig.export(3, 2, READ, 0);
    let poll = Op::Poll {
        resource_id: 1,
        access: READ,
    };
    let poll = rig.submit(3, poll.encode(3, 0).as_ref());
    let new = other_buffer("udmabuf", BYTES);
    replace(&rig.bridge, 1, 1, &new);
    expect(&rig.bridge, 1, Ok(0));
    assert_eq!(head(&rig.bridge.by_id(1).unwrap().buffer), *b"moved");
    let later = rig.busy(&new, Access::WRITE);
    writer.signal().unwrap();
    rig.assert_signals(begun);
    first.signal().unwrap();
    rig.assert_pending(poll);
    later.signal().unwrap();
    rig.assert_signals(poll);
    // A cookie goes onto the new one; the old one is nobody's.
    let cookie = rig.busy(&old, Access::WRITE);
    let import = stile_wire::sync::encode_import(0, 0, 1, WRITE, 7);
    rig.run(&import);
    assert!(new.poll(Access::WRITE).unwrap(), "it had signalled");
    cookie.signal().unwrap();
}

#[test]
fn the_front_end_maps_the_new_buffer_in_the_old_ones_place() {
    let (mut rig, old) = mapped();
    let new = other_buffer("udmabuf", BYTES);
    replace(&rig.bridge, 4, 1, &new);
    unmap_request(&rig, 0x10000);
    assert_quiet(&mut rig);
    rig.vm.reply(Acknowledge::Accept);
    let shown = map_request(&rig, 0x10000);
    assert_quiet(&mut rig);
    rig.vm.reply(Acknowledge::Accept);
    expect(&rig.bridge, 4, Ok(0));
    // It is the new one's own memory, for the guest and for whoever asks.
    shown.map(0..4096).unwrap().write(0, b"guest").unwrap();
    assert_eq!(head(&new), *b"guest");
    assert_eq!(head(&rig.bridge.by_id(1).unwrap().buffer), *b"guest");
    assert_eq!(head(&old), [0; 5]);
    let ticket = rig.vm.send(&unmap_blob(1));
    unmap_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_NODATA);
}

#[test]
fn a_front_end_that_refuses_or_hangs_is_told_of_and_nobody_else_waits() {
    let (mut rig, _old) = mapped();
    let new = other_buffer("udmabuf", BYTES);
    replace(&rig.bridge, 1, 1, &new);
    unmap_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    map_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Refuse);
    expect(&rig.bridge, 1, Err(EIO));
    rig.vm.expect(&unmap_blob(1), RESP_ERR_INVALID_PARAMETER);
    let ticket = rig.vm.send(&map_blob(1, 0x10000));
    map_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_MAP_INFO);
    // It hangs: fences go on, and the request has its time.
    let newer = other_buffer("udmabuf", BYTES);
    let name = ResourceName::Id(1);
    rig.bridge
        .replace(2, name, newer.as_fd(), 50_000_000)
        .unwrap();
    unmap_request(&rig, 0x10000);
    expect(&rig.bridge, 2, Err(ETIMEDOUT));
    for _ in 0..5 {
        let fence = rig.busy(&newer, Access::WRITE);
        let export = rig.export(3, 1, READ, 0);
        fence.signal().unwrap();
        rig.assert_signals(export);
    }
    replace(&rig.bridge, 3, 1, &new);
    expect(&rig.bridge, 3, Err(EBUSY));
}

#[test]
fn whatever_ends_a_move_answers_it_and_leaves_nothing() {
    // The guest destroys the blob.
    let (mut rig, _old) = mapped();
    let before = rig.daemon.quiet_fds();
    let new = other_buffer("udmabuf", BYTES);
    replace(&rig.bridge, 1, 1, &new);
    unmap_request(&rig, 0x10000);
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    expect(&rig.bridge, 1, Err(ECANCELED));
    rig.vm.reply(Acknowledge::Accept);
    map_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    unmap_request(&rig, 0x10000);
    rig.vm.reply(Acknowledge::Accept);
    // It boots again.
    rig.blob_of(1, BYTES);
    let ticket = rig.vm.send(&map_blob(1, 0));
    map_request(&rig, 0);
    rig.vm.reply(Acknowledge::Accept);
    rig.vm.wait(ticket);
    assert_eq!(rig.daemon.quiet_fds(), before);
    replace(&rig.bridge, 2, 1, &new);
    unmap_request(&rig, 0);
    rig.vm.reboot();
    rig.vm.reply(Acknowledge::Accept);
    map_request(&rig, 0);
    rig.vm.reply(Acknowledge::Accept);
    unmap_request(&rig, 0);
    rig.vm.reply(Acknowledge::Accept);
    rig.furnish();
    expect(&rig.bridge, 2, Err(ECANCELED));
    // The VMM goes.
    rig.blob_of(1, BYTES);
    let ticket = rig.vm.send(&map_blob(1, 0));
    map_request(&rig, 0);
    rig.vm.reply(Acknowledge::Accept);
    rig.vm.wait(ticket);
    replace(&rig.bridge, 3, 1, &new);
    unmap_request(&rig, 0);
    let Rig { vm, bridge, .. } = rig;
    drop(vm);
    expect(&bridge, 3, Err(ECANCELED));
}

#[test]
fn buffers_that_cannot_take_the_place_are_refused_and_change_nothing() {
    let (mut rig, old) = mapped();
    let name = ResourceName::Id(1);
    let small = other_buffer("udmabuf", BYTES - 4096);
    let large = other_buffer("udmabuf", BYTES + 4096);
    for buffer in [&small, &large] {
        replace(&rig.bridge, 1, 1, buffer);
        expect(&rig.bridge, 1, Err(EINVAL));
    }
    let page = rig.vm.room(4096);
    let guest = create_blob(2, GUEST, 0, 4096, &[page]);
    rig.vm.expect(&guest, RESP_OK_NODATA);
    replace(&rig.bridge, 1, 2, &other_buffer("udmabuf", 4096));
    expect(&rig.bridge, 1, Err(EOPNOTSUPP));
    // One that may only be read.
    let reads = read_only(BYTES);
    replace(&rig.bridge, 1, 1, &reads);
    expect(&rig.bridge, 1, Err(EACCES));
    // No buffer at all.
    let sync_file = rig.gpu.fence().unwrap();
    let fd = sync_file.sync_file().as_fd();
    rig.bridge.replace(1, name, fd, LONG).unwrap();
    expect(&rig.bridge, 1, Err(EBADF));
    // Where the device writes.
    let blob = create_blob(3, HOST3D, 0, BYTES, &[]);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    rig.vm.expect(&attach(1, 3), RESP_OK_NODATA);
    let new = other_buffer("udmabuf", BYTES);
    let events = Op::Events {
        resource_id: 3,
        offset: 0,
        size: 4096,
    };
    rig.run(events.encode(0, 0).as_ref());
    replace(&rig.bridge, 1, 3, &new);
    expect(&rig.bridge, 1, Err(EBUSY));
    assert_quiet(&mut rig);
    let same = rig.bridge.by_id(1).unwrap().buffer;
    old.map(0..4096).unwrap().write(0, b"older").unwrap();
    assert_eq!(head(&same), *b"older");
}

/// A dma-buf whose descriptor may only be read.
fn read_only(bytes: u64) -> DmaBuf {
    let heap = DmaHeap::open(DmaHeap::SYSTEM).unwrap();
    heap.alloc_read_only(bytes).unwrap()
}

#[test]
fn a_buffer_moves_as_often_as_it_must_and_leaves_nothing() {
    let mut rig = Rig::new(&[]);
    rig.blob_of(1, BYTES);
    rig.vm.expect(&map_blob(1, 0), RESP_OK_MAP_INFO);
    rig.vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    let before = rig.daemon.quiet_fds();
    for round in 0..50 {
        let kind = ["udmabuf", "heap:system", "vgem"][round % 3];
        let new = other_buffer(kind, BYTES);
        replace(&rig.bridge, 1, 1, &new);
        expect(&rig.bridge, 1, Ok(0));
        let count = Op::MemSignal {
            resource_id: 1,
            offset: 1024,
            value: round as u64 + 1,
        };
        rig.run(count.encode(0, 0).as_ref());
        let word = new.map(0..4096).unwrap().load_u64(1024).unwrap();
        assert_eq!(u64::from_le(word), round as u64 + 1);
    }
    rig.vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    assert_eq!(rig.daemon.quiet_fds(), before);
}
