//! Building what runs in the lab: on the host side as cargo builds it, in the guest as static
//! programs, because a guest has no libraries.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{cannot_start, shown};
use crate::progress::Progress;
use crate::setup::{Archive, Igt, Kernel, Lab};
use crate::workspace::{Workspace, cargo};

/// The target of the static programs: naming it keeps their flags from build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Packages whose programs the host side needs.
const HOST_PACKAGES: [&str; 2] = ["stile-gpu", "guest-tests"];
/// Programs that go into every guest, as package and program. One that its package does not have
/// is left out.
const GUEST_PROGRAMS: [(&str, &str); 3] = [
    ("guest-tests", "guest-cases"),
    ("guest-tests", "guest-demo"),
    ("stile-guest", "stile"),
];

/// The program that runs IGT's, on either side; other guests have no use for it.
const IGT_RUNNER: (&str, &str) = ("guest-tests", "guest-igt");

/// What was built.
pub(crate) struct Programs {
    /// The directory with the host side's programs.
    pub(crate) host: PathBuf,
    /// The guests' programs: name and file.
    guest: Vec<(String, PathBuf)>,
    /// The program that runs IGT's, static, too.
    pub(crate) igt_runner: PathBuf,
}

/// The lab and the programs for it: what is downloaded comes while cargo compiles.
pub(crate) fn with_lab(workspace: &Workspace, progress: &Progress) -> Result<(Lab, Programs)> {
    std::thread::scope(|scope| {
        let lab = scope.spawn(|| Lab::ensure(workspace, progress, false));
        let programs = Programs::build(workspace, progress);
        let lab = lab.join().unwrap_or_else(|_| bail!("The set-up panicked."));
        Ok((lab?, programs?))
    })
}

impl Programs {
    /// Builds all of them.
    pub(crate) fn build(workspace: &Workspace, progress: &Progress) -> Result<Self> {
        progress.say("building the programs for the host side and for the guest");
        let mut build = cargo();
        build.arg("build").args(quiet()).arg("--bins");
        for package in HOST_PACKAGES {
            build.args(["--package", package]);
        }
        succeed(build)?;

        let target = workspace.target.join("static");
        let mut build = cargo();
        build
            .arg("build")
            .args(quiet())
            .args(["--target", TARGET, "--target-dir"])
            .arg(&target);
        // Without debug information: the whole initramfs is copied into each guest's memory.
        build.env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static -C strip=debuginfo",
        );
        // The host side's half of guest-tests is left out.
        build.arg("--no-default-features");
        let built = |program: &str| target.join(TARGET).join("debug").join(program);
        let mut guest = Vec::new();
        for (package, program) in GUEST_PROGRAMS {
            if workspace.has_target(package, "bin", program) {
                build.args(["--package", package, "--bin", program]);
                guest.push((program.to_owned(), built(program)));
            }
        }
        let (package, program) = IGT_RUNNER;
        build.args(["--package", package, "--bin", program]);
        succeed(build)?;
        Ok(Self {
            host: workspace.target.join("debug"),
            guest,
            igt_runner: built(program),
        })
    }

    /// Puts a file of a person's own into every guest, under its name.
    pub(crate) fn take_along(&mut self, file: &Path) -> Result<()> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no usable name", file.display()))?;
        if self.guest.iter().any(|(taken, _)| taken == name) {
            bail!("A guest has a program `{name}` already.");
        }
        self.guest.push((name.to_owned(), file.to_owned()));
        Ok(())
    }

    /// The initramfs of a guest with its programs in it, written anew.
    pub(crate) fn guest_initramfs(&self, lab: &Lab, kernel: Kernel) -> Result<PathBuf> {
        let mut archive = Archive::default();
        archive.directory("payload");
        for (name, path) in &self.guest {
            archive.program_from(&format!("payload/{name}"), path)?;
        }
        initramfs(lab, kernel, archive, "guest")
    }

    /// The same of a guest with IGT's programs, and the one that runs them.
    pub(crate) fn igt_initramfs(&self, lab: &Lab, igt: &Igt, kernel: Kernel) -> Result<PathBuf> {
        let mut archive = Archive::default();
        archive.directory("payload");
        archive.program_from(&format!("payload/{}", IGT_RUNNER.1), &self.igt_runner)?;
        igt.add_to(&mut archive)?;
        initramfs(lab, kernel, archive, "igt")
    }
}

/// Writes a guest's initramfs with this in it.
fn initramfs(lab: &Lab, kernel: Kernel, payload: Archive, name: &str) -> Result<PathBuf> {
    // The kernel unpacks archives that follow each other over each other.
    let base = &lab.kernel(kernel)?.guest_initramfs;
    let mut bytes =
        std::fs::read(base).with_context(|| format!("{} could not be read", base.display()))?;
    bytes.extend(payload.finish());
    let path = lab.directory.join(format!("{name}-{kernel}.cpio"));
    std::fs::write(&path, bytes)
        .with_context(|| format!("{} could not be written", path.display()))?;
    Ok(path)
}

/// Cargo shows a person how far it is; a log needs no line for every crate.
fn quiet() -> Option<&'static str> {
    (!std::io::stderr().is_terminal()).then_some("--quiet")
}

fn succeed(mut command: std::process::Command) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| cannot_start(&command, error))?;
    if !status.success() {
        bail!("`{}` failed ({status}).", shown(&command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ones_own_is_taken_along_under_a_name_that_is_free() {
        let mut programs = Programs {
            host: PathBuf::new(),
            guest: vec![("stile".to_owned(), PathBuf::from("built/stile"))],
            igt_runner: PathBuf::new(),
        };
        programs.take_along(Path::new("mine/client")).unwrap();
        for taken in ["client", "other/client", "stile", "/", ".."] {
            programs.take_along(Path::new(taken)).unwrap_err();
        }
        let own = ("client".to_owned(), PathBuf::from("mine/client"));
        assert_eq!(programs.guest[1..], [own]);
    }
}
