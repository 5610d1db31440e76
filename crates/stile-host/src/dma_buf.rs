//! A dma-buf: memory that devices share, and the fences on it.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::access::Access;
use crate::error::{Error, Result};
use crate::ioctl::{call, call_for_fd};
use crate::mapping::Mapping;
use crate::poll::poll_one;
use crate::sync_file::SyncFile;
use crate::uapi::{
    DMA_BUF_IOCTL_EXPORT_SYNC_FILE, DMA_BUF_IOCTL_IMPORT_SYNC_FILE, DMA_BUF_IOCTL_SYNC,
    DMA_BUF_SYNC_END, DmaBufSync, DmaBufSyncFile,
};

/// `DMA_BUF_MAGIC` of `linux/magic.h`: the file system that all dma-bufs live in since Linux 5.3.
const DMA_BUF_MAGIC: u32 = 0x444d_4142;

/// Whether `fd` is a dma-buf.
///
/// It asks for the file system that the descriptor lives in and sends it no ioctl, so that it is
/// safe on a descriptor from anybody.
///
/// # Errors
///
/// [`Error::Syscall`] when fstatfs(2) fails.
pub fn is_dma_buf(fd: impl AsFd) -> Result<bool> {
    let stat = rustix::fs::fstatfs(fd).map_err(Error::syscall("fstatfs"))?;
    Ok(u32::try_from(stat.f_type) == Ok(DMA_BUF_MAGIC))
}

/// A dma-buf (`linux/dma-buf.h`), held by a descriptor that this value owns.
///
/// Its *reservation object* holds the fences of those who use the memory. None of the calls here
/// waits for them, [`sync_begin`](Self::sync_begin) excepted.
#[derive(Debug)]
pub struct DmaBuf {
    fd: OwnedFd,
    size: u64,
}

