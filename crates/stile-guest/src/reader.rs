//! Reading a status blob while the device writes it: no torn record, no silent loss.

use stile_wire::sync::{
    RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION, StatusHeader,
    StatusRecord, capacity, record_offset,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::error::{Error, Result};

/// Where in the header `head` stands, in bytes.
const HEAD: u64 = 16;

/// Memory that somebody else writes, in words of 64 bits at offsets in bytes, little-endian as
/// they lie there.
pub(crate) trait Words {
    /// A word, with acquire order: what was written before it was is seen after this.
    fn load(&self, offset: u64) -> Result<u64>;
}

/// What became of one operation, as the device tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 for the context's first record, then one more for each.
    pub seq: u64,
    /// The operation's code; see [`crate::OpCode`].
    pub cmd: u8,
    /// The operation's ring.
    pub ring: u8,
    /// The operation's tag.
    pub tag: u32,
    /// 0, or a Linux errno.
    pub errno: u32,
    /// Whether the deadline or the host's fence made the error.
    pub flags: RecordFlags,
    /// What the operation named or made, 0 for none.
    pub cookie: u64,
    /// The resource that the operation named, 0 for none.
    pub resource_id: u32,
    /// When the device took it up: nanoseconds of the host's `CLOCK_MONOTONIC`.
    pub taken_ns: u64,
    /// When it ended, its wait included; same clock.
    pub done_ns: u64,
    /// When the host's fence signalled, same clock; `None` where the host's kernel did not say.
    pub signalled_ns: Option<u64>,
}

impl From<&StatusRecord> for Record {
    fn from(record: &StatusRecord) -> Self {
        Self {
            seq: record.seq.get(),
            cmd: record.cmd,
            ring: record.ring_idx,
            tag: record.tag.get(),
            errno: record.errno.get(),
            flags: RecordFlags::from_bits_retain(record.flags.get()),
            cookie: record.cookie.get(),
            resource_id: record.resource_id.get(),
            taken_ns: record.taken_ns.get(),
            done_ns: record.done_ns.get(),
            signalled_ns: Some(record.signalled_ns.get()).filter(|ns| *ns != 0),
        }
    }
}

/// What the status blob had next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A record, whole.
    Record(Record),
    /// The device came round before these records were read.
    Lost {
        /// How many.
        count: u64,
    },
}

/// The place up to which a status blob has been read.
#[derive(Debug)]
pub(crate) struct Reader {
    capacity: u64,
    /// `seq` of the record to read next.
    next: u64,
}

impl Reader {
    /// A reader for a blob of `size` bytes that has just been named.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            capacity: capacity(size),
            next: 1,
        }
    }

    /// Whether the header is what the device writes when the blob is named.
    pub(crate) fn check_header(&self, memory: &impl Words) -> Result<()> {
        let mut header = StatusHeader::new_zeroed();
        copy(memory, 0, header.as_mut_bytes())?;
        let right = header.magic.get() == STATUS_MAGIC
            && header.version.get() == STATUS_VERSION
            && u64::from(header.capacity.get()) == self.capacity
            && u64::from(header.record_bytes.get()) == RECORD_BYTES;
        if right {
            return Ok(());
        }
        Err(Error::StatusHeader {
            magic: header.magic.get(),
            version: header.version.get(),
            capacity: header.capacity.get(),
        })
    }

    /// The next record, the next loss, or `None` where everything has been read.
    ///
    /// A record that the device is writing just now is one that it is overwriting: `head` names
    /// only records that are whole. So whatever else stands in the place of the expected `seq`
    /// means that the expected one is gone.
    pub(crate) fn next(&mut self, memory: &impl Words) -> Result<Option<Report>> {
        let head = u64::from_le(memory.load(HEAD)?);
        let seen = self.next.saturating_sub(1);
        if head < seen {
            return Err(Error::StatusWentBack { seen, head });
        }
        if head == seen {
            return Ok(None);
        }
        if self.oldest(head) <= self.next
            && let Some(record) = self.copy_record(memory)?
        {
            self.next = self.next.saturating_add(1);
            return Ok(Some(Report::Record(record)));
        }
        // Overwritten, or while we looked. What the device writes now is not in `head` yet and may
        // be in the oldest place, so at least the expected one counts as lost.
        let head = u64::from_le(memory.load(HEAD)?);
        let go_on = self.oldest(head).max(self.next.saturating_add(1));
        let count = go_on.saturating_sub(self.next);
        self.next = go_on;
        Ok(Some(Report::Lost { count }))
    }

    /// The oldest `seq` that can still be there when the newest is `head`.
    fn oldest(&self, head: u64) -> u64 {
        head.saturating_sub(self.capacity).saturating_add(1)
    }

    /// The expected record, or `None` if something else is or came in its place.
    fn copy_record(&self, memory: &impl Words) -> Result<Option<Record>> {
        let Some(at) = record_offset(self.next, self.capacity) else {
            return Ok(None);
        };
        // The copy begins with `seq`: that is the first look at it.
        let mut record = StatusRecord::new_zeroed();
        copy(memory, at, record.as_mut_bytes())?;
        // Every load of the copy had acquire order, so the second look comes after all of them.
        let after = u64::from_le(memory.load(at)?);
        let whole = record.seq.get() == self.next && after == self.next;
        Ok(whole.then(|| Record::from(&record)))
    }
}

/// Copies words into `out`, whose length is a multiple of 8.
fn copy(memory: &impl Words, at: u64, out: &mut [u8]) -> Result<()> {
    let (words, _) = out.as_chunks_mut::<8>();
    let mut offset = at;
    for word in words {
        *word = memory.load(offset)?.to_ne_bytes();
        offset = offset.saturating_add(8);
    }
    Ok(())
}

const _: () = assert!(std::mem::offset_of!(StatusHeader, head) == 16);
const _: () = assert!(STATUS_HEADER_BYTES == 64 && RECORD_BYTES == 64);

#[cfg(test)]
mod tests;
