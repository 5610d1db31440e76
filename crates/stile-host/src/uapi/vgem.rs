//! `drm/vgem_drm.h`.

use super::{layout, requests};

/// The fence ends a write; without it, a read.
pub(crate) const VGEM_FENCE_WRITE: u32 = 1;

/// `struct drm_vgem_fence_attach`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmVgemFenceAttach {
    /// The GEM handle.
    pub(crate) handle: u32,
    /// Bits of `VGEM_FENCE_*`.
    pub(crate) flags: u32,
    /// The new fence's number in this DRM file.
    pub(crate) out_fence: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmVgemFenceAttach, 16: handle @ 0, flags @ 4, out_fence @ 8, pad @ 12);

/// `struct drm_vgem_fence_signal`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmVgemFenceSignal {
    /// The fence's number in this DRM file.
    pub(crate) fence: u32,
    /// Zero.
    pub(crate) flags: u32,
}
layout!(DrmVgemFenceSignal, 8: fence @ 0, flags @ 4);

requests! {
    /// Makes a fence and puts it on a buffer.
    DRM_IOCTL_VGEM_FENCE_ATTACH = read_write(b'd', 0x41, DrmVgemFenceAttach), plain again;
    /// Signals a fence.
    DRM_IOCTL_VGEM_FENCE_SIGNAL = write(b'd', 0x42, DrmVgemFenceSignal), plain again;
}
