//! A split virtqueue as the driver sees it (virtio specification 1.3, section "Split Virtqueues").

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE, VRING_USED_F_NO_NOTIFY,
};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::{HANG, Ram, borrow, readable};

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub bytes: u32,
}

/// A descriptor chain: what the device reads, then what it writes.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The command.
    pub readable: Vec<Piece>,
    /// Room for the response.
    pub writable: Vec<Piece>,
    /// Whether the descriptors stand in a table of their own.
    pub indirect: bool,
}

/// A chain that the device has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The chain's first descriptor.
    pub head: u16,
    /// Bytes that the device says it has written.
    pub written: u32,
}

/// The driver's side of a virtqueue.
#[derive(Debug)]
pub struct Ring {
    ram: Arc<Ram>,
    size: u16,
    event_idx: bool,
    /// Written by the driver to tell the device.
    pub kick: EventFd,
    /// Written by the device to tell the driver.
    pub call: EventFd,
    descriptors: u64,
    available: u64,
    used: u64,
    free: Vec<u16>,
    /// The descriptors of each chain, by its head, and its own table.
    chains: Vec<Option<(Vec<u16>, Option<Piece>)>>,
    /// Chains put into the available ring, and how many of them the device was shown.
    put: u16,
    shown: u16,
    seen: u16,
}

impl Ring {
    /// A ring in memory of its own.
    ///
    /// # Panics
    /// If there is no memory or no descriptor left.
    pub fn new(ram: &Arc<Ram>, size: u16, event_idx: bool) -> Self {
        let entries = u64::from(size);
        let ring = Self {
            ram: Arc::clone(ram),
            size,
            event_idx,
            kick: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            call: EventFd::new(EFD_NONBLOCK).expect("an eventfd"),
            descriptors: ram.take(16 * entries),
            available: ram.take(6 + 2 * entries),
            used: ram.take(6 + 8 * entries),
            free: Vec::new(),
            chains: Vec::new(),
            put: 0,
            shown: 0,
            seen: 0,
        };
        let mut ring = ring;
        ring.restart();
        ring
    }

    /// Empties the ring, as a driver does that begins anew. The device must not run it.
    pub fn restart(&mut self) {
        let entries = usize::from(self.size);
        self.ram.write(self.descriptors, &vec![0; 16 * entries]);
        self.ram.write(self.available, &vec![0; 6 + 2 * entries]);
        self.ram.write(self.used, &vec![0; 6 + 8 * entries]);
        self.free = (0..self.size).rev().collect();
        self.chains = (0..self.size).map(|_| None).collect();
        (self.put, self.shown, self.seen) = (0, 0, 0);
        let _count = self.call.read();
    }

    /// Entries.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Addresses of the descriptor table, the available ring and the used ring.
    pub fn addresses(&self) -> (u64, u64, u64) {
        (self.descriptors, self.available, self.used)
    }

    /// Chains that were put into the ring in this life, modulo 2^16.
    pub fn available_index(&self) -> u16 {
        self.put
    }

    /// Puts a chain into the ring without showing it to the device. Gives its head.
    ///
    /// # Panics
    /// If the ring is full.
    pub fn put(&mut self, chain: &Chain) -> u16 {
        let pieces: Vec<(Piece, u16)> = chain
            .readable
            .iter()
            .map(|piece| (*piece, 0))
            .chain(chain.writable.iter().map(|piece| (*piece, write_flag())))
            .collect();
        let (head, taken, table) = if chain.indirect {
            let mut bytes = Vec::new();
            for (number, (piece, flags)) in (1_u16..).zip(&pieces) {
                let next = usize::from(number) < pieces.len();
                bytes.extend_from_slice(&descriptor(*piece, *flags, next.then_some(number)));
            }
            let table = Piece {
                address: self.ram.take(bytes.len() as u64),
                bytes: bytes.len() as u32,
            };
            self.ram.write(table.address, &bytes);
            let head = self.free.pop().expect("a free descriptor");
            let flags = VRING_DESC_F_INDIRECT as u16;
            self.set_descriptor(head, &descriptor(table, flags, None));
            (head, vec![head], Some(table))
        } else {
            let taken: Vec<u16> = pieces
                .iter()
                .map(|_| self.free.pop().expect("a free descriptor"))
                .collect();
            for (number, (piece, flags)) in pieces.iter().enumerate() {
                let next = taken.get(number + 1).copied();
                self.set_descriptor(taken[number], &descriptor(*piece, *flags, next));
            }
            (taken[0], taken, None)
        };
        self.chains[usize::from(head)] = Some((taken, table));
        self.put_head(head);
        head
    }

    /// Puts a head into the available ring, whatever stands in its descriptor.
    pub fn put_head(&mut self, head: u16) {
        let slot = u64::from(self.put % self.size);
        self.store(self.available + 4 + 2 * slot, head, Ordering::Relaxed);
        self.put = self.put.wrapping_add(1);
    }

