//! What can go wrong outside of a guest's commands.

use std::io;
use std::path::PathBuf;

/// A fault of the host or of a front end. A guest's faults are answered to the guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be made.
    #[error("Cannot listen on {path}")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon serves the path.
    #[error("Another process is listening on {path}; stop it or choose another path")]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// `--fd` names something else.
    #[error("File descriptor {fd} is not a Unix stream socket")]
    NotASocket {
        /// The number.
        fd: i32,
    },
    /// The host lacks what the allocator needs.
    #[error("The allocator {choice} cannot be used")]
    Allocator {
        /// As the user wrote it.
        choice: String,
        /// Why.
        source: stile_host::Error,
    },
    /// The DRM node has no timelines.
    #[error("Timelines cannot be on {path}")]
    SyncobjNode {
        /// As the user wrote it.
        path: PathBuf,
        /// Why.
        source: stile_host::Error,
    },
    /// A system call that always works has failed.
    #[error("{call} failed")]
    System {
        /// Its name.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The front end broke the vhost-user protocol.
    #[error("The front end's message cannot be served: {0}")]
    Protocol(vhost::vhost_user::Error),
    /// A queue cannot be made.
    #[error("A virtqueue of {size} descriptors cannot be made")]
    Queue {
        /// Descriptors.
        size: u16,
        /// Why.
        source: virtio_queue::Error,
    },
}

impl Error {
    /// For `map_err` behind a system call.
    pub(crate) fn system<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            call,
            source: source.into(),
        }
    }
}

/// The daemon's results.
pub type Result<T> = std::result::Result<T, Error>;
