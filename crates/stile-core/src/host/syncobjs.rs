//! What the device asks of the host's drm_syncobjs.

use stile_wire::sync::PointEvent;

use super::Errno;
use crate::slab::Key;

/// Names a watch that [`Syncobjs::watch_point`] started. Never used again, also not after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointId(pub(crate) Key);

impl PointId {
    /// As one number, whose upper half is not zero.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }
}

/// A drm_syncobj that a host process gave away.
#[derive(Debug)]
pub struct Adopted<S> {
    /// It.
    pub syncobj: S,
    /// Whether it is a binary one: its only point is 0.
    pub binary: bool,
}

/// The host's drm_syncobjs (Linux `drm.h`). Only a host that has them is asked: see the operations
/// of [`crate::Device::new`]. Points are 0 for a binary one, else 1 or more.
///
/// **No method may block**: a point that has not materialised is watched, never waited for.
pub trait Syncobjs {
    /// A sync_file.
    type Fence;
    /// A drm_syncobj.
    type Syncobj;

    /// Makes one, empty or, as a binary one, with a fence that has signalled
    /// (`DRM_IOCTL_SYNCOBJ_CREATE`).
    ///
    /// # Errors
    /// The kernel's errno.
    fn create_syncobj(&mut self, signalled: bool) -> Result<Self::Syncobj, Errno>;

    /// Puts a fence that has signalled at a point (`DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL`,
    /// `DRM_IOCTL_SYNCOBJ_SIGNAL`).
    ///
    /// # Errors
    /// The kernel's errno.
    fn signal_point(&mut self, syncobj: &Self::Syncobj, point: u64) -> Result<(), Errno>;

    /// Takes all points away (`DRM_IOCTL_SYNCOBJ_RESET`).
    ///
    /// # Errors
    /// The kernel's errno.
    fn reset_syncobj(&mut self, syncobj: &Self::Syncobj) -> Result<(), Errno>;

    /// Puts a sync_file's fences at a point, which materialises.
    ///
    /// # Errors
    /// The kernel's errno.
    fn put_fence(
        &mut self,
        syncobj: &Self::Syncobj,
        point: u64,
        fence: &Self::Fence,
    ) -> Result<(), Errno>;

    /// The fences of a point.
    ///
    /// # Errors
    /// `EINVAL` for a point that has not materialised, or the kernel's errno.
    fn get_fence(&mut self, syncobj: &Self::Syncobj, point: u64) -> Result<Self::Fence, Errno>;

    /// Calls [`crate::Device::points_reached`] once the point has come so far, at the soonest after
    /// this command (`DRM_IOCTL_SYNCOBJ_EVENTFD`). The watch is independent of the syncobj's owner.
    ///
    /// # Errors
    /// The host's errno; then there is no watch.
    fn watch_point(
        &mut self,
        id: PointId,
        syncobj: &Self::Syncobj,
        point: u64,
        until: PointEvent,
    ) -> Result<(), Errno>;

    /// Ends a watch, whether its point has come so far or not.
    fn unwatch_point(&mut self, id: PointId);

    /// Host processes may have the syncobj, by this name.
    ///
    /// # Errors
    /// `EEXIST` where the name is taken.
    fn share_syncobj(&mut self, uuid: [u8; 16], syncobj: &Self::Syncobj) -> Result<(), Errno>;

    /// The opposite of [`Syncobjs::share_syncobj`].
    fn unshare_syncobj(&mut self, uuid: [u8; 16]);

    /// Takes what a host process gave away under this name.
    ///
    /// # Errors
    /// `ENOENT` where none has.
    fn adopt_syncobj(&mut self, uuid: [u8; 16]) -> Result<Adopted<Self::Syncobj>, Errno>;
}
