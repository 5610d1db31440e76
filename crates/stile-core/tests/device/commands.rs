//! Every command of the specification is answered, and every other type too.

use stile_core::{Answer, Chain, Limits};
use stile_wire::gpu::{MAX_RESPONSE_BYTES, Response, ResponseError, types};
use stile_wire::sync::{Access, CAPSET_ID, Capset, Op, OpCode, encode_export, encode_status};

use crate::sim::{Bench, Fenced, GuestCommand, Records, Sim};

fn command(kind: u32, ctx_id: u32, words: &[u32]) -> GuestCommand {
    let body = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    GuestCommand { kind, ctx_id, body }
}

/// All commands, about context 1, blob 1 and scanout 0, with the type of the response; 0 for those
/// that wait for the front end. The resource comes first in most, behind a rectangle in some.
fn commands() -> Vec<(GuestCommand, u32)> {
    let rectangle = |words: &[u32]| [&[0, 0, 1, 1], words].concat();
    let long = |first: &[u32]| [first, &[0; 20]].concat();
    vec![
        (GuestCommand::display_info(), types::RESP_OK_DISPLAY_INFO),
        (
            command(types::CMD_GET_EDID, 0, &[0, 0]),
            types::RESP_ERR_INVALID_SCANOUT_ID,
        ),
        (
            command(types::CMD_GET_CAPSET_INFO, 0, &[0, 0]),
            types::RESP_OK_CAPSET_INFO,
        ),
        (
            command(types::CMD_GET_CAPSET_INFO, 0, &[1, 0]),
            types::RESP_ERR_INVALID_PARAMETER,
        ),
        (
            command(types::CMD_GET_CAPSET, 0, &[30, 1]),
            types::RESP_OK_CAPSET,
        ),
        (
            command(types::CMD_GET_CAPSET, 0, &[30, 2]),
            types::RESP_ERR_INVALID_PARAMETER,
        ),
        (
            command(types::CMD_GET_CAPSET, 0, &[5, 1]),
            types::RESP_ERR_INVALID_PARAMETER,
        ),
        (GuestCommand::context(2), types::RESP_OK_NODATA),
        (GuestCommand::context(2), types::RESP_ERR_INVALID_CONTEXT_ID),
        (GuestCommand::context(0), types::RESP_ERR_INVALID_CONTEXT_ID),
        (
            GuestCommand::ctx_create(3, 5),
            types::RESP_ERR_INVALID_PARAMETER,
        ),
        (
            GuestCommand::ctx_create(3, 0x0100 | CAPSET_ID),
            types::RESP_OK_NODATA,
        ),
        (GuestCommand::ctx_destroy(3), types::RESP_OK_NODATA),
        (
            GuestCommand::ctx_destroy(3),
            types::RESP_ERR_INVALID_CONTEXT_ID,
        ),
        (GuestCommand::attach(2, 1), types::RESP_OK_NODATA),
        (GuestCommand::detach(2, 1), types::RESP_OK_NODATA),
        (
            GuestCommand::detach(2, 1),
            types::RESP_ERR_INVALID_RESOURCE_ID,
        ),
        (GuestCommand::submit(2, &[]), types::RESP_OK_NODATA),
        (
            GuestCommand::submit(9, &[]),
            types::RESP_ERR_INVALID_CONTEXT_ID,
        ),
        (GuestCommand::blob(2, 4096), types::RESP_OK_NODATA),
        (GuestCommand::unref(2), types::RESP_OK_NODATA),
        (GuestCommand::unref(2), types::RESP_ERR_INVALID_RESOURCE_ID),
        (GuestCommand::map(1, 0), 0),
        (GuestCommand::unmap(2), types::RESP_ERR_INVALID_RESOURCE_ID),
        (GuestCommand::assign_uuid(1), 0),
        (
            command(types::CMD_SET_SCANOUT, 0, &rectangle(&[0, 1])),
            types::RESP_ERR_INVALID_SCANOUT_ID,
        ),
        (
            command(types::CMD_SET_SCANOUT_BLOB, 0, &rectangle(&long(&[0, 1]))),
            types::RESP_ERR_INVALID_SCANOUT_ID,
        ),
        (
            command(types::CMD_UPDATE_CURSOR, 0, &long(&[0])),
            types::RESP_ERR_INVALID_SCANOUT_ID,
        ),
        (
            command(types::CMD_MOVE_CURSOR, 0, &long(&[0])),
            types::RESP_ERR_INVALID_SCANOUT_ID,
        ),
        (
            command(types::CMD_RESOURCE_CREATE_2D, 0, &[5, 1, 1, 1]),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(types::CMD_RESOURCE_CREATE_3D, 0, &long(&[5])),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(types::CMD_RESOURCE_ATTACH_BACKING, 0, &[1, 0]),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(types::CMD_RESOURCE_ATTACH_BACKING, 0, &[9, 0]),
            types::RESP_ERR_INVALID_RESOURCE_ID,
        ),
        (
            command(types::CMD_RESOURCE_DETACH_BACKING, 0, &[1, 0]),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(types::CMD_RESOURCE_FLUSH, 0, &rectangle(&[1, 0])),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(types::CMD_RESOURCE_FLUSH, 0, &rectangle(&[9, 0])),
            types::RESP_ERR_INVALID_RESOURCE_ID,
        ),
        (
            command(types::CMD_TRANSFER_TO_HOST_2D, 0, &rectangle(&[0, 0, 1, 0])),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(
                types::CMD_TRANSFER_TO_HOST_3D,
                1,
                &[0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0],
            ),
            types::RESP_ERR_UNSPEC,
        ),
        (
            command(
                types::CMD_TRANSFER_FROM_HOST_3D,
                1,
                &[0, 0, 0, 1, 1, 1, 0, 0, 9, 0, 0, 0],
            ),
            types::RESP_ERR_INVALID_RESOURCE_ID,
        ),
    ]
}

