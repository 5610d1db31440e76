//! The guest's memory: one memfd, in one region or several.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::MemfdFlags;
use vhost::VhostUserMemoryRegionInfo;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

/// Guest memory, and who has which part of it.
#[derive(Debug)]
pub struct Ram {
    memory: GuestMemoryMmap,
    file: File,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    next: u64,
    end: u64,
    /// Free parts by their size, a power of two.
    free: BTreeMap<u64, Vec<u64>>,
}

impl Ram {
    /// Memory with the given regions, addresses and sizes of whole pages. Parts are given out from
    /// the first.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(regions: &[(u64, u64)], sealable: bool) -> Self {
        let flags = if sealable {
            MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC
        } else {
            MemfdFlags::CLOEXEC
        };
        let file = File::from(rustix::fs::memfd_create("guest", flags).expect("a memfd"));
        let mut offset = 0;
        let ranges: Vec<_> = regions
            .iter()
            .map(|(address, size)| {
                let place = FileOffset::new(file.try_clone().expect("a descriptor"), offset);
                offset += size;
                (GuestAddress(*address), *size as usize, Some(place))
            })
            .collect();
        file.set_len(offset).expect("memory");
        let (start, size) = regions[0];
        Self {
            memory: GuestMemoryMmap::from_ranges_with_files(ranges).expect("mappings"),
            file,
            parts: Mutex::new(Parts {
                next: start,
                end: start + size,
                free: BTreeMap::new(),
            }),
        }
    }

    /// The memfd.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The mapped memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The regions as a front end tells them.
    pub fn regions(&self) -> Vec<VhostUserMemoryRegionInfo> {
        self.memory
            .iter()
            .map(|region| VhostUserMemoryRegionInfo::from_guest_region(region).expect("a file"))
            .collect()
    }

    /// The front end's address of a guest address.
    pub(crate) fn user_address(&self, address: u64) -> u64 {
        let address = GuestAddress(address);
        let region = self.memory.find_region(address).expect("guest memory");
        let info = VhostUserMemoryRegionInfo::from_guest_region(region).expect("a file");
        info.userspace_addr + (address.0 - region.start_addr().0)
    }

    /// A part of at least `bytes`, aligned to its size or a page, whichever is less.
    ///
    /// # Panics
    /// If all is given out.
    pub fn take(&self, bytes: u64) -> u64 {
        let size = bytes.next_power_of_two().max(64);
        let mut parts = self.parts();
        if let Some(address) = parts.free.get_mut(&size).and_then(Vec::pop) {
            return address;
        }
        let address = parts.next.next_multiple_of(size.min(4096));
        assert!(
            address + size <= parts.end,
            "the guest has no more memory for {bytes} bytes"
        );
        parts.next = address + size;
        address
    }

    /// Gives a part back that [`Ram::take`] gave for `bytes`.
    pub fn give(&self, address: u64, bytes: u64) {
        let size = bytes.next_power_of_two().max(64);
        self.parts().free.entry(size).or_default().push(address);
    }

    /// Writes bytes.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .expect("guest memory");
    }

    /// Reads bytes.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut to = vec![0; bytes];
        self.memory
            .read_slice(&mut to, GuestAddress(address))
            .expect("guest memory");
        to
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
