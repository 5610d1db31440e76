//! vgem: a DRM driver without a GPU, for buffers, and for fences that a program signals itself.
//!
//! vgem is what the kernel offers for tests. Its fences are real ones, in real reservation objects,
//! that signal when a program says so, and by themselves after ten seconds.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::Access;
use crate::dma_buf::DmaBuf;
use crate::drm::{DrmNode, GemHandle, NodeKind, drm_nodes};
use crate::error::{Error, Result};
use crate::ioctl::call;
use crate::sync_file::SyncFile;
use crate::uapi::{
    DRM_IOCTL_MODE_CREATE_DUMB, DRM_IOCTL_VGEM_FENCE_ATTACH, DRM_IOCTL_VGEM_FENCE_SIGNAL,
    DrmModeCreateDumb, DrmVgemFenceAttach, DrmVgemFenceSignal, VGEM_FENCE_WRITE,
};

/// The driver's name.
const DRIVER: &str = "vgem";

/// Bytes in a line of the dumb buffers that stand for plain memory.
const LINE: u32 = 4096;

/// The card node of vgem (`drm/vgem_drm.h`).
#[derive(Debug)]
pub struct VgemNode {
    drm: DrmNode,
    /// Held from the moment a handle is made until it is closed: a buffer that is imported twice
    /// has one handle, and closing it for one user would take it from the other.
    handles: Mutex<()>,
}

impl VgemNode {
    /// Finds the vgem card node.
    ///
    /// Cards that sysfs shows to be other devices are not opened, because opening a card can take
    /// the display from a compositor that is just starting.
    ///
    /// # Errors
    ///
    /// [`Error::NoVgem`], or why the vgem node that is there cannot be opened.
    pub fn find() -> Result<Self> {
        let mut refused = None;
        for path in drm_nodes(NodeKind::Card) {
            if device_name(&path).is_some_and(|name| !name.starts_with(DRIVER)) {
                continue;
            }
            match Self::open(&path) {
                Err(Error::WrongDriver { .. }) => {}
                Err(error) => refused = Some(error),
                found => return found,
            }
        }
        Err(refused.unwrap_or(Error::NoVgem))
    }

