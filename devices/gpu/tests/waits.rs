//! Operations that wait, on a host that has no dma-buf for them. What comes before them on their
//! ring waits for the front end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use stile_frontend::gpu::{GUEST, assign_uuid, attach, create_blob, create_context, submit, unref};
use stile_frontend::status::StatusBlob;
use stile_frontend::{Daemon, Manner, Options, Plan, Reply, Ticket, Vm};
use stile_wire::gpu::types::*;
use stile_wire::sync::{Access, CAPSET_ID, Op, encode_status};

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOENT: u32 = 2;
const EOPNOTSUPP: u32 = 95;
const ETIMEDOUT: u32 = 110;
const DEADLINE: u16 = 1;

fn daemon(arguments: &[&str]) -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(arguments))
}

/// Context 1 with its status in blob 1, and plain blobs 2 and 3. No memory of this guest can be a
/// dma-buf, and its front end acknowledges what the test says.
#[track_caller]
fn guest(daemon: &Daemon) -> (Vm, StatusBlob) {
    let mut vm = daemon.connect_with(Plan {
        sealable: false,
        manner: Manner::Ask,
        ..Plan::default()
    });
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let mut first = None;
    for id in 1..=3 {
        let page = vm.room(4096);
        first.get_or_insert(page);
        vm.expect(&create_blob(id, GUEST, 0, 4096, &[page]), RESP_OK_NODATA);
        vm.expect(&attach(1, id), RESP_OK_NODATA);
    }
    let bind = submit(1, &encode_status(0, 0, 1, 0, 4096));
    vm.expect(&bind, RESP_OK_NODATA);
    let status = StatusBlob {
        pages: first.into_iter().collect(),
        offset: 0,
    };
    (vm, status)
}

fn poll(ring: u8, resource_id: u32) -> Vec<u8> {
    let op = Op::Poll {
        resource_id,
        access: Access::READ,
    };
    op.encode(ring, resource_id).to_vec()
}

/// A command on ring 3 that waits for the front end, and a POLL of blob 2 behind it.
#[track_caller]
fn poll_behind(vm: &mut Vm) -> [Ticket; 2] {
    let first = vm.send(&assign_uuid(3).context(1).ring_fence(3, 1));
    let polled = vm.send(&submit(1, &poll(3, 2)).ring_fence(3, 2));
    vm.request();
    vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    assert!(!vm.is_answered(first) && !vm.is_answered(polled));
    [first, polled]
}

#[test]
fn a_poll_starts_when_the_front_end_has_done_what_was_before_it() {
    let daemon = daemon(&[]);
    let (mut vm, status) = guest(&daemon);
    let [first, polled] = poll_behind(&mut vm);
    assert!(status.errnos(&vm.ram, 2).is_empty());
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(first).kind(), RESP_OK_RESOURCE_UUID);
    let answer = vm.wait(polled);
    assert_eq!(answer.kind(), RESP_OK_NODATA);
    assert_eq!(answer.fence(), Some((Some(3), 2)));
    // It had its turn, and there was no dma-buf.
    assert_eq!(status.errnos(&vm.ram, 2), [EOPNOTSUPP]);
}

#[test]
fn a_poll_finds_its_blob_gone_when_its_turn_comes() {
    let daemon = daemon(&[]);
    let (mut vm, status) = guest(&daemon);
    let [_, polled] = poll_behind(&mut vm);
    vm.expect(&unref(2), RESP_OK_NODATA);
    vm.reply(Reply::Accept);
    assert_eq!(vm.wait(polled).kind(), RESP_OK_NODATA);
    assert_eq!(status.errnos(&vm.ram, 2), [ENOENT]);
}

