//! Counters in memory.

use std::time::Duration;

use stile_wire::sync::{Op, OpCode};

use super::Session;
use crate::blob::Blob;
use crate::error::Result;
use crate::name::EventNumber;
use crate::reader::Record;
use crate::submission::Submission;

/// A counter is 64 bits, little-endian, at an offset in bytes that is a multiple of 8, in a blob
/// that several contexts, or the host, share. Nobody looks at memory without being told: who stores
/// a counter itself rings the bell with [`Session::signal_memory`] and value 0.
impl Session {
    /// MEM_WAIT: an event when the counter is at least `value`; after `timeout`, one that says so.
    /// Returns when the device has it. See [`Session::next_event`].
    ///
    /// # Errors
    /// [`crate::Error::NoEvents`], [`crate::Error::Refused`], [`crate::Error::Timeout`], and those of
    /// [`crate::Context::submit`].
    pub fn wait_memory(
        &mut self,
        blob: &Blob,
        offset: u64,
        value: u64,
        timeout: Duration,
    ) -> Result<EventNumber> {
        self.needs_events()?;
        let (event, tag) = (self.event_number(), self.tag());
        let submission =
            Submission::on_ring(0).wait_memory(blob, offset, value, event, timeout, tag);
        self.submit_at_once(submission, OpCode::MemWait, tag)?;
        Ok(event)
    }

    /// MEM_SIGNAL: raises the counter to `value` if it is below, and tells those whose value it has
    /// reached. Returns when the device has done it.
    ///
    /// # Errors
    /// [`crate::Error::Refused`], [`crate::Error::Timeout`], and those of [`crate::Context::submit`].
    pub fn signal_memory(&mut self, blob: &Blob, offset: u64, value: u64) -> Result<Record> {
        self.at_once(&Op::MemSignal {
            resource_id: blob.resource_id(),
            offset,
            value,
        })
    }
}
