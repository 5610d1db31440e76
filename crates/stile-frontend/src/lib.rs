//! The other end of `stile-gpu`'s sockets, in a test's own process: a front end that speaks
//! vhost-user, the memory of a guest, and the driver's side of two virtqueues.
//!
//! - [`Daemon`] starts the daemon and looks into its process.
//! - [`Vm`] is a connection: features, memory, rings, the back-end channel.
//! - [`Ring`] is a virtqueue as the driver sees it, down to its single descriptors.
//! - [`gpu`] writes commands and reads responses.
//! - [`raw`] writes vhost-user messages as bytes, for those that no front end should send.
//!
//! Everything panics with a message where a test would fail. Whoever waits, waits on a descriptor;
//! what takes longer than [`HANG`] is taken for hung.

mod daemon;
pub mod events;
mod filter;
mod freeze;
pub mod gpu;
mod ram;
pub mod raw;
mod requests;
mod ring;
pub mod status;
mod vm;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

pub use daemon::{Daemon, Options, open_fds};
pub use freeze::Frozen;
pub use ram::Ram;
pub use requests::{Manner, Reply, Request};
pub use ring::{Chain, Piece, Ring, Used, descriptor};
pub use vm::{Plan, Ticket, Vm};

/// Longer than anything takes that works.
pub const HANG: Duration = Duration::from_secs(20);

/// Waits until `fd` is readable. `false` after `timeout`.
///
/// # Panics
/// If it cannot be polled.
pub fn readable(fd: impl AsFd, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(timeout).expect("the time fits");
    let mut set = [PollFd::new(&fd, PollFlags::IN)];
    loop {
        match poll(&mut set, Some(&timeout)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll failed: {error}"),
        }
    }
}

/// An eventfd as a borrowed descriptor.
pub(crate) fn borrow(fd: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as what the result borrows.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}
