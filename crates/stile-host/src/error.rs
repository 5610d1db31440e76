//! What can go wrong, in sentences that name the call, the values and the way out.

use std::path::PathBuf;

use rustix::io::Errno;

/// The result of a call of this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error of the host kernel, or of what it was asked.
///
/// Its text is a whole sentence that holds every value, the kernel's errno included; there is no
/// further [`source`](core::error::Error::source) to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an ioctl.
    #[error("The ioctl {request} failed: {errno}.")]
    Ioctl {
        /// The ioctl's name in the kernel's header.
        request: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel refused a system call that is not an ioctl.
    #[error("The system call {call} failed: {errno}.")]
    Syscall {
        /// The call, and on what, where one name is used for several things.
        call: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// A device could not be opened.
    #[error("Cannot open {}: {errno}. {hint}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the kernel answered.
        errno: Errno,
        /// A sentence that says what to do about it.
        hint: &'static str,
    },
    /// A descriptor that should be a dma-buf is something else.
    #[error("The file descriptor is not a dma-buf.")]
    NotADmaBuf,
    /// A descriptor that should be a sync_file is something else.
    #[error("The file descriptor is not a sync_file.")]
    NotASyncFile,
    /// The kernel has dma-bufs, but neither exports nor imports their fences.
    #[error(
        "This kernel cannot exchange a dma-buf's fences with sync_files. It must be Linux 6.0 or \
         newer, built with CONFIG_SYNC_FILE (Debian's cloud kernels are not)."
    )]
    NoSyncFileIoctls,
    /// A path that should be a DRM node is something else.
    #[error("{} is not a DRM node.", path.display())]
    NotADrmNode {
        /// The path.
        path: PathBuf,
    },
    /// A DRM node belongs to another driver than the one that is needed.
    #[error("{} belongs to the DRM driver {found:?}; {wanted:?} is needed.", path.display())]
    WrongDriver {
        /// The node.
        path: PathBuf,
        /// The driver's name.
        found: String,
        /// The name that is needed.
        wanted: &'static str,
    },
    /// No vgem device is there.
    #[error(
        "No vgem device is in /dev/dri. Load the module with `modprobe vgem`, and see that its \
         card node can be opened."
    )]
    NoVgem,
    /// No DRM node has drm_syncobj timelines.
    #[error(
        "No DRM node in /dev/dri has drm_syncobj timelines. Any GPU driver has them with Linux 6.6 \
         or newer, and virtio-gpu without 3D as well; see that a render node can be opened."
    )]
    NoSyncobjNode,
    /// Two syncobjs of different nodes were named in one call.
    #[error("The two syncobjs belong to different DRM files. Pass one through its descriptor.")]
    ForeignSyncobj,
    /// The syncobj has nothing at this point yet.
    #[error("Point {point} of the syncobj has not materialised.")]
    NotMaterialised {
        /// The timeline point; 0 for a binary syncobj.
        point: u64,
    },
    /// The memory cannot be sealed because it is not a memfd.
    #[error(
        "The memory is a file that knows no seals, so that it cannot become a udmabuf. It has to be \
         a memfd (QEMU: `-object memory-backend-memfd,share=on`)."
    )]
    NotAMemfd,
    /// The memory does not take seals any more, and has no `F_SEAL_SHRINK`.
    #[error(
        "The memory has no F_SEAL_SHRINK and takes no further seals (it has {seals:#x}), so that it \
         cannot become a udmabuf. It has to be a memfd made with MFD_ALLOW_SEALING (QEMU: \
         `-object memory-backend-memfd,share=on`, without `seal=off`; cloud-hypervisor has no such \
         option)."
    )]
    SealsLocked {
        /// The seals that it has, bits of `F_SEAL_*` in `linux/fcntl.h`.
        seals: u32,
    },
    /// The memfd is sealed against writing, which a udmabuf must not be.
    #[error(
        "The memfd is sealed against writing (it has {seals:#x}), so that it cannot become a \
         udmabuf."
    )]
    WriteSealed {
        /// The seals that it has, bits of `F_SEAL_*` in `linux/fcntl.h`.
        seals: u32,
    },
    /// A udmabuf would have more pieces than the kernel allows.
    #[error(
        "A udmabuf of {count} pieces is over the limit of {limit}. Raise \
         /sys/module/udmabuf/parameters/list_limit."
    )]
    TooManySegments {
        /// Pieces after joining neighbours.
        count: usize,
        /// The kernel's limit.
        limit: u32,
    },
    /// A buffer would be larger than its source allows.
    #[error("A buffer of {len} bytes is over the limit of {limit} bytes. {hint}")]
    TooLarge {
        /// The length that was asked for, in bytes.
        len: u64,
        /// The limit, in bytes.
        limit: u64,
        /// A sentence that says what to do about it.
        hint: &'static str,
    },
    /// A buffer without any byte was asked for.
    #[error("A buffer cannot be empty.")]
    Empty,
    /// An offset or a length is not a multiple of what it has to be.
    #[error("The {what} {value:#x} is not a multiple of {unit:#x}.")]
    Misaligned {
        /// Which value it is.
        what: &'static str,
        /// The value, in bytes.
        value: u64,
        /// What it has to be a multiple of, in bytes.
        unit: u64,
    },
    /// An access is not inside the buffer.
    #[error("{len} bytes at offset {offset:#x} are not inside the buffer's {size} bytes.")]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// Size of the buffer or of its mapped part, in bytes.
        size: u64,
    },
    /// A word in shared memory does not stay the same for as long as it takes to raise it.
    #[error("Others change the word all the time, so that it cannot be raised.")]
    Contended,
    /// An allocator was named that does not exist.
    #[error("{name:?} is no allocator. Use `udmabuf`, `heap[:NAME]` or `vgem[:NODE]`.")]
    UnknownAllocator {
        /// What was given.
        name: String,
    },
}

