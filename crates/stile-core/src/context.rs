//! A context: what belongs to one user of the device in the guest.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::fence::{Fences, TimelineKey};
use crate::slab::Key;
use crate::status::Status;

/// A host sync_file under a number of the guest's.
#[derive(Debug)]
pub(crate) struct Cookie<F> {
    pub(crate) fence: F,
    /// The wait of the EXPORT that made it: if it cannot be kept up, the EXPORT is refused after
    /// all. The key of one that has ended names nothing.
    pub(crate) wait: Option<Key>,
}

/// A guest's context.
#[derive(Debug)]
pub(crate) struct Context<F, S> {
    /// Never the same for two contexts of a device: ids come back, serials do not.
    pub(crate) serial: u64,
    /// Whether the stile-sync operations may be used in it.
    pub(crate) operations: bool,
    pub(crate) cookies: BTreeMap<u64, Cookie<F>>,
    pub(crate) resources: BTreeSet<u32>,
    pub(crate) status: Option<Status<S>>,
    rings: BTreeMap<u8, TimelineKey>,
}

impl<F, S> Context<F, S> {
    pub(crate) const fn new(serial: u64, operations: bool) -> Self {
        Self {
            serial,
            operations,
            cookies: BTreeMap::new(),
            resources: BTreeSet::new(),
            status: None,
            rings: BTreeMap::new(),
        }
    }

    /// The sync_file of a cookie.
    pub(crate) fn fence(&self, cookie: u64) -> Option<&F> {
        self.cookies.get(&cookie).map(|cookie| &cookie.fence)
    }

    /// The timeline of a ring below 64; a ring costs nothing before its first fence.
    pub(crate) fn ring<A>(&mut self, ring_idx: u8, fences: &mut Fences<A>) -> TimelineKey {
        *self.rings.entry(ring_idx).or_insert_with(|| fences.open())
    }

    /// The timelines of the rings that have had a fence.
    pub(crate) fn rings(&self) -> impl Iterator<Item = TimelineKey> {
        self.rings.values().copied()
    }

    /// The context is destroyed: its rings take no more fences.
    pub(crate) fn close<A>(&mut self, fences: &mut Fences<A>) {
        for timeline in core::mem::take(&mut self.rings).into_values() {
            fences.close(timeline);
        }
    }

    /// The resource is not the context's any more.
    pub(crate) fn detach(&mut self, resource_id: u32) {
        self.resources.remove(&resource_id);
        if self
            .status
            .as_ref()
            .is_some_and(|status| status.resource_id == resource_id)
        {
            self.status = None;
        }
    }
}
