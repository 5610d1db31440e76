//! Storage with keys that never name a later tenant.

use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Names an entry. A key whose entry is gone names nothing, also when its place is in use again. In
/// order, older entries come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Not zero, so that `Option<Key>` is no larger than a key.
    serial: NonZeroU32,
    index: u32,
}

impl Key {
    /// The key as one number, for whoever must carry it through a place that holds 64 bits.
    pub(crate) fn to_bits(self) -> u64 {
        (u64::from(self.serial.get()) << 32) | u64::from(self.index)
    }

    /// Where its entry is, from 0.
    pub(crate) fn row(self) -> usize {
        usize::try_from(self.index).unwrap_or(usize::MAX)
    }

    /// The key of [`Key::to_bits`]; `None` for a number that is none.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        let serial = NonZeroU32::new(u32::from_le_bytes([e, f, g, h]))?;
        Some(Self {
            index: u32::from_le_bytes([a, b, c, d]),
            serial,
        })
    }
}

/// Where an entry is, for whoever knows that it is there: half as long as its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonZeroU32);

impl Key {
    /// `None` for the last of 2^32 places.
    pub(crate) fn place(self) -> Option<Place> {
        let number = self.index.checked_add(1)?;
        NonZeroU32::new(number).map(Place)
    }
}

#[derive(Debug)]
enum Slot<T> {
    Free { next: Option<u32> },
    Used { serial: NonZeroU32, value: T },
}

/// A vector with holes: insertion, look-up and removal in constant time.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    used: usize,
    serial: NonZeroU32,
}

impl<T> Slab<T> {
    /// Bytes of memory that an entry takes.
    #[cfg(test)]
    pub(crate) const ENTRY_BYTES: usize = size_of::<Slot<T>>();

    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: None,
            used: 0,
            serial: NonZeroU32::MIN,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.used
    }

    /// Stores `value`. There is room for 2^32 entries, more than memory has.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let serial = self.serial;
        self.serial = serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let slot = Slot::Used { serial, value };
        self.used = self.used.saturating_add(1);
        if let Some(index) = self.free
            && let Some(place) = usize::try_from(index)
                .ok()
                .and_then(|at| self.slots.get_mut(at))
        {
            self.free = match core::mem::replace(place, slot) {
                Slot::Free { next } => next,
                Slot::Used { .. } => None,
            };
            return Key { index, serial };
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        grow(&mut self.slots);
        self.slots.push(slot);
        Key { index, serial }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(usize::try_from(key.index).ok()?)? {
            Slot::Used { serial, value } if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    /// The key of the entry that is at a place.
    pub(crate) fn at(&self, place: Place) -> Option<Key> {
        let index = place.0.get().checked_sub(1)?;
        match self.slots.get(usize::try_from(index).ok()?)? {
            Slot::Used { serial, .. } => Some(Key {
                serial: *serial,
                index,
            }),
            Slot::Free { .. } => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(usize::try_from(key.index).ok()?)? {
            Slot::Used { serial, value } if *serial == key.serial => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(usize::try_from(key.index).ok()?)?;
        if !matches!(slot, Slot::Used { serial, .. } if *serial == key.serial) {
            return None;
        }
        let Slot::Used { value, .. } = core::mem::replace(slot, Slot::Free { next: self.free })
        else {
            return None;
        };
        self.free = Some(key.index);
        self.used = self.used.saturating_sub(1);
        Some(value)
    }

    /// The keys of all entries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let indices = 0_u32..;
        indices
            .zip(&self.slots)
            .filter_map(|(index, slot)| match slot {
                Slot::Used { serial, .. } => Some(Key {
                    index,
                    serial: *serial,
                }),
                Slot::Free { .. } => None,
            })
    }

    /// The entries with their keys, or what is wrong with the slab.
    pub(crate) fn check(&self) -> Result<Vec<(Key, &T)>, &'static str> {
        let used: Vec<_> = self
            .keys()
            .filter_map(|key| Some((key, self.get(key)?)))
            .collect();
        if used.len() != self.used {
            return Err("A slab does not know how many entries it has");
        }
        let mut holes: usize = 0;
        let mut next = self.free;
        while let Some(index) = next {
            let at = usize::try_from(index).map_err(|_| "A slab's hole is nowhere")?;
            let Some(Slot::Free { next: later }) = self.slots.get(at) else {
                return Err("A slab's hole has an entry");
            };
            holes = holes.saturating_add(1);
            if holes > self.slots.len() {
                return Err("A slab's holes have no end");
            }
            next = *later;
        }
        if holes.saturating_add(self.used) != self.slots.len() {
            return Err("A slab has lost a hole");
        }
        Ok(used)
    }

    /// Removes everything. Keys handed out before stay dead.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free = None;
        self.used = 0;
    }
}

/// Makes room for one more, where there is none, and for few others: a sixteenth of what is there.
/// So an entry is moved a constant number of times, and hardly any memory lies idle.
fn grow<T>(slots: &mut Vec<T>) {
    let count = slots.len();
    if count == slots.capacity() {
        slots.reserve_exact((count / 16).max(4));
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_key_does_not_name_the_next_tenant_of_its_place() {
        let mut slab = Slab::new();
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b');
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
    }

    #[test]
    fn a_key_from_before_a_clear_names_nothing() {
        let mut slab = Slab::new();
        let old = slab.insert(1);
        slab.clear();
        let new = slab.insert(2);
        assert_eq!(slab.get(old), None);
        assert_eq!(super::Key::from_bits(new.to_bits()), Some(new));
        assert_eq!(super::Key::from_bits(0), None);
        assert_eq!(slab.len(), 1);
    }
}
