//! The two initramfs images of a kernel: one boots the host VM into the lab's root file system, the
//! other is all that a guest has.

use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::kernel::{BootFiles, Unpacked};
use super::modules::Modules;
use super::rootfs::Rootfs;
use super::stamp;
use crate::progress::Progress;

/// Counts up when this file makes the images in another way.
const RECIPE: u32 = 1;

/// What the host VM has: the file systems it lives on, KVM as TCG emulates it (AMD's), vgem for
/// fences without a GPU, and virtio-gpu for a node with drm_syncobj.
const HOST_MODULES: [&str; 6] = [
    "9pnet_virtio",
    "9p",
    "overlay",
    "kvm-amd",
    "vgem",
    "virtio-gpu",
];
/// What a guest has: the driver that all this is about, and vgem for fences that are not ours.
const GUEST_MODULES: [&str; 3] = ["virtio_console", "virtio-gpu", "vgem"];

const HOST_INIT: &str = include_str!("host-init.sh");
const GUEST_INIT: &str = include_str!("guest-init.sh");

/// Makes both images of a kernel, unless they are there.
pub(crate) fn ensure(
    lab: &Path,
    rootfs: &Rootfs,
    unpacked: Unpacked,
    progress: &Progress,
) -> Result<BootFiles> {
    let files = BootFiles {
        kernel: unpacked.kernel,
        image: unpacked.image(),
        host_initramfs: unpacked.directory.join("host.cpio"),
        guest_initramfs: unpacked.directory.join("guest.cpio"),
        version: unpacked.version.clone(),
    };
    let step = format!("initramfs-{}", unpacked.kernel);
    let made_from = format!(
        "recipe {RECIPE}\n{}\nhost {HOST_MODULES:?}\nguest {GUEST_MODULES:?}\n{HOST_INIT}\n\
         {GUEST_INIT}",
        unpacked.version
    );
    let there = files.host_initramfs.exists() && files.guest_initramfs.exists();
    if there && stamp::holds(lab, &step, &made_from) {
        return Ok(files);
    }

    stamp::clear(lab, &step)?;
    let modules = Modules::of(rootfs, &unpacked.modules())?;
    for (path, init, wanted) in [
        (&files.host_initramfs, HOST_INIT, HOST_MODULES.as_slice()),
        (&files.guest_initramfs, GUEST_INIT, GUEST_MODULES.as_slice()),
    ] {
        let image = image(rootfs, &modules, init, wanted)?;
        std::fs::write(path, image)
            .with_context(|| format!("{} could not be written", path.display()))?;
    }
    stamp::set(lab, &step, &made_from)?;
    progress.say(format!(
        "the initramfs images for {} are there",
        files.version
    ));
    Ok(files)
}

fn image(rootfs: &Rootfs, modules: &Modules<'_>, init: &str, wanted: &[&str]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["dev", "bin", "modules"] {
        archive.directory(directory);
    }
    // The kernel opens it for the first process, before there is a devtmpfs.
    archive.device("dev/console", 5, 1);
    archive.program_from("bin/busybox", &rootfs.root.join("usr/bin/busybox"))?;
    archive.program("init", init.as_bytes());
    let mut order = String::new();
    for module in modules.in_load_order(wanted)? {
        archive.program(&format!("modules/{}.ko", module.name), &module.content);
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.program("modules/order", order.as_bytes());
    Ok(archive.finish())
}
