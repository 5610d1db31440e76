//! A vring: its queue, its two eventfds, and what waits to be published in it.
//!
//! The `virtio-queue` crate reads the available ring and its descriptors. The used ring is written
//! here, since a batch is to appear in it with one store of its index, and since the crate does not
//! know `VIRTQ_AVAIL_F_NO_INTERRUPT`.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};

use tracing::{debug, warn};
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

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

    /// The next command, if there is one.
    pub(crate) fn take<'a>(
        &mut self,
        memory: &'a GuestMemoryMmap,
    ) -> Next<DescriptorChain<&'a GuestMemoryMmap>> {
        match self.queue.iter(memory) {
            Ok(mut chains) => chains.next().map_or(Next::None, Next::Some),
            Err(error) => {
                debug!(%error, "The driver has broken its ring");
                Next::Broken
            }
        }
    }

    /// Publishes what is answered, and calls the driver once if it wants to know.
    pub(crate) fn publish(&mut self, memory: &GuestMemoryMmap) {
        if self.used.is_empty() || !self.runs() {
            return;
        }
        match self.write_used(memory) {
            Ok(false) => {}
            Ok(true) => self.call(),
            // The guest has taken its ring away; nobody can be told.
            Err(error) => debug!(%error, "The used ring cannot be written"),
        }
    }

    /// Writes the used ring, its index last. Says whether the driver wants to be called.
    fn write_used(
        &mut self,
        memory: &GuestMemoryMmap,
    ) -> std::result::Result<bool, GuestMemoryError> {
        let (size, used) = (self.queue.size(), self.queue.used_ring());
        let old = self.queue.next_used();
        let mut new = old;
        for (head, written) in self.used.drain(..) {
            let slot = u64::from(new.checked_rem(size).unwrap_or(0));
            let element = [u32::from(head).to_le(), written.to_le()];
            memory.write_obj(element, at(used, slot.saturating_mul(8).saturating_add(4)))?;
            new = new.wrapping_add(1);
        }
        self.queue.set_next_used(new);
        memory.store(new.to_le(), at(used, 2), Ordering::Release)?;
        // The index is there before the driver's wish is read: if the driver changes it at this
        // moment, then it looks at the index afterwards (virtio 1.3, 2.7.10 and 2.7.7).
        fence(Ordering::SeqCst);
        let available = self.queue.avail_ring();
        if self.queue.event_idx_enabled() {
            let end = u64::from(size).saturating_mul(2).saturating_add(4);
            let event = u16::from_le(memory.load(at(available, end), Ordering::Relaxed)?);
            Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
        } else {
            let flags = u16::from_le(memory.load(at(available, 0), Ordering::Relaxed)?);
            Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0)
        }
    }

    /// Calls the driver.
    pub(crate) fn call(&self) {
        let Some(call) = &self.call else { return };
        if let Err(error) = rustix::io::write(call.as_fd(), &1_u64.to_ne_bytes()) {
            warn!(%error, "The driver cannot be called");
        }
    }
}

/// What a ring has next.
pub(crate) enum Next<T> {
    Some(T),
    None,
    /// The driver broke the protocol; the ring's indices make no sense.
    Broken,
}

/// Rings that wrap around the address space are no memory either.
fn at(ring: u64, offset: u64) -> GuestAddress {
    GuestAddress(ring.saturating_add(offset))
}
