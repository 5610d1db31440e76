//! A DRM node: what is the same for every driver.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::dma_buf::DmaBuf;
use crate::error::{Error, Result};
use crate::ioctl::{call, call_for_fd, call_with_addresses};
use crate::open::open_device;
use crate::uapi::{
    DRM_CAP_SYNCOBJ, DRM_CAP_SYNCOBJ_TIMELINE, DRM_CLOEXEC, DRM_IOCTL_GEM_CLOSE, DRM_IOCTL_GET_CAP,
    DRM_IOCTL_PRIME_FD_TO_HANDLE, DRM_IOCTL_PRIME_HANDLE_TO_FD, DRM_IOCTL_VERSION, DRM_RDWR,
    DrmGemClose, DrmGetCap, DrmPrimeHandle, DrmVersion,
};

/// `DRM_MAJOR` of the kernel's `drm/drm_file.h`: the device number of every DRM node.
const DRM_MAJOR: u32 = 226;

/// The two kinds of node that a GPU can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// `/dev/dri/cardN`, which also sets display modes. Who opens it first may become its master,
    /// and keep a compositor from it.
    Card,
    /// `/dev/dri/renderDN`, for everything else.
    Render,
}

impl NodeKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Render => "renderD",
        }
    }
}

/// The nodes of one kind in `/dev/dri`, in the order of their numbers; none where there is no such
/// folder.
#[must_use]
pub fn drm_nodes(kind: NodeKind) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/dev/dri") else {
        return Vec::new();
    };
    let mut nodes: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name
                .to_str()?
                .strip_prefix(kind.prefix())?
                .parse::<u32>()
                .ok()?;
            Some((number, entry.path()))
        })
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// An open DRM node (`drm/drm.h`). Handles of buffers and syncobjs belong to it, and go when it is
/// closed.
#[derive(Debug)]
pub struct DrmNode {
    fd: OwnedFd,
    path: PathBuf,
}

impl DrmNode {
    /// Opens a node, after seeing that it is one.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], with what to do about it; [`Error::NotADrmNode`]; [`Error::Syscall`].
    pub fn open(path: &Path) -> Result<Self> {
        let fd = open_device(
            path,
            "DRM nodes are in /dev/dri; see that the driver's module is loaded.",
            "Put this user into the group that owns it, `render` or `video`.",
        )?;
        let stat = rustix::fs::fstat(&fd).map_err(Error::syscall("fstat"))?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let major = rustix::fs::major(stat.st_rdev);
        if kind != rustix::fs::FileType::CharacterDevice || major != DRM_MAJOR {
            return Err(Error::NotADrmNode {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its driver, such as `vgem` or `virtio_gpu` (`DRM_IOCTL_VERSION`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn driver_name(&self) -> Result<String> {
        let mut name = [0_u8; 64];
        let mut argument = DrmVersion {
            name_len: name.len(),
            name: name.as_mut_ptr().expose_provenance(),
            ..DrmVersion::default()
        };
        // SAFETY: `name` has as many bytes as `name_len` says, and the kernel writes no more than
        // that. The other two addresses are null, with lengths of zero.
        unsafe { call_with_addresses::<DRM_IOCTL_VERSION>(self.as_fd(), &mut argument) }?;
        // The kernel gives the name's whole length, whatever the room was.
        let name = name.get(..argument.name_len).unwrap_or(&name);
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Whether it has drm_syncobj with timelines (`DRM_IOCTL_GET_CAP`).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn has_syncobj_timelines(&self) -> Result<bool> {
        Ok(self.capability(DRM_CAP_SYNCOBJ)? != 0
            && self.capability(DRM_CAP_SYNCOBJ_TIMELINE)? != 0)
    }

    fn capability(&self, capability: u64) -> Result<u64> {
        let mut argument = DrmGetCap {
            capability,
            value: 0,
        };
        call::<DRM_IOCTL_GET_CAP>(self.as_fd(), &mut argument)?;
        Ok(argument.value)
    }

    /// The buffer of a handle, as a dma-buf.
    pub(crate) fn prime_export(&self, handle: GemHandle) -> Result<DmaBuf> {
        let mut argument = DrmPrimeHandle {
            handle: handle.0.get(),
            flags: DRM_CLOEXEC | DRM_RDWR,
            fd: -1,
        };
        call_for_fd::<DRM_IOCTL_PRIME_HANDLE_TO_FD>(self.as_fd(), &mut argument)
            .and_then(DmaBuf::from_exporter)
    }

    /// A handle for a buffer. One buffer has one handle in a DRM file, however often it is
    /// imported, and one close ends it.
    pub(crate) fn prime_import(&self, buffer: &DmaBuf) -> Result<GemHandle> {
        let fd = buffer.as_fd().as_raw_fd();
        let mut argument = DrmPrimeHandle {
            handle: 0,
            flags: 0,
            fd,
        };
        call::<DRM_IOCTL_PRIME_FD_TO_HANDLE>(self.as_fd(), &mut argument)?;
        GemHandle::from_kernel("DRM_IOCTL_PRIME_FD_TO_HANDLE", argument.handle)
    }

    /// Gives up a handle.
    pub(crate) fn gem_close(&self, handle: GemHandle) -> Result<()> {
        let mut argument = DrmGemClose {
            handle: handle.0.get(),
            pad: 0,
        };
        call::<DRM_IOCTL_GEM_CLOSE>(self.as_fd(), &mut argument)?;
        Ok(())
    }
}

impl AsFd for DrmNode {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A buffer in a DRM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GemHandle(pub(crate) NonZeroU32);

impl GemHandle {
    /// The kernel never gives handle zero.
    pub(crate) fn from_kernel(request: &'static str, handle: u32) -> Result<Self> {
        let handle = NonZeroU32::new(handle);
        handle.map(Self).ok_or(Error::Ioctl {
            request,
            errno: rustix::io::Errno::BADF,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_device_is_no_drm_node() {
        let error = DrmNode::open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(
            error,
            Error::NotADrmNode {
                path: "/dev/null".into()
            }
        );
    }

    #[test]
    fn a_node_that_is_missing_says_where_nodes_are() {
        let error = DrmNode::open(Path::new("/dev/dri/card4711")).unwrap_err();
        assert!(error.to_string().contains("/dev/dri"), "{error}");
        assert_eq!(error.errno(), rustix::io::Errno::NOENT);
    }
}
