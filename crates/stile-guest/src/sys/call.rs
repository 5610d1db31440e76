//! The virtio-gpu driver's ioctls behind safe functions.

use std::ffi::CStr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::ioctl::{Updater, ioctl};

use super::abi::{
    CONTEXT_INIT, ContextInit, ContextParam, CreateBlob, EXECBUF_FENCE_FD_OUT, EXECBUFFER,
    ExecBufferArgs, ExecSyncobj, GET_CAPS, GETPARAM, GetCaps, GetParam, RESOURCE_CREATE_BLOB,
    RESOURCE_INFO, ResourceInfo,
};
use crate::num::wide;

/// The address of the first element, as the kernel takes it.
fn address<T>(slice: &[T]) -> u64 {
    wide(slice.as_ptr().expose_provenance())
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    wide(slice.as_mut_ptr().expose_provenance())
}

fn length<T>(slice: &[T]) -> Result<u32, Errno> {
    u32::try_from(slice.len()).map_err(|_| Errno::TOOBIG)
}

/// `VIRTGPU_GETPARAM`. `EINVAL` for a parameter that the kernel does not know.
pub(crate) fn get_param(fd: impl AsFd, param: u64) -> Result<u32, Errno> {
    let fd = fd.as_fd();
    // The driver writes an `int`; the capset mask needs all of its bits.
    let mut value = [0_u32];
    let mut args = GetParam {
        param,
        value: address_mut(&mut value),
    };
    retry_on_intr(|| {
        // SAFETY: GETPARAM takes a `drm_virtgpu_getparam`, whose layout `abi` checks. The kernel
        // writes four bytes at `value`, which outlives the call.
        unsafe { ioctl(fd, Updater::<GETPARAM, _>::new(&mut args)) }
    })?;
    let [value] = value;
    Ok(value)
}

/// `VIRTGPU_GET_CAPS` of capset `id`, at most `version`, into `out`. What the device sent beyond
/// `out` is cut off; bytes of `out` beyond what it sent stay as they were.
pub(crate) fn get_caps(fd: impl AsFd, id: u32, version: u32, out: &mut [u8]) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let mut args = GetCaps {
        cap_set_id: id,
        cap_set_ver: version,
        size: length(out)?,
        addr: address_mut(out),
        pad: 0,
    };
    retry_on_intr(|| {
        // SAFETY: GET_CAPS takes a `drm_virtgpu_get_caps`, whose layout `abi` checks. The kernel
        // writes at most `size` bytes at `addr`: that is `out`, borrowed mutably meanwhile.
        unsafe { ioctl(fd, Updater::<GET_CAPS, _>::new(&mut args)) }
    })
}

/// `VIRTGPU_CONTEXT_INIT`. `debug_name` is one more parameter, for kernels that know it.
pub(crate) fn context_init(
    fd: impl AsFd,
    params: &[ContextParam],
    debug_name: Option<&CStr>,
) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let mut all = params.to_vec();
    if let Some(name) = debug_name {
        all.push(ContextParam {
            param: super::CONTEXT_PARAM_DEBUG_NAME,
            value: address(name.to_bytes_with_nul()),
        });
    }
    let mut args = ContextInit {
        num_params: length(&all)?,
        pad: 0,
        ctx_set_params: address(&all),
    };
    retry_on_intr(|| {
        // SAFETY: CONTEXT_INIT takes a `drm_virtgpu_context_init`, whose layout `abi` checks. The
        // kernel reads `num_params` elements of `all`, and of the debug name up to its NUL; both
        // outlive the call.
        unsafe { ioctl(fd, Updater::<CONTEXT_INIT, _>::new(&mut args)) }
    })
}

/// `VIRTGPU_RESOURCE_CREATE_BLOB`. Fills in `bo_handle` and `res_handle`; `cmd` is not used.
pub(crate) fn create_blob(fd: impl AsFd, args: &mut CreateBlob) -> Result<(), Errno> {
    let fd = fd.as_fd();
    (args.cmd, args.cmd_size) = (0, 0);
    retry_on_intr(|| {
        // SAFETY: RESOURCE_CREATE_BLOB takes a `drm_virtgpu_resource_create_blob`, whose layout
        // `abi` checks. It carries no address: `cmd` is zero.
        unsafe { ioctl(fd, Updater::<RESOURCE_CREATE_BLOB, _>::new(&mut *args)) }
    })
}

/// `VIRTGPU_RESOURCE_INFO` of a GEM handle.
pub(crate) fn resource_info(fd: impl AsFd, handle: u32) -> Result<ResourceInfo, Errno> {
    let fd = fd.as_fd();
    let mut args = ResourceInfo {
        bo_handle: handle,
        ..ResourceInfo::default()
    };
    retry_on_intr(|| {
        // SAFETY: RESOURCE_INFO takes a `drm_virtgpu_resource_info`, whose layout `abi` checks;
        // it carries no address.
        unsafe { ioctl(fd, Updater::<RESOURCE_INFO, _>::new(&mut args)) }
    })?;
    Ok(args)
}

/// What `VIRTGPU_EXECBUFFER` takes, without the in-fences: the driver would sleep on those in the
/// ioctl, uninterruptible by any deadline, and tell the device nothing of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExecBuffer<'a> {
    pub(crate) payload: &'a [u8],
    /// `None` submits on the device's global timeline.
    pub(crate) ring: Option<u32>,
    pub(crate) bo_handles: &'a [u32],
    pub(crate) out_syncobjs: &'a [ExecSyncobj],
    pub(crate) out_fence: bool,
}

/// `VIRTGPU_EXECBUFFER`. Returns the out-fence where one was asked for.
///
/// The driver can be interrupted only before it queues the command (`virtgpu_submit.c`: the waits
/// and the lock of the buffers come first), so a call that ends with `EINTR` is simply repeated.
pub(crate) fn execbuffer(fd: impl AsFd, exec: ExecBuffer<'_>) -> Result<Option<OwnedFd>, Errno> {
    let fd = fd.as_fd();
    let mut args = ExecBufferArgs {
        size: length(exec.payload)?,
        command: address(exec.payload),
        bo_handles: address(exec.bo_handles),
        num_bo_handles: length(exec.bo_handles)?,
        fence_fd: -1,
        syncobj_stride: u32::try_from(size_of::<ExecSyncobj>()).unwrap_or(0),
        num_out_syncobjs: length(exec.out_syncobjs)?,
        out_syncobjs: address(exec.out_syncobjs),
        ..ExecBufferArgs::default()
    };
    if let Some(ring) = exec.ring {
        args.flags |= super::EXECBUF_RING_IDX;
        args.ring_idx = ring;
    }
    if exec.out_fence {
        args.flags |= EXECBUF_FENCE_FD_OUT;
    }
    retry_on_intr(|| {
        // SAFETY: EXECBUFFER takes a `drm_virtgpu_execbuffer`, whose layout `abi` checks. The
        // kernel only reads what the addresses name: `size` bytes, `num_bo_handles` u32s and
        // `num_out_syncobjs` elements of the stride, all slices that outlive the call.
        unsafe { ioctl(fd, Updater::<EXECBUFFER, _>::new(&mut args)) }
    })?;
    if !exec.out_fence || args.fence_fd < 0 {
        return Ok(None);
    }
    // SAFETY: The kernel has just installed this descriptor for the caller (FENCE_FD_OUT was set
    // and the call succeeded), and nobody else knows its number.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(args.fence_fd) }))
}
