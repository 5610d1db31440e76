//! Memfds whose memory may become a udmabuf.
//!
//! The kernel pins a udmabuf's pages, so that it wants them never to go (`F_SEAL_SHRINK`) and to
//! stay writable (no `F_SEAL_WRITE`, and in newer kernels no `F_SEAL_FUTURE_WRITE`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Makes a memfd of `len` bytes, zero-filled, sealed against shrinking and growing.
///
/// `name` is for people (`/proc/PID/fd`).
///
/// # Errors
///
/// [`Error::Syscall`], such as `EMFILE` or `EINVAL` for a length that no file can have.
pub fn create(name: &str, len: u64) -> Result<OwnedFd> {
    // NOEXEC_SEAL is Linux 6.3, and some systems ask for it; older kernels refuse it.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        answer => answer,
    }
    .map_err(Error::syscall("memfd_create"))?;
    rustix::fs::ftruncate(&memfd, len).map_err(Error::syscall("ftruncate"))?;
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW)
        .map_err(Error::syscall("fcntl(F_ADD_SEALS)"))?;
    Ok(memfd)
}

/// Sees that a memfd from elsewhere, such as a guest's memory, may become a udmabuf, and adds
/// `F_SEAL_SHRINK` where it is missing. Says whether it added it.
///
/// The seal lasts as long as the memory, and holds for everybody who has it.
///
/// # Errors
///
/// - [`Error::NotAMemfd`]: memory of a file, which knows no seals.
/// - [`Error::WriteSealed`]: writing is sealed.
/// - [`Error::SealsLocked`]: the seal is missing, and the memfd takes no more (`F_SEAL_SEAL`, which
///   a memfd made without `MFD_ALLOW_SEALING` has).
/// - [`Error::Syscall`]: adding failed for another reason, such as `EPERM` for a descriptor that is
///   open for reading only.
pub fn seal_for_udmabuf(memfd: impl AsFd) -> Result<bool> {
    let memfd = memfd.as_fd();
    let seals = match rustix::fs::fcntl_get_seals(memfd) {
        Err(Errno::INVAL) => return Err(Error::NotAMemfd),
        answer => answer.map_err(Error::syscall("fcntl(F_GET_SEALS)"))?,
    };
    if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
        return Err(Error::WriteSealed {
            seals: seals.bits(),
        });
    }
    if seals.contains(SealFlags::SHRINK) {
        return Ok(false);
    }
    if seals.contains(SealFlags::SEAL) {
        return Err(Error::SealsLocked {
            seals: seals.bits(),
        });
    }
    rustix::fs::fcntl_add_seals(memfd, SealFlags::SHRINK)
        .map_err(Error::syscall("fcntl(F_ADD_SEALS)"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn bare(flags: MemfdFlags) -> OwnedFd {
        let memfd = rustix::fs::memfd_create("test", flags | MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memfd, 8192).unwrap();
        memfd
    }

    #[test]
    fn an_own_memfd_has_its_size_and_seals() {
        let memfd = create("test", 8192).unwrap();
        assert_eq!(rustix::fs::fstat(&memfd).unwrap().st_size, 8192);
        assert_eq!(seal_for_udmabuf(&memfd), Ok(false));
        assert_eq!(rustix::fs::ftruncate(&memfd, 4096), Err(Errno::PERM));
    }

    #[test]
    fn a_missing_seal_is_added_once() {
        let memfd = bare(MemfdFlags::ALLOW_SEALING);
        assert_eq!(seal_for_udmabuf(&memfd), Ok(true));
        assert_eq!(seal_for_udmabuf(&memfd), Ok(false));
        assert_eq!(rustix::fs::ftruncate(&memfd, 4096), Err(Errno::PERM));
    }

    #[test]
    fn a_memfd_without_sealing_says_so() {
        let memfd = bare(MemfdFlags::empty());
        assert!(matches!(
            seal_for_udmabuf(&memfd),
            Err(Error::SealsLocked { .. })
        ));
    }

    #[test]
    fn a_locked_memfd_with_the_seal_will_do() {
        let memfd = bare(MemfdFlags::ALLOW_SEALING);
        rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::SEAL).unwrap();
        assert_eq!(seal_for_udmabuf(&memfd), Ok(false));
    }

    #[test]
    fn a_memfd_that_cannot_be_written_will_not_do() {
        for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
            let memfd = bare(MemfdFlags::ALLOW_SEALING);
            rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | seal).unwrap();
            assert!(matches!(
                seal_for_udmabuf(&memfd),
                Err(Error::WriteSealed { .. })
            ));
        }
    }

    #[test]
    fn a_file_is_no_memfd() {
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(seal_for_udmabuf(&file), Err(Error::NotAMemfd));
    }
}