/// The type, flags, fence and context of a response as the guest reads it.
fn header(answer: &Answer) -> (u32, u32, u64, u32) {
    let mut out = [0; MAX_RESPONSE_BYTES];
    let bytes = answer.encode(&mut out);
    assert!(bytes >= 24);
    let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().unwrap());
    let fence = u64::from_le_bytes(out[8..16].try_into().unwrap());
    (word(0), word(4), fence, word(16))
}

/// The answer, which the front end may have to allow.
fn answer(bench: &mut Bench, chain: Chain, waits: bool) -> Answer {
    assert_eq!(bench.is_pending(chain), waits);
    if waits {
        bench.job(bench.tasks().len() - 1, Ok(()));
    }
    bench.answer(chain).unwrap()
}

#[test]
fn every_command_is_answered_as_specified() {
    let mut bench = Bench::with_blobs(1);
    for (command, kind) in commands() {
        let chain = bench.send(&command, Fenced::No);
        let answer = answer(&mut bench, chain, kind == 0);
        let (found, flags, fence, ctx_id) = header(&answer);
        if kind > 0 {
            assert_eq!(found, kind, "{command:?}");
        }
        assert_eq!(
            (flags, fence, ctx_id),
            (0, 0, command.ctx_id),
            "{command:?}"
        );
    }
    let listed = commands();
    for kind in (0x100..=0x10d).chain(0x200..=0x209).chain(0x300..=0x301) {
        assert!(
            listed.iter().any(|(command, _)| command.kind == kind),
            "{kind:#x} is not listed"
        );
    }
}

#[test]
fn every_command_carries_its_fence_back_whatever_becomes_of_it() {
    let mut bench = Bench::with_blobs(1);
    for (id, (command, kind)) in (1..).zip(commands()) {
        let chain = bench.send(&command, Fenced::Global(id));
        let answer = answer(&mut bench, chain, kind == 0);
        let (found, flags, fence, _) = header(&answer);
        assert_eq!((flags, fence), (1, id), "{command:?}");
        assert!(found == kind || kind == 0, "{command:?}");
    }
}

#[test]
fn a_command_cut_short_carries_its_fence_back() {
    for (id, (command, _)) in (1_u64..).zip(commands()) {
        if command.body.is_empty() {
            continue;
        }
        let mut bench = Bench::with_blobs(1);
        let mut bytes = command.bytes(Fenced::Global(id));
        bytes.truncate(bytes.len() - 1);
        bytes.truncate(24 + 7);
        let chain = bench.send_bytes(&bytes);
        let answer = bench.answer(chain).unwrap();
        let (kind, flags, fence, _) = header(&answer);
        assert_eq!((flags, fence), (1, id), "{command:?}");
        let context = command.kind == types::CMD_SUBMIT_3D && command.ctx_id != 1;
        let expected = if context {
            types::RESP_ERR_INVALID_CONTEXT_ID
        } else {
            types::RESP_ERR_INVALID_PARAMETER
        };
        assert_eq!(kind, expected, "{command:?}");
    }
}

#[test]
fn a_type_that_is_none_is_answered_with_its_fence() {
    let mut bench = Bench::with_blobs(1);
    let kinds = [
        0,
        0xff,
        0x10e,
        0x1ff,
        0x20a,
        0x302,
        0x1100,
        0x1200,
        u32::MAX,
    ];
    for (id, kind) in (1..).zip(kinds) {
        let chain = bench.send(&command(kind, 1, &[0; 30]), Fenced::Ring(2, id));
        let answer = bench.answer(chain).unwrap();
        assert_eq!(
            header(&answer),
            (types::RESP_ERR_UNSPEC, 3, id, 1),
            "{kind:#x}"
        );
    }
}

