//! Handles of a DRM file: of buffers, to and from a dma-buf, and of syncobjs.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::ioctl::{Setter, Updater, ioctl};

use super::abi::{
    GEM_CLOSE, GemClose, PRIME_FD_TO_HANDLE, PRIME_FLAGS, PRIME_HANDLE_TO_FD, PrimeHandle,
    SYNCOBJ_DESTROY, SYNCOBJ_FD_TO_HANDLE, SyncobjDestroy, SyncobjHandle,
};

/// `GEM_CLOSE`: the file's handle is gone, and with it the resource's place in the context.
pub(crate) fn gem_close(fd: impl AsFd, handle: u32) -> Result<(), Errno> {
    let fd = fd.as_fd();
    retry_on_intr(|| {
        // SAFETY: GEM_CLOSE reads a `drm_gem_close`, whose layout `abi` checks; no address in it.
        unsafe { ioctl(fd, Setter::<GEM_CLOSE, _>::new(GemClose { handle, pad: 0 })) }
    })
}

/// `PRIME_HANDLE_TO_FD`: a dma-buf of the buffer, readable and writable, closed on exec.
pub(crate) fn handle_to_fd(fd: impl AsFd, handle: u32) -> Result<OwnedFd, Errno> {
    let fd = fd.as_fd();
    let mut args = PrimeHandle {
        handle,
        flags: PRIME_FLAGS,
        fd: -1,
    };
    retry_on_intr(|| {
        // SAFETY: PRIME_HANDLE_TO_FD takes a `drm_prime_handle`, whose layout `abi` checks; there
        // is no address in it.
        unsafe { ioctl(fd, Updater::<PRIME_HANDLE_TO_FD, _>::new(&mut args)) }
    })?;
    if args.fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: The kernel has just installed this descriptor for the caller, and nobody else knows
    // its number.
    Ok(unsafe { OwnedFd::from_raw_fd(args.fd) })
}

/// `PRIME_FD_TO_HANDLE`: the file's handle of a dma-buf. One that the file has already is handed
/// out again, with no count of how often.
pub(crate) fn fd_to_handle(fd: impl AsFd, dma_buf: impl AsFd) -> Result<u32, Errno> {
    let fd = fd.as_fd();
    let mut args = PrimeHandle {
        handle: 0,
        flags: 0,
        fd: dma_buf.as_fd().as_raw_fd(),
    };
    retry_on_intr(|| {
        // SAFETY: PRIME_FD_TO_HANDLE takes a `drm_prime_handle`, whose layout `abi` checks; there
        // is no address in it, and the kernel checks the descriptor.
        unsafe { ioctl(fd, Updater::<PRIME_FD_TO_HANDLE, _>::new(&mut args)) }
    })?;
    Ok(args.handle)
}

/// `SYNCOBJ_FD_TO_HANDLE`: the file's new handle of a syncobj.
pub(crate) fn fd_to_syncobj(fd: impl AsFd, syncobj: impl AsFd) -> Result<u32, Errno> {
    let fd = fd.as_fd();
    let mut args = SyncobjHandle {
        fd: syncobj.as_fd().as_raw_fd(),
        ..SyncobjHandle::default()
    };
    retry_on_intr(|| {
        // SAFETY: SYNCOBJ_FD_TO_HANDLE takes a `drm_syncobj_handle`, whose layout `abi` checks;
        // there is no address in it, and the kernel checks the descriptor.
        unsafe { ioctl(fd, Updater::<SYNCOBJ_FD_TO_HANDLE, _>::new(&mut args)) }
    })?;
    Ok(args.handle)
}

/// `SYNCOBJ_DESTROY`: the file's handle is gone; the syncobj lives on in others.
pub(crate) fn syncobj_destroy(fd: impl AsFd, handle: u32) -> Result<(), Errno> {
    let fd = fd.as_fd();
    let mut args = SyncobjDestroy { handle, pad: 0 };
    retry_on_intr(|| {
        // SAFETY: SYNCOBJ_DESTROY takes a `drm_syncobj_destroy`, whose layout `abi` checks; there
        // is no address in it.
        unsafe { ioctl(fd, Updater::<SYNCOBJ_DESTROY, _>::new(&mut args)) }
    })
}
