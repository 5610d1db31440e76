//! The host's drm_syncobjs: the one implementation of [`Syncobjs`].

use std::sync::Arc;

use stile_core::{Adopted, Errno, PointId, Syncobjs, errno};
use stile_host::{SyncFile, Syncobj};
use stile_wire::sync::{OpCode, PointEvent};

use crate::seldom::warn_seldom;
use crate::shell::{Shell, to_errno, to_wire};

/// The operations that need a DRM node with syncobj timelines.
pub(crate) fn operations() -> u64 {
    [
        OpCode::TlCreate,
        OpCode::TlDestroy,
        OpCode::TlSignal,
        OpCode::TlReset,
        OpCode::TlTransfer,
        OpCode::TlWatch,
        OpCode::TlShare,
        OpCode::TlAdopt,
    ]
    .iter()
    .fold(0, |mask, op| mask | op.bit())
}

const fn to_host(until: PointEvent) -> stile_host::PointEvent {
    match until {
        PointEvent::Available => stile_host::PointEvent::Available,
        PointEvent::Signalled => stile_host::PointEvent::Signalled,
    }
}

impl Syncobjs for Shell {
    type Fence = Arc<SyncFile>;
    type Syncobj = Arc<Syncobj>;

    fn create_syncobj(&mut self, signalled: bool) -> Result<Arc<Syncobj>, Errno> {
        let node = self.syncobjs.as_ref().ok_or(errno::EOPNOTSUPP)?;
        let syncobj = node.create(signalled).map_err(|error| to_errno(&error))?;
        Ok(Arc::new(syncobj))
    }

    fn signal_point(&mut self, syncobj: &Arc<Syncobj>, point: u64) -> Result<(), Errno> {
        syncobj.signal(point).map_err(|error| to_errno(&error))
    }

    fn reset_syncobj(&mut self, syncobj: &Arc<Syncobj>) -> Result<(), Errno> {
        syncobj.reset().map_err(|error| to_errno(&error))
    }

    fn put_fence(
        &mut self,
        syncobj: &Arc<Syncobj>,
        point: u64,
        fence: &Arc<SyncFile>,
    ) -> Result<(), Errno> {
        let done = syncobj.import_sync_file(point, fence);
        done.map_err(|error| to_errno(&error))
    }

    fn get_fence(&mut self, syncobj: &Arc<Syncobj>, point: u64) -> Result<Arc<SyncFile>, Errno> {
        let fence = syncobj.export_sync_file(point);
        fence.map(Arc::new).map_err(|error| to_errno(&error))
    }

    fn watch_point(
        &mut self,
        id: PointId,
        syncobj: &Arc<Syncobj>,
        point: u64,
        until: PointEvent,
    ) -> Result<(), Errno> {
        let eventfd = self.reactor.watch_point(id).map_err(|error| {
            warn_seldom!(%error, "A point cannot be watched");
            to_wire(error)
        })?;
        let watched = syncobj.watch(point, to_host(until), eventfd);
        watched.map_err(|error| {
            self.reactor.unwatch_point(id);
            to_errno(&error)
        })
    }

    fn unwatch_point(&mut self, id: PointId) {
        self.reactor.unwatch_point(id);
    }

    fn share_syncobj(&mut self, uuid: [u8; 16], syncobj: &Arc<Syncobj>) -> Result<(), Errno> {
        self.registry.timelines.share(uuid, syncobj)
    }

    fn unshare_syncobj(&mut self, uuid: [u8; 16]) {
        self.registry.timelines.unshare(uuid);
    }

    fn adopt_syncobj(&mut self, uuid: [u8; 16]) -> Result<Adopted<Arc<Syncobj>>, Errno> {
        self.registry.timelines.adopt(uuid)
    }
}
