//! drm_syncobj: a place for a fence, or for a timeline of them, that may be empty still.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::drm::{DrmNode, NodeKind, drm_nodes};
use crate::error::{Error, Result};
use crate::ioctl::{address_of, call, call_for_fd, call_with_addresses};
use crate::sync_file::SyncFile;
use crate::uapi::{
    DRM_IOCTL_SYNCOBJ_CREATE, DRM_IOCTL_SYNCOBJ_DESTROY, DRM_IOCTL_SYNCOBJ_EVENTFD,
    DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, DRM_IOCTL_SYNCOBJ_QUERY,
    DRM_IOCTL_SYNCOBJ_RESET, DRM_IOCTL_SYNCOBJ_SIGNAL, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL,
    DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, DRM_IOCTL_SYNCOBJ_TRANSFER, DRM_SYNCOBJ_CREATE_SIGNALED,
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE, DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE,
    DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE, DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE,
    DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, DrmSyncobjArray, DrmSyncobjCreate, DrmSyncobjDestroy,
    DrmSyncobjEventfd, DrmSyncobjHandle, DrmSyncobjTimelineArray, DrmSyncobjTimelineWait,
    DrmSyncobjTransfer,
};

/// What may happen to a timeline point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointEvent {
    /// It materialises: a fence for it, or for a later point, is there.
    Available,
    /// The fence signals. One that is not there yet is waited for, too.
    Signalled,
}

/// A DRM node that has drm_syncobj with timelines (`drm/drm.h`). Copies share one open node.
#[derive(Clone, Debug)]
pub struct SyncobjNode {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    drm: DrmNode,
    /// The kernel exports and imports sync_files at a point (7.2 does, 6.12 not); otherwise it takes
    /// a binary syncobj in between.
    points_as_sync_files: bool,
}

impl SyncobjNode {
    /// Finds a render node that will do.
    ///
    /// # Errors
    ///
    /// [`Error::NoSyncobjNode`], or why the last one that is there cannot be opened.
    pub fn find() -> Result<Self> {
        let mut refused = None;
        for path in drm_nodes(NodeKind::Render) {
            match Self::open(&path) {
                Err(Error::NoSyncobjNode) => {}
                Err(error) => refused = Some(error),
                found => return found,
            }
        }
        Err(refused.unwrap_or(Error::NoSyncobjNode))
    }

    /// Opens a node.
    ///
    /// # Errors
    ///
    /// As [`DrmNode::open`]; [`Error::NoSyncobjNode`].
    pub fn open(path: &Path) -> Result<Self> {
        let drm = DrmNode::open(path)?;
        if !drm.has_syncobj_timelines()? || !knows_watches(&drm) {
            return Err(Error::NoSyncobjNode);
        }
        let points_as_sync_files = takes_points(&drm)?;
        Ok(Self {
            inner: Arc::new(Inner {
                drm,
                points_as_sync_files,
            }),
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.drm.path()
    }

    /// Whether the kernel exports and imports sync_files at a point by itself. An older one is
    /// helped with a binary syncobj in between.
    #[must_use]
    pub fn takes_points(&self) -> bool {
        self.inner.points_as_sync_files
    }

    /// Makes a syncobj, empty or, as a binary one, with a fence that has signalled
    /// (`DRM_IOCTL_SYNCOBJ_CREATE`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`], such as `ENOMEM`.
    pub fn create(&self, signalled: bool) -> Result<Syncobj> {
        let flags = if signalled {
            DRM_SYNCOBJ_CREATE_SIGNALED
        } else {
            0
        };
        let handle = create(&self.inner.drm, flags)?;
        Ok(Syncobj {
            node: Arc::clone(&self.inner),
            handle,
        })
    }

    /// A syncobj of another DRM file, by the descriptor that [`Syncobj::export_fd`] gave
    /// (`DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE`). It is the same syncobj, not a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` when the descriptor is no syncobj.
    pub fn import_fd(&self, fd: BorrowedFd<'_>) -> Result<Syncobj> {
        let mut argument = DrmSyncobjHandle {
            fd: fd.as_raw_fd(),
            ..DrmSyncobjHandle::default()
        };
        call::<DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE>(self.inner.drm.as_fd(), &mut argument)?;
        let handle = nonzero("DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", argument.handle)?;
        Ok(Syncobj {
            node: Arc::clone(&self.inner),
            handle,
        })
    }
}

impl AsFd for SyncobjNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.drm.as_fd()
    }
}

