//! Lists threaded through a slab: an entry is taken out of the middle in constant time.

use alloc::vec::Vec;

use crate::slab::{Key, Place, Slab};

/// An entry's neighbours, which are there as long as it is in the list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    before: Option<Place>,
    after: Option<Place>,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            before: None,
            after: None,
        }
    }
}

/// Where an entry keeps its [`Link`] of the list that `List` is.
pub(crate) trait Linked<List> {
    fn link(&mut self) -> &mut Link;

    /// The same, to look at.
    fn linked(&self) -> Link;
}

/// The ends of a list. `Tag` tells an entry's lists apart.
#[derive(Debug)]
pub(crate) struct List<Tag> {
    first: Option<Place>,
    last: Option<Place>,
    tag: core::marker::PhantomData<Tag>,
}

impl<Tag> Default for List<Tag> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Tag> List<Tag> {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            last: None,
            tag: core::marker::PhantomData,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn first<T>(&self, slab: &Slab<T>) -> Option<Key> {
        slab.at(self.first?)
    }

    pub(crate) fn last<T>(&self, slab: &Slab<T>) -> Option<Key> {
        slab.at(self.last?)
    }

    /// The entry behind one that is in the list.
    pub(crate) fn after<T: Linked<Tag>>(slab: &Slab<T>, key: Key) -> Option<Key> {
        slab.at(slab.get(key)?.linked().after?)
    }

    /// Puts an entry that is not in the list at its end.
    pub(crate) fn push<T: Linked<Tag>>(&mut self, slab: &mut Slab<T>, key: Key) {
        let before = core::mem::replace(&mut self.last, key.place());
        if let Some(entry) = slab.get_mut(key) {
            *entry.link() = Link {
                before,
                after: None,
            };
        }
        match entry_at(slab, before) {
            Some(before) => before.link().after = key.place(),
            None => self.first = key.place(),
        }
    }

    /// Takes an entry that is in the list out of it.
    pub(crate) fn remove<T: Linked<Tag>>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Some(entry) = slab.get_mut(key) else {
            return;
        };
        let Link { before, after } = core::mem::take(entry.link());
        match entry_at(slab, before) {
            Some(before) => before.link().after = after,
            None => self.first = after,
        }
        match entry_at(slab, after) {
            Some(after) => after.link().before = before,
            None => self.last = before,
        }
    }

    /// The entries from first to last, or what is wrong with the list.
    pub(crate) fn check<T: Linked<Tag>>(&self, slab: &Slab<T>) -> Result<Vec<Key>, &'static str> {
        let mut keys = Vec::new();
        let mut next = self.first;
        while let Some(place) = next {
            let key = slab.at(place).ok_or("A list names an entry that is gone")?;
            let link = slab.get(key).ok_or("A key names no entry")?.linked();
            if link.before != keys.last().copied().and_then(Key::place) {
                return Err("A list's entry does not know the one before it");
            }
            if keys.len() >= slab.len() {
                return Err("A list has no end");
            }
            keys.push(key);
            next = link.after;
        }
        if self.last != keys.last().copied().and_then(Key::place) {
            return Err("A list does not know its last entry");
        }
        Ok(keys)
    }
}

fn entry_at<T>(slab: &mut Slab<T>, place: Option<Place>) -> Option<&mut T> {
    let key = slab.at(place?)?;
    slab.get_mut(key)
}
