//! Structs and constants of virtio-gpu, held against Linux' header.
#![allow(clippy::as_conversions, clippy::arithmetic_side_effects)]

use core::mem::offset_of;

use stile_wire::gpu::layout::{self, Header};
use stile_wire::gpu::{
    self, BlobFlags, BlobMem, Command, HeaderFlags, MAX_RESPONSE_BYTES, Request, types,
};
use virtio_bindings::virtio_gpu as linux;
use zerocopy::IntoBytes;

/// Bytes of the header, which Linux has inside of every command and this crate has in front.
const HEADER: usize = size_of::<linux::virtio_gpu_ctrl_hdr>();

fn field_size<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Every field lies where Linux has it, is as long, and none is left out.
macro_rules! same {
    ($ours:ident = $theirs:ident + $before:expr, { $($field:ident = $other:ident),* $(,)? }) => {{
        let mut total = 0;
        $(
            let name = concat!(stringify!($ours), "::", stringify!($field));
            assert_eq!(
                offset_of!(layout::$ours, $field) + $before,
                offset_of!(linux::$theirs, $other),
                "offset of {name}"
            );
            let ours = field_size(|value: &layout::$ours| &value.$field);
            assert_eq!(ours, field_size(|value: &linux::$theirs| &value.$other), "size of {name}");
            total += ours;
        )*
        assert_eq!(total, size_of::<layout::$ours>(), "fields of {}", stringify!($ours));
        assert_eq!(total + $before, size_of::<linux::$theirs>(), "size of {}", stringify!($ours));
    }};
}

#[test]
fn the_parts_of_commands_lie_as_in_linux() {
    same!(Header = virtio_gpu_ctrl_hdr + 0, {
        kind = type_, flags = flags, fence_id = fence_id, ctx_id = ctx_id, ring_idx = ring_idx,
        padding = padding,
    });
    same!(Rect = virtio_gpu_rect + 0, { x = x, y = y, width = width, height = height });
    same!(Box3d = virtio_gpu_box + 0, { x = x, y = y, z = z, w = w, h = h, d = d });
    same!(CursorPos = virtio_gpu_cursor_pos + 0, {
        scanout_id = scanout_id, x = x, y = y, padding = padding,
    });
    same!(MemEntry = virtio_gpu_mem_entry + 0, { addr = addr, length = length, padding = padding });
}

#[test]
fn commands_without_a_context_lie_as_in_linux() {
    same!(GetEdid = virtio_gpu_cmd_get_edid + HEADER, { scanout = scanout, padding = padding });
    same!(GetCapsetInfo = virtio_gpu_get_capset_info + HEADER, {
        capset_index = capset_index, padding = padding,
    });
    same!(GetCapset = virtio_gpu_get_capset + HEADER, {
        capset_id = capset_id, capset_version = capset_version,
    });
    same!(SetScanout = virtio_gpu_set_scanout + HEADER, {
        rect = r, scanout_id = scanout_id, resource_id = resource_id,
    });
    same!(SetScanoutBlob = virtio_gpu_set_scanout_blob + HEADER, {
        rect = r, scanout_id = scanout_id, resource_id = resource_id, width = width,
        height = height, format = format, padding = padding, strides = strides, offsets = offsets,
    });
    same!(ResourceFlush = virtio_gpu_resource_flush + HEADER, {
        rect = r, resource_id = resource_id, padding = padding,
    });
    same!(TransferToHost2d = virtio_gpu_transfer_to_host_2d + HEADER, {
        rect = r, offset = offset, resource_id = resource_id, padding = padding,
    });
    same!(UpdateCursor = virtio_gpu_update_cursor + HEADER, {
        pos = pos, resource_id = resource_id, hot_x = hot_x, hot_y = hot_y, padding = padding,
    });
}

#[test]
fn commands_about_contexts_lie_as_in_linux() {
    same!(CtxCreate = virtio_gpu_ctx_create + HEADER, {
        nlen = nlen, context_init = context_init, debug_name = debug_name,
    });
    same!(Submit3d = virtio_gpu_cmd_submit + HEADER, { size = size, padding = padding });
    same!(Transfer3d = virtio_gpu_transfer_host_3d + HEADER, {
        area = box_, offset = offset, resource_id = resource_id, level = level, stride = stride,
        layer_stride = layer_stride,
    });
}

