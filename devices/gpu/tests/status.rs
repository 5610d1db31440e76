//! Operations and their records in a status blob. The blob lies in guest pages, which need no
//! dma-buf; every operation that would need one fails, and says so in-band.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use stile_frontend::gpu::{
    Answer, GUEST, attach, capset, create_blob, create_context, detach, submit, unref,
};
use stile_frontend::status::StatusBlob;
use stile_frontend::{Daemon, Options, Piece, Plan, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::{
    Access, CAPSET_ID, Capset, Op, OpCode, encode_drop, encode_export, encode_import, encode_merge,
    encode_status, encode_wait,
};

const ENOENT: u32 = 2;
const E2BIG: u32 = 7;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;
const EBADMSG: u32 = 74;
const EOPNOTSUPP: u32 = 95;

/// Scattered pages, so that the blob is not one piece.
fn pages(vm: &Vm, count: usize) -> Vec<Piece> {
    let mut pages: Vec<Piece> = (0..count).map(|_| vm.room(4096)).collect();
    pages.reverse();
    pages
}

/// Context 1 with its status in blob 1, and a plain blob 2. No memory of this guest can be a
/// dma-buf.
#[track_caller]
fn guest(daemon: &Daemon) -> (Vm, StatusBlob) {
    let mut vm = daemon.connect_with(Plan {
        sealable: false,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let status = StatusBlob {
        pages: pages(&vm, 4),
        offset: 0,
    };
    let bytes = 4 * 4096;
    let blob = create_blob(1, GUEST, 0, bytes, &status.pages);
    vm.expect(&blob, RESP_OK_NODATA);
    let page = vm.room(4096);
    vm.expect(&create_blob(2, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    vm.expect(&attach(1, 2), RESP_OK_NODATA);
    run(&mut vm, &encode_status(0, 1, 1, 0, bytes));
    assert_eq!(status.errnos(&vm.ram, 1), [0]);
    (vm, status)
}

fn daemon() -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")))
}

/// Submits without a fence. That is answered with an error only if the payload cannot be cut.
#[track_caller]
fn run(vm: &mut Vm, payload: &[u8]) -> Answer {
    vm.ask(&submit(1, payload))
}

#[test]
fn the_header_says_where_the_records_are() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let header = status.header(&vm.ram);
    assert_eq!(header.magic.get().to_le_bytes(), *b"STIL");
    assert_eq!(header.version.get(), 1);
    assert_eq!(header.capacity.get(), (4 * 4096 - 64) / 64);
    assert_eq!(header.record_bytes.get(), 64);
    assert_eq!(header.head.get(), 1);
    let record = status.records(&vm.ram)[0];
    assert_eq!((record.cmd, record.ring_idx), (0x85, 0));
    assert_eq!(record.resource_id.get(), 1);
    assert_eq!(record.signalled_ns.get(), 0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let taken = record.taken_ns.get();
    assert!(
        taken <= now && now - taken < 20_000_000_000,
        "{taken} {now}"
    );
    assert!(taken <= record.done_ns.get());
    run(&mut vm, &[]);
    assert_eq!(status.header(&vm.ram).head.get(), 1);
}

fn poll(resource_id: u32, access: Access) -> Vec<u8> {
    let op = Op::Poll {
        resource_id,
        access,
    };
    op.encode(0, 0).to_vec()
}

#[test]
fn every_fault_has_its_errno() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let no_access = Access::from_bits_retain(0);
    let bad_access = Access::from_bits_retain(4);
    let rw = Access::READ | Access::WRITE;
    let mut reserved = encode_status(0, 0, 1, 0, 4096);
    reserved[12] = 1;
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        (
            "no dma-buf",
            encode_export(0, 0, 2, rw, 0).into(),
            EOPNOTSUPP,
        ),
        ("unknown", encode_export(0, 0, 9, rw, 0).into(), ENOENT),
        (
            "access 0",
            encode_export(0, 0, 2, no_access, 0).into(),
            EINVAL,
        ),
        (
            "access 4",
            encode_export(0, 0, 2, bad_access, 0).into(),
            EINVAL,
        ),
        ("other ring", encode_export(1, 0, 2, rw, 0).into(), EINVAL),
        ("no cookie", encode_import(0, 0, 2, rw, 5).into(), ENOENT),
        ("cookie 0", encode_import(0, 0, 2, rw, 0).into(), EINVAL),
        ("merge", encode_merge(0, 0, 1, 2, 3).into(), ENOENT),
        ("merge of 0", encode_merge(0, 0, 0, 2, 3).into(), EINVAL),
        ("merge to 0", encode_merge(0, 0, 1, 2, 0).into(), EINVAL),
        ("wait, no fence", encode_wait(0, 0, 1).into(), EINVAL),
        ("wait for 0", encode_wait(0, 0, 0).into(), EINVAL),
        ("drop", encode_drop(0, 0, 1).into(), ENOENT),
        ("drop 0", encode_drop(0, 0, 0).into(), EINVAL),
        (
            "status of nothing",
            encode_status(0, 0, 9, 0, 4096).into(),
            ENOENT,
        ),
        (
            "short status",
            encode_status(0, 0, 1, 0, 127).into(),
            EINVAL,
        ),
        (
            "long status",
            encode_status(0, 0, 1, 0, 65537).into(),
            EINVAL,
        ),
        (
            "odd status",
            encode_status(0, 0, 1, 32, 4096).into(),
            EINVAL,
        ),
        (
            "status outside",
            encode_status(0, 0, 1, 4096, 16384).into(),
            EINVAL,
        ),
        (
            "far status",
            encode_status(0, 0, 1, u64::MAX - 63, 4096).into(),
            EINVAL,
        ),
        ("reserved", reserved.into(), EINVAL),
        ("poll, no fence", poll(2, rw), EINVAL),
        ("poll, access 0", poll(2, no_access), EINVAL),
        ("unknown code", [0xbf, 0, 8, 0, 0, 0, 0, 0].into(), ENOSYS),
        ("cross-domain's", [4, 0, 8, 0, 0, 0, 0, 0].into(), ENOSYS),
        ("wrong size", [0x80, 0, 8, 0, 0, 0, 0, 0].into(), EINVAL),
    ];
    // All in one submission, each with its number as tag.
    let mut payload = Vec::new();
    for (number, (_, bytes, _)) in (100_u32..).zip(&cases) {
        let mut bytes = bytes.clone();
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        payload.extend(bytes);
    }
    let answer = run(&mut vm, &payload);
    assert_eq!(answer.kind(), RESP_OK_NODATA);
    for (number, (name, bytes, errno)) in (100_u32..).zip(&cases) {
        assert_eq!(status.errnos(&vm.ram, number), [*errno], "{name}");
        let records = status.records(&vm.ram);
        let record = records.iter().find(|record| record.tag.get() == number);
        assert_eq!(record.unwrap().cmd, bytes[0], "{name}");
    }
}

#[test]
fn the_clock_is_the_hosts_at_the_moment_when_it_was_taken_up() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    for _ in 0..3 {
        let before = monotonic_ns();
        run(&mut vm, &Op::Clock.encode(0, 7));
        let after = monotonic_ns();
        let records = status.records(&vm.ram);
        let record = records.last().unwrap();
        assert_eq!((record.cmd, record.errno.get()), (0x8a, 0));
        let taken = record.taken_ns.get();
        assert!(
            before <= taken && taken <= after,
            "{before} {taken} {after}"
        );
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[test]
fn a_deadline_is_for_a_cookie_where_the_kernel_takes_one() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let answer = vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET);
    let operations = answer.body::<Capset>().operations.get();
    let offered = operations & OpCode::Deadline.bit() != 0;
    let deadline = |tag, cookie| {
        let op = Op::Deadline {
            cookie,
            deadline_ns: 1,
        };
        op.encode(0, tag).to_vec()
    };
    run(&mut vm, &[deadline(7, 1), deadline(8, 0)].concat());
    let expected = if offered {
        [ENOENT, EINVAL]
    } else {
        [ENOSYS, ENOSYS]
    };
    assert_eq!(status.errnos(&vm.ram, 7), expected[..1]);
    assert_eq!(status.errnos(&vm.ram, 8), expected[1..]);
}

#[test]
fn a_submission_that_cannot_be_cut_runs_as_far_as_it_can() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let first = encode_drop(0, 2, 7);
    let tails: [&[u8]; 6] = [
        &[0x84],
        &[0x84, 0, 16, 0, 3, 0, 0],
        &[0x84, 0, 7, 0, 3, 0, 0, 0],
        &[0x84, 0, 0, 0, 3, 0, 0, 0],
        &[0x84, 0, 12, 0, 3, 0, 0, 0, 1, 1, 1, 1],
        &[0x84, 0, 24, 0, 3, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
    ];
    for (number, tail) in tails.iter().enumerate() {
        let answer = run(&mut vm, &[&first[..], tail].concat());
        assert_eq!(answer.kind(), RESP_ERR_INVALID_PARAMETER);
        let records = status.records(&vm.ram);
        assert_eq!(records.len(), 1 + 2 * (number + 1));
        let [.., before, last] = &records[..] else {
            panic!("two records")
        };
        assert_eq!((before.tag.get(), before.errno.get()), (2, ENOENT));
        assert_eq!((last.cmd, last.errno.get()), (0x84, EBADMSG));
        let tag = if tail.len() < 8 { 0 } else { 3 };
        assert_eq!(last.tag.get(), tag);
    }
}

#[test]
fn a_submission_beyond_the_limits_leaves_one_record() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let answer = run(&mut vm, &vec![0x84; (64 << 10) + 8]);
    assert_eq!(answer.kind(), RESP_ERR_INVALID_PARAMETER);
    let last = *status.records(&vm.ram).last().unwrap();
    assert_eq!((last.cmd, last.tag.get(), last.errno.get()), (0, 0, E2BIG));

    // 256 operations are run, the next is not, nor what follows.
    let mut payload = Vec::new();
    for tag in 1000..1300 {
        payload.extend(encode_drop(0, tag, 1));
    }
    let answer = run(&mut vm, &payload);
    assert_eq!(answer.kind(), RESP_ERR_INVALID_PARAMETER);
    let last = *status.records(&vm.ram).last().unwrap();
    assert_eq!((last.tag.get(), last.errno.get()), (1256, E2BIG));
    assert_eq!(status.header(&vm.ram).head.get(), 2 + 257);
}

