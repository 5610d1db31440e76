//! Counters in real buffers: a guest and a host process count in the same memory.

use std::os::fd::AsFd;

use stile_frontend::gpu::{GUEST, attach, create_blob, submit};
use stile_frontend::{HANG, readable};
use stile_gpu::bridge::{Reply, ReplyTo, ResourceName};
use stile_host::{DmaBuf, Mapping};
use stile_wire::gpu::types::*;
use stile_wire::sync::{EventHeader, EventRecord, Op};
use zerocopy::FromBytes;

use crate::rig::Rig;

const LONG: u64 = 60_000_000_000;

fn op(op: Op) -> Vec<u8> {
    op.encode(0, 0).to_vec()
}

fn signal(resource_id: u32, offset: u64, value: u64) -> Vec<u8> {
    op(Op::MemSignal {
        resource_id,
        offset,
        value,
    })
}

fn wait_for(resource_id: u32, offset: u64, value: u64, event: u64) -> Vec<u8> {
    let timeout_ns = LONG;
    op(Op::MemWait {
        resource_id,
        offset,
        value,
        event,
        timeout_ns,
    })
}

/// With an event ring in resource 900, which is one page of the guest's.
fn rig() -> (Rig, u64) {
    let mut rig = Rig::new(&[]);
    let page = rig.vm.room(4096);
    let blob = create_blob(900, GUEST, 0, 4096, &[page]);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    rig.vm.expect(&attach(1, 900), RESP_OK_NODATA);
    rig.run(&op(Op::Events {
        resource_id: 900,
        offset: 0,
        size: 4096,
    }));
    (rig, page.address)
}

/// Number and value of each event.
fn events(rig: &Rig, address: u64) -> Vec<(u64, u64)> {
    let bytes = rig.vm.ram.read(address, 4096);
    let (header, records) = EventHeader::read_from_prefix(&bytes).unwrap();
    (0..header.head.get() as usize)
        .map(|nth| EventRecord::read_from_bytes(&records[nth * 64..nth * 64 + 64]).unwrap())
        .map(|event| (event.event.get(), event.value.get()))
        .collect()
}

#[track_caller]
fn reply(rig: &Rig) -> Reply {
    assert!(readable(rig.bridge.as_fd(), HANG), "no reply");
    rig.bridge.reply().unwrap()
}

fn whole(buffer: &DmaBuf) -> Mapping {
    buffer.map(0..buffer.size()).unwrap()
}

/// A program on the host counts in its own mapping of the buffer, at `offset`.
fn both_ways(rig: &mut Rig, ring: u64, resource_id: u32, buffer: &DmaBuf, offset: u64) {
    let host = whole(buffer);
    let at = offset as usize;
    let name = ResourceName::Id(resource_id);
    // The host stores and rings; the guest wakes.
    let event = offset + 1;
    rig.run(&wait_for(resource_id, offset, 3, event));
    host.store_u64(at, 3_u64.to_le()).unwrap();
    rig.run(&[]);
    assert!(!events(rig, ring).contains(&(event, 3)), "nobody has rung");
    rig.bridge.mem_signal(1, name, offset, 0).unwrap();
    let kind = ReplyTo::MemSignal;
    let (tag, answer) = (1, Ok(3));
    assert_eq!(reply(rig), Reply { kind, tag, answer });
    rig.run(&[]);
    assert_eq!(events(rig, ring).last(), Some(&(event, 3)));
    // The guest raises; the host sees it in its mapping.
    rig.bridge.mem_wait(2, name, offset, 8, LONG).unwrap();
    rig.run(&signal(resource_id, offset, 8));
    let kind = ReplyTo::MemWait;
    let (tag, answer) = (2, Ok(8));
    assert_eq!(reply(rig), Reply { kind, tag, answer });
    assert_eq!(host.load_u64(at).unwrap(), 8_u64.to_le());
}

#[test]
fn host_buffers_of_every_kind_hold_counters() {
    for allocator in ["udmabuf", "heap:system", "vgem"] {
        let mut rig = Rig::new(&["--allocator", allocator]);
        let page = rig.vm.room(4096);
        let blob = create_blob(900, GUEST, 0, 4096, &[page]);
        rig.vm.expect(&blob, RESP_OK_NODATA);
        rig.vm.expect(&attach(1, 900), RESP_OK_NODATA);
        rig.run(&op(Op::Events {
            resource_id: 900,
            offset: 0,
            size: 4096,
        }));
        let buffer = rig.blob_of(1, 65536);
        for offset in [0, 4096 + 8, 65536 - 8] {
            both_ways(&mut rig, page.address, 1, &buffer, offset);
        }
    }
}

#[test]
fn guest_pages_hold_counters_that_the_host_sees_through_their_dma_buf() {
    let (mut rig, ring) = rig();
    let mut pages: Vec<_> = (0..4).map(|_| rig.vm.room(4096)).collect();
    pages.reverse();
    let blob = create_blob(1, GUEST, 0, 4 * 4096, &pages);
    rig.vm.expect(&blob, RESP_OK_NODATA);
    rig.vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let buffer = rig.bridge.by_id(1).unwrap().buffer;
    for (page, offset) in [(0, 16), (1, 4096), (3, 4 * 4096 - 8)] {
        both_ways(&mut rig, ring, 1, &buffer, offset);
        let seen = rig.vm.ram.read(pages[page].address + offset % 4096, 8);
        assert_eq!(seen, 8_u64.to_le_bytes(), "what the guest's CPU sees");
    }
}

#[test]
fn two_processes_and_a_guest_raise_one_counter_and_nobody_loses() {
    let (mut rig, _) = rig();
    let buffer = rig.blob_of(1, 4096);
    let host = whole(&buffer);
    let path = rig.daemon.folder().join("bridge.sock");
    let others: Vec<_> = (0..2)
        .map(|nth| {
            let path = path.clone();
            std::thread::spawn(move || {
                let client = stile_gpu::bridge::Client::connect(&path).unwrap();
                for round in 0..200_u64 {
                    let value = round * 3 + nth;
                    client
                        .mem_signal(round, ResourceName::Id(1), 0, value)
                        .unwrap();
                    let found = client.reply().unwrap().answer.unwrap();
                    assert!(found >= value, "{found} after {value}");
                }
            })
        })
        .collect();
    for round in 0..200 {
        let value = round * 3 + 2;
        rig.vm
            .expect(&submit(1, &signal(1, 0, value)), RESP_OK_NODATA);
        assert!(u64::from_le(host.load_u64(0).unwrap()) >= value);
    }
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(u64::from_le(host.load_u64(0).unwrap()), 199 * 3 + 2);
}
