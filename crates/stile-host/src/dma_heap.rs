//! dma-heap: dma-bufs from a pool of the kernel.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;

use crate::dma_buf::DmaBuf;
use crate::error::{Error, Result};
use crate::ioctl::call_for_fd;
use crate::open::open_device;
use crate::uapi::{DMA_HEAP_IOCTL_ALLOC, DmaHeapAllocationData};

/// A heap in `/dev/dma_heap` (`linux/dma-heap.h`).
#[derive(Debug)]
pub struct DmaHeap {
    device: OwnedFd,
}

impl DmaHeap {
    /// The heap of ordinary memory.
    pub const SYSTEM: &'static str = "system";

    /// Opens a heap by its name in `/dev/dma_heap`.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], with what to do about it.
    pub fn open(name: &str) -> Result<Self> {
        let device = open_device(
            &Path::new("/dev/dma_heap").join(name),
            "Heaps of this kernel are listed in /dev/dma_heap; `system` needs \
             CONFIG_DMABUF_HEAPS_SYSTEM.",
            "Give this user access to it, for example through the group that owns it.",
        )?;
        Ok(Self { device })
    }

    /// Makes a dma-buf of `len` bytes, rounded up to whole pages, zero-filled
    /// (`DMA_HEAP_IOCTL_ALLOC`).
    ///
    /// # Errors
    ///
    /// [`Error::Empty`]; [`Error::Ioctl`], such as `ENOMEM`.
    pub fn alloc(&self, len: u64) -> Result<DmaBuf> {
        self.alloc_with(len, OFlags::RDWR)
    }

    /// Makes a dma-buf like [`alloc`](Self::alloc), whose descriptor may only be read:
    /// [`DmaBuf::map`] on it fails with `EACCES`.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    pub fn alloc_read_only(&self, len: u64) -> Result<DmaBuf> {
        self.alloc_with(len, OFlags::RDONLY)
    }

    fn alloc_with(&self, len: u64, access: OFlags) -> Result<DmaBuf> {
        if len == 0 {
            return Err(Error::Empty);
        }
        let fd_flags = (access | OFlags::CLOEXEC).bits();
        let mut argument = DmaHeapAllocationData {
            len,
            fd_flags,
            ..DmaHeapAllocationData::default()
        };
        call_for_fd::<DMA_HEAP_IOCTL_ALLOC>(self.device.as_fd(), &mut argument)
            .and_then(DmaBuf::from_exporter)
    }
}
