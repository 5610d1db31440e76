//! A context's status blob: where its next record goes.

use stile_wire::sync::{
    RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION, StatusHeader,
    StatusRecord, capacity, record_offset,
};

use crate::host::{Errno, Host, errno};

/// The longest status blob or event ring, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// What an operation's record will say beside its result, and whose status blob it goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) ctx_id: u32,
    pub(crate) cmd: u8,
    pub(crate) ring_idx: u8,
    pub(crate) tag: u32,
    pub(crate) cookie: u64,
    pub(crate) resource_id: u32,
    pub(crate) taken_ns: u64,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) error: Option<Errno>,
    pub(crate) flags: RecordFlags,
    pub(crate) signalled_ns: u64,
    pub(crate) done_ns: u64,
}

/// Where the memory of a status blob or an event ring is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) resource_id: u32,
    /// Bytes from the start of the blob.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of the blob.
    pub(crate) blob_size: u64,
}

impl Place {
    /// How many records fit.
    ///
    /// # Errors
    /// `EINVAL` for a place that does not.
    pub(crate) fn capacity(&self) -> Result<u64, Errno> {
        let end = self.offset.checked_add(self.size);
        let inside = end.is_some_and(|end| end <= self.blob_size);
        let capacity = capacity(self.size);
        let fits = inside && self.offset.is_multiple_of(RECORD_BYTES) && self.size <= MAX_BYTES;
        if fits && capacity > 0 {
            Ok(capacity)
        } else {
            Err(errno::EINVAL)
        }
    }
}

/// A bound status blob.
#[derive(Debug)]
pub(crate) struct Status<R> {
    /// The blob it lies in: the binding ends with it.
    pub(crate) resource_id: u32,
    memory: R,
    capacity: u64,
    last_seq: u64,
}

impl<R> Status<R> {
    /// Checks the place, asks the host for its memory and writes the header.
    pub(crate) fn bind<H: Host<Records = R>>(
        host: &mut H,
        buffer: &H::Buffer,
        place: &Place,
    ) -> Result<Self, Errno> {
        let capacity = place.capacity()?;
        let mut memory = host.records(buffer, place.offset, place.size)?;
        let header = StatusHeader {
            magic: STATUS_MAGIC.into(),
            version: STATUS_VERSION.into(),
            capacity: u32::try_from(capacity).unwrap_or(0).into(),
            record_bytes: u32::try_from(RECORD_BYTES).unwrap_or(0).into(),
            head: 0.into(),
            reserved: [0.into(); 5],
        };
        host.write_header(&mut memory, &header.to_block());
        Ok(Self {
            resource_id: place.resource_id,
            memory,
            capacity,
            last_seq: 0,
        })
    }

    /// Writes the next record.
    pub(crate) fn write<H: Host<Records = R>>(
        &mut self,
        host: &mut H,
        subject: &Subject,
        ending: &Ending,
    ) {
        let Some(seq) = self.last_seq.checked_add(1) else {
            return;
        };
        let Some(offset) = record_offset(seq, self.capacity) else {
            return;
        };
        debug_assert!(offset >= STATUS_HEADER_BYTES);
        self.last_seq = seq;
        let record = StatusRecord {
            seq: seq.into(),
            cookie: subject.cookie.into(),
            tag: subject.tag.into(),
            errno: ending.error.map_or(0, |error| error.0).into(),
            cmd: subject.cmd,
            ring_idx: subject.ring_idx,
            flags: ending.flags.bits().into(),
            resource_id: subject.resource_id.into(),
            taken_ns: subject.taken_ns.into(),
            done_ns: ending.done_ns.into(),
            signalled_ns: ending.signalled_ns.into(),
            reserved: 0.into(),
        };
        host.write_record(&mut self.memory, offset, &record.to_block());
    }
}
