//! Running a program to its end, with its lines as they come and a bound for a hang.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::process::cannot_start;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Takes the lines; from two threads.
pub(crate) type LineSink<'a> = &'a (dyn Fn(Stream, &str) + Sync);

/// Runs the program and gives its lines to `line`. Gives its status, or None when it still ran after
/// `bound` and was ended.
pub(crate) fn supervise(
    command: &mut Command,
    bound: Duration,
    line: LineSink<'_>,
) -> Result<Option<ExitStatus>> {
    // stdin stays an open pipe: at its end QEMU would close the port that has it as its far end.
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Ended(
        command
            .spawn()
            .map_err(|error| cannot_start(command, error))?,
    );
    let stdout = child.0.stdout.take().context("A child has no stdout")?;
    let stderr = child.0.stderr.take().context("A child has no stderr")?;
    std::thread::scope(|scope| {
        scope.spawn(|| read_lines(stdout, |text| line(Stream::Stdout, text)));
        scope.spawn(|| read_lines(stderr, |text| line(Stream::Stderr, text)));
        let status = wait(&mut child.0, bound);
        if !matches!(status, Ok(Some(_))) {
            // Ends the threads that read, too.
            child.end();
        }
        status
    })
}

/// A child that does not outlive its owner.
struct Ended(Child);

impl Ended {
    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

fn wait(child: &mut Child, bound: Duration) -> Result<Option<ExitStatus>> {
    const FAILED: &str = "A child process could not be waited for";
    let ended =
        rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context(FAILED)?;
    let timeout = bound.try_into().context("A bound is too long for poll()")?;
    loop {
        let mut watched = [PollFd::new(&ended, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Ok(None),
            // Not Child::wait, which would close the child's stdin first.
            Ok(_) => return child.try_wait().context(FAILED),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(FAILED),
        }
    }
}

/// Reads to the end, line by line, whatever the bytes are.
fn read_lines(source: impl Read, mut line: impl FnMut(&str)) {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    while source
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        line(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']));
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn both_streams_arrive_and_so_does_the_status() {
        let lines = Mutex::new(Vec::new());
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = supervise(&mut command, Duration::from_secs(60), &|stream, line| {
            lines.lock().unwrap().push((stream, line.to_owned()));
        });
        assert_eq!(status.unwrap().and_then(|status| status.code()), Some(3));
        let lines = lines.into_inner().unwrap();
        assert!(lines.contains(&(Stream::Stdout, "out".into())));
        assert!(lines.contains(&(Stream::Stderr, "err".into())));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let status = supervise(&mut command, Duration::from_millis(10), &|_, _| {});
        assert!(status.unwrap().is_none());
    }
}
