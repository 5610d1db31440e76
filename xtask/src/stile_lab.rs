//! The command line of `stile-lab`, the program that runs guests on the host side, and what it tells.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::programs::Programs;
use crate::setup::{Kernel, Lab};

/// An event as `stile-lab` prints it (guest-tests/src/event.rs).
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    Start {
        case: String,
    },
    Pass {
        case: String,
        ms: u64,
    },
    Fail {
        case: String,
        detail: String,
        ms: u64,
    },
    Skip {
        case: String,
        detail: String,
    },
    Again {
        case: String,
        detail: String,
    },
    Exit,
}

/// The flag for a host that is an emulated machine.
pub(crate) const EMULATED: &str = "--emulated";

/// `stile-lab` with a guest kernel, and then `words`. On this machine (`here`) QEMU is the lab's own;
/// in the host VM the lab's root file system is the root.
pub(crate) fn command(
    lab: &Lab,
    programs: &Programs,
    kernel: Kernel,
    logs: &Path,
    here: bool,
    words: &[&str],
) -> Result<Vec<OsString>> {
    let initramfs = programs.guest_initramfs(lab, kernel)?;
    let mut command = with_initramfs(lab, programs, kernel, &initramfs, logs)?;
    if here {
        command.extend(["--rootfs".into(), lab.rootfs.root.clone().into()]);
    } else {
        command.push(EMULATED.into());
    }
    command.extend(words.iter().map(OsString::from));
    Ok(command)
}

/// The same without words, for the host VM and a guest with this initramfs.
pub(crate) fn with_initramfs(
    lab: &Lab,
    programs: &Programs,
    kernel: Kernel,
    initramfs: &Path,
    logs: &Path,
) -> Result<Vec<OsString>> {
    let mut command: Vec<OsString> = vec![programs.host.join("stile-lab").into()];
    for (flag, path) in [
        ("--kernel", lab.kernel(kernel)?.image.as_path()),
        ("--initramfs", initramfs),
        ("--programs", &programs.host),
        ("--logs", logs),
    ] {
        command.extend([flag.into(), path.into()]);
    }
    Ok(command)
}
