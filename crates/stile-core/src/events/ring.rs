//! A context's event ring: where its next event goes, and whether there is room for it.

use stile_wire::sync::{
    EVENTS_MAGIC, EVENTS_VERSION, EventHeader, EventRecord, RECORD_BYTES, record_offset,
};

use super::Happened;
use crate::host::{Errno, Host};
use crate::status::{Place, Subject};

/// A bound event ring.
#[derive(Debug)]
pub(crate) struct EventRing<R> {
    /// The blob it lies in: the binding ends with it.
    resource_id: u32,
    memory: R,
    capacity: u64,
    /// `seq` of the newest event.
    head: u64,
    /// `seq` of the newest event that the guest has read.
    seen: u64,
    /// As the header has it.
    overflow: u64,
}

impl<R> EventRing<R> {
    /// Checks the place, asks the host for its memory and writes the header.
    ///
    /// # Errors
    /// `EINVAL` for a place that does not fit, or the host's errno.
    pub(crate) fn new<H: Host<Records = R>>(
        host: &mut H,
        buffer: &H::Buffer,
        place: &Place,
    ) -> Result<Self, Errno> {
        let capacity = place.capacity()?;
        let mut memory = host.records(buffer, place.offset, place.size)?;
        let header = EventHeader {
            magic: EVENTS_MAGIC.into(),
            version: EVENTS_VERSION.into(),
            capacity: u32::try_from(capacity).unwrap_or(0).into(),
            record_bytes: u32::try_from(RECORD_BYTES).unwrap_or(0).into(),
            head: 0.into(),
            overflow: 0.into(),
            reserved: [0.into(); 4],
        };
        host.write_header(&mut memory, &header.to_block());
        Ok(Self {
            resource_id: place.resource_id,
            memory,
            capacity,
            head: 0,
            seen: 0,
            overflow: 0,
        })
    }

    pub(super) const fn resource_id(&self) -> u32 {
        self.resource_id
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// Events that are written and not read.
    pub(super) const fn unread(&self) -> u64 {
        self.head.saturating_sub(self.seen)
    }

    /// Whether an event can be written without overwriting one that was not read.
    pub(super) const fn has_room(&self) -> bool {
        self.unread() < self.capacity
    }

    /// As many events as there can be unread, and as the header says are kept back.
    pub(super) const fn bounds(&self) -> (u64, u64) {
        (self.capacity, self.overflow)
    }

    /// The guest has read up to here, which is at most the newest.
    pub(super) fn seen(&mut self, seen: u64) {
        self.seen = self.seen.max(seen.min(self.head));
    }

    /// Writes the next event; there is room for it.
    pub(super) fn write<H: Host<Records = R>>(
        &mut self,
        host: &mut H,
        subject: &Subject,
        happened: &Happened,
    ) {
        let Some(seq) = self.head.checked_add(1) else {
            return;
        };
        let Some(offset) = record_offset(seq, self.capacity) else {
            return;
        };
        self.head = seq;
        let record = EventRecord {
            seq: seq.into(),
            event: subject.cookie.into(),
            value: happened.value.into(),
            time_ns: happened.time_ns.into(),
            errno: happened.error.map_or(0, |error| error.0).into(),
            cmd: subject.cmd,
            reserved: [0; 3],
            tag: subject.tag.into(),
            resource_id: subject.resource_id.into(),
            reserved_tail: [0.into(); 2],
        };
        host.write_record(&mut self.memory, offset, &record.to_block());
    }

    /// Says in the header how many events are kept back.
    pub(super) fn write_overflow<H: Host<Records = R>>(&mut self, host: &mut H, kept_back: u64) {
        if self.overflow != kept_back {
            self.overflow = kept_back;
            host.write_overflow(&mut self.memory, kept_back);
        }
    }
}
