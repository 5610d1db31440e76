//! The kernels: Debian's newest for each suite, unpacked, and the ELF image taken out of the
//! bzImage, because an emulated machine takes a second to decompress it by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::apt::{Apt, BACKPORTS, RELEASE};
use super::rootfs::{self, Rootfs};
use super::stamp;
use crate::process::bytes_of;
use crate::progress::Progress;

/// Counts up when this file makes the kernels in another way.
const RECIPE: u32 = 1;

/// Which kernel, by the suite it comes from. Both sides of the lab can run either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// The stable release's own, 6.12
    Stable,
    /// The newest backport, 7.x
    Backports,
}

impl Kernel {
    pub(crate) const ALL: [Self; 2] = [Self::Stable, Self::Backports];

    fn suite(self) -> &'static str {
        match self {
            Self::Stable => RELEASE,
            Self::Backports => BACKPORTS,
        }
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Stable => "stable",
            Self::Backports => "backports",
        })
    }
}

/// A kernel's files, before there is an initramfs.
pub(crate) struct Unpacked {
    pub(crate) kernel: Kernel,
    /// The directory `target/lab/kernel-NAME`.
    pub(crate) directory: PathBuf,
    /// The version that `uname -r` shows.
    pub(crate) version: String,
}

impl Unpacked {
    /// The uncompressed kernel image.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// `lib/modules/VERSION`.
    pub(crate) fn modules(&self) -> PathBuf {
        modules(&self.directory).join(&self.version)
    }
}

/// What boots: a kernel with an initramfs for each side.
pub(crate) struct BootFiles {
    /// Which kernel.
    pub(crate) kernel: Kernel,
    /// The version that `uname -r` shows.
    pub(crate) version: String,
    /// The uncompressed kernel image.
    pub(crate) image: PathBuf,
    /// The initramfs for the host VM.
    pub(crate) host_initramfs: PathBuf,
    /// The initramfs for a guest, without payload programs.
    pub(crate) guest_initramfs: PathBuf,
}

/// Makes the kernels, unless they are there. The downloads go one after the other, the unpacking
/// side by side.
pub(crate) fn ensure(
    lab: &Path,
    apt: &Apt,
    rootfs: &Rootfs,
    progress: &Progress,
) -> Result<Vec<Unpacked>> {
    let mut missing = Vec::new();
    for kernel in Kernel::ALL {
        let directory = lab.join(step(kernel));
        if !stamp::holds(lab, &step(kernel), &made_from(kernel)) || version(&directory).is_err() {
            stamp::clear(lab, &step(kernel))?;
            let packages = download(kernel, lab, apt, progress)?;
            missing.push((kernel, directory, packages));
        }
    }
    if !missing.is_empty() {
        progress.say(format!(
            "unpacking {} kernels with their modules",
            missing.len()
        ));
        std::thread::scope(|scope| {
            let threads: Vec<_> = missing
                .iter()
                .map(|(kernel, directory, packages)| {
                    scope.spawn(|| unpack(lab, *kernel, directory, packages, rootfs))
                })
                .collect();
            for thread in threads {
                match thread.join() {
                    Ok(result) => result?,
                    Err(_) => bail!("A thread that unpacked a kernel panicked."),
                }
            }
            Ok(())
        })?;
    }
    Kernel::ALL
        .into_iter()
        .map(|kernel| {
            let directory = lab.join(step(kernel));
            let version = version(&directory)?;
            if missing.iter().any(|(made, ..)| *made == kernel) {
                progress.say(format!("the {kernel} kernel is there: {version}"));
            }
            Ok(Unpacked {
                kernel,
                directory,
                version,
            })
        })
        .collect()
}

fn step(kernel: Kernel) -> String {
    format!("kernel-{kernel}")
}

fn made_from(kernel: Kernel) -> String {
    format!(
        "recipe {RECIPE}\nthe newest linux-image-amd64 of {}\n",
        kernel.suite()
    )
}

