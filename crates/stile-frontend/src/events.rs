//! A context's event ring, as its guest reads it.

use stile_wire::sync::{EventHeader, EventRecord, RECORD_BYTES, record_offset};
use zerocopy::FromBytes;

use crate::{Piece, Ram};

/// An event ring in guest pages.
#[derive(Clone, Debug)]
pub struct EventRing {
    /// The blob's pages, in order. The ring begins with the first.
    pub pages: Vec<Piece>,
}

impl EventRing {
    /// Its header.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn header(&self, ram: &Ram) -> EventHeader {
        let bytes = self.read(ram, 0, size_of::<EventHeader>());
        EventHeader::read_from_bytes(&bytes).expect("a header's bytes")
    }

    /// The events after `seen`, oldest first.
    ///
    /// # Panics
    /// If one of them is not whole, or has been overwritten.
    #[track_caller]
    pub fn after(&self, ram: &Ram, seen: u64) -> Vec<EventRecord> {
        let header = self.header(ram);
        let (head, capacity) = (header.head.get(), u64::from(header.capacity.get()));
        assert!(head <= seen + capacity, "an event is overwritten");
        (seen + 1..=head)
            .map(|seq| {
                let at = record_offset(seq, capacity).expect("a place");
                let bytes = self.read(ram, at, RECORD_BYTES as usize);
                let event = EventRecord::read_from_bytes(&bytes).expect("an event's bytes");
                assert_eq!(event.seq.get(), seq, "the event is whole");
                event
            })
            .collect()
    }

    fn read(&self, ram: &Ram, offset: u64, bytes: usize) -> Vec<u8> {
        crate::status::read(ram, &self.pages, offset, bytes)
    }
}
