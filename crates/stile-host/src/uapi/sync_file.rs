//! `linux/sync_file.h`.

use std::os::fd::RawFd;

use rustix::ioctl::IoctlOutput;

use super::{layout, requests};
use crate::ioctl::ReturnsFd;

/// `struct sync_merge_data`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SyncMergeData {
    /// Name of the new sync_file, ended by a zero.
    pub(crate) name: [u8; 32],
    /// The second sync_file.
    pub(crate) fd2: i32,
    /// The new sync_file.
    pub(crate) fence: i32,
    /// Zero.
    pub(crate) flags: u32,
    /// Zero.
    pub(crate) pad: u32,
}
layout!(SyncMergeData, 48: name @ 0, fd2 @ 32, fence @ 36, flags @ 40, pad @ 44);

/// `struct sync_fence_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct SyncFenceInfo {
    /// Name of the fence's timeline.
    pub(crate) obj_name: [u8; 32],
    /// Name of its driver.
    pub(crate) driver_name: [u8; 32],
    /// 0 active, 1 signalled, below 0 an errno.
    pub(crate) status: i32,
    /// Zero.
    pub(crate) flags: u32,
    /// When it was signalled, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) timestamp_ns: u64,
}
layout!(SyncFenceInfo, 80:
    obj_name @ 0, driver_name @ 32, status @ 64, flags @ 68, timestamp_ns @ 72);

/// `struct sync_file_info`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SyncFileInfo {
    /// The sync_file's name.
    pub(crate) name: [u8; 32],
    /// 0 active, 1 signalled, below 0 an errno.
    pub(crate) status: i32,
    /// Zero.
    pub(crate) flags: u32,
    /// Room in the array, then fences in the sync_file.
    pub(crate) num_fences: u32,
    /// Zero.
    pub(crate) pad: u32,
    /// Address of an array of [`SyncFenceInfo`].
    pub(crate) sync_fence_info: u64,
}
layout!(SyncFileInfo, 56:
    name @ 0, status @ 32, flags @ 36, num_fences @ 40, pad @ 44, sync_fence_info @ 48);

/// `struct sync_set_deadline`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SyncSetDeadline {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) deadline_ns: u64,
    /// Zero.
    pub(crate) pad: u64,
}
layout!(SyncSetDeadline, 16: deadline_ns @ 0, pad @ 8);

requests! {
    /// Two sync_files as a new one.
    SYNC_IOC_MERGE = read_write(b'>', 3, SyncMergeData), plain;
    /// The state of the sync_file, and of its fences.
    SYNC_IOC_FILE_INFO = read_write(b'>', 4, SyncFileInfo), addresses;
    /// When the fence should be done.
    SYNC_IOC_SET_DEADLINE = write(b'>', 5, SyncSetDeadline), plain;
}

// SAFETY: `sync_file_ioctl_merge()` stores the number in `fence` and installs the new sync_file
// under it before it returns success.
unsafe impl ReturnsFd for SYNC_IOC_MERGE {
    fn new_fd(argument: &SyncMergeData, _: IoctlOutput) -> RawFd {
        argument.fence
    }
}
