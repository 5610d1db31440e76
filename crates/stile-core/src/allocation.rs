//! RESOURCE_CREATE_BLOB: the memory of a blob, which takes its time.
//!
//! The host makes a blob's memory elsewhere, and a guest does not wait for it: Linux sends commands
//! that use the resource right behind the one that creates it. So the device **pauses**: it takes up
//! no command until the memory is there. Everything else goes on: fences signal, jobs end, deadlines
//! pass.
//!
//! | an allocation is | meaning | goes to | when |
//! | --- | --- | --- | --- |
//! | *awaited* | the device is paused | ended, the guest is answered | [`Device::buffer_created`] |
//! | *awaited* | | given up, the guest has `OUT_OF_MEMORY` | its deadline passes |
//! | *awaited* | | forgotten | reset |
//! | *given up* | new blobs are refused at once: an allocator that hangs does not make the guest crawl | ended, the memory is dropped | [`Device::buffer_created`] |
//! | *forgotten* | nobody knows of it | ended, the memory is dropped | [`Device::buffer_created`] |
//!
//! In each of these states it counts for the quotas: the host may have the memory already.

use alloc::collections::BTreeSet;

use stile_wire::gpu::layout::MemEntry;
use stile_wire::gpu::{BlobFlags, BlobMem, Response, ResponseError};

use crate::answer::{Asker, to_host_error};
use crate::blob::{Blob, Mapping, guest_bytes, host_bytes};
use crate::device::{Device, Turn, to_usize};
use crate::host::{BlobSource, BufferId, Errno, Host};
use crate::region::PAGE;
use crate::slab::{Key, Slab};

/// What an allocation takes of the quotas, besides a resource and a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) host_bytes: u64,
    pub(crate) guest_bytes: u64,
}

/// The blob that the device waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) key: Key,
    /// When the guest is answered whatever the host does.
    pub(crate) deadline_ns: u64,
    asker: Asker,
    pub(crate) resource_id: u32,
    mem: BlobMem,
    flags: BlobFlags,
    size: u64,
}

/// The allocations that the host has not ended.
#[derive(Debug)]
pub(crate) struct Allocations {
    pub(crate) open: Slab<Taken>,
    pub(crate) awaited: Option<Awaited>,
    /// There is one at most: while there is, none is begun.
    pub(crate) given_up: Option<Key>,
}

impl Allocations {
    pub(crate) const fn new() -> Self {
        Self {
            open: Slab::new(),
            awaited: None,
            given_up: None,
        }
    }

    /// Bytes of host memory and of guest pages.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let taken = self.open.keys().filter_map(|key| self.open.get(key));
        taken.fold((0, 0), |(host, guest): (u64, u64), taken| {
            (
                host.saturating_add(taken.host_bytes),
                guest.saturating_add(taken.guest_bytes),
            )
        })
    }
}

/// Whether the entries that hold `size` bytes begin at a page and are whole pages, but for the one in
/// which the blob ends. A shadow of host memory is no exception, though nobody looks at its pages.
fn are_whole_pages(size: u64, entries: &[MemEntry]) -> bool {
    let mut left = size;
    entries.iter().all(|entry| {
        let length = u64::from(entry.length.get());
        let ends_blob = length >= left;
        left = left.saturating_sub(length);
        entry.addr.get().is_multiple_of(PAGE) && (ends_blob || length.is_multiple_of(PAGE))
    })
}

impl<H: Host> Device<H> {
    /// Whether the device takes up no command at the moment: the memory of a blob is being made.
    ///
    /// Commands stay where they are meanwhile. [`Device::buffer_created`], [`Device::tick`] and
    /// [`Device::reset`] end it.
    pub const fn is_paused(&self) -> bool {
        self.allocations.awaited.is_some()
    }