impl Error {
    /// The errno that stands for this error where only a number can be told, such as to a guest.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Ioctl { errno, .. } | Self::Syscall { errno, .. } | Self::Open { errno, .. } => {
                *errno
            }
            Self::NotADmaBuf | Self::NotASyncFile => Errno::BADF,
            Self::NoSyncFileIoctls => Errno::OPNOTSUPP,
            Self::NotADrmNode { .. } | Self::WrongDriver { .. } => Errno::NOTTY,
            Self::NoVgem | Self::NoSyncobjNode => Errno::NODEV,
            Self::ForeignSyncobj => Errno::XDEV,
            Self::NotAMemfd => Errno::BADFD,
            Self::SealsLocked { .. } | Self::WriteSealed { .. } => Errno::PERM,
            Self::TooManySegments { .. } | Self::TooLarge { .. } => Errno::FBIG,
            Self::NotMaterialised { .. }
            | Self::Empty
            | Self::Misaligned { .. }
            | Self::UnknownAllocator { .. } => Errno::INVAL,
            Self::OutOfBounds { .. } => Errno::RANGE,
            Self::Contended => Errno::AGAIN,
        }
    }

    /// For `map_err` on a system call of this name.
    pub(crate) fn syscall(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Syscall { call, errno }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_the_name_and_the_errno_and_there_is_no_source() {
        let error = Error::Ioctl {
            request: "DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
            errno: Errno::NOTTY,
        };
        let text = error.to_string();
        assert!(text.contains("DMA_BUF_IOCTL_EXPORT_SYNC_FILE"), "{text}");
        assert!(text.contains("(os error 25)"), "{text}");
        assert!(core::error::Error::source(&error).is_none());
        assert_eq!(error.errno(), Errno::NOTTY);
    }

    #[test]
    fn a_device_that_is_missing_says_what_to_do() {
        let error = Error::Open {
            path: "/dev/udmabuf".into(),
            errno: Errno::NOENT,
            hint: "Load the module with `modprobe udmabuf`.",
        };
        let text = error.to_string();
        assert!(
            text.starts_with("Cannot open /dev/udmabuf: No such file"),
            "{text}"
        );
        assert!(text.ends_with("`modprobe udmabuf`."), "{text}");
    }
}
