//! Every command and its answer, over real rings and sockets, with a front end in this process.

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
    CROSS_DEVICE, Command, GUEST, HOST3D, HOST3D_GUEST, MAPPABLE, assign_uuid, attach, capset,
    capset_info, create_blob, create_context, destroy_context, detach, map_blob, resource, submit,
    unmap_blob, unref,
};
use stile_frontend::{Daemon, Options, Piece, Vm};
use stile_wire::gpu::layout::{
    AttachBacking, CapsetInfo, CtxCreate, GetEdid, ResourceCreate2d, ResourceCreate3d,
    ResourceFlush, SetScanout, SetScanoutBlob, Transfer3d, TransferToHost2d, UpdateCursor,
};
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, Capset, OpCode};
use zerocopy::FromZeros;

fn daemon() -> Daemon {
    Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")))
}

/// A blob of one guest page.
#[track_caller]
fn guest_blob(vm: &mut Vm, resource_id: u32) -> Piece {
    let page = vm.room(4096);
    vm.expect(
        &create_blob(resource_id, GUEST, CROSS_DEVICE, 4096, &[page]),
        RESP_OK_NODATA,
    );
    page
}

#[test]
fn the_capset_is_stile_sync_and_there_is_one() {
    // Timelines are offered where the machine has them.
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.with(&["--syncobj-node=none"]));
    let mut vm = daemon.connect();
    let info: CapsetInfo = vm.expect(&capset_info(0), RESP_OK_CAPSET_INFO).body();
    assert_eq!(info.capset_id.get(), CAPSET_ID);
    assert_eq!(info.capset_max_version.get(), 1);
    assert_eq!(info.capset_max_size.get(), 80);
    vm.expect(&capset_info(1), RESP_ERR_INVALID_PARAMETER);

    let answer = vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET);
    let capset_body: Capset = answer.body();
    assert_eq!(capset_body.version.get(), 1);
    assert_eq!(capset_body.size.get(), 80);
    let offered = [
        OpCode::Export,
        OpCode::Import,
        OpCode::Merge,
        OpCode::Wait,
        OpCode::Drop,
        OpCode::Status,
        OpCode::Poll,
        OpCode::Clock,
        OpCode::CpuBegin,
        OpCode::CpuEnd,
        OpCode::Snapshot,
        OpCode::FromRing,
        OpCode::Events,
        OpCode::EventWait,
        OpCode::Cancel,
        OpCode::MemWait,
        OpCode::MemSignal,
    ];
    let offered = offered.iter().fold(0, |mask, op| mask | op.bit());
    // Whether DEADLINE is there is the kernel's matter.
    let operations = capset_body.operations.get() & !OpCode::Deadline.bit();
    assert_eq!(operations, offered);
    assert_eq!(capset_body.max_rings.get(), 64);
    assert_eq!(capset_body.fence_deadline_ms.get(), 10_000);
    vm.expect(&capset(CAPSET_ID, 0), RESP_OK_CAPSET);
    vm.expect(&capset(CAPSET_ID, 2), RESP_ERR_INVALID_PARAMETER);
    vm.expect(&capset(1, 1), RESP_ERR_INVALID_PARAMETER);
}

#[test]
fn the_limits_of_the_command_line_stand_in_the_capset() {
    let daemon = Daemon::start(Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(&[
        "--fence-deadline-ms=1234",
        "--max-pending-fences=7",
        "--max-cookies=8",
        "--max-host-mib=9",
        "--max-timelines=10",
        "--max-events=11",
        "--max-timeout-ms=12",
    ]));
    let mut vm = daemon.connect();
    let capset: Capset = vm.expect(&capset(CAPSET_ID, 1), RESP_OK_CAPSET).body();
    assert_eq!(capset.fence_deadline_ms.get(), 1234);
    assert_eq!(capset.max_pending_fences.get(), 7);
    assert_eq!(capset.max_cookies.get(), 8);
    assert_eq!(capset.max_host_bytes.get(), 9 << 20);
    assert_eq!(capset.max_timelines.get(), 10);
    assert_eq!(capset.max_events.get(), 11);
    assert_eq!(capset.max_timeout_ms.get(), 12);
}

