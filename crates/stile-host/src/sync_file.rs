//! A sync_file: fences as a descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ioctl::{address_of, call, call_for_fd, call_with_addresses};
use crate::poll::poll_one;
use crate::uapi::{
    SYNC_IOC_FILE_INFO, SYNC_IOC_MERGE, SYNC_IOC_SET_DEADLINE, SyncFenceInfo, SyncFileInfo,
    SyncMergeData, SyncSetDeadline,
};

/// `ANON_INODE_FS_MAGIC` of `linux/magic.h`, where sync_files live among others.
const ANON_INODE_FS_MAGIC: u32 = 0x0904_1934;

/// Fences that fit on the stack; a sync_file of more takes an allocation and a second ioctl.
const FEW_FENCES: usize = 4;

/// The state of a fence, or of all fences of a sync_file together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// At least one fence has not signalled.
    Active,
    /// All have signalled.
    Signalled,
    /// All have signalled, one of them with an error.
    Error(Errno),
}

impl Status {
    /// From the kernel's number: 0 active, 1 signalled, below 0 an errno.
    fn from_kernel(status: i32) -> Self {
        match status {
            0 => Self::Active,
            1.. => Self::Signalled,
            // The kernel allows no other numbers here; a stranger one is an error all the same.
            -4095..0 => Self::Error(Errno::from_raw_os_error(status.saturating_neg())),
            _ => Self::Error(Errno::IO),
        }
    }

    /// Whether nobody has to wait any more, be it for an error.
    #[must_use]
    pub fn is_done(self) -> bool {
        self != Self::Active
    }
}

/// One fence of a sync_file (`struct sync_fence_info`).
///
/// The names that the kernel has for it are left out: they differ from version to version, and for
/// a fence that has signalled say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceInfo {
    /// Its state.
    pub status: Status,
    /// When it signalled, in nanoseconds of CLOCK_MONOTONIC; 0 while it is active.
    pub timestamp_ns: u64,
}

impl FenceInfo {
    fn from_kernel(info: &SyncFenceInfo) -> Self {
        Self {
            status: Status::from_kernel(info.status),
            timestamp_ns: info.timestamp_ns,
        }
    }
}

/// How a sync_file stands, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state of all its fences together.
    pub status: Status,
    /// When the last of them signalled, in nanoseconds of CLOCK_MONOTONIC; `None` while one is
    /// active.
    pub timestamp_ns: Option<u64>,
}

/// A sync_file (`linux/sync_file.h`), held by a descriptor that this value owns.
///
/// The descriptor becomes readable (`POLLIN`) when all its fences have signalled, and stays so.
#[derive(Debug)]
pub struct SyncFile {
    fd: OwnedFd,
}

