//! A blob resource and where it is mapped.

use alloc::collections::BTreeSet;

use stile_wire::gpu::{BlobFlags, BlobMem};

use crate::region::PAGE;
use crate::request::RequestId;

/// Whether a blob lies in the hostmem region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// It does not.
    None,
    /// The front end was asked to map or unmap it and has not answered.
    Changing,
    /// It does, from this offset.
    At(u64),
    /// It does, from this offset: the front end was asked to map another buffer there in the old
    /// one's place, and has not answered.
    Moving {
        /// In the region.
        offset: u64,
        /// Who has asked for it.
        request: RequestId,
    },
}

/// Bytes of a blob that count as host memory.
pub(crate) const fn host_bytes(mem: BlobMem, size: u64) -> u64 {
    match mem {
        BlobMem::Guest => 0,
        BlobMem::Host3d | BlobMem::Host3dGuest => size,
    }
}

/// Bytes of a blob that count as guest pages.
pub(crate) const fn guest_bytes(mem: BlobMem, size: u64) -> u64 {
    match mem {
        BlobMem::Host3d => 0,
        BlobMem::Guest | BlobMem::Host3dGuest => size,
    }
}

/// A blob resource.
#[derive(Debug)]
pub(crate) struct Blob<B, W> {
    pub(crate) serial: u64,
    pub(crate) buffer: B,
    /// Its memory as counters, from when one is first looked at.
    pub(crate) words: Option<W>,
    pub(crate) size: u64,
    pub(crate) mem: BlobMem,
    pub(crate) flags: BlobFlags,
    pub(crate) mapping: Mapping,
    /// Who waits until the guest sees the buffer, which has taken another's place.
    pub(crate) moving: Option<RequestId>,
    pub(crate) uuid: Option<[u8; 16]>,
    /// The contexts that it is attached to.
    pub(crate) contexts: BTreeSet<u32>,
}

impl<B, W> Blob<B, W> {
    /// Bytes that count as host memory.
    pub(crate) const fn host_bytes(&self) -> u64 {
        host_bytes(self.mem, self.size)
    }

    /// Bytes that count as guest pages.
    pub(crate) const fn guest_bytes(&self) -> u64 {
        guest_bytes(self.mem, self.size)
    }

    /// Bytes that it takes in the hostmem region: whole pages. Beyond the address space, 0, which
    /// no region takes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.size.checked_next_multiple_of(PAGE).unwrap_or(0)
    }

    /// Whether the guest may map it through the hostmem region.
    pub(crate) const fn mappable(&self) -> bool {
        !matches!(self.mem, BlobMem::Guest) && self.flags.contains(BlobFlags::USE_MAPPABLE)
    }
}
