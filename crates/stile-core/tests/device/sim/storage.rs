//! What the simulated host hands out: buffers, fences, memory. Each counts as long as it exists.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stile_wire::sync::{Block, EVENTS_MAGIC, EventRecord, StatusRecord};
use zerocopy::FromBytes;

use super::kernel::{Reservation, SyncFile};

/// Counts the values of a kind that exist.
#[derive(Debug)]
pub(crate) struct Alive(Rc<Cell<usize>>);

impl Alive {
    pub(super) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The pages and the reservation object of a dma-buf.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    pub(crate) reservation: RefCell<Reservation>,
    /// As much of the memory as was ever written.
    pub(crate) bytes: RefCell<Vec<u8>>,
    /// Whole pages.
    pub(super) size: u64,
}

impl Storage {
    /// A word of the memory; what was never written is zero.
    pub(crate) fn load(&self, offset: u64) -> u64 {
        let bytes = self.bytes.borrow();
        let word = bytes.get(offset as usize..offset as usize + 8);
        word.map_or(0, |word| u64::from_le_bytes(word.try_into().expect("8")))
    }

    pub(crate) fn store(&self, offset: u64, value: u64) {
        let mut bytes = self.bytes.borrow_mut();
        let (start, end) = (offset as usize, offset as usize + 8);
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[start..end].copy_from_slice(&value.to_le_bytes());
    }
}

#[derive(Debug)]
pub(crate) struct Buffer {
    pub(super) storage: Rc<Storage>,
    pub(super) _alive: Alive,
}

#[derive(Debug)]
pub(crate) struct Fence {
    pub(super) file: SyncFile,
    pub(super) _alive: Alive,
}

#[derive(Debug)]
pub(crate) struct Records {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: usize,
    pub(super) size: usize,
    pub(super) _alive: Alive,
}

#[derive(Debug)]
pub(crate) struct Words {
    pub(super) storage: Rc<Storage>,
    pub(super) _alive: Alive,
}

impl Records {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(
            offset + bytes.len() <= self.size,
            "the memory ends at {}",
            self.size
        );
        let mut memory = self.storage.bytes.borrow_mut();
        let start = self.offset + offset;
        memory[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// What a record for this memory says: whether it is an event's, its code and its errno.
    pub(super) fn outcome(&self, record: &Block) -> (bool, u8, u32) {
        let memory = self.storage.bytes.borrow();
        let is_event = memory[self.offset..].starts_with(&EVENTS_MAGIC.to_le_bytes());
        if is_event {
            let record = EventRecord::ref_from_bytes(record).expect("a record");
            (true, record.cmd, record.errno.get())
        } else {
            let record = StatusRecord::ref_from_bytes(record).expect("a record");
            (false, record.cmd, record.errno.get())
        }
    }
}
