//! Blob memory: a host buffer, or the guest's own pages with a dma-buf over them.

use std::os::fd::{AsFd, AsRawFd, RawFd};
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
    /// **Blocks**: pages that the guest has never touched are allocated now.
    pub(crate) fn from_guest(
        memory: &GuestMemoryMmap,
        udmabuf: Option<&Udmabuf>,
        pieces: Pieces,
    ) -> Self {
        let dma_buf = match udmabuf {
            None => {
                warn_seldom!("A GUEST blob has no dma-buf: /dev/udmabuf cannot be opened");
                None
            }
            Some(udmabuf) => match over_pages(memory, udmabuf, &pieces.0) {
                Ok(dma_buf) => Some(Arc::new(dma_buf)),
                Err(error) => {
                    warn_seldom!("A GUEST blob has no dma-buf: {error}");
                    None
                }
            },
        };
        Self::Guest {
            dma_buf,
            pieces: pieces.0,
        }
    }
}

/// Where the pages of a blob are in the guest's memory, in order.
#[derive(Debug)]
pub(crate) struct Pieces(Arc<[(GuestAddress, u64)]>);

impl Pieces {
    /// The first `size` bytes of the entries.
    ///
    /// # Errors
    /// `EINVAL` for entries that are not whole pages of the guest's memory.
    pub(crate) fn new(
        memory: &GuestMemoryMmap,
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
        Ok(Self(pieces.into()))
    }
}

/// Why guest pages cannot become a dma-buf.
#[derive(Debug, thiserror::Error)]
enum NoDmaBuf {
    #[error("guest memory at {0:#x} is not backed by a file that the VMM shares")]
    NoFile(u64),
    #[error("{0}")]
    Seal(stile_host::Error),
    #[error("{0}")]
    Kernel(stile_host::Error),
}

fn over_pages(
    memory: &GuestMemoryMmap,
    udmabuf: &Udmabuf,
    pieces: &[(GuestAddress, u64)],
) -> Result<DmaBuf, NoDmaBuf> {
    let mut segments = Vec::new();
    let mut sealed: Option<RawFd> = None;
    for (address, length) in pieces {
        let (mut address, mut left) = (*address, *length);
        while left > 0 {
            let no_file = || NoDmaBuf::NoFile(address.raw_value());
            let (region, inside) = memory.to_region_addr(address).ok_or_else(no_file)?;
            let file = region.file_offset().ok_or_else(no_file)?;
            // A piece may go on in the next region, which may be another file's.
            let room = region.len().checked_sub(inside.raw_value());
            let bytes = left.min(room.filter(|room| *room > 0).ok_or_else(no_file)?);
            // Nearly always all pieces are of one file.
            let fd = file.file().as_raw_fd();
            if sealed != Some(fd) {
                seal_for_udmabuf(file.file()).map_err(NoDmaBuf::Seal)?;
                sealed = Some(fd);
            }
            let offset = file.start().checked_add(inside.raw_value());
            let len = bytes.checked_next_multiple_of(page_bytes());
            segments.push(Segment {
                memfd: file.file().as_fd(),
                offset: offset.ok_or_else(no_file)?,
                len: len.ok_or_else(no_file)?,
            });
            address = address.checked_add(bytes).ok_or_else(no_file)?;
            left = left.saturating_sub(bytes);
        }
    }
    udmabuf.create(&segments).map_err(NoDmaBuf::Kernel)
}

/// Bytes of a page.
pub(crate) fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