#[test]
fn records_go_round_and_round() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let capacity = u64::from(status.header(&vm.ram).capacity.get());
    let mut seq = 1;
    while seq < 3 * capacity {
        let mut payload = Vec::new();
        for tag in 0..200 {
            payload.extend(encode_drop(0, tag, 1));
            seq += 1;
        }
        run(&mut vm, &payload);
        let records = status.records(&vm.ram);
        assert_eq!(records.len() as u64, seq.min(capacity));
        assert_eq!(status.header(&vm.ram).head.get(), seq);
        assert_eq!(records.last().unwrap().tag.get(), 199);
    }
}

#[test]
fn a_status_blob_may_lie_anywhere_and_move() {
    let daemon = daemon();
    let (mut vm, whole) = guest(&daemon);
    let moved = StatusBlob {
        offset: 4096 - 64,
        ..whole.clone()
    };
    vm.ram.write(whole.pages[1].address, &[0xaa; 4096]);
    // One page's last 64 bytes and the next page's first 128: a header and two records.
    run(&mut vm, &encode_status(0, 2, 1, 4096 - 64, 192));
    let header = moved.header(&vm.ram);
    assert_eq!((header.capacity.get(), header.head.get()), (2, 1));
    run(&mut vm, &encode_drop(0, 3, 1));
    assert_eq!(moved.errnos(&vm.ram, 3), [ENOENT]);
    run(&mut vm, &encode_drop(0, 4, 1));
    let tags: Vec<u32> = moved
        .records(&vm.ram)
        .iter()
        .map(|record| record.tag.get())
        .collect();
    assert_eq!(tags, [3, 4]);
    // Nothing behind it was touched.
    let behind = vm.ram.read(whole.pages[1].address + 128, 4096 - 128);
    assert!(behind.iter().all(|byte| *byte == 0xaa));
    // And the old place is as it was.
    assert_eq!(whole.header(&vm.ram).head.get(), 1);
}