    /// Opens a node and sees that it is vgem's. For [`allocate`](Self::allocate) it has to be the
    /// card node; fences can do with the render node.
    ///
    /// # Errors
    ///
    /// As [`DrmNode::open`]; [`Error::WrongDriver`].
    pub fn open(path: &Path) -> Result<Self> {
        let drm = DrmNode::open(path)?;
        let found = drm.driver_name()?;
        if found != DRIVER {
            return Err(Error::WrongDriver {
                path: path.to_owned(),
                found,
                wanted: DRIVER,
            });
        }
        Ok(Self {
            drm,
            handles: Mutex::new(()),
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.drm.path()
    }

    /// Makes a buffer of `len` bytes, rounded up to whole pages, zero-filled: a dumb buffer
    /// (`DRM_IOCTL_MODE_CREATE_DUMB`) as a dma-buf.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`]; [`Error::TooLarge`] from 4 GiB on, which dumb buffers cannot have;
    /// [`Error::Ioctl`], such as `ENOMEM`, or `EACCES` on a render node.
    pub fn allocate(&self, len: u64) -> Result<DmaBuf> {
        let page = u64::from(LINE).max(crate::page_size());
        let limit = u64::from(u32::MAX).saturating_sub(page.saturating_sub(1));
        if len == 0 {
            return Err(Error::Empty);
        }
        let too_large = Error::TooLarge {
            len,
            limit,
            hint: "Use several buffers.",
        };
        let (true, Ok(height)) = (len <= limit, u32::try_from(len.div_ceil(u64::from(LINE))))
        else {
            return Err(too_large);
        };
        let mut argument = DrmModeCreateDumb {
            height,
            width: LINE,
            bpp: 8,
            ..DrmModeCreateDumb::default()
        };
        let _guard = self.lock();
        call::<DRM_IOCTL_MODE_CREATE_DUMB>(self.drm.as_fd(), &mut argument)?;
        let handle = GemHandle::from_kernel("DRM_IOCTL_MODE_CREATE_DUMB", argument.handle)?;
        let exported = self.drm.prime_export(handle);
        let closed = self.drm.gem_close(handle);
        let buffer = exported?;
        closed.map(|()| buffer)
    }

    /// Makes a fence and puts it on a buffer, as a driver would (`DRM_IOCTL_VGEM_FENCE_ATTACH`).
    /// The buffer may come from anywhere: vgem imports it for the purpose.
    ///
    /// `READ` is a reader's fence; `WRITE`, with or without `READ`, a writer's. The number that is
    /// returned stands for the fence in [`signal`](Self::signal), and is not used a second time
    /// while this node is open. After ten seconds the fence signals by itself, as it does when the
    /// node is closed.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EBUSY` when a fence is there with which it conflicts (a writer's for a
    /// reader, any for a writer), and what importing the buffer gives.
    pub fn attach(&self, buffer: &DmaBuf, access: Access) -> Result<NonZeroU32> {
        let flags = if access.contains(Access::WRITE) {
            VGEM_FENCE_WRITE
        } else {
            0
        };
        let _guard = self.lock();
        let handle = self.drm.prime_import(buffer)?;
        let mut argument = DrmVgemFenceAttach {
            handle: handle.0.get(),
            flags,
            ..DrmVgemFenceAttach::default()
        };
        let attached = call::<DRM_IOCTL_VGEM_FENCE_ATTACH>(self.drm.as_fd(), &mut argument);
        let closed = self.drm.gem_close(handle);
        attached?;
        closed?;
        NonZeroU32::new(argument.out_fence).ok_or(Error::Ioctl {
            request: "DRM_IOCTL_VGEM_FENCE_ATTACH",
            errno: rustix::io::Errno::BADF,
        })
    }

    /// Signals a fence (`DRM_IOCTL_VGEM_FENCE_SIGNAL`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `ETIMEDOUT` when it had signalled by itself; `ENOENT` when it was signalled
    /// here before.
    pub fn signal(&self, fence: NonZeroU32) -> Result<()> {
        let mut argument = DrmVgemFenceSignal {
            fence: fence.get(),
            flags: 0,
        };
        call::<DRM_IOCTL_VGEM_FENCE_SIGNAL>(self.drm.as_fd(), &mut argument)?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for VgemNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.drm.as_fd()
    }
}

/// The name of the device behind a node in `/dev/dri`, from sysfs.
fn device_name(node: &Path) -> Option<String> {
    let link = Path::new("/sys/class/drm")
        .join(node.file_name()?)
        .join("device");
    let device: PathBuf = std::fs::canonicalize(link).ok()?;
    Some(device.file_name()?.to_str()?.to_owned())
}

/// A GPU to play with: it makes fences and signals them when it is told to.
///
/// Copies share one open node.
#[derive(Clone, Debug)]
pub struct VgemGpu {
    node: Arc<VgemNode>,
}

impl VgemGpu {
    /// Finds the vgem node.
    ///
    /// # Errors
    ///
    /// As [`VgemNode::find`].
    pub fn find() -> Result<Self> {
        VgemNode::find().map(Self::new)
    }

    /// Plays with a node that is open, which has to be the card node.
    #[must_use]
    pub fn new(node: VgemNode) -> Self {
        Self {
            node: Arc::new(node),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &VgemNode {
        &self.node
    }

    /// Makes a fence that has not signalled and is on no buffer yet.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`], such as `ENOMEM`, `EMFILE`.
    pub fn fence(&self) -> Result<VgemFence> {
        // A fence starts on a buffer, so it gets one of its own, which ends with this function.
        let buffer = self.node.allocate(1)?;
        let number = self.node.attach(&buffer, Access::WRITE)?;
        match buffer.export_sync_file(Access::READ) {
            Ok(sync_file) => Ok(VgemFence {
                node: Arc::clone(&self.node),
                number,
                sync_file,
            }),
            Err(error) => {
                // Nobody will ask for it.
                let _ = self.node.signal(number);
                Err(error)
            }
        }
    }

    /// Makes a fence and puts it on a buffer, beside all that are there already
    /// ([`DmaBuf::import_sync_file`]). [`VgemNode::attach`] is the stricter form.
    ///
    /// # Errors
    ///
    /// As [`fence`](Self::fence) and [`DmaBuf::import_sync_file`].
    pub fn attach(&self, buffer: &DmaBuf, access: Access) -> Result<VgemFence> {
        let fence = self.fence()?;
        buffer.import_sync_file(access, &fence.sync_file)?;
        Ok(fence)
    }
}

/// A fence of a [`VgemGpu`]. It signals when it is told to, when it is dropped, or after ten
/// seconds.
#[derive(Debug)]
pub struct VgemFence {
    node: Arc<VgemNode>,
    number: NonZeroU32,
    sync_file: SyncFile,
}

impl VgemFence {
    /// The fence as a sync_file.
    #[must_use]
    pub fn sync_file(&self) -> &SyncFile {
        &self.sync_file
    }

    /// Signals it.
    ///
    /// # Errors
    ///
    /// As [`VgemNode::signal`].
    pub fn signal(&self) -> Result<()> {
        self.node.signal(self.number)
    }
}

impl Drop for VgemFence {
    fn drop(&mut self) {
        // It may have signalled before; all that counts is that it has now.
        let _ = self.node.signal(self.number);
    }
}
