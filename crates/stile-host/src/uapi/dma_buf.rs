//! `linux/dma-buf.h`.

use std::os::fd::RawFd;

use rustix::ioctl::IoctlOutput;

use super::{layout, requests};
use crate::ioctl::ReturnsFd;

/// `struct dma_buf_sync`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DmaBufSync {
    /// Bits of `DMA_BUF_SYNC_*`.
    pub(crate) flags: u64,
}
layout!(DmaBufSync, 8: flags @ 0);

/// Ends the access that the flags name; without it, the access begins.
pub(crate) const DMA_BUF_SYNC_END: u64 = 4;

/// `struct dma_buf_export_sync_file`, and `struct dma_buf_import_sync_file`, which is the same.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DmaBufSyncFile {
    /// Bits of [`Access`](crate::Access).
    pub(crate) flags: u32,
    /// The sync_file.
    pub(crate) fd: i32,
}
layout!(DmaBufSyncFile, 8: flags @ 0, fd @ 4);

requests! {
    /// Begins or ends an access by the CPU. Blocks.
    DMA_BUF_IOCTL_SYNC = write(b'b', 0, DmaBufSync), plain again;
    /// The buffer's fences as a new sync_file.
    DMA_BUF_IOCTL_EXPORT_SYNC_FILE = read_write(b'b', 2, DmaBufSyncFile), plain;
    /// Adds a sync_file's fences to the buffer.
    DMA_BUF_IOCTL_IMPORT_SYNC_FILE = write(b'b', 3, DmaBufSyncFile), plain;
}

// SAFETY: `dma_buf_export_sync_file()` installs a new sync_file and stores its number in `fd` before
// it returns success.
unsafe impl ReturnsFd for DMA_BUF_IOCTL_EXPORT_SYNC_FILE {
    fn new_fd(argument: &DmaBufSyncFile, _: IoctlOutput) -> RawFd {
        argument.fd
    }
}
