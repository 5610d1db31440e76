//! The syncobj part of `drm/drm.h`.
//!
//! Some structs have grown a field at their end since they were new. DRM copies as much as both
//! sides know and takes the rest as zero, so the longer struct works with an older kernel as long as
//! no flag asks for the new field.

use std::os::fd::RawFd;

use rustix::ioctl::IoctlOutput;

use super::{layout, requests};
use crate::ioctl::ReturnsFd;

/// The new syncobj holds a signalled fence.
pub(crate) const DRM_SYNCOBJ_CREATE_SIGNALED: u32 = 1;
/// Import the sync_file's fence into the syncobj of the given handle.
pub(crate) const DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE: u32 = 1;
/// `point` is used (Linux 7.2 has it, 6.12 not).
pub(crate) const DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE: u32 = 2;
/// Export the fence as a sync_file, not the syncobj.
pub(crate) const DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE: u32 = 1;
/// `point` is used (Linux 7.2 has it, 6.12 not).
pub(crate) const DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE: u32 = 2;
/// Wait for the point to materialise first.
pub(crate) const DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT: u32 = 2;
/// Wait only for the point to materialise.
pub(crate) const DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE: u32 = 4;
/// Ask for the last point that has materialised, not the last that has signalled.
pub(crate) const DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED: u32 = 1;

/// `struct drm_syncobj_create`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjCreate {
    /// The new handle.
    pub(crate) handle: u32,
    /// Bits of `DRM_SYNCOBJ_CREATE_*`.
    pub(crate) flags: u32,
}
layout!(DrmSyncobjCreate, 8: handle @ 0, flags @ 4);

/// `struct drm_syncobj_destroy`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjDestroy {
    /// The handle.
    pub(crate) handle: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmSyncobjDestroy, 8: handle @ 0, pad @ 4);

/// `struct drm_syncobj_handle`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjHandle {
    /// The handle. Never zero when a sync_file is imported.
    pub(crate) handle: u32,
    /// Bits of `DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_*` or `DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_*`.
    pub(crate) flags: u32,
    /// The syncobj's descriptor, or a sync_file.
    pub(crate) fd: i32,
    /// Zero.
    pub(crate) pad: u32,
    /// The timeline point, with the flag that says so.
    pub(crate) point: u64,
}
layout!(DrmSyncobjHandle, 24: handle @ 0, flags @ 4, fd @ 8, pad @ 12, point @ 16);

/// `struct drm_syncobj_transfer`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjTransfer {
    /// From this syncobj.
    pub(crate) src_handle: u32,
    /// To this one.
    pub(crate) dst_handle: u32,
    /// From this point; zero for a binary syncobj.
    pub(crate) src_point: u64,
    /// To this point; zero for a binary syncobj.
    pub(crate) dst_point: u64,
    /// Bits of `DRM_SYNCOBJ_WAIT_FLAGS_*`.
    pub(crate) flags: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmSyncobjTransfer, 32:
    src_handle @ 0, dst_handle @ 4, src_point @ 8, dst_point @ 16, flags @ 24, pad @ 28);

/// `struct drm_syncobj_timeline_wait`, without the deadline that newer kernels have after it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjTimelineWait {
    /// Address of an array of handles.
    pub(crate) handles: u64,
    /// Address of an array of points.
    pub(crate) points: u64,
    /// When to give up, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) timeout_nsec: i64,
    /// Length of both arrays.
    pub(crate) count_handles: u32,
    /// Bits of `DRM_SYNCOBJ_WAIT_FLAGS_*`.
    pub(crate) flags: u32,
    /// Which one was first.
    pub(crate) first_signaled: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmSyncobjTimelineWait, 40:
    handles @ 0, points @ 8, timeout_nsec @ 16, count_handles @ 24, flags @ 28,
    first_signaled @ 32, pad @ 36);

/// `struct drm_syncobj_array`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjArray {
    /// Address of an array of handles.
    pub(crate) handles: u64,
    /// Its length.
    pub(crate) count_handles: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmSyncobjArray, 16: handles @ 0, count_handles @ 8, pad @ 12);

/// `struct drm_syncobj_timeline_array`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjTimelineArray {
    /// Address of an array of handles.
    pub(crate) handles: u64,
    /// Address of an array of points.
    pub(crate) points: u64,
    /// Length of both arrays.
    pub(crate) count_handles: u32,
    /// Bits of `DRM_SYNCOBJ_QUERY_FLAGS_*`.
    pub(crate) flags: u32,
}
layout!(DrmSyncobjTimelineArray, 24: handles @ 0, points @ 8, count_handles @ 16, flags @ 20);

/// `struct drm_syncobj_eventfd`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DrmSyncobjEventfd {
    /// The handle.
    pub(crate) handle: u32,
    /// Zero, or `DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE`.
    pub(crate) flags: u32,
    /// The timeline point; zero for a binary syncobj.
    pub(crate) point: u64,
    /// The eventfd.
    pub(crate) fd: i32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(DrmSyncobjEventfd, 24: handle @ 0, flags @ 4, point @ 8, fd @ 16, pad @ 20);

requests! {
    /// A new syncobj.
    DRM_IOCTL_SYNCOBJ_CREATE = read_write(b'd', 0xBF, DrmSyncobjCreate), plain again;
    /// Gives up a handle.
    DRM_IOCTL_SYNCOBJ_DESTROY = read_write(b'd', 0xC0, DrmSyncobjDestroy), plain again;
    /// A syncobj, or its fence, as a descriptor.
    DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD = read_write(b'd', 0xC1, DrmSyncobjHandle), plain again;
    /// A descriptor as a syncobj, or a sync_file's fence into one.
    DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE = read_write(b'd', 0xC2, DrmSyncobjHandle), plain again;
    /// Takes the fences out of syncobjs.
    DRM_IOCTL_SYNCOBJ_RESET = read_write(b'd', 0xC4, DrmSyncobjArray), addresses again;
    /// Signals binary syncobjs.
    DRM_IOCTL_SYNCOBJ_SIGNAL = read_write(b'd', 0xC5, DrmSyncobjArray), addresses again;
    /// Waits for points.
    DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT = read_write(b'd', 0xCA, DrmSyncobjTimelineWait), addresses again;
    /// The last point of each timeline.
    DRM_IOCTL_SYNCOBJ_QUERY = read_write(b'd', 0xCB, DrmSyncobjTimelineArray), addresses again;
    /// One syncobj's fence into another.
    DRM_IOCTL_SYNCOBJ_TRANSFER = read_write(b'd', 0xCC, DrmSyncobjTransfer), plain again;
    /// Signals points.
    DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL = read_write(b'd', 0xCD, DrmSyncobjTimelineArray), addresses again;
    /// Has an eventfd told of a point (Linux 6.6).
    DRM_IOCTL_SYNCOBJ_EVENTFD = read_write(b'd', 0xCF, DrmSyncobjEventfd), plain again;
}

// SAFETY: `drm_syncobj_handle_to_fd()` and `drm_syncobj_export_sync_file()` store the descriptor
// that they have installed in `fd` before they return success.
unsafe impl ReturnsFd for DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD {
    fn new_fd(argument: &DrmSyncobjHandle, _: IoctlOutput) -> RawFd {
        argument.fd
    }
}