#[test]
fn a_poll_behind_a_front_end_that_hangs_has_its_deadline() {
    let daemon = daemon(&["--fence-deadline-ms=150"]);
    let (mut vm, status) = guest(&daemon);
    let [first, polled] = poll_behind(&mut vm);
    assert_eq!(vm.wait(first).kind(), RESP_ERR_UNSPEC);
    assert_eq!(vm.wait(polled).kind(), RESP_OK_NODATA);
    let records = status.records(&vm.ram);
    let record = records.last().unwrap();
    // The fence before it left by its deadline, and then there was no dma-buf, or time was up.
    let errno = record.errno.get();
    let flags = record.flags.get();
    assert!(
        (errno, flags) == (EOPNOTSUPP, 0) || (errno, flags) == (ETIMEDOUT, DEADLINE),
        "{errno} {flags}"
    );
}

#[test]
fn an_access_of_the_cpu_needs_a_fence_and_a_dma_buf() {
    let daemon = daemon(&["--max-cpu-accesses=1"]);
    let (mut vm, status) = guest(&daemon);
    let access = Access::READ;
    let both = |resource_id| {
        let begin = Op::CpuBegin {
            resource_id,
            access,
        };
        let end = Op::CpuEnd {
            resource_id,
            access,
        };
        let tag = resource_id;
        [begin.encode(0, tag).to_vec(), end.encode(0, tag).to_vec()].concat()
    };
    vm.expect(&submit(1, &both(2)), RESP_OK_NODATA);
    assert_eq!(status.errnos(&vm.ram, 2), [EINVAL; 2]);
    for (id, errno) in [(3, EOPNOTSUPP), (9, ENOENT)] {
        let command = submit(1, &both(id)).ring_fence(0, id.into());
        vm.expect(&command, RESP_OK_NODATA);
        assert_eq!(status.errnos(&vm.ram, id), [errno; 2]);
    }
    let threads = daemon.threads();
    assert!(!threads.contains(&"cpu-access".to_owned()), "{threads:?}");
}

#[test]
fn the_number_of_accesses_stands_in_the_capset_and_has_a_bound() {
    use stile_frontend::gpu::capset;
    use stile_wire::sync::Capset;

    let daemon = daemon(&["--max-cpu-accesses=5"]);
    let mut vm = daemon.connect();
    let capset: Capset = vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET).body();
    assert_eq!(capset.max_cpu_accesses.get(), 5);
    for number in ["0", "1025", "many"] {
        let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"))
            .with(&[&format!("--max-cpu-accesses={number}")]);
        assert!(!Daemon::spawn(options, None).wait_for_end().success());
    }
}

#[test]
fn a_cookie_of_a_ring_or_of_the_users_needs_fences_of_the_host() {
    let daemon = daemon(&[]);
    let (mut vm, status) = guest(&daemon);
    vm.expect(&create_context(2, CAPSET_ID), RESP_OK_NODATA);
    vm.send(&assign_uuid(3).context(1).ring_fence(3, 1));
    vm.request();
    let from_ring = |tag, ctx_id, ring, cookie| {
        let op = Op::FromRing {
            ctx_id,
            ring,
            cookie,
        };
        op.encode(0, tag).to_vec()
    };
    let snapshot = |tag, resource_id, cookie| {
        let op = Op::Snapshot {
            resource_id,
            cookie,
        };
        op.encode(0, tag).to_vec()
    };
    let cases = [
        (from_ring(11, 0, 3, 7), EOPNOTSUPP),
        (from_ring(12, 1, 3, 7), EOPNOTSUPP),
        (from_ring(13, 2, 3, 7), EPERM),
        (from_ring(14, 0, 64, 7), EINVAL),
        (from_ring(15, 0, 3, 0), EINVAL),
        (snapshot(16, 2, 7), EOPNOTSUPP),
        (snapshot(17, 9, 7), ENOENT),
        (snapshot(18, 2, 0), EINVAL),
    ];
    let payload: Vec<u8> = cases.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    vm.expect(&submit(1, &payload), RESP_OK_NODATA);
    for (tag, (_, errno)) in (11..).zip(cases) {
        assert_eq!(status.errnos(&vm.ram, tag), [errno], "{tag}");
    }
    vm.reply(Reply::Accept);
}
