//! What can go wrong with a part.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::loss::Loss;

/// Why a part did not start, or did not do what was waited for.
#[derive(Debug, Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("{} could not be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("{program} could not be started (is it built, and named by --programs?)")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A part ended before it did what was waited for.
    #[error("{name} ended ({status}) before {before}; it said:\n{said}")]
    Ended {
        /// Which part.
        name: String,
        /// How it ended.
        status: String,
        /// What was waited for.
        before: String,
        /// The end of its log.
        said: String,
    },
    /// A part did not do what was waited for within the bound that is taken for a hang.
    #[error("{name} did not get as far as {before} within {} s; it said:\n{said}", bound.as_secs())]
    Hung {
        /// Which part.
        name: String,
        /// What was waited for.
        before: String,
        /// How long.
        bound: Duration,
        /// The end of its log.
        said: String,
    },
    /// A guest ended in another way than by powering off.
    #[error("The guest ended by itself ({reason}), its processor in this state:\n{registers}")]
    GuestEnded {
        /// QEMU's ShutdownCause (qapi/run-state.json).
        reason: String,
        /// What QEMU's monitor says to `info registers`.
        registers: String,
    },
    /// The emulator has mixed up the host's state and the guest's, which cannot go on then.
    #[error("The emulated host has lost the guest: {0}")]
    Lost(Loss),
    /// The kernel refused something the harness needs for itself.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn system(what: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System {
            what,
            source: source.into(),
        }
    }
}