#[test]
fn a_device_without_outputs_says_so() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let answer = vm.expect(&Command::new(CMD_GET_DISPLAY_INFO), RESP_OK_DISPLAY_INFO);
    assert_eq!(answer.bytes.len(), 24 + 16 * 24);
    assert!(answer.bytes[24..].iter().all(|byte| *byte == 0));
    let commands = [
        Command::new(CMD_GET_EDID).body(&GetEdid::new_zeroed()),
        Command::new(CMD_SET_SCANOUT).body(&SetScanout::new_zeroed()),
        Command::new(CMD_SET_SCANOUT_BLOB).body(&SetScanoutBlob::new_zeroed()),
        Command::new(CMD_UPDATE_CURSOR).body(&UpdateCursor::new_zeroed()),
        Command::new(CMD_MOVE_CURSOR).body(&UpdateCursor::new_zeroed()),
    ];
    for command in &commands {
        vm.expect(command, RESP_ERR_INVALID_SCANOUT_ID);
    }
}

#[test]
fn what_is_not_offered_gets_an_error() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    guest_blob(&mut vm, 1);
    for command in [
        Command::new(CMD_RESOURCE_CREATE_2D).body(&ResourceCreate2d::new_zeroed()),
        Command::new(CMD_RESOURCE_CREATE_3D).body(&ResourceCreate3d::new_zeroed()),
    ] {
        vm.expect(&command, RESP_ERR_UNSPEC);
    }
    for (id, error) in [(1, RESP_ERR_UNSPEC), (2, RESP_ERR_INVALID_RESOURCE_ID)] {
        let mut flush = ResourceFlush::new_zeroed();
        flush.resource_id.set(id);
        let mut to_2d = TransferToHost2d::new_zeroed();
        to_2d.resource_id.set(id);
        let mut transfer = Transfer3d::new_zeroed();
        transfer.resource_id.set(id);
        let mut backing = AttachBacking::new_zeroed();
        backing.resource_id.set(id);
        for command in [
            Command::new(CMD_RESOURCE_FLUSH).body(&flush),
            Command::new(CMD_TRANSFER_TO_HOST_2D).body(&to_2d),
            Command::new(CMD_TRANSFER_TO_HOST_3D).body(&transfer),
            Command::new(CMD_TRANSFER_FROM_HOST_3D).body(&transfer),
            Command::new(CMD_RESOURCE_ATTACH_BACKING).body(&backing),
            resource(CMD_RESOURCE_DETACH_BACKING, id),
        ] {
            vm.expect(&command, error);
        }
    }
}

#[test]
fn an_unknown_command_gets_an_error_and_its_fence() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    for (number, kind) in (1_u64..).zip([0, 1, 0xff, 0x110, 0x20a, 0x302, 0x1100, u32::MAX]) {
        let answer = vm.expect(&Command::new(kind).fence(number), RESP_ERR_UNSPEC);
        assert_eq!(answer.fence(), Some((None, number)));
    }
}

#[test]
fn contexts_are_made_and_destroyed() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    vm.expect(&create_context(0, CAPSET_ID), RESP_ERR_INVALID_CONTEXT_ID);
    vm.expect(&create_context(1, 5), RESP_ERR_INVALID_PARAMETER);
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&create_context(1, CAPSET_ID), RESP_ERR_INVALID_CONTEXT_ID);
    vm.expect(&create_context(2, 0), RESP_OK_NODATA);
    vm.expect(&destroy_context(1), RESP_OK_NODATA);
    vm.expect(&destroy_context(1), RESP_ERR_INVALID_CONTEXT_ID);
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    // A header that names it comes back in the response.
    let answer = vm.expect(&submit(1, &[]), RESP_OK_NODATA);
    assert_eq!(answer.header().ctx_id.get(), 1);
}

