//! virtio-gpu: what the driver sends and what the device answers (virtio specification 1.3,
//! section "GPU Device"; Linux `include/uapi/linux/virtio_gpu.h`).

mod command;
pub mod layout;
mod response;

pub use command::{BlobMem, Command, Malformed, MemEntries, Request, Timeline};
pub use response::{MAX_RESPONSE_BYTES, Response, ResponseError};

bitflags::bitflags! {
    /// `flags` of the control header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HeaderFlags: u32 {
        /// `VIRTIO_GPU_FLAG_FENCE`: the response stands for the fence `fence_id`.
        const FENCE = 1;
        /// `VIRTIO_GPU_FLAG_INFO_RING_IDX`: `ring_idx` names a ring of the context.
        const INFO_RING_IDX = 2;
    }

    /// `blob_flags` of `RESOURCE_CREATE_BLOB`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BlobFlags: u32 {
        /// The guest may map it.
        const USE_MAPPABLE = 1;
        /// The guest may share it between its processes.
        const USE_SHAREABLE = 2;
        /// The guest may hand it to other virtio devices.
        const USE_CROSS_DEVICE = 4;
    }
}

/// `context_init` bits that hold the capset id.
pub const CONTEXT_INIT_CAPSET_ID_MASK: u32 = 0xff;
/// `map_info` of memory that is cached as usual.
pub const MAP_CACHE_CACHED: u32 = 1;
/// The shared memory region that `RESOURCE_MAP_BLOB` maps into.
pub const SHM_ID_HOST_VISIBLE: u8 = 1;
/// Bytes of a control header, and so of the shortest command and response.
pub const HEADER_BYTES: usize = size_of::<layout::Header>();

/// Command and response types, `VIRTIO_GPU_CMD_*` and `VIRTIO_GPU_RESP_*`.
pub mod types {
    macro_rules! types {
        ($($name:ident = $value:literal;)*) => {
            $(#[doc = concat!("`VIRTIO_GPU_", stringify!($name), "`.")] pub const $name: u32 = $value;)*
        };
    }
    types! {
        CMD_GET_DISPLAY_INFO = 0x100;
        CMD_RESOURCE_CREATE_2D = 0x101;
        CMD_RESOURCE_UNREF = 0x102;
        CMD_SET_SCANOUT = 0x103;
        CMD_RESOURCE_FLUSH = 0x104;
        CMD_TRANSFER_TO_HOST_2D = 0x105;
        CMD_RESOURCE_ATTACH_BACKING = 0x106;
        CMD_RESOURCE_DETACH_BACKING = 0x107;
        CMD_GET_CAPSET_INFO = 0x108;
        CMD_GET_CAPSET = 0x109;
        CMD_GET_EDID = 0x10a;
        CMD_RESOURCE_ASSIGN_UUID = 0x10b;
        CMD_RESOURCE_CREATE_BLOB = 0x10c;
        CMD_SET_SCANOUT_BLOB = 0x10d;
        CMD_CTX_CREATE = 0x200;
        CMD_CTX_DESTROY = 0x201;
        CMD_CTX_ATTACH_RESOURCE = 0x202;
        CMD_CTX_DETACH_RESOURCE = 0x203;
        CMD_RESOURCE_CREATE_3D = 0x204;
        CMD_TRANSFER_TO_HOST_3D = 0x205;
        CMD_TRANSFER_FROM_HOST_3D = 0x206;
        CMD_SUBMIT_3D = 0x207;
        CMD_RESOURCE_MAP_BLOB = 0x208;
        CMD_RESOURCE_UNMAP_BLOB = 0x209;
        CMD_UPDATE_CURSOR = 0x300;
        CMD_MOVE_CURSOR = 0x301;
        RESP_OK_NODATA = 0x1100;
        RESP_OK_DISPLAY_INFO = 0x1101;
        RESP_OK_CAPSET_INFO = 0x1102;
        RESP_OK_CAPSET = 0x1103;
        RESP_OK_EDID = 0x1104;
        RESP_OK_RESOURCE_UUID = 0x1105;
        RESP_OK_MAP_INFO = 0x1106;
        RESP_ERR_UNSPEC = 0x1200;
        RESP_ERR_OUT_OF_MEMORY = 0x1201;
        RESP_ERR_INVALID_SCANOUT_ID = 0x1202;
        RESP_ERR_INVALID_RESOURCE_ID = 0x1203;
        RESP_ERR_INVALID_CONTEXT_ID = 0x1204;
        RESP_ERR_INVALID_PARAMETER = 0x1205;
    }
}
