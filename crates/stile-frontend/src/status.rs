//! A context's status blob, as its guest reads it.

use stile_wire::sync::{RECORD_BYTES, StatusHeader, StatusRecord, record_offset};
use zerocopy::FromBytes;

use crate::{Piece, Ram};

/// A status blob in guest pages.
#[derive(Clone, Debug)]
pub struct StatusBlob {
    /// The blob's pages, in order.
    pub pages: Vec<Piece>,
    /// Where in the blob it starts.
    pub offset: u64,
}

impl StatusBlob {
    /// Its header.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn header(&self, ram: &Ram) -> StatusHeader {
        let bytes = self.read(ram, 0, size_of::<StatusHeader>());
        StatusHeader::read_from_bytes(&bytes).expect("a header's bytes")
    }

    /// The records that have not been overwritten, oldest first.
    ///
    /// # Panics
    /// If one of them is not whole.
    #[track_caller]
    pub fn records(&self, ram: &Ram) -> Vec<StatusRecord> {
        let header = self.header(ram);
        let (head, capacity) = (header.head.get(), u64::from(header.capacity.get()));
        let oldest = head.saturating_sub(capacity) + 1;
        (oldest..=head)
            .map(|seq| {
                let at = record_offset(seq, capacity).expect("a place");
                let bytes = self.read(ram, at, RECORD_BYTES as usize);
                let record = StatusRecord::read_from_bytes(&bytes).expect("a record's bytes");
                assert_eq!(record.seq.get(), seq, "the record is whole");
                record
            })
            .collect()
    }

    /// What became of the operations with this tag, as errnos.
    #[track_caller]
    pub fn errnos(&self, ram: &Ram, tag: u32) -> Vec<u32> {
        let records = self.records(ram).into_iter();
        records
            .filter(|record| record.tag.get() == tag)
            .map(|record| record.errno.get())
            .collect()
    }

    fn read(&self, ram: &Ram, offset: u64, bytes: usize) -> Vec<u8> {
        read(ram, &self.pages, self.offset + offset, bytes)
    }
}

/// Bytes of a blob, which lie within one of its pages.
pub(crate) fn read(ram: &Ram, pages: &[Piece], offset: u64, bytes: usize) -> Vec<u8> {
    let mut left = offset;
    for page in pages {
        if left < u64::from(page.bytes) {
            return ram.read(page.address + left, bytes);
        }
        left -= u64::from(page.bytes);
    }
    panic!("the blob ends before {offset}");
}
