//! IGT's test programs, which Debian has in sid only: taken out of their packages with the loader
//! and the libraries that they were linked with, and with nothing else. The rest of the lab stays
//! what it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::{Apt, UNSTABLE, fresh_directory};
use super::cpio::Archive;
use super::{rootfs, stamp};
use crate::process::output_of;
use crate::progress::Progress;

/// Counts up when this file makes the tree in another way.
const RECIPE: u32 = 1;
const STEP: &str = "igt";
const PACKAGE: &str = "igt-gpu-tools-tests";

/// The programs that the lab runs. **A line here is a program more**; its subtests belong into
/// docs/igt.md.
pub(crate) const PROGRAMS: [&str; 3] = ["drm_virtgpu", "syncobj_basic", "dmabuf_sync_file"];

/// Where the packages have them, and what they need.
const TESTS: &str = "usr/libexec/igt-gpu-tools";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// The programs: `bin/` and `lib/`, the loader among the libraries.
pub(crate) struct Igt {
    /// Its root directory.
    pub(crate) root: PathBuf,
    /// The package's version.
    pub(crate) version: String,
}

impl Igt {
    /// Adds it to an initramfs, as `/igt`.
    pub(crate) fn add_to(&self, archive: &mut Archive) -> Result<()> {
        archive.directory(STEP);
        for part in ["bin", "lib"] {
            let name = format!("{STEP}/{part}");
            archive.directory(&name);
            for file in files(&self.root.join(part))? {
                let file_name = file.file_name().unwrap_or_default().to_string_lossy();
                archive.program_from(&format!("{name}/{file_name}"), &file)?;
            }
        }
        Ok(())
    }
}

/// Makes the tree, unless it is there.
pub(super) fn prepare(lab: &Path, progress: &Progress) -> Result<Igt> {
    let root = lab.join(STEP);
    let made_from = format!(
        "recipe {RECIPE}\nthe newest {PACKAGE} of {UNSTABLE}\n{}\n",
        PROGRAMS.join("\n")
    );
    let version = root.join("version");
    if stamp::holds(lab, STEP, &made_from)
        && let Ok(version) = std::fs::read_to_string(&version)
    {
        return Ok(Igt { root, version });
    }

    stamp::clear(lab, STEP)?;
    let apt = Apt::new(lab.join("apt-sid"), &[UNSTABLE]);
    let newest = apt.newest(PACKAGE, UNSTABLE, progress)?;
    progress.say(format!("downloading {PACKAGE}, version {newest}"));
    let packages = apt.download_with_dependencies(&[PACKAGE], progress)?;
    let unpacked = lab.join("igt-packages");
    fresh_directory(&unpacked)?;
    rootfs::unpack(&packages, &unpacked)?;
    take_out(&unpacked, &root)?;
    std::fs::write(&version, &newest)
        .with_context(|| format!("{} could not be written", version.display()))?;
    stamp::set(lab, STEP, &made_from)?;
    // Most of it is nothing that the programs need.
    std::fs::remove_dir_all(&unpacked)
        .with_context(|| format!("{} could not be removed", unpacked.display()))?;
    apt.forget_downloads()?;
    progress.say(format!("IGT's programs are there: {newest}"));
    Ok(Igt {
        root,
        version: newest,
    })
}

/// Copies the programs, their loader, and the libraries that it finds for them.
fn take_out(unpacked: &Path, root: &Path) -> Result<()> {
    fresh_directory(root)?;
    let (programs, libraries) = (root.join("bin"), root.join("lib"));
    for directory in [&programs, &libraries] {
        fresh_directory(directory)?;
    }
    let from = unpacked.join(LIBRARIES);
    copy_into(&from.join(LOADER), &libraries)?;
    for program in PROGRAMS {
        let program = unpacked.join(TESTS).join(program);
        copy_into(&program, &programs)?;
        let listed = output_of(
            Command::new(from.join(LOADER))
                .arg("--library-path")
                .arg(&from)
                .arg("--list")
                .arg(&program),
        )?;
        for line in listed.lines() {
            ensure!(
                !line.ends_with("not found"),
                "The packages lack what {} needs: {}",
                program.display(),
                line.trim()
            );
            if let Some(library) = found_at(line) {
                copy_into(library, &libraries)?;
            }
        }
    }
    Ok(())
}

/// Where the loader found a library: "\tlibdrm.so.2 => /a/b/libdrm.so.2 (0x…)". The kernel's own,
/// which is no file, has no arrow.
fn found_at(line: &str) -> Option<&Path> {
    let (_, found) = line.split_once(" => ")?;
    let (path, _) = found.rsplit_once(" (0x")?;
    Some(Path::new(path))
}

/// Copies a file, or what a link leads to, under its own name.
fn copy_into(file: &Path, directory: &Path) -> Result<()> {
    let to = directory.join(file.file_name().unwrap_or_default());
    std::fs::copy(file, to).with_context(|| format!("{} could not be copied", file.display()))?;
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} could not be listed", directory.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("{} could not be listed", directory.display()))?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_says_where_it_found_a_library() {
        assert_eq!(
            found_at("\tlibm.so.6 => /lab (0)/lib/libm.so.6 (0x00007fb88acdb000)"),
            Some(Path::new("/lab (0)/lib/libm.so.6"))
        );
        assert_eq!(found_at("\tlinux-vdso.so.1 (0x00007ffd5a9f2000)"), None);
    }
}
