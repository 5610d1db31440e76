//! The program that plays the GPU.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::Lab;
use super::child::{Child, Stdout};
use super::daemon::forget;
use super::error::Error;

/// A running `host-gpu`. Its stdin is the listening control socket: a guest's VMM can connect at
/// once, and again after a restart.
#[derive(Debug)]
pub struct HostGpu {
    /// The process.
    pub child: Child,
    /// The control socket.
    pub control: PathBuf,
}

impl HostGpu {
    /// Starts it beside a daemon with this bridge.
    ///
    /// # Errors
    /// When the socket or the process cannot be made.
    pub fn start(lab: &Lab, bridge: &Path) -> Result<Self, Error> {
        let control = lab.sockets.join("control.sock");
        forget(&control)?;
        let listener = UnixListener::bind(&control).map_err(|e| Error::file(&control, e))?;
        let mut command = lab.program("host-gpu");
        command
            .arg("--bridge")
            .arg(bridge)
            .stdin(OwnedFd::from(listener));
        let child = Child::start("host-gpu", command, &lab.logs, Stdout::Log)?;
        Ok(Self { child, control })
    }
}
