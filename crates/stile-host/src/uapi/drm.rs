//! `drm/drm.h` and `drm/drm_mode.h`: what every DRM node has.

use std::os::fd::RawFd;

use rustix::ioctl::IoctlOutput;

use super::{layout, requests};
use crate::ioctl::ReturnsFd;

/// The node has drm_syncobj.
pub(crate) const DRM_CAP_SYNCOBJ: u64 = 0x13;
/// The node's syncobjs have timelines.
pub(crate) const DRM_CAP_SYNCOBJ_TIMELINE: u64 = 0x14;

/// The new descriptor is close-on-exec (`O_CLOEXEC`).
pub(crate) const DRM_CLOEXEC: u32 = rustix::fs::OFlags::CLOEXEC.bits();
/// The new descriptor may be mapped for writing (`O_RDWR`).
pub(crate) const DRM_RDWR: u32 = rustix::fs::OFlags::RDWR.bits();

/// `struct drm_version`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmVersion {
    /// Version, first part.
    pub(crate) version_major: i32,
    /// Version, second part.
    pub(crate) version_minor: i32,
    /// Version, third part.
    pub(crate) version_patchlevel: i32,
    /// Zero, where the compiler would pad.
    #[cfg(target_pointer_width = "64")]
    pub(crate) pad: u32,
    /// Room for the driver's name, then its length.
    pub(crate) name_len: usize,
    /// Address of the driver's name.
    pub(crate) name: usize,
    /// Room for the date, then its length.
    pub(crate) date_len: usize,
    /// Address of the date.
    pub(crate) date: usize,
    /// Room for the description, then its length.
    pub(crate) desc_len: usize,
    /// Address of the description.
    pub(crate) desc: usize,
}
#[cfg(target_pointer_width = "64")]
layout!(DrmVersion, 64:
    version_major @ 0, version_minor @ 4, version_patchlevel @ 8, name_len @ 16, name @ 24,
    date_len @ 32, date @ 40, desc_len @ 48, desc @ 56);

/// `struct drm_gem_close`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmGemClose {
    /// The GEM handle.
    pub(crate) handle: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmGemClose, 8: handle @ 0, pad @ 4);

/// `struct drm_get_cap`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmGetCap {
    /// One of `DRM_CAP_*`.
    pub(crate) capability: u64,
    /// Its value.
    pub(crate) value: u64,
}
layout!(DrmGetCap, 16: capability @ 0, value @ 8);

/// `struct drm_prime_handle`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmPrimeHandle {
    /// The GEM handle.
    pub(crate) handle: u32,
    /// Bits of `DRM_CLOEXEC`, `DRM_RDWR`.
    pub(crate) flags: u32,
    /// The dma-buf.
    pub(crate) fd: i32,
}
layout!(DrmPrimeHandle, 12: handle @ 0, flags @ 4, fd @ 8);

/// `struct drm_mode_create_dumb`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmModeCreateDumb {
    /// Lines.
    pub(crate) height: u32,
    /// Pixels in a line.
    pub(crate) width: u32,
    /// Bits in a pixel.
    pub(crate) bpp: u32,
    /// Zero.
    pub(crate) flags: u32,
    /// The new GEM handle.
    pub(crate) handle: u32,
    /// Bytes in a line.
    pub(crate) pitch: u32,
    /// Bytes in the buffer.
    pub(crate) size: u64,
}
layout!(DrmModeCreateDumb, 32:
    height @ 0, width @ 4, bpp @ 8, flags @ 12, handle @ 16, pitch @ 20, size @ 24);

requests! {
    /// The driver's name and version.
    DRM_IOCTL_VERSION = read_write(b'd', 0x00, DrmVersion), addresses again;
    /// Gives up a GEM handle.
    DRM_IOCTL_GEM_CLOSE = write(b'd', 0x09, DrmGemClose), plain again;
    /// What the node can do.
    DRM_IOCTL_GET_CAP = read_write(b'd', 0x0C, DrmGetCap), plain again;
    /// A GEM handle as a dma-buf.
    DRM_IOCTL_PRIME_HANDLE_TO_FD = read_write(b'd', 0x2D, DrmPrimeHandle), plain again;
    /// A dma-buf as a GEM handle.
    DRM_IOCTL_PRIME_FD_TO_HANDLE = read_write(b'd', 0x2E, DrmPrimeHandle), plain again;
    /// A buffer that needs no knowledge of the driver.
    DRM_IOCTL_MODE_CREATE_DUMB = read_write(b'd', 0xB2, DrmModeCreateDumb), plain again;
}

// SAFETY: `drm_gem_prime_handle_to_fd()` stores the descriptor that it has installed in `fd` before
// it returns success.
unsafe impl ReturnsFd for DRM_IOCTL_PRIME_HANDLE_TO_FD {
    fn new_fd(argument: &DrmPrimeHandle, _: IoctlOutput) -> RawFd {
        argument.fd
    }
}