/// Downloads the packages that hold the image and the modules. Which those are differs: up to 7.1
/// it is one package, from 7.2 on three.
fn download(kernel: Kernel, lab: &Path, apt: &Apt, progress: &Progress) -> Result<Vec<PathBuf>> {
    const META: &str = "linux-image-amd64";
    const PARTS: [&str; 4] = [
        "linux-image-",
        "linux-binary-",
        "linux-modules-",
        "linux-base-",
    ];
    let newest = apt.newest(META, kernel.suite(), progress)?;
    progress.say(format!("downloading the {kernel} kernel, version {newest}"));
    let mut packages = vec![format!("{META}={newest}")];
    let mut at = 0;
    while let Some(package) = packages.get(at).cloned() {
        for needed in apt.depends(&package)? {
            let part = PARTS.iter().any(|prefix| needed.starts_with(prefix));
            // The packages of one build have one version.
            let needed = format!("{needed}={newest}");
            if part && !packages.contains(&needed) {
                packages.push(needed);
            }
        }
        at += 1;
    }
    apt.download_only(&packages, &lab.join("apt").join(step(kernel)), progress)
}

fn unpack(
    lab: &Path,
    kernel: Kernel,
    directory: &Path,
    packages: &[PathBuf],
    rootfs: &Rootfs,
) -> Result<()> {
    super::apt::fresh_directory(directory)?;
    // The packages name usr/lib, the older ones lib.
    let usr_lib = directory.join("usr/lib");
    std::fs::create_dir_all(&usr_lib)
        .with_context(|| format!("{} could not be made", usr_lib.display()))?;
    std::os::unix::fs::symlink("usr/lib", directory.join("lib"))
        .context("The link lib -> usr/lib could not be made")?;
    rootfs::unpack(packages, directory)?;

    let version = version(directory)?;
    let candidates = [
        directory.join(format!("boot/vmlinuz-{version}")),
        modules(directory).join(&version).join("vmlinuz"),
    ];
    let packed = candidates
        .iter()
        .find(|path| path.exists())
        .with_context(|| format!("The packages of the {kernel} kernel hold no vmlinuz."))?;
    extract_image(packed, &directory.join("vmlinux"), rootfs)?;
    for package in packages {
        // Only space is lost if it stays.
        let _ = std::fs::remove_file(package);
    }
    stamp::set(lab, &step(kernel), &made_from(kernel))
}

fn modules(directory: &Path) -> PathBuf {
    directory.join("usr/lib/modules")
}

/// The one version whose modules are there.
fn version(directory: &Path) -> Result<String> {
    let modules = modules(directory);
    let mut entries = std::fs::read_dir(&modules)
        .with_context(|| format!("{} could not be listed", modules.display()))?;
    let entry = entries
        .next()
        .with_context(|| format!("{} is empty", modules.display()))?
        .context("A directory could not be listed")?;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Takes the ELF image out of a bzImage (Documentation/arch/x86/boot.rst: the protected-mode code
/// begins after the setup sectors; `payload_offset` and `payload_length` count from there).
fn extract_image(packed: &Path, image: &Path, rootfs: &Rootfs) -> Result<()> {
    let bytes =
        std::fs::read(packed).with_context(|| format!("{} could not be read", packed.display()))?;
    let payload = payload(&bytes)
        .with_context(|| format!("{} is not a bzImage as expected here", packed.display()))?;
    let unpacker = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        _ => bail!(
            "{} is compressed in a way that is not known here.",
            packed.display()
        ),
    };
    let compressed = image.with_extension("compressed");
    std::fs::write(&compressed, payload)
        .with_context(|| format!("{} could not be written", compressed.display()))?;
    let content = bytes_of(
        rootfs
            .command(unpacker)
            .args(["--decompress", "--stdout"])
            .arg(&compressed),
    )?;
    ensure!(
        content.starts_with(b"\x7fELF"),
        "{} holds no ELF image.",
        packed.display()
    );
    std::fs::write(image, content)
        .with_context(|| format!("{} could not be written", image.display()))?;
    std::fs::remove_file(&compressed)
        .with_context(|| format!("{} could not be removed", compressed.display()))
}

/// The compressed image within a bzImage, without the size that the kernel's build appends to it.
fn payload(image: &[u8]) -> Option<&[u8]> {
    const SECTOR: usize = 512;
    const TRAILER: usize = 4;
    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return None;
    }
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * SECTOR;
    let from = setup.checked_add(number(0x248)?)?;
    let to = from.checked_add(number(0x24c)?)?.checked_sub(TRAILER)?;
    image.get(from..to)
}
