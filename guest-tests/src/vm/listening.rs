//! Waiting until a child listens on a Unix socket, without connecting to it: a connection would be a
//! client to it.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;

use super::child::{Child, readable};
use super::error::Error;

/// Longer than any daemon takes to start, even emulated twice.
const BOUND: Duration = Duration::from_secs(60);
/// Between bind() and listen() there is no event; it takes a daemon microseconds.
const BETWEEN_BIND_AND_LISTEN: Duration = Duration::from_millis(1);

/// Watches a directory from before its child is started, so that no event is missed.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    inotify: std::os::fd::OwnedFd,
}

impl SocketWatch {
    pub(crate) fn on(directory: &Path) -> Result<Self, Error> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify =
            inotify::init(flags).map_err(|source| Error::system("Making an inotify", source))?;
        inotify::add_watch(&inotify, directory, inotify::WatchFlags::CREATE)
            .map_err(|source| Error::file(directory, source.into()))?;
        Ok(Self { inotify })
    }

    /// Waits until somebody listens on `socket`.
    pub(crate) fn wait(&self, child: &mut Child, socket: &Path) -> Result<(), Error> {
        let before = format!("listening on {}", socket.display());
        while !socket.exists() {
            if !readable(&[self.inotify.as_fd(), child.ended()], Some(BOUND))? {
                return Err(child.hung(&before, BOUND));
            }
            if readable(&[child.ended()], Some(Duration::ZERO))? {
                return Err(child.ended_before(&before));
            }
            self.forget_events();
        }
        while !listens(socket)? {
            if readable(&[child.ended()], Some(BETWEEN_BIND_AND_LISTEN))? {
                return Err(child.ended_before(&before));
            }
        }
        Ok(())
    }

    fn forget_events(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        // Ends with EAGAIN when there are no more.
        while events.next().is_ok() {}
    }
}

/// Whether the kernel's list of sockets has this one as listening.
fn listens(socket: &Path) -> Result<bool, Error> {
    /// `__SO_ACCEPTCON` of include/linux/net.h, as /proc/net/unix shows it.
    const LISTENING: &str = "00010000";
    let list = Path::new("/proc/net/unix");
    let text = std::fs::read_to_string(list).map_err(|source| Error::file(list, source))?;
    let socket = format!(" {}", socket.display());
    // Num RefCount Protocol Flags Type St Inode Path
    Ok(text
        .lines()
        .any(|line| line.ends_with(&socket) && line.split_whitespace().nth(3) == Some(LISTENING)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_listens_only_once_somebody_listens() {
        let name = format!("stile-listening-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        assert!(!listens(&socket).unwrap());
        let listener = UnixListener::bind(&socket).unwrap();
        assert!(listens(&socket).unwrap());
        drop(listener);
        assert!(!listens(&socket).unwrap());
        std::fs::remove_file(&socket).unwrap();
    }
}
