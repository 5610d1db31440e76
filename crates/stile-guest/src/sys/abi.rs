//! Layouts and numbers of `virtgpu_drm.h` and `drm.h` (Linux 6.12 and later), by hand.
//!
//! Fields that newer kernels append are left out: DRM takes a shorter struct and reads zeros.

use std::mem::{offset_of, size_of};

use rustix::ioctl::{Opcode, opcode};

const GROUP: u8 = b'd';
/// `DRM_COMMAND_BASE`: where a driver's own numbers start.
const DRIVER: u8 = 0x40;

const fn drm<T>(number: u8) -> Opcode {
    opcode::read_write::<T>(GROUP, number)
}

const fn virtgpu<T>(number: u8) -> Opcode {
    opcode::read_write::<T>(GROUP, DRIVER | number)
}

/// The one of these whose struct is only read by the kernel.
pub(super) const GEM_CLOSE: Opcode = opcode::write::<GemClose>(GROUP, 0x09);
pub(super) const PRIME_HANDLE_TO_FD: Opcode = drm::<PrimeHandle>(0x2d);
pub(super) const PRIME_FD_TO_HANDLE: Opcode = drm::<PrimeHandle>(0x2e);
pub(super) const SYNCOBJ_DESTROY: Opcode = drm::<SyncobjDestroy>(0xc0);
pub(super) const SYNCOBJ_FD_TO_HANDLE: Opcode = drm::<SyncobjHandle>(0xc2);
pub(super) const EXECBUFFER: Opcode = virtgpu::<ExecBufferArgs>(0x02);
pub(super) const GETPARAM: Opcode = virtgpu::<GetParam>(0x03);
pub(super) const RESOURCE_INFO: Opcode = virtgpu::<ResourceInfo>(0x05);
pub(super) const GET_CAPS: Opcode = virtgpu::<GetCaps>(0x09);
pub(super) const RESOURCE_CREATE_BLOB: Opcode = virtgpu::<CreateBlob>(0x0a);
pub(super) const CONTEXT_INIT: Opcode = virtgpu::<ContextInit>(0x0b);

pub(crate) const EXECBUF_FENCE_FD_OUT: u32 = 2;
pub(crate) const EXECBUF_RING_IDX: u32 = 4;

pub(crate) const PARAM_3D_FEATURES: u64 = 1;
pub(crate) const PARAM_RESOURCE_BLOB: u64 = 3;
pub(crate) const PARAM_HOST_VISIBLE: u64 = 4;
pub(crate) const PARAM_CROSS_DEVICE: u64 = 5;
pub(crate) const PARAM_CONTEXT_INIT: u64 = 6;
pub(crate) const PARAM_SUPPORTED_CAPSET_IDS: u64 = 7;
pub(crate) const PARAM_EXPLICIT_DEBUG_NAME: u64 = 8;

pub(crate) const CONTEXT_PARAM_CAPSET_ID: u64 = 1;
pub(crate) const CONTEXT_PARAM_NUM_RINGS: u64 = 2;
pub(crate) const CONTEXT_PARAM_POLL_RINGS_MASK: u64 = 3;
pub(crate) const CONTEXT_PARAM_DEBUG_NAME: u64 = 4;

pub(crate) const BLOB_MEM_GUEST: u32 = 1;
pub(crate) const BLOB_MEM_HOST3D: u32 = 2;
pub(crate) const BLOB_MEM_HOST3D_GUEST: u32 = 3;

/// `DRM_CLOEXEC | DRM_RDWR`, which are `O_CLOEXEC` and `O_RDWR`.
pub(super) const PRIME_FLAGS: u32 = 0o2_000_000 | 0o2;

