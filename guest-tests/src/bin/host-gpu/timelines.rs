//! Timelines that the host shares with a guest: those of a compositor with explicit
//! synchronisation, and those of a GPU whose work waits for a guest.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use guest_tests::gpu::{Point, Until};
use rustix::event::{EventfdFlags, eventfd};
use stile_host::{PointEvent, Syncobj, SyncobjNode};

use crate::player::{Error, Player};

/// The timelines by name, and the node that they are of.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    node: Option<SyncobjNode>,
    syncobjs: BTreeMap<String, Arc<Syncobj>>,
}

impl Timelines {
    /// Forgets them all; whoever else has one keeps it.
    pub(crate) fn clear(&mut self) {
        self.syncobjs.clear();
    }

    fn node(&mut self) -> Result<SyncobjNode, Error> {
        if self.node.is_none() {
            self.node = Some(SyncobjNode::find()?);
        }
        Ok(self.node.clone().ok_or("There is no node")?)
    }
}

impl Player {
    /// Takes a timeline that the guest shares.
    pub(crate) fn take_timeline(&self, name: &str, uuid: [u8; 16]) -> Result<(), Error> {
        let fd = self.with_client(|client| client.timeline(uuid))?;
        let mut props = self.scene.lock();
        let syncobj = props.timelines.node()?.import_fd(fd.as_fd())?;
        let syncobjs = &mut props.timelines.syncobjs;
        syncobjs.insert(name.to_owned(), Arc::new(syncobj));
        Ok(())
    }

    /// Makes a timeline and offers it to the guest.
    pub(crate) fn offer_timeline(&self, name: &str, uuid: [u8; 16]) -> Result<(), Error> {
        let syncobj = self.scene.lock().timelines.node()?.create(false)?;
        let fd = syncobj.export_fd()?;
        self.with_client(|client| client.offer_timeline(uuid, fd.as_fd(), false))?;
        let mut props = self.scene.lock();
        let syncobjs = &mut props.timelines.syncobjs;
        syncobjs.insert(name.to_owned(), Arc::new(syncobj));
        Ok(())
    }

    /// How far a timeline has come.
    pub(crate) fn point(&self, name: &str) -> Result<Point, Error> {
        let syncobj = self.syncobj(name)?;
        Ok(Point {
            available: syncobj.available_point()?,
            signalled: syncobj.signalled_point()?,
        })
    }

    /// Puts a fence at a point, which materialises.
    pub(crate) fn put(&self, fence: &str, name: &str, point: u64) -> Result<(), Error> {
        let syncobj = self.syncobj(name)?;
        self.with_sync_file(fence, |fence| Ok(syncobj.import_sync_file(point, fence)?))
    }

    /// An eventfd that becomes readable when a point has come so far.
    pub(crate) fn watch(&self, name: &str, point: u64, until: Until) -> Result<OwnedFd, Error> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        let until = match until {
            Until::Available => PointEvent::Available,
            Until::Signalled => PointEvent::Signalled,
        };
        self.syncobj(name)?.watch(point, until, eventfd.as_fd())?;
        Ok(eventfd)
    }

    fn syncobj(&self, name: &str) -> Result<Arc<Syncobj>, Error> {
        let props = self.scene.lock();
        let syncobj = props.timelines.syncobjs.get(name).cloned();
        syncobj.ok_or_else(|| format!("There is no timeline {name}").into())
    }
}