/// Whether the kernel knows points in `struct drm_syncobj_handle`: an older one refuses the flag,
/// a newer one ignores it where a whole syncobj is exported.
fn takes_points(drm: &DrmNode) -> Result<bool> {
    let handle = create(drm, 0)?;
    let mut argument = DrmSyncobjHandle {
        handle: handle.get(),
        flags: DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE,
        ..DrmSyncobjHandle::default()
    };
    let answer = call_for_fd::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>(drm.as_fd(), &mut argument);
    destroy(drm, handle)?;
    match answer {
        Ok(_) => Ok(true),
        Err(Error::Ioctl {
            errno: Errno::INVAL,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the kernel has `DRM_IOCTL_SYNCOBJ_EVENTFD`: one that has misses the syncobj 0, which nobody
/// has; an older one (before Linux 6.6) refuses the ioctl.
fn knows_watches(drm: &DrmNode) -> bool {
    let mut nobody = DrmSyncobjEventfd {
        fd: -1,
        ..DrmSyncobjEventfd::default()
    };
    let answer = call::<DRM_IOCTL_SYNCOBJ_EVENTFD>(drm.as_fd(), &mut nobody);
    let missed = |error: &Error| error.errno() == Errno::NOENT;
    answer.as_ref().is_err_and(missed)
}

fn create(drm: &DrmNode, flags: u32) -> Result<NonZeroU32> {
    let mut argument = DrmSyncobjCreate { handle: 0, flags };
    call::<DRM_IOCTL_SYNCOBJ_CREATE>(drm.as_fd(), &mut argument)?;
    nonzero("DRM_IOCTL_SYNCOBJ_CREATE", argument.handle)
}

fn destroy(drm: &DrmNode, handle: NonZeroU32) -> Result<()> {
    let mut argument = DrmSyncobjDestroy {
        handle: handle.get(),
        pad: 0,
    };
    call::<DRM_IOCTL_SYNCOBJ_DESTROY>(drm.as_fd(), &mut argument)?;
    Ok(())
}

/// The kernel never gives handle zero.
fn nonzero(request: &'static str, handle: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(handle).ok_or(Error::Ioctl {
        request,
        errno: Errno::BADF,
    })
}

/// A drm_syncobj, until it is dropped.
///
/// It holds one fence (*binary*, point 0), or a timeline of fences with rising points from 1 on. A
/// point has *materialised* when a fence is there for it or for a later one. Do not mix the two:
/// the kernel lets one replace the other.
///
/// None of the calls waits, [`wait`](Self::wait) excepted.
#[derive(Debug)]
pub struct Syncobj {
    node: Arc<Inner>,
    handle: NonZeroU32,
}

impl Syncobj {
    /// A descriptor for the syncobj itself, for another process or DRM file
    /// (`DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`], such as `EMFILE`.
    pub fn export_fd(&self) -> Result<OwnedFd> {
        let mut argument = DrmSyncobjHandle {
            handle: self.handle.get(),
            ..DrmSyncobjHandle::default()
        };
        call_for_fd::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>(self.node.drm.as_fd(), &mut argument)
    }

    /// The fence of a point as a sync_file.
    ///
    /// # Errors
    ///
    /// [`Error::NotMaterialised`]; [`Error::Ioctl`], such as `EMFILE`.
    pub fn export_sync_file(&self, point: u64) -> Result<SyncFile> {
        if point != 0 && !self.node.points_as_sync_files {
            let between = self.sibling()?;
            self.transfer(point, &between, 0)?;
            return between.export_sync_file(0);
        }
        let mut flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
        if point != 0 {
            flags |= DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE;
        }
        let handle = self.handle.get();
        let mut argument = DrmSyncobjHandle {
            handle,
            flags,
            fd: -1,
            pad: 0,
            point,
        };
        call_for_fd::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>(self.node.drm.as_fd(), &mut argument)
            .map(SyncFile::from_exporter)
            .map_err(not_materialised(point))
    }

    /// Puts the fence of a sync_file at a point, which materialises it. On a timeline, the point
    /// must be higher than all before it; with point 0 the fence replaces what is there.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`], such as `ENOMEM`.
    pub fn import_sync_file(&self, point: u64, fence: &SyncFile) -> Result<()> {
        if point != 0 && !self.node.points_as_sync_files {
            let between = self.sibling()?;
            between.import_sync_file(0, fence)?;
            return between.transfer(0, self, point);
        }
        let mut flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;
        if point != 0 {
            flags |= DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE;
        }
        let handle = self.handle.get();
        let fd = fence.as_fd().as_raw_fd();
        let mut argument = DrmSyncobjHandle {
            handle,
            flags,
            fd,
            pad: 0,
            point,
        };
        call::<DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE>(self.node.drm.as_fd(), &mut argument)?;
        Ok(())
    }

    /// Puts the fence of a point at a point of another syncobj of the same node
    /// (`DRM_IOCTL_SYNCOBJ_TRANSFER`); 0 is a binary one on either side.
    ///
    /// # Errors
    ///
    /// [`Error::NotMaterialised`]; [`Error::ForeignSyncobj`]; [`Error::Ioctl`].
    pub fn transfer(&self, point: u64, to: &Self, to_point: u64) -> Result<()> {
        if !Arc::ptr_eq(&self.node, &to.node) {
            return Err(Error::ForeignSyncobj);
        }
        let mut argument = DrmSyncobjTransfer {
            src_handle: self.handle.get(),
            dst_handle: to.handle.get(),
            src_point: point,
            dst_point: to_point,
            flags: 0,
            pad: 0,
        };
        call::<DRM_IOCTL_SYNCOBJ_TRANSFER>(self.node.drm.as_fd(), &mut argument)
            .map_err(not_materialised(point))?;
        Ok(())
    }

    /// Puts a fence that has signalled at a point (`DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL`, or
    /// `DRM_IOCTL_SYNCOBJ_SIGNAL` for point 0). On a timeline, the point must be higher than all
    /// before it, and it signals no earlier than they do.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`], such as `ENOMEM`.
    pub fn signal(&self, point: u64) -> Result<()> {
        let mut handles = [self.handle.get()];
        if point == 0 {
            let mut argument = array(&mut handles);
            // SAFETY: the address is that of `handles`, and the count its length; the kernel reads.
            unsafe { self.call::<DRM_IOCTL_SYNCOBJ_SIGNAL>(&mut argument) }
        } else {
            let mut points = [point];
            let mut argument = timeline_array(&mut handles, &mut points, 0);
            // SAFETY: the addresses are those of two arrays of one item each, as the count says;
            // the kernel reads both.
            unsafe { self.call::<DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL>(&mut argument) }
        }
    }

    /// Empties the syncobj (`DRM_IOCTL_SYNCOBJ_RESET`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn reset(&self) -> Result<()> {
        let mut handles = [self.handle.get()];
        let mut argument = array(&mut handles);
        // SAFETY: the address is that of `handles`, and the count its length; the kernel reads.
        unsafe { self.call::<DRM_IOCTL_SYNCOBJ_RESET>(&mut argument) }
    }

    /// The last point that has signalled, with all before it; 0 for none
    /// (`DRM_IOCTL_SYNCOBJ_QUERY`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn signalled_point(&self) -> Result<u64> {
        self.query(0)
    }

    /// The last point that has materialised; 0 for none
    /// (`DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn available_point(&self) -> Result<u64> {
        self.query(DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED)
    }

    fn query(&self, flags: u32) -> Result<u64> {
        let mut handles = [self.handle.get()];
        let mut points = [0];
        let mut argument = timeline_array(&mut handles, &mut points, flags);
        // SAFETY: the addresses are those of two arrays of one item each, as the count says; the
        // kernel reads the first and writes a number to the second.
        unsafe { self.call::<DRM_IOCTL_SYNCOBJ_QUERY>(&mut argument) }?;
        let [point] = points;
        Ok(point)
    }

    /// Waits for a point (`DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT`), at most `timeout`. Says whether it
    /// has happened.
    ///
    /// **It blocks**, unless the time-out is zero. A reactor uses [`watch`](Self::watch).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn wait(&self, point: u64, event: PointEvent, timeout: Duration) -> Result<bool> {
        let mut handles = [self.handle.get()];
        let mut points = [point];
        let mut argument = DrmSyncobjTimelineWait {
            handles: address_of(&mut handles),
            points: address_of(&mut points),
            timeout_nsec: monotonic_after(timeout),
            count_handles: 1,
            flags: match event {
                PointEvent::Available => DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
                PointEvent::Signalled => DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
            },
            ..DrmSyncobjTimelineWait::default()
        };
        // SAFETY: the addresses are those of two arrays of one item each, as the count says; the
        // kernel reads both.
        match unsafe { self.call::<DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT>(&mut argument) } {
            Ok(()) => Ok(true),
            Err(Error::Ioctl {
                errno: Errno::TIME, ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has an eventfd counted up by one when a point's event happens, at once where it has
    /// (`DRM_IOCTL_SYNCOBJ_EVENTFD`, Linux 6.6). The point need not have materialised.
    ///
    /// Each call counts once, and cannot be taken back: the kernel keeps the eventfd until the event
    /// or the end of the syncobj, so that the caller has to limit their number.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` when the descriptor is no eventfd.
    pub fn watch(&self, point: u64, event: PointEvent, eventfd: BorrowedFd<'_>) -> Result<()> {
        let mut argument = DrmSyncobjEventfd {
            handle: self.handle.get(),
            flags: match event {
                PointEvent::Available => DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
                PointEvent::Signalled => 0,
            },
            point,
            fd: eventfd.as_raw_fd(),
            pad: 0,
        };
        call::<DRM_IOCTL_SYNCOBJ_EVENTFD>(self.node.drm.as_fd(), &mut argument)?;
        Ok(())
    }

    /// An empty syncobj of the same node.
    fn sibling(&self) -> Result<Self> {
        SyncobjNode {
            inner: Arc::clone(&self.node),
        }
        .create(false)
    }

    /// # Safety
    ///
    /// As [`call_with_addresses`].
    unsafe fn call<R: crate::ioctl::Request>(&self, argument: &mut R::Argument) -> Result<()> {
        // SAFETY: the caller promises what the call asks for.
        unsafe { call_with_addresses::<R>(self.node.drm.as_fd(), argument) }?;
        Ok(())
    }
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        let destroyed = destroy(&self.node.drm, self.handle);
        debug_assert!(
            destroyed.is_ok(),
            "an own handle can be destroyed: {destroyed:?}"
        );
    }
}

fn array(handles: &mut [u32; 1]) -> DrmSyncobjArray {
    DrmSyncobjArray {
        handles: address_of(handles),
        count_handles: 1,
        pad: 0,
    }
}

fn timeline_array(
    handles: &mut [u32; 1],
    points: &mut [u64; 1],
    flags: u32,
) -> DrmSyncobjTimelineArray {
    DrmSyncobjTimelineArray {
        handles: address_of(handles),
        points: address_of(points),
        count_handles: 1,
        flags,
    }
}

/// The kernel says `EINVAL` for a point without a fence; all other arguments here are right.
fn not_materialised(point: u64) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Ioctl {
            errno: Errno::INVAL,
            ..
        } => Error::NotMaterialised { point },
        error => error,
    }
}

/// So much after now, in nanoseconds of CLOCK_MONOTONIC; never before now.
fn monotonic_after(timeout: Duration) -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanoseconds = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
        .saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_time_out_is_not_in_the_past() {
        let now = monotonic_after(Duration::ZERO);
        assert!(now > 0);
        assert!(monotonic_after(Duration::from_secs(1)) >= now + 1_000_000_000);
        assert_eq!(monotonic_after(Duration::MAX), i64::MAX);
    }
}
