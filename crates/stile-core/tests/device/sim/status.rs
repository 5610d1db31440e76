//! The status blob as a guest reads it.

use stile_wire::sync::{StatusHeader, StatusRecord};
use zerocopy::FromBytes;

/// What the reader of a status blob sees: its header, and the records that are still there.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) header: StatusHeader,
    pub(crate) records: Vec<StatusRecord>,
}

impl Records {
    /// Reads a status blob that starts at `offset`.
    pub(crate) fn read(bytes: &[u8], offset: usize) -> Self {
        let bytes = &bytes[offset..];
        let (header, records) = StatusHeader::read_from_prefix(bytes).expect("a header");
        let capacity = u64::from(header.capacity.get());
        let head = header.head.get();
        let oldest = (head + 1).saturating_sub(capacity).max(1);
        let records = (oldest..=head)
            .map(|seq| {
                let at = ((seq - 1) % capacity) as usize * 64;
                let record = StatusRecord::read_from_bytes(&records[at..at + 64]).expect("one");
                assert_eq!(record.seq.get(), seq, "the record's place");
                assert_eq!(record.reserved.get(), 0);
                record
            })
            .collect();
        Self { header, records }
    }

    /// Tag and errno of each record.
    pub(crate) fn errors(&self) -> Vec<(u32, u32)> {
        let records = self.records.iter();
        records
            .map(|record| (record.tag.get(), record.errno.get()))
            .collect()
    }
}

/// A record with nothing in it but what most tests look at.
pub(crate) fn record(seq: u64, cmd: u8, tag: u32, errno: u32) -> StatusRecord {
    StatusRecord {
        seq: seq.into(),
        cookie: 0.into(),
        tag: tag.into(),
        errno: errno.into(),
        cmd,
        ring_idx: 0,
        flags: 0.into(),
        resource_id: 0.into(),
        taken_ns: 0.into(),
        done_ns: 0.into(),
        signalled_ns: 0.into(),
        reserved: 0.into(),
    }
}
