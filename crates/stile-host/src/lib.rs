//! The host kernel's buffers and fences: dma-buf, sync_file, drm_syncobj, udmabuf, dma-heap, vgem.
//!
//! Every ioctl of Stile stands here, with all the `unsafe` that they need; what the crate offers is
//! safe. It knows nothing of virtio, of guests or of a reactor: each call is one question to the
//! kernel, answered at once, unless its documentation says that it **blocks**.
//!
//! | Kernel object | Type | Header |
//! | --- | --- | --- |
//! | dma-buf and its reservation object | [`DmaBuf`], [`Access`], [`Mapping`] | `linux/dma-buf.h` |
//! | sync_file | [`SyncFile`], [`poll_many`] | `linux/sync_file.h` |
//! | udmabuf, sealed memfds | [`Udmabuf`], [`memfd`] | `linux/udmabuf.h` |
//! | dma-heap | [`DmaHeap`] | `linux/dma-heap.h` |
//! | vgem buffers and fences | [`VgemNode`], [`VgemGpu`], [`VgemFence`] | `drm/vgem_drm.h` |
//! | drm_syncobj, timeline points | [`SyncobjNode`], [`Syncobj`] | `drm/drm.h` |
//! | any number of descriptors | [`close_many`] | |
//! | any of the buffer sources, by name | [`AllocatorChoice`], [`Allocator`] | |
//!
//! # A fence crosses
//!
//! ```no_run
//! use stile_host::{Access, AllocatorChoice};
//!
//! # fn main() -> stile_host::Result<()> {
//! let allocator = "udmabuf".parse::<AllocatorChoice>()?.open()?;
//! let (rendered, shown) = (allocator.allocate(1 << 20)?, allocator.allocate(1 << 20)?);
//!
//! // Who reads `rendered` has to wait for its writers; who writes `shown` next, for that reader.
//! let fence = rendered.export_sync_file(Access::READ)?;
//! shown.import_sync_file(Access::WRITE, &fence)?;
//! assert_eq!(shown.poll(Access::READ)?, fence.signalled()?);
//! # Ok(())
//! # }
//! ```
//!
//! # Descriptors
//!
//! Every descriptor that the crate makes is close-on-exec. A type that wraps a descriptor checks its
//! kind before it sends it an ioctl, so that a descriptor from another process can do no harm.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test may panic")
)]

mod access;
mod alloc;
mod close;
mod dma_buf;
mod dma_heap;
mod drm;
mod error;
mod ioctl;
mod mapping;
pub mod memfd;
mod open;
mod poll;
mod sync_file;
mod syncobj;
mod uapi;
mod udmabuf;
mod vgem;

pub use access::Access;
pub use alloc::{Allocator, AllocatorChoice};
pub use close::close_many;
pub use dma_buf::{DmaBuf, is_dma_buf};
pub use dma_heap::DmaHeap;
pub use drm::{DrmNode, NodeKind, drm_nodes};
pub use error::{Error, Result};
pub use mapping::{Mapping, raise_u64};
pub use poll::{poll_many, wait_readable};
pub use rustix::io::Errno;
pub use sync_file::{FenceInfo, Outcome, Status, SyncFile};
pub use syncobj::{PointEvent, Syncobj, SyncobjNode};
pub use udmabuf::{Segment, Udmabuf, UdmabufLimits, coalesce};
pub use vgem::{VgemFence, VgemGpu, VgemNode};

/// The machine's page size in bytes.
fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
