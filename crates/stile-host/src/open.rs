//! Opening devices.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Opens a device for reading and writing. The hints say what to do when it is missing, and when it
/// may not be opened.
pub(crate) fn open_device(
    path: &Path,
    missing: &'static str,
    forbidden: &'static str,
) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let hint = match errno {
            Errno::ACCESS | Errno::PERM => forbidden,
            _ => missing,
        };
        Error::Open {
            path: path.to_owned(),
            errno,
            hint,
        }
    })
}
