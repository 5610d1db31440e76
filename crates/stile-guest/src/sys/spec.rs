//! *On Linux* in `docs/spec/stile-sync.md`: its ioctls and structs are those that this crate uses.

use std::mem::offset_of;

use rustix::ioctl::{Opcode, opcode};

use super::abi::{
    CONTEXT_INIT, ContextInit, ContextParam, CreateBlob, EXECBUFFER, ExecBufferArgs, ExecSyncobj,
    GEM_CLOSE, GET_CAPS, GETPARAM, GemClose, GetCaps, GetParam, PRIME_FD_TO_HANDLE, PRIME_FLAGS,
    PRIME_HANDLE_TO_FD, PrimeHandle, RESOURCE_CREATE_BLOB, RESOURCE_INFO, ResourceInfo,
};
use super::spec_table::{named_numbers, number, table};
use super::{
    BLOB_MEM_GUEST, BLOB_MEM_HOST3D, BLOB_MEM_HOST3D_GUEST, CONTEXT_PARAM_CAPSET_ID,
    CONTEXT_PARAM_DEBUG_NAME, CONTEXT_PARAM_NUM_RINGS, CONTEXT_PARAM_POLL_RINGS_MASK,
    EXECBUF_RING_IDX, PARAM_3D_FEATURES, PARAM_CONTEXT_INIT, PARAM_CROSS_DEVICE,
    PARAM_EXPLICIT_DEBUG_NAME, PARAM_HOST_VISIBLE, PARAM_RESOURCE_BLOB, PARAM_SUPPORTED_CAPSET_IDS,
};
use crate::blob::BlobUse;

/// `struct drm_virtgpu_map`, which this crate does without: it maps dma-bufs.
#[repr(C)]
struct Map {
    offset: u64,
    handle: u32,
    pad: u32,
}

/// `DRM_IOCTL_VIRTGPU_MAP`.
const MAP: Opcode = opcode::read_write::<Map>(b'd', 0x41);

/// `struct drm_version` of a 64-bit program, which `stile-host` asks for.
#[repr(C)]
struct Version {
    version_major: i32,
    version_minor: i32,
    version_patchlevel: i32,
    pad: u32,
    name_len: u64,
    name: u64,
    date_len: u64,
    date: u64,
    desc_len: u64,
    desc: u64,
}

/// `DRM_IOCTL_VERSION`.
const VERSION: Opcode = opcode::read_write::<Version>(b'd', 0);

type Place = (String, u64, u64);

/// The fields of a struct, as its table has them.
fn specified(name: &str) -> Vec<Place> {
    let rows = table(&format!("`{name}` field")).rows.into_iter();
    rows.map(|row| (row[0].clone(), number(&row[1]), number(&row[2])))
        .collect()
}

fn field_size<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// The kernel's name of a struct, and the fields of ours, in the order of the source.
macro_rules! layout {
    ($name:literal, $type:ident { $($field:ident),* $(,)? }) => {{
        // Fails to build where a field is left out.
        let _ = |value: $type| { let $type { $($field: _),* } = value; };
        let places: Vec<Place> = vec![$((
            stringify!($field).to_owned(),
            u64::try_from(offset_of!($type, $field)).unwrap(),
            u64::try_from(field_size(|value: &$type| &value.$field)).unwrap(),
        )),*];
        ($name, u64::try_from(size_of::<$type>()).unwrap(), places)
    }};
}

fn layouts() -> Vec<(&'static str, u64, Vec<Place>)> {
    vec![
        layout!(
            "drm_version",
            Version {
                version_major,
                version_minor,
                version_patchlevel,
                pad,
                name_len,
                name,
                date_len,
                date,
                desc_len,
                desc,
            }
        ),
        layout!("drm_virtgpu_getparam", GetParam { param, value }),
        layout!(
            "drm_virtgpu_get_caps",
            GetCaps {
                cap_set_id,
                cap_set_ver,
                addr,
                size,
                pad
            }
        ),
        layout!(
            "drm_virtgpu_context_init",
            ContextInit {
                num_params,
                pad,
                ctx_set_params
            }
        ),
        layout!(
            "drm_virtgpu_context_set_param",
            ContextParam { param, value }
        ),
        layout!(
            "drm_virtgpu_resource_create_blob",
            CreateBlob {
                blob_mem,
                blob_flags,
                bo_handle,
                res_handle,
                size,
                pad,
                cmd_size,
                cmd,
                blob_id,
            }
        ),
        layout!(
            "drm_virtgpu_resource_info",
            ResourceInfo {
                bo_handle,
                res_handle,
                size,
                blob_mem
            }
        ),
        layout!(
            "drm_virtgpu_map",
            Map {
                offset,
                handle,
                pad
            }
        ),
        layout!(
            "drm_virtgpu_execbuffer",
            ExecBufferArgs {
                flags,
                size,
                command,
                bo_handles,
                num_bo_handles,
                fence_fd,
                ring_idx,
                syncobj_stride,
                num_in_syncobjs,
                num_out_syncobjs,
                in_syncobjs,
                out_syncobjs,
            }
        ),
        layout!(
            "drm_virtgpu_execbuffer_syncobj",
            ExecSyncobj {
                handle,
                flags,
                point
            }
        ),
        layout!("drm_prime_handle", PrimeHandle { handle, flags, fd }),
        layout!("drm_gem_close", GemClose { handle, pad }),
    ]
}

