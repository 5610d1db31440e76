//! Blob memory: a host buffer, or the guest's own pages with a dma-buf over them.

use std::sync::Arc;

use stile_core::{Errno, errno};
use stile_host::memfd::seal_for_udmabuf;
use stile_host::{DmaBuf, Segment, Udmabuf};
use stile_wire::gpu::layout::MemEntry;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::seldom::warn_seldom;

/// The memory of a blob.
#[derive(Clone, Debug)]
pub(crate) enum Buffer {
    /// Host memory.
    Host(Arc<DmaBuf>),
    /// Guest pages.
    Guest {
        /// Over the same pages; `None` where the guest's memory cannot be one.
        dma_buf: Option<Arc<DmaBuf>>,
        /// Where they are, in order.
        pieces: Arc<[(GuestAddress, u64)]>,
    },
}

impl Buffer {
    /// The dma-buf.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if there is none.
    pub(crate) fn dma_buf(&self) -> Result<&Arc<DmaBuf>, Errno> {
        match self {
            Self::Host(dma_buf)
            | Self::Guest {
                dma_buf: Some(dma_buf),
                ..
            } => Ok(dma_buf),
            Self::Guest { dma_buf: None, .. } => Err(errno::EOPNOTSUPP),
        }
    }

    /// A blob of guest pages. A guest whose memory cannot become a dma-buf gets the blob all the
    /// same; operations on it then fail with `EOPNOTSUPP`, and the log says which option helps.
    ///
    /// # Errors
    /// `EINVAL` for entries that are not whole pages of the guest's memory.
    pub(crate) fn from_guest(
        memory: &GuestMemoryMmap,
        udmabuf: Option<&Udmabuf>,
        size: u64,
        entries: &[MemEntry],
    ) -> Result<Self, Errno> {
        let mut pieces = Vec::new();
        let mut left = size;
        for entry in entries {
            let whole = u64::from(entry.length.get());
            let length = whole.min(left);
            let address = GuestAddress(entry.addr.get());
            let bytes = usize::try_from(length).map_err(|_| errno::EINVAL)?;
            // Only the blob's end may lie inside of a page: what is whole pages can be a dma-buf,
            // and a status record never lies on two pieces.
            let ends_blob = length == left;
            if !address.raw_value().is_multiple_of(page_bytes())
                || !(whole.is_multiple_of(page_bytes()) || ends_blob)
                || !memory.check_range(address, bytes)
            {
                return Err(errno::EINVAL);
            }
            if length > 0 {
                pieces.push((address, length));
            }
            left = left.saturating_sub(length);
        }
        let dma_buf = match udmabuf {
            None => {
                warn_seldom!("A GUEST blob has no dma-buf: /dev/udmabuf cannot be opened");
                None
            }
            Some(udmabuf) => match over_pages(memory, udmabuf, &pieces) {
                Ok(dma_buf) => Some(Arc::new(dma_buf)),
                Err(error) => {
                    warn_seldom!("A GUEST blob has no dma-buf: {error}");
                    None
                }
            },
        };
        Ok(Self::Guest {
            dma_buf,
            pieces: pieces.into(),
        })
    }
}

/// Why guest pages cannot become a dma-buf.
#[derive(Debug, thiserror::Error)]
enum NoDmaBuf {
    #[error("guest memory at {0:#x} is not backed by a file that the VMM shares")]
    NoFile(u64),
    #[error("{0}. {MEMFD_HINT}")]
    Seal(stile_host::Error),
    #[error("{0}")]
    Kernel(stile_host::Error),
}

const MEMFD_HINT: &str = "Have the VMM back guest memory with a memfd that may be sealed: QEMU \
    with -object memory-backend-memfd,share=on,seal=on (on is the default), crosvm as it is; \
    cloud-hypervisor's does not allow it";

fn over_pages(
    memory: &GuestMemoryMmap,
    udmabuf: &Udmabuf,
    pieces: &[(GuestAddress, u64)],
) -> Result<DmaBuf, NoDmaBuf> {
    let mut segments = Vec::new();
    for (address, length) in pieces {
        let no_file = || NoDmaBuf::NoFile(address.raw_value());
        let region = memory.find_region(*address).ok_or_else(no_file)?;
        let file = region.file_offset().ok_or_else(no_file)?;
        let inside = address
            .raw_value()
            .checked_sub(region.start_addr().raw_value());
        let offset = inside.and_then(|inside| file.start().checked_add(inside));
        seal_for_udmabuf(file.file()).map_err(NoDmaBuf::Seal)?;
        segments.push(Segment {
            memfd: std::os::fd::AsFd::as_fd(file.file()),
            offset: offset.ok_or_else(no_file)?,
            len: length
                .checked_next_multiple_of(page_bytes())
                .ok_or_else(no_file)?,
        });
    }
    udmabuf.create(&segments).map_err(NoDmaBuf::Kernel)
}

/// Bytes of a page.
pub(crate) fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
