//! The event ring as a guest reads it.

use stile_wire::sync::{EventHeader, EventRecord};
use zerocopy::FromBytes;

/// What the reader of an event ring sees: its header, and the events that are still there.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) header: EventHeader,
    pub(crate) events: Vec<EventRecord>,
}

impl Ring {
    /// Reads an event ring that starts at `offset`.
    pub(crate) fn read(bytes: &[u8], offset: usize) -> Self {
        let (header, records) = EventHeader::read_from_prefix(&bytes[offset..]).expect("a header");
        let capacity = u64::from(header.capacity.get());
        let head = header.head.get();
        let oldest = (head + 1).saturating_sub(capacity).max(1);
        let events = (oldest..=head)
            .map(|seq| {
                let at = ((seq - 1) % capacity) as usize * 64;
                let event = EventRecord::read_from_bytes(&records[at..at + 64]).expect("one");
                assert_eq!(event.seq.get(), seq, "the event's place");
                assert_eq!(event.reserved, [0; 3]);
                assert!(event.reserved_tail.iter().all(|word| word.get() == 0));
                event
            })
            .collect();
        Self { header, events }
    }

    /// Number and errno of each event.
    pub(crate) fn numbers(&self) -> Vec<(u64, u32)> {
        let events = self.events.iter();
        events
            .map(|event| (event.event.get(), event.errno.get()))
            .collect()
    }
}
