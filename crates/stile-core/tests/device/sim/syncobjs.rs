//! The simulated host's drm_syncobjs, and the bridge that takes them to host processes and back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stile_core::{Adopted, Errno, PointId, Syncobjs, errno};
use stile_wire::sync::PointEvent;

use super::host::Sim;
use super::kernel::SyncFile;
use super::points::Points;
use super::storage::{Alive, Fence};

/// A drm_syncobj, which a host process may have as well.
pub(crate) type Shared = Rc<RefCell<Points>>;

/// The device's handle of a drm_syncobj.
#[derive(Debug)]
pub(crate) struct Syncobj {
    points: Shared,
    _alive: Alive,
}

/// What the simulated host knows of syncobjs.
#[derive(Debug, Default)]
pub(crate) struct Graphics {
    handles: Rc<Cell<usize>>,
    /// The syncobj of each watch, oldest first.
    watches: Vec<(PointId, Shared)>,
    watches_ever: BTreeSet<u64>,
    /// The watches since this was last taken, in their order.
    pub(crate) new_watches: Vec<PointId>,
    /// Given to host processes.
    pub(crate) shared: BTreeMap<[u8; 16], Shared>,
    /// Given by host processes.
    pub(crate) offered: BTreeMap<[u8; 16], (Shared, bool)>,
}

impl Graphics {
    /// Syncobjs and watches that the device has made the host hold.
    pub(crate) fn held(&self) -> usize {
        self.handles.get() + self.watches.len()
    }

    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.handles.get(), 0, "syncobjs");
        assert!(self.watches.is_empty(), "watches: {:?}", self.watches);
        assert!(self.shared.is_empty(), "shared: {:?}", self.shared);
    }
}

impl Sim {
    /// The watches of points that the device must be told of, in the order in which they were begun.
    pub(crate) fn reached_points(&self) -> Vec<PointId> {
        let watches = self.graphics.watches.iter();
        let reached = watches.filter(|(id, points)| {
            let reached = points.borrow().reached(&self.kernel);
            reached.contains(&id.to_bits())
        });
        reached.map(|(id, _)| *id).collect()
    }

    fn new_syncobj(&self, points: Shared) -> Syncobj {
        Syncobj {
            points,
            _alive: Alive::new(&self.graphics.handles),
        }
    }
}

impl Syncobjs for Sim {
    type Fence = Fence;
    type Syncobj = Syncobj;

    fn create_syncobj(&mut self, signalled: bool) -> Result<Syncobj, Errno> {
        self.may_fail()?;
        let points = if signalled {
            Points::signalled()
        } else {
            Points::default()
        };
        Ok(self.new_syncobj(Rc::new(RefCell::new(points))))
    }

    fn signal_point(&mut self, syncobj: &Syncobj, point: u64) -> Result<(), Errno> {
        self.may_fail()?;
        syncobj.points.borrow_mut().put(point, SyncFile::new());
        Ok(())
    }

    fn reset_syncobj(&mut self, syncobj: &Syncobj) -> Result<(), Errno> {
        self.may_fail()?;
        syncobj.points.borrow_mut().reset();
        Ok(())
    }

    fn put_fence(&mut self, syncobj: &Syncobj, point: u64, fence: &Fence) -> Result<(), Errno> {
        self.may_fail()?;
        syncobj.points.borrow_mut().put(point, fence.file.clone());
        Ok(())
    }

    fn get_fence(&mut self, syncobj: &Syncobj, point: u64) -> Result<Fence, Errno> {
        self.may_fail()?;
        let file = syncobj.points.borrow().find(point).ok_or(errno::EINVAL)?;
        Ok(self.new_fence(file))
    }

    fn watch_point(
        &mut self,
        id: PointId,
        syncobj: &Syncobj,
        point: u64,
        until: PointEvent,
    ) -> Result<(), Errno> {
        let new = self.graphics.watches_ever.insert(id.to_bits());
        assert!(new, "{id:?} has been used before");
        self.may_fail()?;
        let bits = id.to_bits();
        syncobj.points.borrow_mut().watch(bits, point, until);
        let points = Rc::clone(&syncobj.points);
        self.graphics.watches.push((id, points));
        self.graphics.new_watches.push(id);
        Ok(())
    }

    fn unwatch_point(&mut self, id: PointId) {
        let at = self.graphics.watches.iter().position(|(of, _)| *of == id);
        let (_, points) = self.graphics.watches.remove(at.expect("it is watched"));
        assert!(points.borrow_mut().unwatch(id.to_bits()));
    }

    fn share_syncobj(&mut self, uuid: [u8; 16], syncobj: &Syncobj) -> Result<(), Errno> {
        self.may_fail()?;
        let graphics = &mut self.graphics;
        if graphics.shared.contains_key(&uuid) || graphics.offered.contains_key(&uuid) {
            return Err(errno::EEXIST);
        }
        graphics.shared.insert(uuid, Rc::clone(&syncobj.points));
        Ok(())
    }

    fn unshare_syncobj(&mut self, uuid: [u8; 16]) {
        let shared = self.graphics.shared.remove(&uuid);
        assert!(shared.is_some(), "{uuid:?} is not shared");
    }

    fn adopt_syncobj(&mut self, uuid: [u8; 16]) -> Result<Adopted<Syncobj>, Errno> {
        self.may_fail()?;
        let (points, binary) = self.graphics.offered.remove(&uuid).ok_or(errno::ENOENT)?;
        Ok(Adopted {
            syncobj: self.new_syncobj(points),
            binary,
        })
    }
}