/// `struct drm_gem_close`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct GemClose {
    pub(super) handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_prime_handle`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct PrimeHandle {
    pub(super) handle: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
}

/// `struct drm_syncobj_destroy`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct SyncobjDestroy {
    pub(super) handle: u32,
    pub(super) pad: u32,
}

/// `struct drm_syncobj_handle`, without the point of 7.x.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct SyncobjHandle {
    pub(super) handle: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
    pub(super) pad: u32,
}

/// `struct drm_virtgpu_execbuffer`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ExecBufferArgs {
    pub(super) flags: u32,
    pub(super) size: u32,
    pub(super) command: u64,
    pub(super) bo_handles: u64,
    pub(super) num_bo_handles: u32,
    pub(super) fence_fd: i32,
    pub(super) ring_idx: u32,
    pub(super) syncobj_stride: u32,
    pub(super) num_in_syncobjs: u32,
    pub(super) num_out_syncobjs: u32,
    pub(super) in_syncobjs: u64,
    pub(super) out_syncobjs: u64,
}

/// `struct drm_virtgpu_execbuffer_syncobj`: one out-fence. `point` 0 for a binary syncobj.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ExecSyncobj {
    pub(crate) handle: u32,
    pub(crate) flags: u32,
    pub(crate) point: u64,
}

/// `struct drm_virtgpu_getparam`; `value` is the address of an `int`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct GetParam {
    pub(super) param: u64,
    pub(super) value: u64,
}

/// `struct drm_virtgpu_resource_info`. `size` is cut to 32 bits by the kernel.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ResourceInfo {
    pub(crate) bo_handle: u32,
    pub(crate) res_handle: u32,
    pub(crate) size: u32,
    pub(crate) blob_mem: u32,
}

/// `struct drm_virtgpu_get_caps`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct GetCaps {
    pub(super) cap_set_id: u32,
    pub(super) cap_set_ver: u32,
    pub(super) addr: u64,
    pub(super) size: u32,
    pub(super) pad: u32,
}

/// `struct drm_virtgpu_resource_create_blob`, without the hints of 7.x.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct CreateBlob {
    pub(crate) blob_mem: u32,
    pub(crate) blob_flags: u32,
    pub(crate) bo_handle: u32,
    pub(crate) res_handle: u32,
    pub(crate) size: u64,
    pub(crate) pad: u32,
    pub(crate) cmd_size: u32,
    pub(crate) cmd: u64,
    pub(crate) blob_id: u64,
}

/// `struct drm_virtgpu_context_set_param`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ContextParam {
    pub(crate) param: u64,
    pub(crate) value: u64,
}

/// `struct drm_virtgpu_context_init`.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct ContextInit {
    pub(super) num_params: u32,
    pub(super) pad: u32,
    pub(super) ctx_set_params: u64,
}

const _: () = {
    assert!(size_of::<GemClose>() == 8);
    assert!(size_of::<PrimeHandle>() == 12 && offset_of!(PrimeHandle, fd) == 8);
    assert!(size_of::<SyncobjDestroy>() == 8);
    assert!(size_of::<SyncobjHandle>() == 16 && offset_of!(SyncobjHandle, fd) == 8);
    assert!(size_of::<ExecBufferArgs>() == 64);
    assert!(offset_of!(ExecBufferArgs, command) == 8);
    assert!(offset_of!(ExecBufferArgs, fence_fd) == 28);
    assert!(offset_of!(ExecBufferArgs, ring_idx) == 32);
    assert!(offset_of!(ExecBufferArgs, in_syncobjs) == 48);
    assert!(offset_of!(ExecBufferArgs, out_syncobjs) == 56);
    assert!(size_of::<ExecSyncobj>() == 16 && offset_of!(ExecSyncobj, point) == 8);
    assert!(size_of::<GetParam>() == 16);
    assert!(size_of::<ResourceInfo>() == 16);
    assert!(size_of::<GetCaps>() == 24 && offset_of!(GetCaps, addr) == 8);
    assert!(size_of::<CreateBlob>() == 48 && offset_of!(CreateBlob, size) == 16);
    assert!(offset_of!(CreateBlob, cmd) == 32 && offset_of!(CreateBlob, blob_id) == 40);
    assert!(size_of::<ContextParam>() == 16);
    assert!(size_of::<ContextInit>() == 16 && offset_of!(ContextInit, ctx_set_params) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_kernel_headers() {
        // What a C program prints that includes drm/virtgpu_drm.h, on x86-64.
        for (ours, kernels) in [
            (GEM_CLOSE, 0x4008_6409),
            (SYNCOBJ_DESTROY, 0xc008_64c0),
            (SYNCOBJ_FD_TO_HANDLE, 0xc010_64c2),
            (PRIME_HANDLE_TO_FD, 0xc00c_642d),
            (PRIME_FD_TO_HANDLE, 0xc00c_642e),
            (EXECBUFFER, 0xc040_6442),
            (GETPARAM, 0xc010_6443),
            (RESOURCE_INFO, 0xc010_6445),
            (GET_CAPS, 0xc018_6449),
            (RESOURCE_CREATE_BLOB, 0xc030_644a),
            (CONTEXT_INIT, 0xc010_644b),
        ] {
            assert_eq!(ours, kernels);
        }
    }
}
