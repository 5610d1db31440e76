//! The structs of virtio-gpu as they lie in memory: little-endian, no padding of their own.
//! `tests/layout.rs` holds them against Linux' header.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            #[allow(missing_docs, reason = "the fields are the specification's")]
            pub struct $name { $(pub $field: $type),* }
        )*
    };
}

layouts! {
    /// `virtio_gpu_ctrl_hdr`. `type` is called `kind`.
    Header { kind: U32, flags: U32, fence_id: U64, ctx_id: U32, ring_idx: u8, padding: [u8; 3] }
    /// `virtio_gpu_config`; `num_capsets` and `blob_alignment` may be cut off by a front end.
    Config {
        events_read: U32, events_clear: U32, num_scanouts: U32, num_capsets: U32,
        blob_alignment: U32, reserved: U32,
    }
    /// Commands that name a resource and nothing else.
    ResourceCommand { resource_id: U32, padding: U32 }
    /// `virtio_gpu_rect`.
    Rect { x: U32, y: U32, width: U32, height: U32 }
    /// `virtio_gpu_resource_create_2d`.
    ResourceCreate2d { resource_id: U32, format: U32, width: U32, height: U32 }
    /// `virtio_gpu_set_scanout`.
    SetScanout { rect: Rect, scanout_id: U32, resource_id: U32 }
    /// `virtio_gpu_resource_flush`.
    ResourceFlush { rect: Rect, resource_id: U32, padding: U32 }
    /// `virtio_gpu_transfer_to_host_2d`.
    TransferToHost2d { rect: Rect, offset: U64, resource_id: U32, padding: U32 }
    /// `virtio_gpu_mem_entry`.
    MemEntry { addr: U64, length: U32, padding: U32 }
    /// `virtio_gpu_resource_attach_backing`; the entries follow.
    AttachBacking { resource_id: U32, nr_entries: U32 }
    /// `virtio_gpu_box`.
    Box3d { x: U32, y: U32, z: U32, w: U32, h: U32, d: U32 }
    /// `virtio_gpu_transfer_host_3d`.
    Transfer3d { area: Box3d, offset: U64, resource_id: U32, level: U32, stride: U32, layer_stride: U32 }
    /// `virtio_gpu_resource_create_3d`.
    ResourceCreate3d {
        resource_id: U32, target: U32, format: U32, bind: U32, width: U32, height: U32, depth: U32,
        array_size: U32, last_level: U32, nr_samples: U32, flags: U32, padding: U32,
    }
    /// `virtio_gpu_ctx_create`.
    CtxCreate { nlen: U32, context_init: U32, debug_name: [u8; 64] }
    /// `virtio_gpu_cmd_submit`; `size` bytes follow.
    Submit3d { size: U32, padding: U32 }
    /// `virtio_gpu_get_capset_info`.
    GetCapsetInfo { capset_index: U32, padding: U32 }
    /// `virtio_gpu_resp_capset_info`.
    CapsetInfo { capset_id: U32, capset_max_version: U32, capset_max_size: U32, padding: U32 }
    /// `virtio_gpu_get_capset`.
    GetCapset { capset_id: U32, capset_version: U32 }
    /// `virtio_gpu_cmd_get_edid`.
    GetEdid { scanout: U32, padding: U32 }
    /// `virtio_gpu_resource_create_blob`; the entries follow.
    CreateBlob {
        resource_id: U32, blob_mem: U32, blob_flags: U32, nr_entries: U32, blob_id: U64, size: U64,
    }
    /// `virtio_gpu_set_scanout_blob`.
    SetScanoutBlob {
        rect: Rect, scanout_id: U32, resource_id: U32, width: U32, height: U32, format: U32,
        padding: U32, strides: [U32; 4], offsets: [U32; 4],
    }
    /// `virtio_gpu_resource_map_blob`.
    MapBlob { resource_id: U32, padding: U32, offset: U64 }
    /// `virtio_gpu_resp_map_info`.
    MapInfo { map_info: U32, padding: U32 }
    /// `virtio_gpu_cursor_pos`.
    CursorPos { scanout_id: U32, x: U32, y: U32, padding: U32 }
    /// `virtio_gpu_update_cursor`.
    UpdateCursor { pos: CursorPos, resource_id: U32, hot_x: U32, hot_y: U32, padding: U32 }
}
