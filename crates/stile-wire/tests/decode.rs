//! Decoding, whatever a guest has written.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod any_op;

use any_op::{names, op};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use stile_wire::gpu::{Command, Malformed, Request, Timeline, types};
use stile_wire::sync::{
    Access, Framing, Op, Refused, Step, Steps, encode_drop, encode_export, encode_import,
    encode_merge, encode_status, encode_wait,
};
use virtio_bindings::virtio_gpu as linux;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::with_cases(512)
    }
}

fn encode(ring: u8, tag: u32, op: Op) -> Vec<u8> {
    op.encode(ring, tag).to_vec()
}

/// How the specification cuts a payload, in few words: the pieces, and whether a rest is dropped.
fn cut(mut payload: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut pieces = Vec::new();
    while !payload.is_empty() {
        let size = match payload {
            [_, _, low, high, _, _, _, _, ..] => usize::from(*low) + 256 * usize::from(*high),
            _ => return (pieces, true),
        };
        if size < 8 || size % 8 != 0 || size > payload.len() {
            return (pieces, true);
        }
        let (piece, rest) = payload.split_at(size);
        pieces.push(piece);
        payload = rest;
    }
    (pieces, false)
}

/// Bytes that are often nearly a submission.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let header = (
        0x7e_u8..0xa0,
        any::<u8>(),
        0_u16..8,
        any::<bool>(),
        vec(any::<u8>(), 0..40),
    )
        .prop_map(|(cmd, ring, eighths, crooked, rest)| {
            let size = eighths * 8 + u16::from(crooked);
            let mut bytes = vec![cmd, ring];
            bytes.extend(size.to_le_bytes());
            bytes.extend([1, 2, 3, 4]);
            bytes.extend(rest);
            bytes
        });
    let good = (any::<u8>(), any::<u32>(), op()).prop_map(|(ring, tag, op)| encode(ring, tag, op));
    let part = prop_oneof![
        4 => good,
        2 => header,
        1 => vec(any::<u8>(), 0..24),
    ];
    vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_encoded_is_decoded(ops in vec((any::<u8>(), any::<u32>(), op()), 0..20)) {
        let encoded = ops.iter().map(|(ring, tag, op)| encode(*ring, *tag, *op));
        let payload = encoded.collect::<Vec<_>>().concat();
        let decoded: Vec<_> = Steps::new(&payload).collect();
        let expected: Vec<_> = ops
            .iter()
            .map(|(ring_idx, tag, op)| {
                let (cookie, resource_id) = names(*op);
                Ok(Step {
                    cmd: op.code().code(),
                    ring_idx: *ring_idx,
                    tag: *tag,
                    cookie,
                    resource_id,
                    op: Ok(*op),
                })
            })
            .collect();
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn any_payload_is_cut_as_specified_and_ends_after_the_first_framing_error(
        payload in payload(),
    ) {
        let (pieces, dropped) = cut(&payload);
        let mut steps = Steps::new(&payload);
        let mut left = payload.len();
        for piece in &pieces {
            let step = steps.next().expect("a piece").expect("no framing error");
            prop_assert_eq!((step.cmd, step.ring_idx), (piece[0], piece[1]));
            prop_assert_eq!(step.tag, u32::from_le_bytes(piece[4..8].try_into().unwrap()));
            if let Ok(op) = step.op {
                prop_assert_eq!(&encode(step.ring_idx, step.tag, op), piece);
                prop_assert_eq!((step.cookie, step.resource_id), names(op));
            }
            left -= piece.len();
        }
        if dropped {
            let framing: Framing = steps.next().expect("an error").expect_err("no piece");
            let rest = &payload[payload.len() - left..];
            prop_assert_eq!(framing.left, left);
            prop_assert_eq!(framing.cmd, rest[0]);
            let whole = rest.len() >= 8;
            let size = if whole { u16::from_le_bytes([rest[2], rest[3]]) } else { 0 };
            prop_assert_eq!(framing.size, size);
            let tag = if whole { u32::from_le_bytes(rest[4..8].try_into().unwrap()) } else { 0 };
            prop_assert_eq!(framing.tag, tag);
        }
        prop_assert!(steps.next().is_none());
        prop_assert!(steps.next().is_none());
    }

    #[test]
    fn any_bytes_are_a_request_or_malformed(bytes in vec(any::<u8>(), 0..200)) {
        match Request::decode(&bytes) {
            Err(fault) => {
                prop_assert_eq!(fault, Malformed::Short);
                prop_assert!(bytes.len() < 24);
            }
            Ok(request) => prop_assert_eq!(
                request.kind,
                u32::from_le_bytes(bytes[..4].try_into().unwrap())
            ),
        }
    }

    #[test]
    fn any_body_of_a_known_type_is_read_or_malformed(
        (kind, least) in prop::sample::select(COMMANDS.to_vec()),
        header in any::<[u8; 20]>(),
        body in vec(any::<u8>(), 0..160),
    ) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(&body);
        let request = Request::decode(&bytes).unwrap();
        prop_assert_eq!(request.kind, kind);
        if body.len() < least {
            prop_assert_eq!(request.command, Err(Malformed::Short));
        } else if !with_a_tail(kind) {
            prop_assert!(request.command.is_ok());
        }
    }

    #[test]
    fn a_header_is_read_as_it_stands(
        flags in any::<u32>(),
        fence_id in any::<u64>(),
        ctx_id in any::<u32>(),
        ring in any::<u8>(),
    ) {
        let mut bytes = types::CMD_CTX_DESTROY.to_le_bytes().to_vec();
        bytes.extend(flags.to_le_bytes());
        bytes.extend(fence_id.to_le_bytes());
        bytes.extend(ctx_id.to_le_bytes());
        bytes.extend([ring, 0xee, 0xee, 0xee]);
        let request = Request::decode(&bytes).unwrap();
        let on_ring = flags & 2 != 0;
        let timeline = if on_ring {
            Timeline::Ring { ctx_id, ring_idx: ring }
        } else {
            Timeline::Global
        };
        prop_assert_eq!(request.ctx_id, ctx_id);
        prop_assert_eq!(request.fence, (flags & 1 != 0).then_some((timeline, fence_id)));
        prop_assert_eq!(request.ring_idx, if on_ring { ring } else { 0 });
        prop_assert_eq!(request.command, Ok(Command::CtxDestroy));
    }

    #[test]
    fn a_payload_is_the_bytes_that_its_size_says(
        size in 0_u32..80,
        rest in vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = types::CMD_SUBMIT_3D.to_le_bytes().to_vec();
        bytes.extend([0; 20]);
        bytes.extend(size.to_le_bytes());
        bytes.extend([0xff; 4]);
        bytes.extend(&rest);
        let command = Request::decode(&bytes).unwrap().command;
        match rest.get(..size as usize) {
            Some(payload) => prop_assert_eq!(command, Ok(Command::Submit3d { payload })),
            None => prop_assert_eq!(command, Err(Malformed::ShortPayload(size))),
        }
    }
}