impl DmaBuf {
    /// Takes a descriptor that came from elsewhere, after seeing that it is a dma-buf.
    ///
    /// # Errors
    ///
    /// [`Error::NotADmaBuf`]; [`Error::Syscall`] when the kernel does not tell the size.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        if !is_dma_buf(&fd)? {
            return Err(Error::NotADmaBuf);
        }
        Self::from_exporter(fd)
    }

    /// Takes a descriptor that an exporter has just made.
    pub(crate) fn from_exporter(fd: OwnedFd) -> Result<Self> {
        let size = rustix::fs::seek(&fd, SeekFrom::End(0)).map_err(Error::syscall("lseek"))?;
        Ok(Self { fd, size })
    }

    /// Size in bytes. It never changes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A second descriptor for the same buffer and the same fences.
    ///
    /// # Errors
    ///
    /// [`Error::Syscall`], such as `EMFILE`.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)
            .map_err(Error::syscall("fcntl(F_DUPFD_CLOEXEC)"))?;
        Ok(Self {
            fd,
            size: self.size,
        })
    }

    /// The fences that an access has to wait for, as a sync_file
    /// (`DMA_BUF_IOCTL_EXPORT_SYNC_FILE`).
    ///
    /// `READ` takes those of the writers, `WRITE` (with or without `READ`) those of everybody. It is
    /// a snapshot: what is added later does not delay it, and an idle buffer gives a sync_file that
    /// is signalled already. Fences of the kernel's own bookkeeping are never among them.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` for no access at all, `ENOTTY` for a kernel without it (see
    /// [`check_sync_files`](Self::check_sync_files)), `EMFILE`, `ENOMEM`.
    pub fn export_sync_file(&self, access: Access) -> Result<SyncFile> {
        let mut argument = DmaBufSyncFile {
            flags: access.bits(),
            fd: -1,
        };
        call_for_fd::<DMA_BUF_IOCTL_EXPORT_SYNC_FILE>(self.as_fd(), &mut argument)
            .map(SyncFile::from_exporter)
    }

    /// Adds the fences of a sync_file to the buffer (`DMA_BUF_IOCTL_IMPORT_SYNC_FILE`).
    ///
    /// `READ` adds them as a reader's, for which the next writer waits; `WRITE` (with or without
    /// `READ`) as a writer's, for which everybody waits. A sync_file that is signalled has no
    /// effect. The new fences do not wait for those that are there already, and exporting, working
    /// and importing is not one step: two writers have to agree between themselves.
    ///
    /// The buffer keeps each fence until it signals, so that the caller has to limit their number.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` for no access at all, `ENOTTY` for a kernel without it, `ENOMEM`.
    pub fn import_sync_file(&self, access: Access, fence: &SyncFile) -> Result<()> {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&fence.as_fd());
        let mut argument = DmaBufSyncFile {
            flags: access.bits(),
            fd,
        };
        call::<DMA_BUF_IOCTL_IMPORT_SYNC_FILE>(self.as_fd(), &mut argument)?;
        Ok(())
    }

    /// Sees whether the kernel exports and imports sync_files on this buffer, without doing either.
    ///
    /// # Errors
    ///
    /// [`Error::NoSyncFileIoctls`].
    pub fn check_sync_files(&self) -> Result<()> {
        match self.export_sync_file(Access::empty()) {
            Err(Error::Ioctl {
                errno: Errno::NOTTY,
                ..
            }) => Err(Error::NoSyncFileIoctls),
            // No access at all is refused by a kernel that knows the ioctl.
            Ok(_)
            | Err(Error::Ioctl {
                errno: Errno::INVAL,
                ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether an access could begin now: nobody writes (`READ`), or nobody uses the buffer at all
    /// (`WRITE`, with or without `READ`). It does not wait.
    ///
    /// While it is not, the kernel keeps the buffer alive until the next of its fences signals.
    ///
    /// # Errors
    ///
    /// [`Error::Syscall`].
    pub fn poll(&self, access: Access) -> Result<bool> {
        let events = Self::poll_events(access);
        poll_one(self.as_fd(), events, Some(Duration::ZERO))
    }

    /// The events of poll(2) or epoll that say that an access could begin: `POLLIN` for `READ`,
    /// `POLLOUT` for `WRITE` with or without `READ`. They are told when *one* fence has signalled:
    /// ask again, others may be left.
    #[must_use]
    pub fn poll_events(access: Access) -> PollFlags {
        if access.contains(Access::WRITE) {
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// Maps a part of the buffer, shared, for reading and writing.
    ///
    /// The range is in bytes and starts at a multiple of the page size. Caches are the caller's
    /// matter: around each use belong [`sync_begin`](Self::sync_begin) and
    /// [`sync_end`](Self::sync_end), except where all sides are known to be coherent.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::OutOfBounds`]; [`Error::Syscall`] when the
    /// exporter does not allow mapping.
    pub fn map(&self, range: Range<u64>) -> Result<Mapping> {
        Mapping::new(self.as_fd(), range, self.size)
    }

    /// Begins an access by the CPU (`DMA_BUF_IOCTL_SYNC`, `DMA_BUF_SYNC_START`).
    ///
    /// **It blocks until the fences that the access has to wait for have signalled, with no
    /// time-out.** Never call it on a thread that serves others.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` for no access at all, or what the exporter gives.
    pub fn sync_begin(&self, access: Access) -> Result<()> {
        self.sync(access, 0)
    }

    /// Ends an access by the CPU that [`sync_begin`](Self::sync_begin) began, with the same
    /// `access` (`DMA_BUF_SYNC_END`). It may take the time that flushing caches takes.
    ///
    /// # Errors
    ///
    /// [`Error::Ioctl`]: `EINVAL` for no access at all, or what the exporter gives.
    pub fn sync_end(&self, access: Access) -> Result<()> {
        self.sync(access, DMA_BUF_SYNC_END)
    }

    fn sync(&self, access: Access, phase: u64) -> Result<()> {
        let mut argument = DmaBufSync {
            flags: u64::from(access.bits()) | phase,
        };
        call::<DMA_BUF_IOCTL_SYNC>(self.as_fd(), &mut argument)?;
        Ok(())
    }
}

impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<DmaBuf> for OwnedFd {
    fn from(buffer: DmaBuf) -> Self {
        buffer.fd
    }
}

impl TryFrom<OwnedFd> for DmaBuf {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::from_fd(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memfd_and_an_eventfd_are_no_dma_bufs() {
        let memfd = crate::memfd::create("test", 4096).unwrap();
        assert_eq!(is_dma_buf(&memfd), Ok(false));
        assert_eq!(DmaBuf::from_fd(memfd).unwrap_err(), Error::NotADmaBuf);
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let eventfd = rustix::event::eventfd(0, flags).unwrap();
        assert_eq!(DmaBuf::from_fd(eventfd).unwrap_err(), Error::NotADmaBuf);
    }

    #[test]
    fn a_reader_polls_in_and_a_writer_polls_out() {
        assert_eq!(DmaBuf::poll_events(Access::READ), PollFlags::IN);
        assert_eq!(DmaBuf::poll_events(Access::WRITE), PollFlags::OUT);
        assert_eq!(DmaBuf::poll_events(Access::all()), PollFlags::OUT);
    }
}
