//! The hostmem region: which parts of it are taken.

use alloc::collections::BTreeMap;

/// Pages are this large: those of the region, whose offsets and lengths are multiples, and those of
/// the guest.
pub(crate) const PAGE: u64 = 4096;

/// Mappings by their offset. A part is taken from the request to map it to the request to unmap
/// it: the front end carries them out one after the other, so what is mapped next finds it empty.
#[derive(Debug, Default)]
pub(crate) struct Region {
    taken: BTreeMap<u64, u64>,
}

impl Region {
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Takes `size` bytes at `offset`. `false` if they are not whole pages, not inside a region of
    /// `region_bytes`, or taken.
    pub(crate) fn take(&mut self, offset: u64, size: u64, region_bytes: u64) -> bool {
        let whole = size > 0 && offset.is_multiple_of(PAGE) && size.is_multiple_of(PAGE);
        let Some(end) = offset
            .checked_add(size)
            .filter(|end| whole && *end <= region_bytes)
        else {
            return false;
        };
        let free = self
            .taken
            .range(..end)
            .next_back()
            .is_none_or(|(start, size)| {
                start
                    .checked_add(*size)
                    .is_some_and(|taken_end| taken_end <= offset)
            });
        if free {
            self.taken.insert(offset, size);
        }
        free
    }

    /// Gives back the part at `offset` and says how many bytes it had.
    pub(crate) fn free(&mut self, offset: u64) -> u64 {
        self.taken.remove(&offset).unwrap_or(0)
    }

    /// The parts that are taken, with their bytes, by their offset.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.taken.iter().map(|(offset, size)| (*offset, *size))
    }

    /// Empties the region and says what was in it.
    pub(crate) fn drain(&mut self) -> BTreeMap<u64, u64> {
        core::mem::take(&mut self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE, Region};

    #[test]
    fn parts_do_not_overlap_and_stay_inside() {
        let mut region = Region::default();
        assert!(region.take(PAGE, 2 * PAGE, 8 * PAGE));
        for (offset, size) in [
            (PAGE, PAGE),
            (2 * PAGE, 2 * PAGE),
            (0, 2 * PAGE),
            (0, 8 * PAGE),
        ] {
            assert!(
                !region.take(offset, size, 8 * PAGE),
                "{offset:#x}+{size:#x} is taken"
            );
        }
        assert!(region.take(0, PAGE, 8 * PAGE));
        assert!(region.take(3 * PAGE, 5 * PAGE, 8 * PAGE));
        assert_eq!(region.len(), 3);
        region.free(PAGE);
        assert!(region.take(2 * PAGE, PAGE, 8 * PAGE));
        for (offset, size) in [
            (8 * PAGE, PAGE),
            (PAGE, 0),
            (1, PAGE),
            (PAGE, 1),
            (u64::MAX - 4095, 2 * PAGE),
        ] {
            assert!(
                !region.take(offset, size, 8 * PAGE),
                "{offset:#x}+{size:#x} is no place"
            );
        }
    }
}