/// Bytes of a command of Linux' behind its header.
const fn behind<T>() -> usize {
    size_of::<T>() - 24
}

/// Commands and the least bytes behind their header.
const COMMANDS: [(u32, usize); 26] = [
    (
        types::CMD_GET_DISPLAY_INFO,
        behind::<linux::virtio_gpu_ctrl_hdr>(),
    ),
    (
        types::CMD_RESOURCE_CREATE_2D,
        behind::<linux::virtio_gpu_resource_create_2d>(),
    ),
    (
        types::CMD_RESOURCE_UNREF,
        behind::<linux::virtio_gpu_resource_unref>(),
    ),
    (
        types::CMD_SET_SCANOUT,
        behind::<linux::virtio_gpu_set_scanout>(),
    ),
    (
        types::CMD_RESOURCE_FLUSH,
        behind::<linux::virtio_gpu_resource_flush>(),
    ),
    (
        types::CMD_TRANSFER_TO_HOST_2D,
        behind::<linux::virtio_gpu_transfer_to_host_2d>(),
    ),
    (
        types::CMD_RESOURCE_ATTACH_BACKING,
        behind::<linux::virtio_gpu_resource_attach_backing>(),
    ),
    (
        types::CMD_RESOURCE_DETACH_BACKING,
        behind::<linux::virtio_gpu_resource_detach_backing>(),
    ),
    (
        types::CMD_GET_CAPSET_INFO,
        behind::<linux::virtio_gpu_get_capset_info>(),
    ),
    (
        types::CMD_GET_CAPSET,
        behind::<linux::virtio_gpu_get_capset>(),
    ),
    (
        types::CMD_GET_EDID,
        behind::<linux::virtio_gpu_cmd_get_edid>(),
    ),
    (
        types::CMD_RESOURCE_ASSIGN_UUID,
        behind::<linux::virtio_gpu_resource_assign_uuid>(),
    ),
    (
        types::CMD_RESOURCE_CREATE_BLOB,
        behind::<linux::virtio_gpu_resource_create_blob>(),
    ),
    (
        types::CMD_SET_SCANOUT_BLOB,
        behind::<linux::virtio_gpu_set_scanout_blob>(),
    ),
    (
        types::CMD_CTX_CREATE,
        behind::<linux::virtio_gpu_ctx_create>(),
    ),
    (
        types::CMD_CTX_DESTROY,
        behind::<linux::virtio_gpu_ctx_destroy>(),
    ),
    (
        types::CMD_CTX_ATTACH_RESOURCE,
        behind::<linux::virtio_gpu_ctx_resource>(),
    ),
    (
        types::CMD_CTX_DETACH_RESOURCE,
        behind::<linux::virtio_gpu_ctx_resource>(),
    ),
    (
        types::CMD_RESOURCE_CREATE_3D,
        behind::<linux::virtio_gpu_resource_create_3d>(),
    ),
    (
        types::CMD_TRANSFER_TO_HOST_3D,
        behind::<linux::virtio_gpu_transfer_host_3d>(),
    ),
    (
        types::CMD_TRANSFER_FROM_HOST_3D,
        behind::<linux::virtio_gpu_transfer_host_3d>(),
    ),
    (
        types::CMD_SUBMIT_3D,
        behind::<linux::virtio_gpu_cmd_submit>(),
    ),
    (
        types::CMD_RESOURCE_MAP_BLOB,
        behind::<linux::virtio_gpu_resource_map_blob>(),
    ),
    (
        types::CMD_RESOURCE_UNMAP_BLOB,
        behind::<linux::virtio_gpu_resource_unmap_blob>(),
    ),
    (
        types::CMD_UPDATE_CURSOR,
        behind::<linux::virtio_gpu_update_cursor>(),
    ),
    (
        types::CMD_MOVE_CURSOR,
        behind::<linux::virtio_gpu_update_cursor>(),
    ),
];