#[test]
fn commands_about_resources_lie_as_in_linux() {
    same!(ResourceCommand = virtio_gpu_resource_unref + HEADER, {
        resource_id = resource_id, padding = padding,
    });
    same!(ResourceCommand = virtio_gpu_resource_detach_backing + HEADER, {
        resource_id = resource_id, padding = padding,
    });
    same!(ResourceCommand = virtio_gpu_resource_assign_uuid + HEADER, {
        resource_id = resource_id, padding = padding,
    });
    same!(ResourceCommand = virtio_gpu_resource_unmap_blob + HEADER, {
        resource_id = resource_id, padding = padding,
    });
    same!(ResourceCommand = virtio_gpu_ctx_resource + HEADER, {
        resource_id = resource_id, padding = padding,
    });
    same!(AttachBacking = virtio_gpu_resource_attach_backing + HEADER, {
        resource_id = resource_id, nr_entries = nr_entries,
    });
    same!(ResourceCreate2d = virtio_gpu_resource_create_2d + HEADER, {
        resource_id = resource_id, format = format, width = width, height = height,
    });
    same!(ResourceCreate3d = virtio_gpu_resource_create_3d + HEADER, {
        resource_id = resource_id, target = target, format = format, bind = bind, width = width,
        height = height, depth = depth, array_size = array_size, last_level = last_level,
        nr_samples = nr_samples, flags = flags, padding = padding,
    });
    same!(CreateBlob = virtio_gpu_resource_create_blob + HEADER, {
        resource_id = resource_id, blob_mem = blob_mem, blob_flags = blob_flags,
        nr_entries = nr_entries, blob_id = blob_id, size = size,
    });
    same!(MapBlob = virtio_gpu_resource_map_blob + HEADER, {
        resource_id = resource_id, padding = padding, offset = offset,
    });
}

#[test]
fn responses_lie_as_in_linux() {
    same!(CapsetInfo = virtio_gpu_resp_capset_info + HEADER, {
        capset_id = capset_id, capset_max_version = capset_max_version,
        capset_max_size = capset_max_size, padding = padding,
    });
    same!(MapInfo = virtio_gpu_resp_map_info + HEADER, { map_info = map_info, padding = padding });
    assert_eq!(MAX_RESPONSE_BYTES, size_of::<linux::virtio_gpu_resp_edid>());
    assert_eq!(gpu::HEADER_BYTES, HEADER);
}

#[test]
fn the_config_space_begins_as_in_linux() {
    macro_rules! at {
        ($($field:ident)*) => { $(
            assert_eq!(
                offset_of!(layout::Config, $field),
                offset_of!(linux::virtio_gpu_config, $field),
                stringify!($field)
            );
        )* };
    }
    at!(events_read events_clear num_scanouts num_capsets);
    // Newer than the bindings: `blob_alignment` follows.
    assert_eq!(
        offset_of!(layout::Config, blob_alignment),
        size_of::<linux::virtio_gpu_config>()
    );
}