#[test]
fn structs_are_as_specified() {
    for (name, _, places) in layouts() {
        assert_eq!(specified(name), places, "{name}");
    }
}

#[test]
fn ioctls_are_as_specified() {
    let ours = [
        ("VERSION", VERSION),
        ("VIRTGPU_GETPARAM", GETPARAM),
        ("VIRTGPU_GET_CAPS", GET_CAPS),
        ("VIRTGPU_CONTEXT_INIT", CONTEXT_INIT),
        ("VIRTGPU_RESOURCE_CREATE_BLOB", RESOURCE_CREATE_BLOB),
        ("VIRTGPU_RESOURCE_INFO", RESOURCE_INFO),
        ("VIRTGPU_MAP", MAP),
        ("VIRTGPU_EXECBUFFER", EXECBUFFER),
        ("PRIME_HANDLE_TO_FD", PRIME_HANDLE_TO_FD),
        ("PRIME_FD_TO_HANDLE", PRIME_FD_TO_HANDLE),
        ("GEM_CLOSE", GEM_CLOSE),
    ];
    let rows = table("ioctl").rows;
    let specified = rows.iter().map(|row| (row[0].clone(), number(&row[1])));
    let named = ours.map(|(name, number)| (format!("`DRM_IOCTL_{name}`"), u64::from(number)));
    assert!(specified.eq(named), "{rows:?}");
    let layouts = layouts();
    for row in rows {
        let layout = layouts
            .iter()
            .find(|layout| format!("`{}`", layout.0) == row[2]);
        let (_, size, _) = layout.expect("a struct that has a table");
        assert_eq!(number(&row[3]), *size, "{row:?}");
    }
}

/// Every `NAME (number)` in the meaning of a field.
fn values(name: &str, field: &str) -> Vec<(String, u64)> {
    let rows = table(&format!("`{name}` field")).rows;
    let row = rows.iter().find(|row| row[0] == field);
    named_numbers(&row.expect("the field")[4])
}

fn ours<const N: usize>(values: [(&str, u64); N]) -> Vec<(String, u64)> {
    let values = values.map(|(name, value)| (name.to_owned(), value));
    values.to_vec()
}

#[test]
fn values_are_as_specified() {
    let params = [
        ("3D_FEATURES", PARAM_3D_FEATURES),
        ("RESOURCE_BLOB", PARAM_RESOURCE_BLOB),
        ("HOST_VISIBLE", PARAM_HOST_VISIBLE),
        ("CROSS_DEVICE", PARAM_CROSS_DEVICE),
        ("CONTEXT_INIT", PARAM_CONTEXT_INIT),
        ("SUPPORTED_CAPSET_IDS", PARAM_SUPPORTED_CAPSET_IDS),
        ("EXPLICIT_DEBUG_NAME", PARAM_EXPLICIT_DEBUG_NAME),
    ];
    assert_eq!(values("drm_virtgpu_getparam", "param"), ours(params));
    let params = [
        ("CAPSET_ID", CONTEXT_PARAM_CAPSET_ID),
        ("NUM_RINGS", CONTEXT_PARAM_NUM_RINGS),
        ("POLL_RINGS_MASK", CONTEXT_PARAM_POLL_RINGS_MASK),
        ("DEBUG_NAME", CONTEXT_PARAM_DEBUG_NAME),
    ];
    assert_eq!(
        values("drm_virtgpu_context_set_param", "param"),
        ours(params)
    );
    let memories = [
        ("GUEST", BLOB_MEM_GUEST.into()),
        ("HOST3D", BLOB_MEM_HOST3D.into()),
        ("HOST3D_GUEST", BLOB_MEM_HOST3D_GUEST.into()),
    ];
    let blob = "drm_virtgpu_resource_create_blob";
    assert_eq!(values(blob, "blob_mem"), ours(memories));
    let flags = [
        ("USE_MAPPABLE", BlobUse::MAPPABLE.bits().into()),
        ("USE_SHAREABLE", BlobUse::SHAREABLE.bits().into()),
        ("USE_CROSS_DEVICE", BlobUse::CROSS_DEVICE.bits().into()),
    ];
    assert_eq!(values(blob, "blob_flags"), ours(flags));
    let flags = [
        // In-fences, which this crate has no use for.
        ("FENCE_FD_IN", 1),
        ("FENCE_FD_OUT", super::abi::EXECBUF_FENCE_FD_OUT.into()),
        ("RING_IDX", EXECBUF_RING_IDX.into()),
    ];
    assert_eq!(values("drm_virtgpu_execbuffer", "flags"), ours(flags));
    let flags = values("drm_prime_handle", "flags");
    let all = flags.iter().fold(0, |all, (_, flag)| all | flag);
    assert_eq!(all, u64::from(PRIME_FLAGS));
}
