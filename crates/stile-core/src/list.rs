//! Lists threaded through a slab: an entry is taken out of the middle in constant time.

use alloc::vec::Vec;

use crate::slab::{Key, Slab};

/// An entry's neighbours.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    before: Option<Key>,
    after: Option<Key>,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            before: None,
            after: None,
        }
    }

    pub(crate) const fn after(&self) -> Option<Key> {
        self.after
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
    first: Option<Key>,
    last: Option<Key>,
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

    pub(crate) const fn first(&self) -> Option<Key> {
        self.first
    }

    pub(crate) const fn last(&self) -> Option<Key> {
        self.last
    }

    /// Puts an entry that is not in the list at its end.
    pub(crate) fn push<T: Linked<Tag>>(&mut self, slab: &mut Slab<T>, key: Key) {
        let before = self.last.replace(key);
        if let Some(entry) = slab.get_mut(key) {
            *entry.link() = Link {
                before,
                after: None,
            };
        }
        match before.and_then(|before| slab.get_mut(before)) {
            Some(before) => before.link().after = Some(key),
            None => self.first = Some(key),
        }
    }

    /// Takes an entry that is in the list out of it.
    pub(crate) fn remove<T: Linked<Tag>>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Some(entry) = slab.get_mut(key) else {
            return;
        };
        let Link { before, after } = core::mem::take(entry.link());
        match before.and_then(|before| slab.get_mut(before)) {
            Some(before) => before.link().after = after,
            None => self.first = after,
        }
        match after.and_then(|after| slab.get_mut(after)) {
            Some(after) => after.link().before = before,
            None => self.last = before,
        }
    }

    /// The entries from first to last, or what is wrong with the list.
    pub(crate) fn check<T: Linked<Tag>>(&self, slab: &Slab<T>) -> Result<Vec<Key>, &'static str> {
        let mut keys = Vec::new();
        let mut next = self.first;
        while let Some(key) = next {
            let link = slab
                .get(key)
                .ok_or("A list names an entry that is gone")?
                .linked();
            if link.before != keys.last().copied() {
                return Err("A list's entry does not know the one before it");
            }
            if keys.len() >= slab.len() {
                return Err("A list has no end");
            }
            keys.push(key);
            next = link.after;
        }
        if self.last != keys.last().copied() {
            return Err("A list does not know its last entry");
        }
        Ok(keys)
    }
}
