//! Starting the parts: the daemon, the program that plays the GPU, and a VMM with a guest. Each runs
//! as a child that is ended with its owner, and leaves what it said in a log.

mod child;
mod daemon;
mod end;
mod error;
mod guest;
mod host_gpu;
mod lines;
mod listening;
mod loss;
mod monitor;
mod probe;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use child::Child;
pub use daemon::{Daemon, DaemonOptions};
pub use error::Error;
pub use guest::{Guest, RunningGuest};
pub use host_gpu::HostGpu;
pub use loss::Loss;
pub use probe::{Lack, probe};

/// What the parts are started from. Made by `cargo xtask`, named by `stile-lab`'s flags.
#[derive(Clone, Debug, clap::Args)]
pub struct Lab {
    /// The guest's kernel image
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// The guest's initramfs, with the guest programs in it
    #[arg(long, value_name = "FILE")]
    pub initramfs: PathBuf,
    /// Where stile-gpu, host-gpu and the guest programs are
    #[arg(long, value_name = "DIRECTORY")]
    pub programs: PathBuf,
    /// Where logs go
    #[arg(
        long,
        value_name = "DIRECTORY",
        global = true,
        default_value = "/tmp/stile-lab/logs"
    )]
    pub logs: PathBuf,
    /// Where sockets go: short, and on a file system that has sockets
    #[arg(
        long,
        value_name = "DIRECTORY",
        global = true,
        default_value = "/tmp/stile-lab/sockets"
    )]
    pub sockets: PathBuf,
    /// The host is an emulated machine, which may lose guests (docs/adr/0006)
    #[arg(long)]
    pub emulated: bool,
    /// The root file system with QEMU in it, if that is not this system's own
    #[arg(long, value_name = "DIRECTORY")]
    pub rootfs: Option<PathBuf>,
}

impl Lab {
    /// The same lab with a subdirectory for the sockets and logs of one life, emptied.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn life(&self, name: &str) -> Result<Self, Error> {
        let [logs, sockets] = [&self.logs, &self.sockets].map(|directory| directory.join(name));
        for directory in [&logs, &sockets] {
            if directory.exists() {
                std::fs::remove_dir_all(directory).map_err(|e| Error::file(directory, e))?;
            }
            std::fs::create_dir_all(directory).map_err(|e| Error::file(directory, e))?;
        }
        Ok(Self {
            logs,
            sockets,
            ..self.clone()
        })
    }

    /// Says why once a guest of this life was lost by the emulated host (docs/adr/0006).
    #[must_use]
    pub fn lost(&self) -> PathBuf {
        self.sockets.join("lost")
    }

    /// One of the project's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// QEMU, with its firmware and modules.
    #[must_use]
    pub fn qemu(&self) -> Command {
        const PROGRAM: &str = "qemu-system-x86_64";
        let Some(root) = &self.rootfs else {
            return Command::new(PROGRAM);
        };
        // With the loader and the libraries of its own root file system, so that neither root nor
        // a chroot is needed.
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(&libraries)
            .arg(root.join("usr/bin").join(PROGRAM));
        command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
        for share in ["qemu", "seabios", "ipxe"] {
            command.arg("-L").arg(root.join("usr/share").join(share));
        }
        command
    }
}

/// The end of a log, for a person who has to find out what happened.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.into_iter().skip(from).collect::<Vec<_>>().join("\n")
}
