//! A child process that does not outlive its owner.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::error::Error;
use super::tail;
use crate::stuck::children;

/// How much of a log an error quotes.
const QUOTED_LINES: usize = 40;

/// A running part. Dropping it ends it.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    process: std::process::Child,
    /// Readable once the process has ended.
    ended: OwnedFd,
    log: PathBuf,
}

impl Child {
    /// Starts a program, its stderr going to `NAME.log` in `directory`, and its stdout, too, unless
    /// the command says otherwise.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        directory: &Path,
        stdout: Stdout,
    ) -> Result<Self, Error> {
        let log = directory.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|source| Error::file(&log, source))?;
        match stdout {
            Stdout::Log => command.stdout(
                file.try_clone()
                    .map_err(|source| Error::file(&log, source))?,
            ),
            Stdout::Piped => command.stdout(std::process::Stdio::piped()),
            Stdout::Inherited => &mut command,
        };
        let process = command
            .stderr(file)
            .spawn()
            .map_err(|source| Error::Start {
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })?;
        let ended = rustix::process::pidfd_open(Pid::from_child(&process), PidfdFlags::empty())
            .map_err(|source| Error::system("Watching a child process", source))?;
        Ok(Self {
            name,
            process,
            ended,
            log,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where what it said is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An fd that is readable once the process has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// [`Error::Hung`] when it still runs after `bound`; it goes on running then.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus, Error> {
        if !readable(&[self.ended()], Some(bound))? {
            return Err(self.hung("its end", bound));
        }
        self.process
            .wait()
            .map_err(|source| Error::system("Waiting for a child process", source))
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only for a process that has been waited for already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// The error for a part that ended too early.
    pub(crate) fn ended_before(&mut self, before: &str) -> Error {
        let status = match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Error::Ended {
            name: self.name.to_owned(),
            status,
            before: before.to_owned(),
            said: tail(&self.log, QUOTED_LINES),
        }
    }

    /// The error for a part that hangs.
    pub(crate) fn hung(&self, before: &str, bound: Duration) -> Error {
        Error::Hung {
            name: self.name.to_owned(),
            before: before.to_owned(),
            bound,
            said: format!("{}\n{}", tail(&self.log, QUOTED_LINES), children()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a child's stdout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdout {
    /// To its log, with its stderr.
    Log,
    /// To its owner.
    Piped,
    /// Wherever the owner's goes.
    Inherited,
}

/// Waits until one of the fds is readable or at its end; false when `bound` is over first.
pub(crate) fn readable(fds: &[BorrowedFd<'_>], bound: Option<Duration>) -> Result<bool, Error> {
    const WHAT: &str = "Waiting for an event";
    let bound = bound
        .map(rustix::event::Timespec::try_from)
        .transpose()
        .map_err(|_| Error::system(WHAT, Errno::INVAL))?;
    let mut watched: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        // After a signal the bound starts again: it is a bound for hangs, not a clock.
        match rustix::event::poll(&mut watched, bound.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(source) => return Err(Error::system(WHAT, source)),
        }
    }
}
