//! How a call of `stile` fails, and with which exit code.

use std::io;
use std::process::ExitCode;

use stile_guest::Error;

/// Why the command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The library said so.
    #[error(transparent)]
    Guest(#[from] Error),
    /// A sync_file or a dma-buf did not work.
    #[error(transparent)]
    Host(#[from] stile_host::Error),
    /// A file or a pipe did not work.
    #[error("{what}: {source}.")]
    Io {
        /// Which.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The user asked for something that there is not.
    #[error("{0}.")]
    Usage(String),
    /// Lines of a script failed, and each has been reported.
    #[error("{count} lines of the script failed.")]
    Script {
        /// How many.
        count: u64,
        /// The exit code of the first.
        code: u8,
    },
    /// A buffer had another byte than expected.
    #[error("Byte {offset} of buffer {name} is {found:#04x}, not {wanted:#04x}.")]
    Differs {
        /// The buffer.
        name: String,
        /// Where, in bytes.
        offset: u64,
        /// What is there.
        found: u8,
        /// What should be there.
        wanted: u8,
    },
}

impl Failure {
    /// The exit code, as `stile --help` lists them.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Script { code, .. } => *code,
            Self::Guest(Error::Refused { .. } | Error::NotOffered { .. }) => 3,
            Self::Guest(Error::Timeout { .. }) => 4,
            Self::Guest(
                Error::NoRenderNode
                | Error::NotVirtioGpu { .. }
                | Error::NoCapset { .. }
                | Error::CapsetVersion { .. },
            ) => 5,
            Self::Guest(_) | Self::Host(_) | Self::Io { .. } | Self::Differs { .. } => 1,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// For `map_err` on what is done with a file or a pipe.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source,
        }
    }
}