#[test]
fn records_end_with_the_binding() {
    let daemon = daemon();
    let (mut vm, status) = guest(&daemon);
    let head = |vm: &Vm| status.header(&vm.ram).head.get();
    let bind = encode_status(0, 1, 1, 0, 4 * 4096);

    run(&mut vm, &encode_status(0, 2, 0, 0, 0));
    run(&mut vm, &encode_drop(0, 3, 1));
    assert_eq!(head(&vm), 1);

    run(&mut vm, &bind);
    vm.expect(&detach(1, 1), RESP_OK_NODATA);
    run(&mut vm, &encode_drop(0, 3, 1));
    assert_eq!(head(&vm), 1);
    // Not attached any more.
    run(&mut vm, &bind);
    assert_eq!(head(&vm), 1);

    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    run(&mut vm, &bind);
    run(&mut vm, &encode_drop(0, 3, 1));
    assert_eq!(head(&vm), 2);
    vm.expect(&unref(1), RESP_OK_NODATA);
    run(&mut vm, &encode_drop(0, 3, 1));
    assert_eq!(head(&vm), 2);
}

#[test]
fn contexts_of_another_kind_have_no_operations() {
    let daemon = daemon();
    let (mut vm, _) = guest(&daemon);
    vm.expect(&create_context(2, 0), RESP_OK_NODATA);
    vm.expect(&submit(2, &[]).fence(1), RESP_OK_NODATA);
    let answer = vm.expect(&submit(2, &encode_drop(0, 0, 1)).fence(2), RESP_ERR_UNSPEC);
    assert_eq!(answer.fence(), Some((None, 2)));
}

#[test]
fn the_log_says_that_a_guest_blob_has_no_dma_buf() {
    let daemon = daemon();
    let (_vm, _) = guest(&daemon);
    daemon.wait_for_line("A GUEST blob has no dma-buf");
}
