//! The memory of a status blob or an event ring, and the order in which it is written.

use std::sync::atomic::Ordering;

use stile_core::{Errno, errno};
use stile_host::{DmaBuf, Mapping};
use stile_wire::sync::Block;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

use crate::buffer::{Buffer, page_bytes};
use crate::seldom::warn_seldom;

/// Offset of `head` in the header.
const HEAD: u64 = 16;
/// Offset of `overflow` in the header of an event ring.
const OVERFLOW: u64 = 24;

/// A status blob's or an event ring's memory. Records and header are aligned to their 64 bytes, so that each lies
/// within a page.
#[derive(Debug)]
pub(crate) enum Records {
    /// In a host buffer: the pages that hold it, and where it starts in them.
    Host { mapping: Mapping, start: u64 },
    /// In guest pages: those that hold it, in order.
    Guest { pieces: Vec<(GuestAddress, u64)> },
}

impl Records {
    /// `size` bytes of `buffer` from `offset`.
    ///
    /// # Errors
    /// The errno of `mmap`.
    pub(crate) fn new(buffer: &Buffer, offset: u64, size: u64) -> Result<Self, Errno> {
        match buffer {
            Buffer::Host(dma_buf) => Self::map(dma_buf, offset, size),
            Buffer::Guest { pieces, .. } => {
                let pieces = part(pieces, offset, size).ok_or(errno::EINVAL)?;
                Ok(Self::Guest { pieces })
            }
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

    /// Zeroes the memory and writes its header.
    pub(crate) fn write_header(&self, memory: &GuestMemoryMmap, header: &Block) {
        let zeros = |bytes: u64| vec![0; usize::try_from(bytes).unwrap_or(0)];
        match self {
            Self::Host { mapping, start } => {
                let bytes = u64::try_from(mapping.len()).unwrap_or(0);
                self.write(memory, 0, &zeros(bytes.saturating_sub(*start)));
            }
            Self::Guest { pieces } => {
                for (address, bytes) in pieces {
                    // A page that is not the guest's any more is told by the header's write.
                    let _gone = memory.write_slice(&zeros(*bytes), *address);
                }
            }
        }
        self.write(memory, 0, header);
    }

    /// Writes a record so that a reader who checks `seq` before and after never takes a torn one.
    pub(crate) fn write_record(&self, memory: &GuestMemoryMmap, offset: u64, record: &Block) {
        let Some((seq, body)) = record.split_first_chunk() else {
            return;
        };
        let seq = u64::from_le_bytes(*seq);
        self.store(memory, offset, 0);
        self.write(memory, offset.saturating_add(8), body);
        self.store(memory, offset, seq);
        self.store(memory, HEAD, seq);
    }

    /// Stores an event ring's `overflow`.
    pub(crate) fn write_overflow(&self, memory: &GuestMemoryMmap, overflow: u64) {
        self.store(memory, OVERFLOW, overflow);
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
            warn_seldom!(offset, "A status blob or an event ring cannot be written");
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
            warn_seldom!(offset, "A status blob or an event ring cannot be written");
        }
    }

    fn guest_address(&self, offset: u64) -> Option<GuestAddress> {
        let Self::Guest { pieces } = self else {
            return None;
        };
        let mut left = offset;
        for (address, length) in pieces {
            if left < *length {
                return address.checked_add(left);
            }
            left = left.checked_sub(*length)?;
        }
        None
    }
}

/// The pieces that hold `size` bytes from `offset` of others; `None` if those are fewer.
fn part(
    pieces: &[(GuestAddress, u64)],
    offset: u64,
    size: u64,
) -> Option<Vec<(GuestAddress, u64)>> {
    let (mut skip, mut left) = (offset, size);
    let mut part = Vec::new();
    for (address, length) in pieces {
        let skipped = skip.min(*length);
        skip = skip.checked_sub(skipped)?;
        let bytes = length.checked_sub(skipped)?.min(left);
        left = left.checked_sub(bytes)?;
        if bytes > 0 {
            part.push((address.checked_add(skipped)?, bytes));
        }
    }
    (left == 0).then_some(part)
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::part;

    #[test]
    fn a_part_goes_over_the_ends_of_pieces() {
        let pieces = [
            (GuestAddress(0x1000), 0x1000),
            (GuestAddress(0x8000), 0x2000),
        ];
        let both = [(GuestAddress(0x1fc0), 0x40), (GuestAddress(0x8000), 0x40)];
        assert_eq!(part(&pieces, 0xfc0, 0x80).unwrap(), both);
        assert_eq!(
            part(&pieces, 0x2fc0, 0x40).unwrap(),
            [(GuestAddress(0x9fc0), 0x40)]
        );
        assert_eq!(part(&pieces, 0x2fc0, 0x80), None);
    }

    #[test]
    fn head_and_overflow_are_where_the_headers_have_them() {
        use stile_wire::sync::{EventHeader, StatusHeader};
        for (offset, expected) in [
            (std::mem::offset_of!(StatusHeader, head), super::HEAD),
            (std::mem::offset_of!(EventHeader, head), super::HEAD),
            (std::mem::offset_of!(EventHeader, overflow), super::OVERFLOW),
        ] {
            assert_eq!(u64::try_from(offset).unwrap(), expected);
        }
    }
}
