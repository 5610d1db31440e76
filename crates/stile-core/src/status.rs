//! A context's status blob: where its next record goes.

use stile_wire::sync::{
    RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION, StatusHeader,
    StatusRecord, capacity, record_offset,
};

use crate::host::{Errno, Host, errno};

/// The longest status blob, in bytes.
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
        resource_id: u32,
        buffer: &H::Buffer,
        buffer_size: u64,
        offset: u64,
        size: u64,
    ) -> Result<Self, Errno> {
        let inside = offset
            .checked_add(size)
            .is_some_and(|end| end <= buffer_size);
        let capacity = capacity(size);
        if !inside || !offset.is_multiple_of(RECORD_BYTES) || capacity == 0 || size > MAX_BYTES {
            return Err(errno::EINVAL);
        }
        let mut memory = host.records(buffer, offset, size)?;
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
            resource_id,
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
