//! The context's status blob: memory that the device tells results in.

use std::time::Duration;

use stile_host::Mapping;
use stile_wire::sync::OpCode;

use crate::blob::{Blob, BlobOptions};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reader::{Reader, Record, Records, Report, StatusRecords};
use crate::submission::Submission;

/// Least and most bytes of a status blob or an event ring (`docs/spec/stile-sync.md`, "STATUS" and
/// "EVENTS").
const BYTES: std::ops::RangeInclusive<u64> = 128..=65536;

/// Memory for records, of a size that the device takes.
pub(crate) fn record_memory<R: Records>(
    context: &Context,
    options: &BlobOptions,
) -> Result<(Blob, Mapping)> {
    let bytes = options.size;
    if !BYTES.contains(&bytes) {
        let what = R::WHAT;
        return Err(Error::Size { what, bytes });
    }
    let blob = context.create_blob(options)?;
    let memory = blob.map()?;
    Ok((blob, memory))
}

/// How a status blob is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusOptions {
    /// The blob: [`BlobOptions::host`], seen through the hostmem region, or
    /// [`BlobOptions::guest`]. 128 to 65536 bytes: a header and records of 64 bytes each.
    pub blob: BlobOptions,
    /// The ring of the STATUS operation, and its tag.
    pub ring: u8,
    /// The STATUS operation's tag.
    pub tag: u32,
    /// How long the device may take to answer it.
    pub timeout: Duration,
}

impl Default for StatusOptions {
    /// 64 KiB of host memory: 1023 records.
    fn default() -> Self {
        Self {
            blob: BlobOptions::host(*BYTES.end()),
            ring: 0,
            tag: 0,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A context's status blob, named to the device, and how far it has been read.
///
/// All records of a submission are written before its fence signals: wait for the fence, then read.
/// There is nothing to poll here. The device does not wait for a reader; who reads too late is told
/// how many records are lost.
#[derive(Debug)]
pub struct StatusBlob {
    blob: Blob,
    memory: Mapping,
    reader: Reader<StatusRecords>,
    bytes: u64,
}

impl StatusBlob {
    /// Makes a blob, maps it and names it to the device. Waits for the device's answer; the record
    /// of the STATUS operation itself has been read then.
    ///
    /// # Errors
    /// [`Error::Size`]; [`Error::Timeout`]; [`Error::Header`] where the device has not
    /// written its header, which is how a refusal shows when there is no place yet to tell it in;
    /// [`Error::Refused`]; or what making and mapping the blob gives.
    pub fn new(context: &Context, options: &StatusOptions) -> Result<Self> {
        let bytes = options.blob.size;
        let (blob, memory) = record_memory::<StatusRecords>(context, &options.blob)?;
        let submission = Submission::on_ring(options.ring)
            .status(&blob, 0, bytes, options.tag)
            .out_fence();
        if let Some(fence) = context.submit(&submission)?.fence
            && !fence.wait(Some(options.timeout))?
        {
            return Err(Error::Timeout {
                waited_ms: options.timeout.as_millis(),
            });
        }
        let mut status = Self {
            blob,
            memory,
            reader: Reader::new(bytes),
            bytes,
        };
        status.reader.check_header(&status.memory)?;
        match status.read()? {
            Some(Report::Record(record)) if record.errno != 0 => Err(Error::Refused {
                op: OpCode::Status,
                errno: record.errno,
            }),
            Some(Report::Record(record)) if record.tag == options.tag => Ok(status),
            _ => Err(Error::NoRecord {
                tag: options.tag,
                lost: 0,
            }),
        }
    }

    /// The next record, or how many were lost, or `None` where everything has been read. Never
    /// waits.
    ///
    /// # Errors
    /// [`Error::WentBack`].
    pub fn read(&mut self) -> Result<Option<Report>> {
        self.reader.next(&self.memory)
    }

    /// Everything that is there, oldest first.
    ///
    /// # Errors
    /// As [`StatusBlob::read`].
    pub fn drain(&mut self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        while let Some(report) = self.read()? {
            reports.push(report);
        }
        Ok(reports)
    }

    /// The record of the operation with this tag, if it is there; records before it are read and
    /// given to `others`. Call it when the fence of the operation's submission has signalled.
    ///
    /// # Errors
    /// As [`StatusBlob::read`].
    pub fn find(&mut self, tag: u32, mut others: impl FnMut(Report)) -> Result<Option<Record>> {
        while let Some(report) = self.read()? {
            match report {
                Report::Record(record) if record.tag == tag => return Ok(Some(record)),
                other => others(other),
            }
        }
        Ok(None)
    }

    /// Records that the blob holds before the device comes round.
    pub fn capacity(&self) -> u64 {
        stile_wire::sync::capacity(self.bytes)
    }

    /// The blob.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }
}