#[test]
fn less_than_a_header_is_answered_without_a_fence() {
    let mut bench = Bench::with_blobs(1);
    let whole = GuestCommand::display_info().bytes(Fenced::Global(1));
    for bytes in 0..whole.len() {
        let chain = bench.send_bytes(&whole[..bytes]);
        let answer = bench.answer(chain).unwrap();
        assert_eq!(
            answer.response,
            Response::Err(ResponseError::InvalidParameter)
        );
        assert_eq!(answer.fence, None);
    }
    let chain = bench.send_bytes(&whole);
    assert!(bench.answer(chain).unwrap().fence.is_some());
}

#[test]
fn the_capset_says_what_the_limits_are() {
    let mut bench = Bench::with_blobs(0);
    let info = bench.now(&command(types::CMD_GET_CAPSET_INFO, 0, &[0, 0]));
    assert_eq!(
        info,
        Response::CapsetInfo {
            id: 30,
            max_version: 1,
            max_size: 80
        }
    );
    let Response::Capset(capset) = bench.now(&command(types::CMD_GET_CAPSET, 0, &[30, 1])) else {
        panic!("no capset");
    };
    let limits = *bench.device.limits();
    let offered = [
        OpCode::Export,
        OpCode::Import,
        OpCode::Merge,
        OpCode::Wait,
        OpCode::Drop,
        OpCode::Status,
        OpCode::Poll,
        OpCode::Deadline,
        OpCode::Clock,
        OpCode::CpuBegin,
        OpCode::CpuEnd,
        OpCode::Snapshot,
        OpCode::FromRing,
        OpCode::Events,
        OpCode::EventWait,
        OpCode::Cancel,
        OpCode::TlCreate,
        OpCode::TlDestroy,
        OpCode::TlSignal,
        OpCode::TlReset,
        OpCode::TlTransfer,
        OpCode::TlWatch,
        OpCode::TlShare,
        OpCode::TlAdopt,
        OpCode::MemWait,
        OpCode::MemSignal,
    ];
    let offered = offered.iter().fold(0, |mask, op| mask | op.bit());
    let expected = Capset {
        version: 1.into(),
        size: 80.into(),
        operations: offered.into(),
        max_submit_bytes: limits.submit_bytes.into(),
        max_operations: limits.operations.into(),
        max_pending_fences: limits.pending_fences.into(),
        max_cookies: limits.cookies.into(),
        max_rings: 64.into(),
        fence_deadline_ms: limits.fence_deadline_ms.into(),
        status_record_bytes: 64.into(),
        max_timelines: limits.timelines.into(),
        max_host_bytes: limits.host_bytes.into(),
        max_events: limits.events.into(),
        max_cpu_accesses: limits.cpu_accesses.into(),
        max_timeout_ms: limits.timeout_ms.into(),
        reserved: 0.into(),
        reserved_tail: 0.into(),
    };
    assert_eq!(*capset, expected);
}

#[test]
fn commands_are_counted() {
    let mut bench = Bench::with_blobs(1);
    let before = *bench.device.counters();
    bench.now(&GuestCommand::display_info());
    bench.send(&GuestCommand::display_info(), Fenced::Global(1));
    let after = bench.device.counters();
    assert_eq!(
        (after.replies - before.replies, after.fences - before.fences),
        (2, 1)
    );
}

#[test]
fn an_operation_that_the_host_cannot_do_is_not_offered() {
    let without = OpCode::mask() & !OpCode::Deadline.bit();
    let mut sim = Sim::default();
    let mut device = stile_core::Device::new(Limits::default(), without);
    let mut send = |command: &GuestCommand| {
        let chain = sim.open_chain();
        device.submit(&mut sim, 1, chain, &command.bytes(Fenced::No));
        if device.is_paused() {
            let (id, buffer) = sim.make_buffer(0);
            device.buffer_created(&mut sim, id, Ok(buffer));
        }
        sim.answers.pop().expect("an answer at once").0.response
    };
    let Response::Capset(capset) = send(&command(types::CMD_GET_CAPSET, 0, &[30, 1])) else {
        panic!("no capset");
    };
    let [offered, unknown] = [OpCode::Clock, OpCode::Deadline].map(OpCode::bit);
    assert_eq!(capset.operations.get() & (offered | unknown), offered);
    send(&GuestCommand::context(1));
    send(&GuestCommand::blob(1, 4096));
    send(&GuestCommand::attach(1, 1));
    let deadline = Op::Deadline {
        cookie: 5,
        deadline_ns: 1,
    };
    let operations = [
        encode_status(0, 0, 1, 0, 4096).to_vec(),
        encode_export(0, 1, 1, Access::READ, 5).to_vec(),
        deadline.encode(0, 2).to_vec(),
    ];
    send(&GuestCommand::submit(1, &operations));
    let records = Records::read(&sim.storage(1).bytes.borrow(), 0);
    assert_eq!(records.errors(), [(0, 0), (1, 0), (2, 38)]);
    assert!(sim.deadlines.is_empty());
}