#[test]
fn guest_blobs_are_made_attached_named_and_destroyed() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let page = guest_blob(&mut vm, 1);
    let again = create_blob(1, GUEST, 0, 4096, &[page]);
    vm.expect(&again, RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&attach(1, 1), RESP_ERR_INVALID_CONTEXT_ID);
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&attach(1, 2), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&detach(1, 1), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    vm.expect(&detach(1, 1), RESP_OK_NODATA);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let uuid: [u8; 16] = vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID).body();
    assert_eq!(uuid[6] >> 4, 4, "a random UUID");
    let same: [u8; 16] = vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID).body();
    assert_eq!(uuid, same);
    vm.expect(&assign_uuid(2), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&unref(1), RESP_OK_NODATA);
    vm.expect(&unref(1), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&detach(1, 1), RESP_ERR_INVALID_RESOURCE_ID);
}

#[test]
fn blobs_that_make_no_sense_are_refused() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let page = vm.room(4096);
    let at = |address, bytes| Piece { address, bytes };
    let end = 0x10_0000 + (64 << 20);
    let cases = [
        ("id 0", create_blob(0, GUEST, 0, 4096, &[page])),
        ("no memory type", create_blob(1, 0, 0, 4096, &[page])),
        ("unknown memory type", create_blob(1, 4, 0, 4096, &[page])),
        ("unknown flags", create_blob(1, GUEST, 8, 4096, &[page])),
        ("no bytes", create_blob(1, GUEST, 0, 0, &[page])),
        ("no pages", create_blob(1, GUEST, 0, 4096, &[])),
        ("too few pages", create_blob(1, GUEST, 0, 8192, &[page])),
        (
            "pages for nothing",
            create_blob(1, HOST3D, 0, 4096, &[page]),
        ),
        ("no shadow", create_blob(1, HOST3D_GUEST, 0, 4096, &[])),
        (
            "not a page",
            create_blob(1, GUEST, 0, 4096, &[at(page.address + 64, 4096)]),
        ),
        ("no memory", create_blob(1, GUEST, 0, 4096, &[at(0, 4096)])),
        (
            "beyond the memory",
            create_blob(1, GUEST, 0, 8192, &[at(end - 4096, 8192)]),
        ),
        (
            "an address that overflows",
            create_blob(1, GUEST, 0, 8192, &[at(u64::MAX - 4095, 8192)]),
        ),
        (
            "more bytes than there are addresses",
            create_blob(1, GUEST, 0, u64::MAX, &[at(page.address, u32::MAX)]),
        ),
    ];
    for (name, command) in cases {
        let kind = vm.ask(&command).kind();
        assert!(
            [RESP_ERR_INVALID_PARAMETER, RESP_ERR_INVALID_RESOURCE_ID].contains(&kind),
            "{name}: {kind:#x}"
        );
    }
    vm.expect(&unref(1), RESP_ERR_INVALID_RESOURCE_ID);
    guest_blob(&mut vm, 1);
}

#[test]
fn a_guest_blob_cannot_be_mapped_through_the_region() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let page = vm.room(4096);
    let blob = create_blob(1, GUEST, MAPPABLE, 4096, &[page]);
    vm.expect(&blob, RESP_OK_NODATA);
    vm.expect(&map_blob(1, 0), RESP_ERR_INVALID_PARAMETER);
    vm.expect(&unmap_blob(1), RESP_ERR_INVALID_PARAMETER);
    vm.expect(&map_blob(2, 0), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&unmap_blob(2), RESP_ERR_INVALID_RESOURCE_ID);
}

