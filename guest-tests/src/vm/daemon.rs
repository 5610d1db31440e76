//! The daemon under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::Lab;
use super::child::{Child, Stdout};
use super::error::Error;
use super::listening::SocketWatch;

/// What the daemon is started with.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// `--allocator`: where HOST3D blobs come from; the daemon's own default without it.
    pub allocator: Option<String>,
    /// `--fence-deadline-ms`: when a fence that does not signal is answered all the same.
    pub fence_deadline: Option<Duration>,
    /// Any further flags.
    pub arguments: Vec<String>,
}

/// A running daemon, listening on both of its sockets.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub child: Child,
    /// The vhost-user socket.
    pub socket: PathBuf,
    /// The socket on which host processes ask for dma-bufs.
    pub bridge: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up; the error quotes what it said.
    pub fn start(lab: &Lab, options: &DaemonOptions) -> Result<Self, Error> {
        let socket = lab.sockets.join("gpu.sock");
        let bridge = lab.sockets.join("bridge.sock");
        for old in [&socket, &bridge] {
            forget(old)?;
        }
        let mut command = lab.program("stile-gpu");
        command
            .arg("--socket")
            .arg(&socket)
            .arg("--bridge")
            .arg(&bridge);
        if let Some(allocator) = &options.allocator {
            command.args(["--allocator", allocator]);
        }
        if let Some(deadline) = options.fence_deadline {
            command.args(["--fence-deadline-ms", &deadline.as_millis().to_string()]);
        }
        command.args(&options.arguments).stdin(Stdio::null());

        let watch = SocketWatch::on(&lab.sockets)?;
        let mut child = Child::start("stile-gpu", command, &lab.logs, Stdout::Log)?;
        for path in [&socket, &bridge] {
            watch.wait(&mut child, path)?;
        }
        Ok(Self {
            child,
            socket,
            bridge,
        })
    }
}

/// Removes a socket that an earlier life left.
pub(crate) fn forget(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}
