//! The watched fences, in a table by the rows of their [`WaitId`]s.
//!
//! There may be tens of thousands, so a row is small: what few watches have stands apart.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use stile_core::WaitId;
use stile_host::SyncFile;

use crate::growth;

/// How a watch is in the epoll set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// Not yet, or not any more.
    No,
    /// By the fence's own descriptor.
    Own,
    /// By a second one: two watches of one fence need two entries.
    Second,
}

#[derive(Debug)]
struct Watch {
    fence: Arc<SyncFile>,
    /// The upper half of the id: a row is used again.
    serial: u32,
    listed: Listed,
}

/// A watch that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) fence: Arc<SyncFile>,
    own: bool,
    second: Option<OwnedFd>,
}

impl Ended {
    /// The descriptor that is in the epoll set.
    pub(crate) fn listed(&self) -> Option<BorrowedFd<'_>> {
        let own = self.own.then(|| self.fence.as_fd());
        own.or(self.second.as_ref().map(AsFd::as_fd))
    }
}

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    rows: Vec<Option<Watch>>,
    /// By their ids.
    seconds: HashMap<u64, OwnedFd>,
}

impl Watches {
    fn get(&self, wait: WaitId) -> Option<&Watch> {
        let watch = self.rows.get(wait.row())?.as_ref();
        watch.filter(|watch| watch.serial == serial(wait))
    }

    /// Begins a watch that is not in the set.
    pub(crate) fn insert(&mut self, wait: WaitId, fence: Arc<SyncFile>) {
        while self.rows.len() <= wait.row() {
            growth::push(&mut self.rows, None);
        }
        if let Some(row) = self.rows.get_mut(wait.row()) {
            *row = Some(Watch {
                fence,
                serial: serial(wait),
                listed: Listed::No,
            });
        }
    }

    /// The fence of a watch.
    pub(crate) fn fence(&self, wait: WaitId) -> Option<&Arc<SyncFile>> {
        self.get(wait).map(|watch| &watch.fence)
    }

    /// Puts a watch into the set: `add` does so with the fence's own descriptor, or, where that is
    /// in it already, with a second one.
    ///
    /// # Errors
    /// Those of `add`, and of `fcntl(F_DUPFD_CLOEXEC)`.
    pub(crate) fn list(
        &mut self,
        wait: WaitId,
        add: impl Fn(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let row = self.rows.get_mut(wait.row()).and_then(Option::as_mut);
        let Some(watch) = row.filter(|watch| watch.serial == serial(wait)) else {
            return Ok(());
        };
        match add(watch.fence.as_fd()) {
            Ok(()) => watch.listed = Listed::Own,
            Err(Errno::EXIST) => {
                let second = rustix::io::fcntl_dupfd_cloexec(watch.fence.as_fd(), 0)?;
                add(second.as_fd())?;
                watch.listed = Listed::Second;
                self.seconds.insert(wait.to_bits(), second);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes a watch out of the set by `delete`. It goes on.
    pub(crate) fn unlist(&mut self, wait: WaitId, delete: impl Fn(BorrowedFd<'_>)) {
        let row = self.rows.get_mut(wait.row()).and_then(Option::as_mut);
        let Some(watch) = row.filter(|watch| watch.serial == serial(wait)) else {
            return;
        };
        match std::mem::replace(&mut watch.listed, Listed::No) {
            Listed::No => {}
            Listed::Own => delete(watch.fence.as_fd()),
            Listed::Second => {
                if let Some(second) = self.seconds.remove(&wait.to_bits()) {
                    delete(second.as_fd());
                }
            }
        }
    }

    /// Ends a watch, which may be in the set yet.
    pub(crate) fn remove(&mut self, wait: WaitId) -> Option<Ended> {
        let row = self.rows.get_mut(wait.row())?;
        let watch = row.take_if(|watch| watch.serial == serial(wait))?;
        let second = match watch.listed {
            Listed::Second => self.seconds.remove(&wait.to_bits()),
            Listed::No | Listed::Own => None,
        };
        Some(Ended {
            fence: watch.fence,
            own: watch.listed == Listed::Own,
            second,
        })
    }
}

fn serial(wait: WaitId) -> u32 {
    u32::try_from(wait.to_bits() >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_row_takes_at_most_16_bytes() {
        assert!(size_of::<Option<super::Watch>>() <= 16);
    }
}