#[test]
fn every_command_cut_short_anywhere_is_answered() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let page = vm.room(4096);
    let mut create = CtxCreate::new_zeroed();
    create.context_init.set(CAPSET_ID);
    let wholes = [
        capset_info(0),
        capset(CAPSET_ID, 1),
        Command::new(CMD_GET_EDID).body(&GetEdid::new_zeroed()),
        create_context(9, CAPSET_ID),
        create_blob(9, GUEST, 0, 4096, &[page]),
        attach(9, 9),
        unref(9),
        assign_uuid(9),
        map_blob(9, 0),
        unmap_blob(9),
        submit(9, &[0x85; 32]),
        Command::new(CMD_SET_SCANOUT).body(&SetScanout::new_zeroed()),
        Command::new(CMD_SET_SCANOUT_BLOB).body(&SetScanoutBlob::new_zeroed()),
        Command::new(CMD_RESOURCE_CREATE_3D).body(&ResourceCreate3d::new_zeroed()),
        Command::new(CMD_RESOURCE_ATTACH_BACKING).body(&AttachBacking::new_zeroed()),
        Command::new(CMD_UPDATE_CURSOR).body(&UpdateCursor::new_zeroed()),
    ];
    for whole in &wholes {
        let bytes = whole.bytes();
        for length in 1..bytes.len() {
            let kind = vm.ask_bytes(&bytes[..length]).kind();
            assert!(
                (RESP_ERR_UNSPEC..=RESP_ERR_INVALID_PARAMETER).contains(&kind),
                "{length} bytes of {whole:?}: {kind:#x}"
            );
        }
    }
    // Nothing of all that was done.
    vm.expect(&unref(9), RESP_ERR_INVALID_RESOURCE_ID);
    vm.expect(&destroy_context(9), RESP_ERR_INVALID_CONTEXT_ID);
}

#[test]
fn a_command_with_more_bytes_than_it_needs_is_understood() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    let long = create_context(1, CAPSET_ID).body(&[7_u8; 4000]);
    vm.expect(&long, RESP_OK_NODATA);
}

#[test]
fn a_submission_beyond_the_limits_is_refused_and_the_device_goes_on() {
    let daemon = daemon();
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    let longest = vec![0_u8; 64 << 10];
    // It cannot be cut into operations, but it is not too long.
    vm.expect(&submit(1, &longest).fence(1), RESP_ERR_INVALID_PARAMETER);
    for (id, bytes) in [(2, (64 << 10) + 8), (3, 1 << 20), (4, 8 << 20)] {
        let answer = vm.expect(
            &submit(1, &vec![0; bytes]).fence(id),
            RESP_ERR_INVALID_PARAMETER,
        );
        assert_eq!(answer.fence(), Some((None, id)));
    }
    // A size that lies.
    let mut lie = submit(1, &[0; 16]).fence(5).bytes();
    lie[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    let answer = vm.ask_bytes(&lie);
    assert_eq!(answer.kind(), RESP_ERR_INVALID_PARAMETER);
    assert_eq!(answer.fence(), Some((None, 5)));
    vm.expect(&submit(1, &[]).fence(6), RESP_OK_NODATA);
}

#[test]
fn the_number_of_contexts_and_resources_is_limited() {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.with(&["--max-contexts=3", "--max-resources=2"]));
    let mut vm = daemon.connect();
    for id in 1..=3 {
        vm.expect(&create_context(id, CAPSET_ID), RESP_OK_NODATA);
    }
    vm.expect(&create_context(4, CAPSET_ID), RESP_ERR_OUT_OF_MEMORY);
    vm.expect(&destroy_context(2), RESP_OK_NODATA);
    vm.expect(&create_context(4, CAPSET_ID), RESP_OK_NODATA);
    guest_blob(&mut vm, 1);
    guest_blob(&mut vm, 2);
    let page = vm.room(4096);
    let third = create_blob(3, GUEST, 0, 4096, &[page]);
    vm.expect(&third, RESP_ERR_OUT_OF_MEMORY);
    vm.expect(&unref(1), RESP_OK_NODATA);
    vm.expect(&third, RESP_OK_NODATA);
}
