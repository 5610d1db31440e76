//! Being told of what may never happen.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use stile_host::{Mapping, wait_readable};
use stile_wire::sync::{Op, OpCode};

use super::{Results, Session};
use crate::blob::Blob;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::events::{Ended, Event, EventOptions, EventReader, EventRecords, Line};
use crate::name::EventNumber;
use crate::reader::Record;
use crate::status::{StatusBlob, record_memory};
use crate::submission::Submission;

/// A session's event ring.
#[derive(Debug)]
pub(super) struct EventRing {
    ring: u8,
    memory: Mapping,
    reader: EventReader,
    /// The mapping outlives it, but the device writes only while the context has it.
    _blob: Blob,
}

impl EventRing {
    /// The ring that its EVENT_WAITs are on.
    pub(super) fn ring(&self) -> u8 {
        self.ring
    }
}

/// What the event ring needs of the rest of the session.
struct Of<'a> {
    context: &'a Context,
    status: &'a mut StatusBlob,
    results: &'a mut Results,
    ring: u8,
}

impl Line for Of<'_> {
    fn clear(&mut self) -> Result<()> {
        self.context.take_events().map(drop)
    }

    fn ask(&mut self, seen: u64) -> Result<()> {
        let tag = self.results.event_wait_tag();
        let submission = Submission::on_ring(self.ring).event_wait(seen, tag);
        self.context.submit(&submission).map(drop)
    }

    fn ended(&mut self) -> Result<Option<Ended>> {
        while let Some(report) = self.status.read()? {
            self.results.put(report);
        }
        Ok(self.results.take_event_wait())
    }
}

impl Session {
    /// Makes the event ring and asks for the first event, so that the context's file is readable
    /// when there is one.
    pub(super) fn open_events(&mut self, options: &EventOptions) -> Result<()> {
        for op in [OpCode::Events, OpCode::EventWait] {
            if !self.context.offers(op) {
                return Err(Error::NotOffered { op });
            }
        }
        let (blob, memory) = record_memory::<EventRecords>(&self.context, &options.blob)?;
        self.at_once(&Op::Events {
            resource_id: blob.resource_id(),
            offset: 0,
            size: options.blob.size,
        })?;
        let reader = EventReader::new(options.blob.size);
        reader.check_header(&memory)?;
        self.events = Some(EventRing {
            ring: options.ring,
            memory,
            reader,
            _blob: blob,
        });
        self.next_event().map(drop)
    }

    pub(super) fn needs_events(&self) -> Result<()> {
        self.events.as_ref().map(drop).ok_or(Error::NoEvents)
    }

    /// The next event, or `None` where all have been read. Never waits.
    ///
    /// Call it until there is none, then sleep until the context's file ([`Session::context`]) is
    /// readable, and call it again: there is an event, or the device's deadline has ended the wait
    /// for one, which this renews. Reading makes room in the ring; what the device kept back for
    /// want of it comes then.
    ///
    /// # Errors
    /// [`Error::NoEvents`] where the session was opened without an event ring. [`Error::Refused`]
    /// where the device does not take the wait for the next event, such as `EDQUOT` while too many
    /// fences are pending: nothing is lost, but nothing wakes the program either until this has been
    /// called again. [`Error::WentBack`], [`Error::EventsLost`], and those of
    /// [`crate::Context::submit`].
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let EventRing {
            ring,
            memory,
            reader,
            ..
        } = self.events.as_mut().ok_or(Error::NoEvents)?;
        let mut line = Of {
            context: &self.context,
            status: &mut self.status,
            results: &mut self.results,
            ring: *ring,
        };
        reader.next(memory, &mut line)
    }

    /// The next event; waits for it, at most `timeout` (`None`: for ever). `None` if none has come.
    ///
    /// # Errors
    /// As [`Session::next_event`].
    pub fn wait_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let begun = Instant::now();
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Some(event));
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
            if !wait_readable(self.context.as_fd(), left)? {
                return Ok(None);
            }
        }
    }

    /// CANCEL: there will be no event of this number. Returns when the device has done it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ENOENT` where it has come already; [`Error::Timeout`], and those of
    /// [`crate::Context::submit`].
    pub fn cancel(&mut self, event: EventNumber) -> Result<Record> {
        let event = event.get();
        self.at_once(&Op::Cancel { event })
    }
}