    /// Writes one descriptor as it is.
    pub fn set_descriptor(&self, index: u16, bytes: &[u8; 16]) {
        self.ram
            .write(self.descriptors + 16 * u64::from(index), bytes);
    }

    /// Shows the device everything that was put into the ring.
    pub fn show(&mut self) {
        self.store(self.available + 2, self.put, Ordering::Release);
    }

    /// Writes an available index that is not what was put there.
    pub fn show_wrong(&mut self, index: u16) {
        self.store(self.available + 2, index, Ordering::Release);
    }

    /// Kicks if the device wants to know of what was shown since the last time. Says whether it did.
    ///
    /// # Panics
    /// If the eventfd cannot be written.
    pub fn kick(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let wanted = if self.event_idx {
            let event = self.load(self.used + 4 + 8 * u64::from(self.size));
            let new = self.put.wrapping_sub(event).wrapping_sub(1);
            new < self.put.wrapping_sub(self.shown)
        } else {
            self.load(self.used) & VRING_USED_F_NO_NOTIFY as u16 == 0
        };
        self.shown = self.put;
        if wanted {
            self.kick_anyway();
        }
        wanted
    }

    /// Kicks whatever the device wants.
    ///
    /// # Panics
    /// If the eventfd cannot be written.
    pub fn kick_anyway(&self) {
        self.kick.write(1).expect("a kick");
    }

    /// Takes the next used chain, if there is one. Its descriptors are free again.
    ///
    /// # Panics
    /// If the device used a chain that it was not given, or used it twice.
    pub fn take(&mut self) -> Option<Used> {
        if self.used_index() == self.seen {
            return None;
        }
        let slot = u64::from(self.seen % self.size);
        let bytes: [u8; 8] = self
            .ram
            .memory()
            .read_obj(GuestAddress(self.used + 4 + 8 * slot))
            .expect("the used ring");
        let [a, b, c, d, e, f, g, h] = bytes;
        let head = u32::from_le_bytes([a, b, c, d]);
        let written = u32::from_le_bytes([e, f, g, h]);
        let head = u16::try_from(head).expect("the device used a descriptor of the ring");
        self.seen = self.seen.wrapping_add(1);
        let chain = self.chains[usize::from(head)].take();
        let (taken, table) = chain.expect("the device used a chain that it was given, once");
        self.free.extend(taken.into_iter().rev());
        if let Some(table) = table {
            self.ram.give(table.address, u64::from(table.bytes));
        }
        Some(Used { head, written })
    }

    /// The used ring's index, as the device has written it.
    pub fn used_index(&self) -> u16 {
        self.load(self.used + 2)
    }

    /// Waits for the next used chain.
    ///
    /// # Panics
    /// After [`HANG`].
    #[track_caller]
    pub fn wait(&mut self) -> Used {
        loop {
            if let Some(used) = self.take() {
                return used;
            }
            // The device is asked to call at the next used chain, then looked at once more.
            self.call_at(self.seen);
            fence(Ordering::SeqCst);
            if self.used_index() == self.seen {
                self.wait_call();
            }
        }
    }

    /// With EVENT_IDX, asks for a call when the used index goes beyond `index`.
    pub fn call_at(&self, index: u16) {
        if self.event_idx {
            let place = self.available + 4 + 2 * u64::from(self.size);
            self.store(place, index, Ordering::Relaxed);
        }
    }

    /// Without EVENT_IDX, whether the driver wants calls.
    pub fn want_calls(&self, wanted: bool) {
        self.store(self.available, u16::from(!wanted), Ordering::Relaxed);
    }

    /// Waits for a call.
    ///
    /// # Panics
    /// After [`HANG`].
    #[track_caller]
    pub fn wait_call(&self) {
        assert!(
            readable(borrow(&self.call), HANG),
            "the device does not call"
        );
        let _count = self.call.read();
    }

    /// Calls since the last time somebody looked.
    pub fn calls(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }

    fn load(&self, address: u64) -> u16 {
        let value: u16 = self
            .ram
            .memory()
            .load(GuestAddress(address), Ordering::Acquire)
            .expect("the ring");
        u16::from_le(value)
    }

    fn store(&self, address: u64, value: u16, order: Ordering) {
        self.ram
            .memory()
            .store(value.to_le(), GuestAddress(address), order)
            .expect("the ring");
    }
}

const fn write_flag() -> u16 {
    VRING_DESC_F_WRITE as u16
}

/// A descriptor's bytes. `flags` are those beside NEXT.
pub fn descriptor(piece: Piece, flags: u16, next: Option<u16>) -> [u8; 16] {
    let flags = match next {
        Some(_) => flags | VRING_DESC_F_NEXT as u16,
        None => flags,
    };
    let mut bytes = [0; 16];
    bytes[0..8].copy_from_slice(&piece.address.to_le_bytes());
    bytes[8..12].copy_from_slice(&piece.bytes.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..16].copy_from_slice(&next.unwrap_or(0).to_le_bytes());
    bytes
}
