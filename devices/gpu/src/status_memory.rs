//! The memory of a status blob, and the order in which it is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stile_core::{Errno, errno};
use stile_host::{DmaBuf, Mapping};
use stile_wire::sync::{StatusHeader, StatusRecord};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::IntoBytes;

use crate::buffer::{Buffer, page_bytes};
use crate::seldom::warn_seldom;

/// Offset of `head` in the header.
const HEAD: u64 = 16;

/// A status blob's memory. Records and header are aligned to their 64 bytes, so that each lies
/// within a page.
#[derive(Debug)]
pub(crate) enum StatusMemory {
    /// In a host buffer: the pages that hold it, and where it starts in them.
    Host { mapping: Mapping, start: u64 },
    /// In guest pages: all of the blob's, and where it starts in the blob.
    Guest {
        pieces: Arc<[(GuestAddress, u64)]>,
        start: u64,
        size: u64,
    },
}

impl StatusMemory {
    /// `size` bytes of `buffer` from `offset`.
    ///
    /// # Errors
    /// The errno of `mmap`.
    pub(crate) fn new(buffer: &Buffer, offset: u64, size: u64) -> Result<Self, Errno> {
        match buffer {
            Buffer::Host(dma_buf) => Self::map(dma_buf, offset, size),
            Buffer::Guest { pieces, .. } => Ok(Self::Guest {
                pieces: Arc::clone(pieces),
                start: offset,
                size,
            }),
        }
    }

    fn map(dma_buf: &DmaBuf, offset: u64, size: u64) -> Result<Self, Errno> {
        let start = offset.checked_rem(page_bytes()).ok_or(errno::EINVAL)?;
        let first = offset.checked_sub(start).ok_or(errno::EINVAL)?;
        let end = offset.checked_add(size).ok_or(errno::EINVAL)?;
        let mapping = dma_buf
            .map(first..end)
            .map_err(|error| crate::shell::to_errno(&error))?;
        Ok(Self::Host { mapping, start })
    }

    /// Zeroes the blob and writes its header.
    pub(crate) fn write_header(&self, memory: &GuestMemoryMmap, header: &StatusHeader) {
        let size = match self {
            Self::Host { mapping, start } => u64::try_from(mapping.len())
                .unwrap_or(0)
                .saturating_sub(*start),
            Self::Guest { size, .. } => *size,
        };
        let zeros = [0_u8; 64];
        let mut offset: u64 = 0;
        while offset < size {
            let left = usize::try_from(size.saturating_sub(offset))
                .unwrap_or(0)
                .min(zeros.len());
            self.write(memory, offset, zeros.get(..left).unwrap_or_default());
            offset = offset.saturating_add(64);
        }
        self.write(memory, 0, header.as_bytes());
    }

    /// Writes a record so that a reader who checks `seq` before and after never takes a torn one.
    pub(crate) fn write_record(
        &self,
        memory: &GuestMemoryMmap,
        offset: u64,
        record: &StatusRecord,
    ) {
        let body = record.as_bytes().get(8..).unwrap_or_default();
        self.store(memory, offset, 0);
        self.write(memory, offset.saturating_add(8), body);
        self.store(memory, offset, record.seq.get());
        self.store(memory, HEAD, record.seq.get());
    }

    fn write(&self, memory: &GuestMemoryMmap, offset: u64, bytes: &[u8]) {
        let done = match self {
            Self::Host { mapping, start } => usize::try_from(start.saturating_add(offset))
                .is_ok_and(|at| mapping.write(at, bytes).is_ok()),
            Self::Guest { .. } => self
                .guest_address(offset)
                .is_some_and(|address| memory.write_slice(bytes, address).is_ok()),
        };
        if !done {
            warn_seldom!(offset, "A status blob cannot be written");
        }
    }

    /// Stores 64 bits with release order. On the architectures that are supported, a release store
    /// is not moved before the stores that precede it, and plain stores are not moved before it by
    /// the fence that follows.
    fn store(&self, memory: &GuestMemoryMmap, offset: u64, value: u64) {
        let value = value.to_le();
        let done = match self {
            Self::Host { mapping, start } => usize::try_from(start.saturating_add(offset))
                .is_ok_and(|at| mapping.store_u64(at, value).is_ok()),
            Self::Guest { .. } => self
                .guest_address(offset)
                .is_some_and(|address| memory.store(value, address, Ordering::Release).is_ok()),
        };
        std::sync::atomic::fence(Ordering::SeqCst);
        if !done {
            warn_seldom!(offset, "A status blob cannot be written");
        }
    }

    fn guest_address(&self, offset: u64) -> Option<GuestAddress> {
        let Self::Guest { pieces, start, .. } = self else {
            return None;
        };
        let mut left = start.checked_add(offset)?;
        for (address, length) in pieces.iter() {
            if left < *length {
                return address.checked_add(left);
            }
            left = left.checked_sub(*length)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn head_is_where_the_header_has_it() {
        let offset = std::mem::offset_of!(stile_wire::sync::StatusHeader, head);
        assert_eq!(u64::try_from(offset).unwrap(), super::HEAD);
    }
}
