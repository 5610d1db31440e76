//! Asking descriptors whether they are ready.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Asks which of `fds` are readable now (`POLLIN`): sync_files that are signalled, eventfds that
/// have counted. One poll(2) for all of them, without waiting.
///
/// `ready` is emptied and gets one answer for each descriptor, in order; its memory is used again.
/// Gives the number of descriptors that are ready. An empty list costs no system call.
///
/// A first poll of a sync_file also has its fence's driver tell when the fence is done
/// (`enable_signaling`), as waiting for it would.
///
/// # Errors
///
/// [`Error::Syscall`], such as `EINVAL` for more descriptors than `RLIMIT_NOFILE`, or `ENOMEM`.
pub fn poll_many(fds: &[BorrowedFd<'_>], ready: &mut Vec<bool>) -> Result<usize> {
    ready.clear();
    if fds.is_empty() {
        return Ok(0);
    }
    let mut set: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let count = poll(&mut set, Some(Duration::ZERO))?;
    ready.extend(
        set.iter()
            .map(|entry| entry.revents().intersects(PollFlags::IN)),
    );
    Ok(count)
}

/// Waits until `fd` is readable (`POLLIN`), at most `timeout`; `None` waits for ever. Says whether it
/// is.
///
/// **It blocks**; it is for tests and simple programs. A reactor watches the descriptor.
///
/// # Errors
///
/// [`Error::Syscall`].
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    poll_one(fd, PollFlags::IN, timeout)
}

/// Waits until `fd` has one of `events`, or `timeout` is over; `None` waits for ever. Says whether
/// it has.
pub(crate) fn poll_one(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    timeout: Option<Duration>,
) -> Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd, events)];
    poll(&mut set, timeout)?;
    Ok(set.iter().any(|entry| entry.revents().intersects(events)))
}

/// poll(2) that goes on after a signal, with what is left of the time.
fn poll(set: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
    // A time too far away to be represented is one that never comes.
    let end = match timeout {
        Some(Duration::ZERO) | None => None,
        Some(timeout) => Instant::now().checked_add(timeout),
    };
    let mut left = timeout;
    loop {
        let timespec = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(set, timespec.as_ref()) {
            Err(Errno::INTR) => {
                left = end
                    .map(|end| end.saturating_duration_since(Instant::now()))
                    .or(left);
            }
            answer => return answer.map_err(Error::syscall("poll")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_answers_stand_in_the_order_of_the_descriptors() {
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let idle = rustix::event::eventfd(0, flags).unwrap();
        let counted = rustix::event::eventfd(1, flags).unwrap();
        let mut ready = vec![true; 7];
        let fds = [idle.as_fd(), counted.as_fd(), idle.as_fd(), counted.as_fd()];
        assert_eq!(poll_many(&fds, &mut ready).unwrap(), 2);
        assert_eq!(ready, [false, true, false, true]);
        assert_eq!(poll_many(&[], &mut ready).unwrap(), 0);
        assert!(ready.is_empty());
    }

    #[test]
    fn a_time_out_ends_the_wait() {
        let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let begin = Instant::now();
        assert!(!poll_one(fd.as_fd(), PollFlags::IN, Some(Duration::from_millis(20))).unwrap());
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
