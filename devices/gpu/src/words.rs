//! The counters in a blob: its memory as words of 64 bits.

use std::sync::atomic::AtomicU64;

use stile_core::{Errno, errno};
use stile_host::{Mapping, raise_u64};
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

use crate::buffer::Buffer;
use crate::shell::to_errno;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// A blob's whole memory.
#[derive(Debug)]
pub(crate) enum Words {
    /// A host buffer, from its start.
    Host(Mapping),
    /// Guest pages: where each piece begins in the blob and in the guest's memory, in order. Pieces
    /// are whole pages, but for the blob's end, so that no word lies on two.
    Guest(Vec<(u64, GuestAddress)>),
}

impl Words {
    /// # Errors
    /// The errno of mmap(2).
    pub(crate) fn new(buffer: &Buffer) -> Result<Self, Errno> {
        match buffer {
            Buffer::Host(dma_buf) => {
                let mapping = dma_buf.map(0..dma_buf.size());
                mapping.map(Self::Host).map_err(|error| to_errno(&error))
            }
            Buffer::Guest { pieces, .. } => {
                let mut start = 0_u64;
                let pieces = pieces.iter().map(|(address, length)| {
                    let piece = (start, *address);
                    start = start.saturating_add(*length);
                    piece
                });
                Ok(Self::Guest(pieces.collect()))
            }
        }
    }

    /// Raises the word at `offset`, a multiple of 8 inside the blob, to `value` if it is below, and
    /// gives what it holds then.
    ///
    /// # Errors
    /// `EFAULT` for guest pages that are not there any more; `EAGAIN` where others keep changing the
    /// word.
    pub(crate) fn raise(
        &self,
        memory: &GuestMemoryMmap,
        offset: u64,
        value: u64,
    ) -> Result<u64, Errno> {
        let before = match self {
            Self::Host(mapping) => {
                let at = usize::try_from(offset).map_err(|_| errno::EINVAL)?;
                mapping.raise_u64(at, value)
            }
            Self::Guest(pieces) => {
                let address = address(pieces, offset).ok_or(errno::EFAULT)?;
                let word = memory.get_slice(address, WORD);
                let word = word.map_err(|_| errno::EFAULT)?;
                let word: &AtomicU64 = word.get_atomic_ref(0).map_err(|_| errno::EFAULT)?;
                raise_u64(word, value)
            }
        };
        let before = before.map_err(|error| to_errno(&error))?;
        Ok(before.max(value))
    }
}

/// Where a byte of the blob is in the guest's memory.
fn address(pieces: &[(u64, GuestAddress)], offset: u64) -> Option<GuestAddress> {
    let after = pieces.partition_point(|(start, _)| *start <= offset);
    let (start, address) = pieces.get(after.checked_sub(1)?)?;
    address.checked_add(offset.checked_sub(*start)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::Bytes;

    use super::*;

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap()
    }

    /// Two pages, the later one first, and the rest of a third.
    fn words() -> Words {
        let pieces = [
            (GuestAddress(0x2000), 0x1000),
            (GuestAddress(0x1000), 0x1000),
            (GuestAddress(0x3000), 0x800),
        ];
        let dma_buf = None;
        let pieces: Arc<[_]> = Arc::new(pieces);
        Words::new(&Buffer::Guest { dma_buf, pieces }).unwrap()
    }

    #[test]
    fn a_counter_lies_in_the_page_that_its_offset_is_in() {
        let (memory, words) = (memory(), words());
        for (offset, address) in [
            (0, 0x2000_u64),
            (0xff8, 0x2ff8),
            (0x1000, 0x1000),
            (0x2000, 0x3000),
        ] {
            assert_eq!(words.raise(&memory, offset, offset + 1), Ok(offset + 1));
            let found: u64 = memory.read_obj(GuestAddress(address)).unwrap();
            assert_eq!(found.to_le(), offset + 1);
        }
    }

    #[test]
    fn a_counter_is_never_lowered() {
        let (memory, words) = (memory(), words());
        memory
            .write_obj(7_u64.to_le(), GuestAddress(0x2008))
            .unwrap();
        assert_eq!(words.raise(&memory, 8, 0), Ok(7));
        assert_eq!(words.raise(&memory, 8, 6), Ok(7));
        assert_eq!(words.raise(&memory, 8, u64::MAX), Ok(u64::MAX));
        assert_eq!(words.raise(&memory, 8, 1), Ok(u64::MAX));
    }

    #[test]
    fn pages_that_the_guest_has_lost_hold_no_counter() {
        let words = words();
        let less = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        assert_eq!(words.raise(&less, 0, 1), Err(errno::EFAULT));
        assert_eq!(words.raise(&less, u64::MAX - 7, 1), Err(errno::EFAULT));
    }
}