    /// `None` where the guest is answered when the memory is there.
    pub(crate) fn create_blob(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        (resource_id, mem, flags): (u32, BlobMem, BlobFlags),
        size: u64,
        entries: &[MemEntry],
    ) -> Option<Response> {
        if resource_id == 0 || self.blobs.contains_key(&resource_id) {
            return Some(Response::Err(ResponseError::InvalidResourceId));
        }
        let backed: u64 = entries.iter().fold(0, |sum, entry| {
            sum.saturating_add(entry.length.get().into())
        });
        let needs_pages = !matches!(mem, BlobMem::Host3d);
        if size == 0
            || needs_pages == entries.is_empty()
            || (needs_pages && backed < size)
            || !are_whole_pages(size, entries)
        {
            return Some(Response::Err(ResponseError::InvalidParameter));
        }
        let taken = Taken {
            host_bytes: host_bytes(mem, size),
            guest_bytes: guest_bytes(mem, size),
        };
        let host_bytes = self.host_bytes.saturating_add(taken.host_bytes);
        let guest_bytes = self.guest_bytes.saturating_add(taken.guest_bytes);
        let resources = self.blobs.len().saturating_add(self.allocations.open.len());
        if resources >= to_usize(self.limits.resources)
            || host_bytes > self.limits.host_bytes
            || guest_bytes > self.limits.guest_bytes
            || self.fds() >= self.limits.fds
        {
            return Some(self.over_quota());
        }
        if self.allocations.given_up.is_some() {
            self.counters.allocations_refused = self.counters.allocations_refused.saturating_add(1);
            return Some(Response::Err(ResponseError::OutOfMemory));
        }
        let source = match mem {
            BlobMem::Guest => BlobSource::Guest { size, entries },
            BlobMem::Host3d | BlobMem::Host3dGuest => BlobSource::Host { size },
        };
        let key = self.allocations.open.insert(taken);
        if let Err(error) = host.create_buffer(BufferId(key), source) {
            self.allocations.open.remove(key);
            return Some(Response::Err(to_host_error(error)));
        }
        self.host_bytes = host_bytes;
        self.guest_bytes = guest_bytes;
        self.allocations.awaited = Some(Awaited {
            key,
            deadline_ns: self.deadline_ns(turn.now_ns),
            asker: turn.asker(),
            resource_id,
            mem,
            flags,
            size,
        });
        None
    }

    /// The host has made the memory of a blob, or could not.
    pub fn buffer_created(&mut self, host: &mut H, id: BufferId, result: Result<H::Buffer, Errno>) {
        let Some(taken) = self.allocations.open.remove(id.0) else {
            return;
        };
        if self.allocations.given_up == Some(id.0) {
            self.allocations.given_up = None;
        }
        let awaited = self
            .allocations
            .awaited
            .take_if(|awaited| awaited.key == id.0);
        let response = match (&awaited, result) {
            (Some(awaited), Ok(buffer)) => {
                self.add_blob(host, awaited, buffer);
                Response::Ok
            }
            (_, result) => {
                self.host_bytes = self.host_bytes.saturating_sub(taken.host_bytes);
                self.guest_bytes = self.guest_bytes.saturating_sub(taken.guest_bytes);
                // Memory that comes too late is dropped.
                result.map_or_else(
                    |error| Response::Err(to_host_error(error)),
                    |_| Response::Ok,
                )
            }
        };
        match awaited {
            Some(awaited) => self.finish_for(host, awaited.asker, response),
            None => {
                let late = &mut self.counters.allocations_late;
                *late = late.saturating_add(1);
            }
        }
    }

    fn add_blob(&mut self, host: &mut H, awaited: &Awaited, buffer: H::Buffer) {
        host.publish(awaited.resource_id, None, &buffer);
        let blob = Blob {
            serial: self.next_serial(),
            buffer,
            words: None,
            size: awaited.size,
            mem: awaited.mem,
            flags: awaited.flags,
            mapping: Mapping::None,
            moving: None,
            uuid: None,
            contexts: BTreeSet::new(),
        };
        self.blobs.insert(awaited.resource_id, blob);
    }

    /// Gives up the allocation that the device waits for, if its deadline has passed.
    pub(crate) fn give_up_allocation(&mut self, host: &mut H, now_ns: u64) {
        let awaited = self
            .allocations
            .awaited
            .take_if(|awaited| awaited.deadline_ns <= now_ns);
        let Some(awaited) = awaited else { return };
        self.allocations.given_up = Some(awaited.key);
        self.counters.allocations_overdue = self.counters.allocations_overdue.saturating_add(1);
        let response = Response::Err(ResponseError::OutOfMemory);
        self.finish_for(host, awaited.asker, response);
    }

    /// The device is reset, and knows nothing of the blob that it waited for. What the host has not
    /// ended counts on.
    pub(crate) fn forget_allocation(&mut self) {
        self.allocations.awaited = None;
        (self.host_bytes, self.guest_bytes) = self.allocations.bytes();
    }
}
