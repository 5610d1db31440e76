//! What has a name outside of the device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stile_host::DmaBuf;

use super::timelines::Timelines;

/// A named buffer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) resource_id: u32,
    pub(crate) uuid: Option<[u8; 16]>,
    pub(crate) buffer: Arc<DmaBuf>,
}

/// Buffers by resource id and UUID. The data path takes the lock when a resource is made, named or
/// destroyed, never for a fence; nobody holds it longer than a look-up takes.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) timelines: Timelines,
    entries: Mutex<BTreeMap<u32, Entry>>,
}

impl Registry {
    pub(crate) fn publish(&self, resource_id: u32, uuid: Option<[u8; 16]>, buffer: &Arc<DmaBuf>) {
        let entry = Entry {
            resource_id,
            uuid,
            buffer: Arc::clone(buffer),
        };
        self.lock().insert(resource_id, entry);
    }

    pub(crate) fn unpublish(&self, resource_id: u32) {
        self.lock().remove(&resource_id);
    }

    /// The guest has gone.
    pub(crate) fn clear(&self) {
        self.timelines.clear_shared();
        self.lock().clear();
    }

    pub(crate) fn by_id(&self, resource_id: u32) -> Option<Entry> {
        self.lock().get(&resource_id).cloned()
    }

    /// Goes through all of them: UUIDs are asked for once in a buffer's life.
    pub(crate) fn by_uuid(&self, uuid: [u8; 16]) -> Option<Entry> {
        self.lock()
            .values()
            .find(|entry| entry.uuid == Some(uuid))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