/// Commands whose last part is as long as a field says.
fn with_a_tail(kind: u32) -> bool {
    [
        types::CMD_SUBMIT_3D,
        types::CMD_RESOURCE_ATTACH_BACKING,
        types::CMD_RESOURCE_CREATE_BLOB,
    ]
    .contains(&kind)
}

#[test]
fn every_command_is_known_and_no_other_type() {
    for kind in 0..0x2000 {
        let mut bytes = vec![0; 24 + 100];
        bytes[..4].copy_from_slice(&u32::to_le_bytes(kind));
        let command = Request::decode(&bytes).unwrap().command;
        let known = COMMANDS.iter().any(|(known, _)| *known == kind);
        let unknown = command == Err(Malformed::UnknownType(kind));
        assert_eq!(known, !unknown, "{kind:#x}: {command:?}");
    }
}

#[test]
fn more_entries_than_memory_has_are_cut_short() {
    for (kind, at) in [
        (types::CMD_RESOURCE_ATTACH_BACKING, 24 + 4),
        (types::CMD_RESOURCE_CREATE_BLOB, 24 + 12),
    ] {
        let mut bytes = vec![0; 24 + 32 + 16];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[24 + 4] = 1;
        for count in [5, 0x1000_0000, u32::MAX] {
            bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
            let command = Request::decode(&bytes).unwrap().command;
            assert_eq!(command, Err(Malformed::Short), "{count} entries");
        }
    }
}

#[test]
fn a_blob_of_unknown_memory_or_flags_is_refused() {
    let mut bytes = vec![0; 24 + 32];
    bytes[..4].copy_from_slice(&types::CMD_RESOURCE_CREATE_BLOB.to_le_bytes());
    for (mem, flags, good) in [(0, 0, false), (1, 7, true), (3, 8, false), (4, 1, false)] {
        bytes[28] = mem;
        bytes[32] = flags;
        let command = Request::decode(&bytes).unwrap().command;
        assert_eq!(command.is_ok(), good, "memory {mem}, flags {flags}");
        assert!(good || command == Err(Malformed::BadField));
    }
}

fn refused(mut bytes: Vec<u8>, at: usize, value: u8) -> Refused {
    bytes[at] = value;
    let step = Steps::new(&bytes).next().unwrap().unwrap();
    step.op.unwrap_err()
}

#[test]
fn fields_without_a_meaning_are_refused() {
    let export = encode_export(0, 0, 1, Access::READ, 5).to_vec();
    let import = encode_import(0, 0, 1, Access::READ, 5).to_vec();
    for op in [&export, &import] {
        for access in [0, 4, 5, 7, 0x80] {
            assert_eq!(refused(op.clone(), 12, access), Refused::BadAccess);
        }
        assert_eq!(refused(op.clone(), 15, 1), Refused::BadAccess);
    }
    assert_eq!(refused(import, 16, 0), Refused::NoName);
    let status = encode_status(0, 0, 1, 0, 128).to_vec();
    for at in 12..16 {
        assert_eq!(refused(status.clone(), at, 1), Refused::BadReserved);
    }
    for at in [8, 16, 24] {
        let merge = encode_merge(0, 0, 1, 2, 3).to_vec();
        assert_eq!(refused(merge, at, 0), Refused::NoName);
    }
    for op in [encode_wait(0, 0, 1), encode_drop(0, 0, 1)] {
        assert_eq!(refused(op.to_vec(), 8, 0), Refused::NoName);
    }
}

#[test]
fn an_export_may_go_without_a_cookie() {
    let bytes = encode_export(0, 0, 1, Access::READ, 0);
    let step = Steps::new(&bytes).next().unwrap().unwrap();
    assert_eq!(step.op.map(|op| op.code().code()), Ok(0x80));
    assert_eq!(step.cookie, 0);
}
