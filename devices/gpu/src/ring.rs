//! A vring: its queue, its two eventfds, and what waits to be published in it.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use tracing::warn;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

use crate::error::{Error, Result};
use crate::offer::MAX_QUEUE_SIZE;

/// One of the device's two rings.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) queue: Queue,
    pub(crate) kick: Option<File>,
    pub(crate) call: Option<File>,
    pub(crate) enabled: bool,
    /// Answered chains, not yet in the used ring. They are kept while the ring is stopped.
    used: Vec<(u16, u32)>,
}

impl Ring {
    pub(crate) fn new() -> Result<Self> {
        let queue = Queue::new(MAX_QUEUE_SIZE).map_err(|source| Error::Queue {
            size: MAX_QUEUE_SIZE,
            source,
        })?;
        Ok(Self {
            queue,
            kick: None,
            call: None,
            enabled: false,
            used: Vec::new(),
        })
    }

    /// Whether the device may touch the ring.
    pub(crate) fn runs(&self) -> bool {
        self.enabled && self.queue.ready()
    }

    /// Whether the driver has just begun with it: nothing of it was used in this life.
    pub(crate) fn is_new(&self, memory: &GuestMemoryMmap) -> bool {
        let used = self.queue.used_idx(memory, Ordering::Acquire);
        self.queue.next_avail() == 0 && used.is_ok_and(|index| index.0 == 0)
    }

    /// Remembers that a chain is answered.
    pub(crate) fn answer(&mut self, head: u16, written: u32) {
        self.used.push((head, written));
    }

    /// Forgets what was not published.
    pub(crate) fn forget(&mut self) {
        self.used.clear();
    }

    /// Publishes what is answered, and calls the driver once if it wants to know.
    pub(crate) fn publish(&mut self, memory: &GuestMemoryMmap) {
        if self.used.is_empty() || !self.runs() {
            return;
        }
        for (head, written) in self.used.drain(..) {
            if let Err(error) = self.queue.add_used(memory, head, written) {
                // The guest has taken its used ring away; nobody can be told.
                warn!(%error, head, "The used ring cannot be written");
            }
        }
        match self.queue.needs_notification(memory) {
            Ok(false) => {}
            Ok(true) | Err(_) => self.call(),
        }
    }

    fn call(&self) {
        let Some(call) = &self.call else { return };
        if let Err(error) = rustix::io::write(call.as_fd(), &1_u64.to_ne_bytes()) {
            warn!(%error, "The driver cannot be called");
        }
    }
}
