//! The render node: finding it, and what kernel and device say of themselves.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use stile_host::{DrmNode, NodeKind, drm_nodes};
use stile_wire::sync::{CAPSET_ID, CAPSET_VERSION, Capset};
use zerocopy::{FromZeros, IntoBytes};

use crate::error::{Error, Result};
use crate::sys;

/// The name by which the virtio-gpu driver calls itself.
const DRIVER: &str = "virtio_gpu";

/// An opened node of the virtio-gpu driver, before a context is made on it.
///
/// The file makes its context at the first thing that needs one; [`crate::Context::new`] takes the
/// node so that nothing comes before its CONTEXT_INIT.
#[derive(Debug)]
pub struct RenderNode {
    drm: DrmNode,
}

/// What the kernel's driver says it and the device can do (`VIRTGPU_GETPARAM`, `virtgpu_drm.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// `F_VIRGL` is negotiated: EXECBUFFER works and host blobs can be made.
    pub three_d: bool,
    /// `F_RESOURCE_BLOB` is negotiated.
    pub resource_blob: bool,
    /// There is a hostmem region, so host blobs can be mapped.
    pub host_visible: bool,
    /// `F_RESOURCE_UUID` is negotiated.
    pub cross_device: bool,
    /// `F_CONTEXT_INIT` is negotiated.
    pub context_init: bool,
    /// The kernel takes a context's debug name.
    pub debug_name: bool,
    /// Bit n: the device offers capset n.
    pub capset_ids: u32,
}

impl Params {
    /// Whether the device offers capset `id`.
    pub fn has_capset(&self, id: u32) -> bool {
        1_u32
            .checked_shl(id)
            .is_some_and(|bit| self.capset_ids & bit != 0)
    }
}

impl RenderNode {
    /// Opens `path`, a node of the virtio-gpu driver.
    ///
    /// # Errors
    /// [`Error::Host`] where it cannot be opened or is no DRM node, [`Error::NotVirtioGpu`] for
    /// another driver's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let drm = DrmNode::open(path.as_ref())?;
        let driver = drm.driver_name()?;
        if driver != DRIVER {
            let path = path.as_ref().into();
            return Err(Error::NotVirtioGpu { path, driver });
        }
        // Reading the events of polled rings must not sleep; nothing else looks at this flag.
        rustix::fs::fcntl_getfl(&drm)
            .and_then(|flags| rustix::fs::fcntl_setfl(&drm, flags | OFlags::NONBLOCK))
            .map_err(Error::kernel("fcntl(F_SETFL)"))?;
        Ok(Self { drm })
    }

    /// Opens the first render node of a virtio-gpu device that offers capset `stile-sync`; where
    /// none does, the first of any virtio-gpu device.
    ///
    /// # Errors
    /// [`Error::NoRenderNode`] where there is none, or why the only ones cannot be opened.
    pub fn find() -> Result<Self> {
        let mut other = None;
        let mut failure = None;
        for path in drm_nodes(NodeKind::Render) {
            match Self::open(path) {
                Ok(node) if node.params()?.has_capset(CAPSET_ID) => return Ok(node),
                Ok(node) => other = other.or(Some(node)),
                Err(Error::NotVirtioGpu { .. }) => {}
                Err(error) => failure = Some(error),
            }
        }
        other.ok_or(failure.unwrap_or(Error::NoRenderNode))
    }

    /// Where the node is.
    pub fn path(&self) -> &Path {
        self.drm.path()
    }

    /// What the driver and the device can do.
    ///
    /// # Errors
    /// [`Error::Kernel`]. A parameter that the kernel does not know counts as "no".
    pub fn params(&self) -> Result<Params> {
        let get = |param| match sys::get_param(&self.drm, param) {
            Err(Errno::INVAL) => Ok(0),
            other => other.map_err(Error::kernel("VIRTGPU_GETPARAM")),
        };
        Ok(Params {
            three_d: get(sys::PARAM_3D_FEATURES)? != 0,
            resource_blob: get(sys::PARAM_RESOURCE_BLOB)? != 0,
            host_visible: get(sys::PARAM_HOST_VISIBLE)? != 0,
            cross_device: get(sys::PARAM_CROSS_DEVICE)? != 0,
            context_init: get(sys::PARAM_CONTEXT_INIT)? != 0,
            debug_name: get(sys::PARAM_EXPLICIT_DEBUG_NAME)? != 0,
            capset_ids: get(sys::PARAM_SUPPORTED_CAPSET_IDS)?,
        })
    }

    /// Capset `stile-sync`: the operations that the device offers and its limits. The kernel asks
    /// the device once and answers from memory afterwards.
    ///
    /// # Errors
    /// [`Error::NoCapset`], [`Error::CapsetVersion`], or [`Error::Kernel`] (`EBUSY`: the device
    /// did not answer within 5 s).
    pub fn capset(&self) -> Result<Capset> {
        let params = self.params()?;
        if !params.has_capset(CAPSET_ID) {
            return Err(Error::NoCapset {
                id: CAPSET_ID,
                mask: params.capset_ids,
            });
        }
        let mut capset = Capset::new_zeroed();
        self.capset_bytes(CAPSET_ID, CAPSET_VERSION, capset.as_mut_bytes())?;
        let (version, size) = (capset.version.get(), capset.size.get());
        let whole = u32::try_from(size_of::<Capset>()).is_ok_and(|least| size >= least);
        if version != CAPSET_VERSION || !whole {
            return Err(Error::CapsetVersion {
                id: CAPSET_ID,
                version,
                size,
            });
        }
        Ok(capset)
    }

    /// The bytes of any capset, into `out`. What does not fit is cut off.
    ///
    /// # Errors
    /// [`Error::Kernel`]: `EINVAL` where the device does not offer the id in this version.
    pub fn capset_bytes(&self, id: u32, version: u32, out: &mut [u8]) -> Result<()> {
        sys::get_caps(&self.drm, id, version, out).map_err(Error::kernel("VIRTGPU_GET_CAPS"))
    }
}

impl AsFd for RenderNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.drm.as_fd()
    }
}
