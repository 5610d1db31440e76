//! Closing many descriptors at once.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// Closes descriptors, and empties the list. Those that are numbered one after the other take one
/// close_range(2) together, and that is how the kernel numbers what is made at once.
pub fn close_many(fds: &mut Vec<OwnedFd>) {
    fds.sort_unstable_by_key(AsRawFd::as_raw_fd);
    while let Some(last) = fds.last().map(AsRawFd::as_raw_fd) {
        let mut first = last;
        let before = fds.iter().rev().skip(1);
        let row = before.take_while(|fd| {
            let next = fd.as_raw_fd().checked_add(1) == Some(first);
            if next {
                first = fd.as_raw_fd();
            }
            next
        });
        let rest = fds.len().saturating_sub(row.count()).saturating_sub(1);
        if first < last && close_range(first, last) {
            for fd in fds.drain(rest..) {
                let _closed = fd.into_raw_fd();
            }
        }
        fds.truncate(rest);
    }
}

/// Whether that closed them.
fn close_range(first: RawFd, last: RawFd) -> bool {
    let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
        return false;
    };
    // SAFETY:
    // - `close_many` owns every descriptor from `first` to `last`, and nobody has borrowed one: it
    //   has them as `OwnedFd`s that it forgets after this, so that nothing else is closed, and
    //   nothing twice.
    // - A number that another thread is given during the call is one that the call has passed: the
    //   kernel goes from the first to the last and closes each once.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) == 0 }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::{Errno, fcntl_getfd, read};
    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn what_is_closed_is_closed_and_nothing_else() {
        let mut closed: Vec<_> = (0..6).map(|_| pipe().unwrap()).collect();
        let others: Vec<_> = (0..6)
            .map(|_| eventfd(0, EventfdFlags::CLOEXEC).unwrap())
            .collect();
        // With gaps, and out of order.
        let kept = closed.split_off(3);
        let (readers, mut ends): (Vec<_>, Vec<_>) = closed.into_iter().unzip();
        ends.swap(0, 2);
        close_many(&mut ends);
        assert!(ends.is_empty());
        for reader in &readers {
            assert_eq!(read(reader, &mut [0]).unwrap(), 0, "the writer is open");
        }
        for (reader, writer) in &kept {
            assert!(fcntl_getfd(reader.as_fd()).is_ok() && fcntl_getfd(writer.as_fd()).is_ok());
        }
        for other in &others {
            assert!(fcntl_getfd(other.as_fd()).is_ok());
        }
    }

    #[test]
    fn a_row_of_descriptors_is_closed() {
        let (reader, writer) = pipe().unwrap();
        let mut copies: Vec<_> = (0..64)
            .map(|_| rustix::io::fcntl_dupfd_cloexec(&writer, 0).unwrap())
            .collect();
        drop(writer);
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert_eq!(read(&reader, &mut [0]), Err(Errno::AGAIN));
        close_many(&mut copies);
        assert_eq!(read(&reader, &mut [0]), Ok(0), "a copy is open");
    }
}
