//! The root file system of the host VM: Debian packages, unpacked and nothing more. None of their
//! scripts run; what little the lab needs of those is done here by hand. That takes seconds, and
//! needs neither root nor a chroot.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::apt::{Apt, fresh_directory};
use super::stamp;
use crate::process::{cannot_start, output_of};
use crate::progress::Progress;

/// Counts up when this file makes the root file system in another way.
const RECIPE: u32 = 1;

/// What is in it; apt adds what these depend on. QEMU is what the lab is for; the others make a
/// shell in the host VM one that a person can work in.
const PACKAGES: [&str; 23] = [
    "base-files",
    "base-passwd",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "file",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "kmod",
    "less",
    "libc-bin",
    "mount",
    "ncurses-base",
    "procps",
    "qemu-system-x86",
    "sed",
    "strace",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// Never needed in the lab, and more than half of the files.
const LEFT_OUT: [&str; 7] = [
    "./usr/share/doc",
    "./usr/share/info",
    "./usr/share/lintian",
    "./usr/share/locale",
    "./usr/share/man",
    "./usr/share/bash-completion",
    "./usr/share/zsh",
];

/// The unpacked root file system.
pub(crate) struct Rootfs {
    /// Its root directory.
    pub(crate) root: PathBuf,
}

impl Rootfs {
    /// A program of the root file system, to be run on this machine: with its own loader and
    /// libraries, so that neither root nor a chroot is needed.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(self.root.join("usr/lib/x86_64-linux-gnu"))
            .arg(self.root.join("usr/bin").join(program));
        command
    }

    /// QEMU, to be run on this machine, with its own firmware and modules.
    pub(crate) fn qemu(&self) -> Command {
        let mut command = self.command("qemu-system-x86_64");
        command.env(
            "QEMU_MODULE_DIR",
            self.root.join("usr/lib/x86_64-linux-gnu/qemu"),
        );
        for share in ["qemu", "seabios", "ipxe"] {
            command
                .arg("-L")
                .arg(self.root.join("usr/share").join(share));
        }
        command
    }
}

/// Makes the root file system, unless it is there.
pub(crate) fn ensure(lab: &Path, apt: &Apt, progress: &Progress) -> Result<Rootfs> {
    const STEP: &str = "rootfs";
    let rootfs = Rootfs {
        root: lab.join(STEP),
    };
    let made_from = format!("recipe {RECIPE}\n{}\n", PACKAGES.join("\n"));
    if stamp::holds(lab, STEP, &made_from) && works(&rootfs).is_ok() {
        return Ok(rootfs);
    }

    stamp::clear(lab, STEP)?;
    let packages = apt.download_with_dependencies(&PACKAGES, progress)?;
    progress.say(format!(
        "unpacking {} packages with QEMU and its libraries",
        packages.len()
    ));
    fresh_directory(&rootfs.root)?;
    unpack(&packages, &rootfs.root)?;
    finish(&rootfs.root)?;
    let version = works(&rootfs)?;
    progress.say(format!("the host's root file system is there: {version}"));
    stamp::set(lab, STEP, &made_from)?;
    Ok(rootfs)
}

/// Unpacks packages over each other, several at a time.
pub(crate) fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    // base-files brings the links /bin, /lib and /sbin, which must be there before anything that
    // still names those directories.
    let (first, others): (Vec<&PathBuf>, Vec<&PathBuf>) = packages
        .iter()
        .partition(|path| file_name(path).starts_with("base-files_"));
    for package in first {
        unpack_one(package, root)?;
    }

    let queue = Mutex::new(others.into_iter());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .next()
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some(package) = next() {
                        unpack_one(package, root)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("A thread that unpacked packages panicked."),
            }
        }
        Ok(())
    })
}

fn unpack_one(package: &Path, root: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb");
    reader
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut reading = reader
        .spawn()
        .map_err(|error| cannot_start(&reader, error))?;
    let archive = reading.stdout.take().context("dpkg-deb has no stdout")?;

    let mut writer = Command::new("tar");
    writer.args([
        "--extract",
        "--keep-directory-symlink",
        "--no-same-owner",
        "--directory",
    ]);
    writer.arg(root).stdin(archive);
    for path in LEFT_OUT {
        writer.arg(format!("--exclude={path}"));
    }
    let written = writer
        .status()
        .map_err(|error| cannot_start(&writer, error))?;
    let read = reading.wait().context("dpkg-deb could not be waited for")?;
    if !written.success() || !read.success() {
        bail!(
            "{} could not be unpacked into {}.",
            package.display(),
            root.display()
        );
    }
    Ok(())
}

/// What the packages' scripts would have done, as far as the lab needs it.
fn finish(root: &Path) -> Result<()> {
    for file in ["passwd", "group"] {
        let from = root.join(format!("usr/share/base-passwd/{file}.master"));
        let to = root.join("etc").join(file);
        std::fs::copy(&from, &to)
            .with_context(|| format!("{} could not be copied", from.display()))?;
    }
    for (file, text) in [
        ("hostname", "stile-host\n"),
        ("hosts", "127.0.0.1 localhost stile-host\n"),
    ] {
        let path = root.join("etc").join(file);
        std::fs::write(&path, text)
            .with_context(|| format!("{} could not be written", path.display()))?;
    }
    for (link, target) in [("usr/bin/awk", "mawk"), ("etc/mtab", "../proc/self/mounts")] {
        let path = root.join(link);
        if path.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(target, &path)
                .with_context(|| format!("{} could not be made", path.display()))?;
        }
    }
    Ok(())
}

/// Whether its QEMU starts on this machine; gives its version.
fn works(rootfs: &Rootfs) -> Result<String> {
    let said = output_of(rootfs.qemu().arg("--version"))
        .context("The QEMU that was unpacked does not start on this machine")?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
