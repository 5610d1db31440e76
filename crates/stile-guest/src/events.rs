//! Events: what the device tells of points that nobody may ever submit, and of counters that nobody
//! may ever raise.
//!
//! # How a program is woken
//! The device writes events into the event ring, and signals the fence of the last EVENT_WAIT. That
//! submission is on a ring of its own, which the kernel is asked to tell of by a DRM event
//! (`VIRTGPU_CONTEXT_PARAM_POLL_RINGS_MASK`): the context's file becomes readable. An out-fence
//! would do as well, but each EVENT_WAIT would have another, so that whoever sleeps in epoll(7) had
//! to enter a new descriptor after each wake-up; and there would be a sync_file that stands for
//! nothing that was submitted, which nobody must wait for or be given. So there is none.
//!
//! An EVENT_WAIT ends at the device's deadline like every wait. That wakes the program as an event
//! does; it finds nothing new and asks again, and needs no timer of its own.

use stile_wire::sync::{EVENTS_MAGIC, EVENTS_VERSION, EventRecord, OpCode, RecordFlags};

use crate::blob::BlobOptions;
use crate::error::{Error, Result};
use crate::reader::{Reader, Record, Records, Report, Words};

/// Linux errnos that an event may have.
const ETIMEDOUT: u32 = 110;
const ECANCELED: u32 = 125;

/// How an event ring is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    /// The blob: 128 to 65536 bytes, a header and events of 64 bytes each. A ring that is full
    /// loses nothing: the device keeps further events back.
    pub blob: BlobOptions,
    /// The ring that waits for events, and for nothing else.
    pub ring: u8,
}

impl Default for EventOptions {
    /// 64 KiB of host memory, which are 1023 events, and ring 63.
    fn default() -> Self {
        Self {
            blob: BlobOptions::host(65536),
            ring: 63,
        }
    }
}

/// Something that a program has asked to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first event of the ring, then one more for each.
    pub seq: u64,
    /// The number that was given with TL_WATCH or MEM_WAIT: [`crate::EventNumber`].
    pub number: u64,
    /// The point, or what the counter was seen to hold.
    pub value: u64,
    /// When the device saw it: nanoseconds of the host's `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// 0, or a Linux errno: why it will not happen.
    pub errno: u32,
    /// The code of the operation that asked for it; see [`crate::OpCode`].
    pub cmd: u8,
    /// That operation's tag.
    pub tag: u32,
    /// The resource that it named, 0 for none.
    pub resource_id: u32,
}

impl Event {
    /// The point has come so far, or the counter.
    pub fn happened(&self) -> bool {
        self.errno == 0
    }

    /// It did not happen in the time that was given.
    pub fn timed_out(&self) -> bool {
        self.errno == ETIMEDOUT
    }

    /// What it was about is gone: the timeline, or the blob.
    pub fn cancelled(&self) -> bool {
        self.errno == ECANCELED
    }
}

impl From<&EventRecord> for Event {
    fn from(record: &EventRecord) -> Self {
        Self {
            seq: record.seq.get(),
            number: record.event.get(),
            value: record.value.get(),
            time_ns: record.time_ns.get(),
            errno: record.errno.get(),
            cmd: record.cmd,
            tag: record.tag.get(),
            resource_id: record.resource_id.get(),
        }
    }
}

/// The event ring.
#[derive(Debug)]
pub(crate) struct EventRecords;

impl Records for EventRecords {
    const WHAT: &'static str = "event ring";
    const MAGIC: u32 = EVENTS_MAGIC;
    const VERSION: u32 = EVENTS_VERSION;
    type Wire = EventRecord;
    type Record = Event;

    fn seq(wire: &EventRecord) -> u64 {
        wire.seq.get()
    }

    fn record(wire: &EventRecord) -> Event {
        Event::from(wire)
    }
}

/// How an EVENT_WAIT ended, as far as the status blob tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this record.
    Record(Record),
    /// Records were lost since, and its own may be one of them.
    Unknown,
}

/// What an event ring needs of its context.
pub(crate) trait Line {
    /// Forgets the wake-ups that have come.
    fn clear(&mut self) -> Result<()>;

    /// Submits an EVENT_WAIT.
    fn ask(&mut self, seen: u64) -> Result<()>;

    /// How the last EVENT_WAIT ended, once; `None` where it has not.
    fn ended(&mut self) -> Result<Option<Ended>>;
}

/// Reads an event ring, and keeps an EVENT_WAIT under way.
#[derive(Debug)]
pub(crate) struct EventReader {
    reader: Reader<EventRecords>,
    /// Whether an EVENT_WAIT is under way.
    asked: bool,
}

impl EventReader {
    /// A reader for `size` bytes that have just been named.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            reader: Reader::new(size),
            asked: false,
        }
    }

    /// Whether the header is what the device writes.
    pub(crate) fn check_header(&self, memory: &impl Words) -> Result<()> {
        self.reader.check_header(memory)
    }

    /// The next event, or `None`. After `None` there is going to be a wake-up when there is one
    /// more, or when it is time to ask again; after an error there may not be.
    pub(crate) fn next(
        &mut self,
        memory: &impl Words,
        line: &mut impl Line,
    ) -> Result<Option<Event>> {
        if let Some(event) = self.read(memory)? {
            return Ok(Some(event));
        }
        // The wake-ups first: one that comes after this look is there for the next one.
        line.clear()?;
        if self.asked
            && let Some(ended) = line.ended()?
        {
            self.asked = false;
            // A refusal is told before anything is asked again, or a device that refuses would be
            // asked without end.
            check(ended)?;
        }
        // Once more: the EVENT_WAIT may have ended after the first look.
        if let Some(event) = self.read(memory)? {
            return Ok(Some(event));
        }
        if !self.asked {
            // All that was read makes room, and what was kept back for want of it comes now.
            line.ask(self.reader.seen())?;
            self.asked = true;
        }
        Ok(None)
    }

    fn read(&mut self, memory: &impl Words) -> Result<Option<Event>> {
        match self.reader.next(memory)? {
            Some(Report::Record(event)) => Ok(Some(event)),
            Some(Report::Lost { count }) => Err(Error::EventsLost { count }),
            None => Ok(None),
        }
    }
}

/// Whether an EVENT_WAIT ended as one does.
fn check(ended: Ended) -> Result<()> {
    match ended {
        Ended::Record(record)
            if record.errno != 0 && !record.flags.contains(RecordFlags::DEADLINE) =>
        {
            Err(Error::Refused {
                op: OpCode::EventWait,
                errno: record.errno,
            })
        }
        Ended::Record(_) | Ended::Unknown => Ok(()),
    }
}

#[cfg(test)]
mod tests;