impl SyncFile {
    /// Takes a descriptor that came from elsewhere, after seeing that it is a sync_file.
    ///
    /// # Errors
    ///
    /// [`Error::NotASyncFile`]; [`Error::Syscall`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstatfs(&fd).map_err(Error::syscall("fstatfs"))?;
        if u32::try_from(stat.f_type) != Ok(ANON_INODE_FS_MAGIC) {
            return Err(Error::NotASyncFile);
        }
        let file = Self { fd };
        // Among the kernel's anonymous files, only sync_files have an ioctl of this type and number.
        match file.status() {
            Ok(_) => Ok(file),
            Err(_) => Err(Error::NotASyncFile),
        }
    }

    /// Takes a descriptor that the kernel has just made.
    pub(crate) fn from_exporter(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second descriptor for the same fences.
    ///
    /// # Errors
    ///
    /// [`Error::Syscall`], such as `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)
            .map_err(Error::syscall("fcntl(F_DUPFD_CLOEXEC)"))?;
        Ok(Self { fd })
    }

    /// A new sync_file that signals when both have (`SYNC_IOC_MERGE`).
    ///
    /// Of fences on one timeline it keeps the latest, and it drops those that have signalled, their
    /// errors with them. `name` is for people; 31 bytes of it are kept, up to a zero.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `ENOMEM`, `EMFILE`.
    pub fn merge(&self, other: &Self, name: &str) -> Result<Self> {
        let mut argument = SyncMergeData {
            fd2: other.fd.as_raw_fd(),
            ..SyncMergeData::default()
        };
        // The last byte stays zero.
        for (to, from) in argument.name.iter_mut().take(31).zip(name.bytes()) {
            *to = from;
        }
        call_for_fd::<SYNC_IOC_MERGE>(self.as_fd(), &mut argument).map(Self::from_exporter)
    }

    /// The state of all fences together (`SYNC_IOC_FILE_INFO` without asking for fences).
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn status(&self) -> Result<Status> {
        let mut none: [SyncFenceInfo; 0] = [];
        Ok(Status::from_kernel(self.file_info(&mut none)?.status))
    }

    /// Whether all fences have signalled: poll(2) without waiting. Whether with an error,
    /// [`status`](Self::status) says.
    ///
    /// # Errors
    ///
    /// [`Error::Syscall`].
    pub fn signalled(&self) -> Result<bool> {
        poll_one(self.as_fd(), PollFlags::IN, Some(Duration::ZERO))
    }

    /// Waits for all fences to signal; `None` waits for ever. Says whether they have.
    ///
    /// **It blocks**; it is for tests and simple hosts. A reactor watches the descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::Syscall`].
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        poll_one(self.as_fd(), PollFlags::IN, timeout)
    }

    /// The fences, one by one (`SYNC_IOC_FILE_INFO`). There is always at least one.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn fences(&self) -> Result<Vec<FenceInfo>> {
        self.with_fences(|fences| fences.iter().map(FenceInfo::from_kernel).collect())
    }

    /// State and time in one ioctl, for the moment when the descriptor became readable.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn outcome(&self) -> Result<Outcome> {
        self.with_fences(|fences| {
            let done = Outcome {
                status: Status::Signalled,
                timestamp_ns: Some(0),
            };
            fences
                .iter()
                .map(FenceInfo::from_kernel)
                .fold(done, |all, one| Outcome {
                    status: match (all.status, one.status) {
                        (Status::Active, _) | (_, Status::Active) => Status::Active,
                        (Status::Error(first), _) => Status::Error(first),
                        (Status::Signalled, status) => status,
                    },
                    timestamp_ns: match all.timestamp_ns {
                        Some(latest) if one.status.is_done() => Some(latest.max(one.timestamp_ns)),
                        _ => None,
                    },
                })
        })
    }

    /// When the last fence signalled, in nanoseconds of CLOCK_MONOTONIC; `None` while one is
    /// active. A sync_file that was exported from an idle buffer has the time of a fence that the
    /// kernel made for it, or of the start of the machine.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`].
    pub fn timestamp_ns(&self) -> Result<Option<u64>> {
        Ok(self.outcome()?.timestamp_ns)
    }

    /// Tells the fences' drivers when the fences should be done, in nanoseconds of CLOCK_MONOTONIC
    /// (`SYNC_IOC_SET_DEADLINE`; Linux 6.12 has it, 6.1 not). A hint: drivers may raise a clock for it, or not.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `ENOTTY` for a kernel without it.
    pub fn set_deadline(&self, deadline_ns: u64) -> Result<()> {
        let mut argument = SyncSetDeadline {
            deadline_ns,
            pad: 0,
        };
        call::<SYNC_IOC_SET_DEADLINE>(self.as_fd(), &mut argument)?;
        Ok(())
    }

    /// Whether the kernel takes deadlines, without setting one.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`] for an answer that says neither.
    pub fn takes_deadlines(&self) -> Result<bool> {
        // A pad that is not zero is refused before anything happens.
        let mut argument = SyncSetDeadline {
            deadline_ns: 0,
            pad: 1,
        };
        match call::<SYNC_IOC_SET_DEADLINE>(self.as_fd(), &mut argument) {
            Ok(_)
            | Err(Error::Ioctl {
                errno: Errno::INVAL,
                ..
            }) => Ok(true),
            Err(Error::Ioctl {
                errno: Errno::NOTTY,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gets all fences and hands them to `look`.
    fn with_fences<T>(&self, look: impl FnOnce(&[SyncFenceInfo]) -> T) -> Result<T> {
        let mut few = [SyncFenceInfo::default(); FEW_FENCES];
        match self.file_info(&mut few) {
            Ok(info) => return Ok(look(filled(&few, &info))),
            // There are more fences than that.
            Err(Error::Ioctl {
                errno: Errno::INVAL,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        // The fences of a sync_file are fixed when it is made, and their number can only fall.
        let count = usize::try_from(self.file_info(&mut [])?.num_fences).unwrap_or(usize::MAX);
        let mut all = vec![SyncFenceInfo::default(); count.max(1)];
        let info = self.file_info(&mut all)?;
        Ok(look(filled(&all, &info)))
    }

    /// `SYNC_IOC_FILE_INFO` with room for so many fences.
    fn file_info(&self, fences: &mut [SyncFenceInfo]) -> Result<SyncFileInfo> {
        let mut argument = SyncFileInfo {
            num_fences: u32::try_from(fences.len()).unwrap_or(u32::MAX),
            sync_fence_info: address_of(fences),
            ..SyncFileInfo::default()
        };
        // SAFETY: the address is that of `fences`, and the count not more than its length. The
        // kernel writes at most that many `sync_fence_info`s there, which any bytes make valid, and
        // with a count of zero does not use the address.
        unsafe { call_with_addresses::<SYNC_IOC_FILE_INFO>(self.as_fd(), &mut argument) }?;
        Ok(argument)
    }
}

/// The fences that the kernel has filled in.
fn filled<'a>(fences: &'a [SyncFenceInfo], info: &SyncFileInfo) -> &'a [SyncFenceInfo] {
    let count = usize::try_from(info.num_fences).unwrap_or(usize::MAX);
    fences.get(..count).unwrap_or(fences)
}

impl AsFd for SyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<SyncFile> for OwnedFd {
    fn from(file: SyncFile) -> Self {
        file.fd
    }
}

impl TryFrom<OwnedFd> for SyncFile {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::from_fd(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_status_numbers_are_understood_whatever_they_are() {
        assert_eq!(Status::from_kernel(0), Status::Active);
        assert_eq!(Status::from_kernel(1), Status::Signalled);
        assert_eq!(Status::from_kernel(-5), Status::Error(Errno::IO));
        assert_eq!(Status::from_kernel(-125), Status::Error(Errno::CANCELED));
        assert_eq!(Status::from_kernel(-4096), Status::Error(Errno::IO));
        assert_eq!(Status::from_kernel(i32::MIN), Status::Error(Errno::IO));
    }

    #[test]
    fn an_eventfd_and_a_memfd_are_no_sync_files() {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let eventfd = rustix::event::eventfd(0, flags).unwrap();
        assert_eq!(SyncFile::from_fd(eventfd).unwrap_err(), Error::NotASyncFile);
        let memfd = crate::memfd::create("test", 4096).unwrap();
        assert_eq!(SyncFile::from_fd(memfd).unwrap_err(), Error::NotASyncFile);
    }
}
