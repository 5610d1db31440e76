//! What threads that may block have to tell the data path, which may not.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::error::Result;
use crate::reactor::eventfd;

/// Messages and an eventfd that says that there are some. Each end has a clone.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    messages: Arc<Mutex<VecDeque<T>>>,
    wake: Arc<OwnedFd>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self {
            messages: Arc::clone(&self.messages),
            wake: Arc::clone(&self.wake),
        }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            messages: Arc::default(),
            wake: Arc::new(eventfd()?),
        })
    }

    /// Readable, for an edge-triggered epoll set, when there is a message that was not there before.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn put(&self, message: T) {
        self.lock().push_back(message);
        if let Err(error) = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()) {
            warn!(%error, "The data path cannot be woken");
        }
    }

    /// All messages, in their order.
    pub(crate) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
