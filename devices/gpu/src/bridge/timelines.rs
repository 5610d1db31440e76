//! The timelines that have a name outside of the device: those that guests share, and those that
//! host processes offer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stile_core::{Adopted, Errno, errno};
use stile_host::Syncobj;

/// Timelines that host processes may offer at once.
const MAX_OFFERS: usize = 256;

/// Where a timeline comes from, and so who gets it.
#[derive(Debug)]
enum Named {
    /// A guest's, for host processes.
    Shared(Arc<Syncobj>),
    /// A host process', for the guest that adopts it first.
    Offered {
        syncobj: Arc<Syncobj>,
        binary: bool,
        /// The bridge's number for the client. Its offers go with it.
        client: u64,
    },
}

/// Timelines by UUID. The data path takes the lock when a timeline is shared, adopted or destroyed,
/// never for a point; nobody holds it longer than a look-up takes.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    named: Mutex<BTreeMap<[u8; 16], Named>>,
}

impl Timelines {
    /// Host processes may have a guest's timeline.
    ///
    /// # Errors
    /// `EEXIST`.
    pub(crate) fn share(&self, uuid: [u8; 16], syncobj: &Arc<Syncobj>) -> Result<(), Errno> {
        let mut named = self.lock();
        if named.contains_key(&uuid) {
            return Err(errno::EEXIST);
        }
        named.insert(uuid, Named::Shared(Arc::clone(syncobj)));
        Ok(())
    }

    /// The opposite of [`Timelines::share`].
    pub(crate) fn unshare(&self, uuid: [u8; 16]) {
        let _closed_later = self.lock().remove(&uuid);
    }

    /// A guest's timeline.
    pub(crate) fn shared(&self, uuid: [u8; 16]) -> Option<Arc<Syncobj>> {
        match self.lock().get(&uuid)? {
            Named::Shared(syncobj) => Some(Arc::clone(syncobj)),
            Named::Offered { .. } => None,
        }
    }

    /// A guest may adopt a host process' timeline.
    ///
    /// # Errors
    /// `EEXIST`; `EDQUOT` where there are too many.
    pub(crate) fn offer(
        &self,
        uuid: [u8; 16],
        syncobj: Syncobj,
        binary: bool,
        client: u64,
    ) -> Result<(), Errno> {
        let syncobj = Arc::new(syncobj);
        let mut named = self.lock();
        if named.contains_key(&uuid) {
            return Err(errno::EEXIST);
        }
        let offers = named
            .values()
            .filter(|named| matches!(named, Named::Offered { .. }));
        if offers.count() >= MAX_OFFERS {
            return Err(errno::EDQUOT);
        }
        let offer = Named::Offered {
            syncobj,
            binary,
            client,
        };
        named.insert(uuid, offer);
        Ok(())
    }

    /// Takes what a host process has offered.
    ///
    /// # Errors
    /// `ENOENT`.
    pub(crate) fn adopt(&self, uuid: [u8; 16]) -> Result<Adopted<Arc<Syncobj>>, Errno> {
        let mut named = self.lock();
        if !matches!(named.get(&uuid), Some(Named::Offered { .. })) {
            return Err(errno::ENOENT);
        }
        match named.remove(&uuid) {
            Some(Named::Offered {
                syncobj, binary, ..
            }) => Ok(Adopted { syncobj, binary }),
            _ => Err(errno::ENOENT),
        }
    }

    /// A client has gone, and what it offered with it, unless that was adopted.
    pub(crate) fn forget_client(&self, client: u64) {
        self.remove_all(
            |named| matches!(named, Named::Offered { client: of, .. } if *of == client),
        );
    }

    /// The guest has gone. What host processes offer is for the next one.
    pub(crate) fn clear_shared(&self) {
        self.remove_all(|named| matches!(named, Named::Shared(_)));
    }

    /// What is removed is closed after the lock is free again.
    fn remove_all(&self, which: impl Fn(&Named) -> bool) {
        let mut named = self.lock();
        let uuids: Vec<_> = named
            .iter()
            .filter(|(_, named)| which(named))
            .map(|(uuid, _)| *uuid)
            .collect();
        let gone: Vec<_> = uuids.iter().filter_map(|uuid| named.remove(uuid)).collect();
        drop(named);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 16], Named>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