#[test]
fn every_type_has_linux_number() {
    macro_rules! same {
        ($($name:ident = $theirs:ident;)*) => {
            $( assert_eq!(types::$name, linux::$theirs, stringify!($name)); )*
        };
    }
    same! {
        CMD_GET_DISPLAY_INFO = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_GET_DISPLAY_INFO;
        CMD_RESOURCE_CREATE_2D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_CREATE_2D;
        CMD_RESOURCE_UNREF = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_UNREF;
        CMD_SET_SCANOUT = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_SET_SCANOUT;
        CMD_RESOURCE_FLUSH = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_FLUSH;
        CMD_TRANSFER_TO_HOST_2D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D;
        CMD_RESOURCE_ATTACH_BACKING = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING;
        CMD_RESOURCE_DETACH_BACKING = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING;
        CMD_GET_CAPSET_INFO = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_GET_CAPSET_INFO;
        CMD_GET_CAPSET = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_GET_CAPSET;
        CMD_GET_EDID = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_GET_EDID;
        CMD_RESOURCE_ASSIGN_UUID = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_ASSIGN_UUID;
        CMD_RESOURCE_CREATE_BLOB = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB;
        CMD_SET_SCANOUT_BLOB = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_SET_SCANOUT_BLOB;
        CMD_CTX_CREATE = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_CTX_CREATE;
        CMD_CTX_DESTROY = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_CTX_DESTROY;
        CMD_CTX_ATTACH_RESOURCE = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_CTX_ATTACH_RESOURCE;
        CMD_CTX_DETACH_RESOURCE = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_CTX_DETACH_RESOURCE;
        CMD_RESOURCE_CREATE_3D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_CREATE_3D;
        CMD_TRANSFER_TO_HOST_3D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_TRANSFER_TO_HOST_3D;
        CMD_TRANSFER_FROM_HOST_3D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_TRANSFER_FROM_HOST_3D;
        CMD_SUBMIT_3D = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_SUBMIT_3D;
        CMD_RESOURCE_MAP_BLOB = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_MAP_BLOB;
        CMD_RESOURCE_UNMAP_BLOB = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB;
        CMD_UPDATE_CURSOR = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_UPDATE_CURSOR;
        CMD_MOVE_CURSOR = virtio_gpu_ctrl_type_VIRTIO_GPU_CMD_MOVE_CURSOR;
        RESP_OK_NODATA = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_NODATA;
        RESP_OK_DISPLAY_INFO = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
        RESP_OK_CAPSET_INFO = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_CAPSET_INFO;
        RESP_OK_CAPSET = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_CAPSET;
        RESP_OK_EDID = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_EDID;
        RESP_OK_RESOURCE_UUID = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_RESOURCE_UUID;
        RESP_OK_MAP_INFO = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_OK_MAP_INFO;
        RESP_ERR_UNSPEC = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_UNSPEC;
        RESP_ERR_OUT_OF_MEMORY = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
        RESP_ERR_INVALID_SCANOUT_ID = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
        RESP_ERR_INVALID_RESOURCE_ID = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
        RESP_ERR_INVALID_CONTEXT_ID = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_INVALID_CONTEXT_ID;
        RESP_ERR_INVALID_PARAMETER = virtio_gpu_ctrl_type_VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
    }
}

#[test]
fn flags_and_other_numbers_are_linux_ones() {
    for (ours, theirs) in [
        (HeaderFlags::FENCE.bits(), linux::VIRTIO_GPU_FLAG_FENCE),
        (
            HeaderFlags::INFO_RING_IDX.bits(),
            linux::VIRTIO_GPU_FLAG_INFO_RING_IDX,
        ),
        (
            BlobFlags::USE_MAPPABLE.bits(),
            linux::VIRTIO_GPU_BLOB_FLAG_USE_MAPPABLE,
        ),
        (
            BlobFlags::USE_SHAREABLE.bits(),
            linux::VIRTIO_GPU_BLOB_FLAG_USE_SHAREABLE,
        ),
        (
            BlobFlags::USE_CROSS_DEVICE.bits(),
            linux::VIRTIO_GPU_BLOB_FLAG_USE_CROSS_DEVICE,
        ),
        (
            gpu::CONTEXT_INIT_CAPSET_ID_MASK,
            linux::VIRTIO_GPU_CONTEXT_INIT_CAPSET_ID_MASK,
        ),
        (gpu::MAP_CACHE_CACHED, linux::VIRTIO_GPU_MAP_CACHE_CACHED),
        (
            gpu::SHM_ID_HOST_VISIBLE.into(),
            linux::virtio_gpu_shm_id_VIRTIO_GPU_SHM_ID_HOST_VISIBLE,
        ),
    ] {
        assert_eq!(ours, theirs);
    }
    assert_eq!(HeaderFlags::all().bits(), 3);
    assert_eq!(BlobFlags::all().bits(), 7);
}

#[test]
fn blob_memory_has_linux_numbers() {
    for (wire, mem) in [
        (linux::VIRTIO_GPU_BLOB_MEM_GUEST, BlobMem::Guest),
        (linux::VIRTIO_GPU_BLOB_MEM_HOST3D, BlobMem::Host3d),
        (
            linux::VIRTIO_GPU_BLOB_MEM_HOST3D_GUEST,
            BlobMem::Host3dGuest,
        ),
    ] {
        let mut bytes = vec![0; HEADER + size_of::<layout::CreateBlob>()];
        let kind = types::CMD_RESOURCE_CREATE_BLOB;
        bytes[..4].copy_from_slice(kind.as_bytes());
        bytes[HEADER + 4..HEADER + 8].copy_from_slice(&wire.to_le_bytes());
        let request = Request::decode(&bytes).unwrap();
        let Ok(Command::ResourceCreateBlob { mem: found, .. }) = request.command else {
            panic!("{request:?}");
        };
        assert_eq!(found, mem);
    }
    assert_eq!(size_of::<Header>(), 24);
}
