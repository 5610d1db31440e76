//! `linux/udmabuf.h` and `linux/dma-heap.h`: where buffers come from without a GPU.

use std::os::fd::RawFd;

use rustix::ioctl::IoctlOutput;

use super::{layout, requests};
use crate::ioctl::ReturnsFd;

/// The new descriptor is close-on-exec.
pub(crate) const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

/// `struct udmabuf_create`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct UdmabufCreate {
    /// The memfd.
    pub(crate) memfd: i32,
    /// Bits of `UDMABUF_FLAGS_*`.
    pub(crate) flags: u32,
    /// First byte, a multiple of the page size.
    pub(crate) offset: u64,
    /// Bytes, a multiple of the page size.
    pub(crate) size: u64,
}
layout!(UdmabufCreate, 24: memfd @ 0, flags @ 4, offset @ 8, size @ 16);

/// `struct udmabuf_create_list`, without the items that follow it.
///
/// Each item is a `struct udmabuf_create_item`: the memfd and a zero (32 bits each), the offset and
/// the size (64 bits each).
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct UdmabufCreateList {
    /// Bits of `UDMABUF_FLAGS_*`.
    pub(crate) flags: u32,
    /// Number of items that follow.
    pub(crate) count: u32,
}
layout!(UdmabufCreateList, 8: flags @ 0, count @ 4);

/// `struct dma_heap_allocation_data`.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct DmaHeapAllocationData {
    /// Bytes.
    pub(crate) len: u64,
    /// The new dma-buf.
    pub(crate) fd: i32,
    /// `O_RDWR | O_CLOEXEC`.
    pub(crate) fd_flags: u32,
    /// Zero.
    pub(crate) heap_flags: u64,
}
layout!(DmaHeapAllocationData, 24: len @ 0, fd @ 8, fd_flags @ 12, heap_flags @ 16);

requests! {
    /// A dma-buf over one piece of a memfd.
    UDMABUF_CREATE = write(b'u', 0x42, UdmabufCreate), plain;
    /// A dma-buf over several pieces of memfds. Reads the items after the argument.
    UDMABUF_CREATE_LIST = write(b'u', 0x43, UdmabufCreateList), addresses;
    /// A dma-buf from a heap.
    DMA_HEAP_IOCTL_ALLOC = read_write(b'H', 0, DmaHeapAllocationData), plain;
}

// SAFETY: `udmabuf_create()` returns what `dma_buf_fd()` gave it, a descriptor that it has installed.
unsafe impl ReturnsFd for UDMABUF_CREATE {
    fn new_fd(_: &UdmabufCreate, returned: IoctlOutput) -> RawFd {
        returned
    }
}

// SAFETY: `dma_heap_ioctl_allocate()` stores the descriptor that it has installed in `fd` before it
// returns success.
unsafe impl ReturnsFd for DMA_HEAP_IOCTL_ALLOC {
    fn new_fd(argument: &DmaHeapAllocationData, _: IoctlOutput) -> RawFd {
        argument.fd
    }
}
