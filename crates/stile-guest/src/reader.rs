//! Reading a status blob or an event ring while the device writes it: no torn record, no silent loss.

use std::marker::PhantomData;

use stile_host::Mapping;
use stile_wire::sync::{
    EventHeader, EventRecord, RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC,
    STATUS_VERSION, StatusHeader, StatusRecord, capacity, record_offset,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::error::{Error, Result};

/// Where in the header `head` stands, in bytes.
const HEAD: u64 = 16;

/// Memory that somebody else writes, in words of 64 bits at offsets in bytes, little-endian as
/// they lie there.
pub(crate) trait Words {
    /// A word, with acquire order: what was written before it was is seen after this.
    fn load(&self, offset: u64) -> Result<u64>;
}

impl Words for Mapping {
    fn load(&self, offset: u64) -> Result<u64> {
        // An offset that does not fit is outside of every mapping.
        Ok(self.load_u64(usize::try_from(offset).unwrap_or(usize::MAX))?)
    }
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

/// What the memory had next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report<R = Record> {
    /// A record, whole.
    Record(R),
    /// The device came round before these records were read.
    Lost {
        /// How many.
        count: u64,
    },
}

/// What the device writes records of: the layout is the same for all, the records are not.
pub(crate) trait Records {
    /// What it is called, for people.
    const WHAT: &'static str;
    /// The header's first word.
    const MAGIC: u32;
    /// The header's second word.
    const VERSION: u32;
    /// A record as it lies in memory; 64 bytes that begin with its `seq`.
    type Wire: FromZeros + IntoBytes + FromBytes;
    /// A record as a program sees it.
    type Record;

    /// The record's number.
    fn seq(wire: &Self::Wire) -> u64;
    /// What it says.
    fn record(wire: &Self::Wire) -> Self::Record;
}

/// The status blob.
#[derive(Debug)]
pub(crate) struct StatusRecords;

impl Records for StatusRecords {
    const WHAT: &'static str = "status blob";
    const MAGIC: u32 = STATUS_MAGIC;
    const VERSION: u32 = STATUS_VERSION;
    type Wire = StatusRecord;
    type Record = Record;

    fn seq(wire: &StatusRecord) -> u64 {
        wire.seq.get()
    }

    fn record(wire: &StatusRecord) -> Record {
        Record::from(wire)
    }
}

/// The place up to which a status blob or an event ring has been read.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    capacity: u64,
    /// `seq` of the record to read next.
    next: u64,
    records: PhantomData<R>,
}

impl<R: Records> Reader<R> {
    /// A reader for `size` bytes that have just been named.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            capacity: capacity(size),
            next: 1,
            records: PhantomData,
        }
    }

    /// `seq` of the last record that was read or lost.
    pub(crate) fn seen(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether the header is what the device writes when the memory is named.
    pub(crate) fn check_header(&self, memory: &impl Words) -> Result<()> {
        // The first 24 bytes are the same in both.
        let mut header = StatusHeader::new_zeroed();
        copy(memory, 0, header.as_mut_bytes())?;
        let right = header.magic.get() == R::MAGIC
            && header.version.get() == R::VERSION
            && u64::from(header.capacity.get()) == self.capacity
            && u64::from(header.record_bytes.get()) == RECORD_BYTES;
        if right {
            return Ok(());
        }
        Err(Error::Header {
            what: R::WHAT,
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
    pub(crate) fn next(&mut self, memory: &impl Words) -> Result<Option<Report<R::Record>>> {
        let head = u64::from_le(memory.load(HEAD)?);
        let seen = self.seen();
        if head < seen {
            let what = R::WHAT;
            return Err(Error::WentBack { what, seen, head });
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
    fn copy_record(&self, memory: &impl Words) -> Result<Option<R::Record>> {
        let Some(at) = record_offset(self.next, self.capacity) else {
            return Ok(None);
        };
        // The copy begins with `seq`: that is the first look at it.
        let mut record = R::Wire::new_zeroed();
        copy(memory, at, record.as_mut_bytes())?;
        // Every load of the copy had acquire order, so the second look comes after all of them.
        let after = u64::from_le(memory.load(at)?);
        let whole = R::seq(&record) == self.next && after == self.next;
        Ok(whole.then(|| R::record(&record)))
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
const _: () = assert!(std::mem::offset_of!(EventHeader, head) == 16);
const _: () = assert!(size_of::<StatusRecord>() == 64 && size_of::<EventRecord>() == 64);
const _: () = assert!(STATUS_HEADER_BYTES == 64 && RECORD_BYTES == 64);

#[cfg(test)]
mod tests;
