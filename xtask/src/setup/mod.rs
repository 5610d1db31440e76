//! Setting up the lab: a Debian root file system with QEMU in it, two kernels, and an initramfs for
//! each kernel on each side. Nothing of it needs root: packages are downloaded by apt with a
//! configuration of its own and unpacked by dpkg, and none of their scripts run.
//!
//! All of it lies in `target/lab`. A step is done again only when what it is made from changed (its
//! stamp says what that was), or when `cargo xtask lab setup --refresh` asks apt for newer packages.

mod apt;
mod cpio;
mod igt;
mod initramfs;
mod kernel;
mod modules;
mod rootfs;
mod stamp;

use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

use crate::progress::Progress;
use crate::workspace::Workspace;

pub(crate) use cpio::Archive;
pub(crate) use igt::{Igt, PROGRAMS as IGT_PROGRAMS};
pub(crate) use kernel::{BootFiles, Kernel};
pub(crate) use rootfs::Rootfs;

/// The lab's files, all there and up to date.
pub(crate) struct Lab {
    /// The directory that holds everything.
    pub(crate) directory: PathBuf,
    /// The root file system of the host VM, whose QEMU also runs the host VM.
    pub(crate) rootfs: Rootfs,
    kernels: Vec<BootFiles>,
}

impl Lab {
    /// Makes what is missing; quick when nothing is.
    pub(crate) fn ensure(
        workspace: &Workspace,
        progress: &Progress,
        refresh: bool,
    ) -> Result<Self> {
        let directory = workspace.lab();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("{} could not be made", directory.display()))?;
        let _lock = lock(&directory, progress)?;
        if refresh {
            stamp::forget_all(&directory)?;
        }

        let apt = apt::Apt::new(directory.join("apt"), &[apt::RELEASE, apt::BACKPORTS]);
        let rootfs = rootfs::ensure(&directory, &apt, progress)?;
        let kernels = kernel::ensure(&directory, &apt, &rootfs, progress)?;
        let kernels = kernels
            .into_iter()
            .map(|unpacked| initramfs::ensure(&directory, &rootfs, unpacked, progress))
            .collect::<Result<_>>()?;
        apt.forget_downloads()?;
        Ok(Self {
            directory,
            rootfs,
            kernels,
        })
    }

    /// The tests of IGT, made if they are missing: apart from the rest, because they come from a
    /// suite that is not always whole, and the lab is of use without them.
    pub(crate) fn igt(&self, progress: &Progress) -> Result<Igt> {
        let _lock = lock(&self.directory, progress)?;
        igt::prepare(&self.directory, progress)
    }

    /// What boots with this kernel.
    pub(crate) fn kernel(&self, kernel: Kernel) -> Result<&BootFiles> {
        self.kernels
            .iter()
            .find(|files| files.kernel == kernel)
            .with_context(|| format!("The lab was set up without the kernel `{kernel}`."))
    }
}

/// Two commands at once must not unpack into the same place.
fn lock(directory: &std::path::Path, progress: &Progress) -> Result<std::fs::File> {
    let path = directory.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("{} could not be made", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress.say("another command is setting up the lab; waiting for it");
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("{} could not be locked", path.display()))?;
    }
    Ok(file)
}
