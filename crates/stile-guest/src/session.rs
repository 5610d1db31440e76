//! The short way: a context, its status blob, and a number for everything.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use stile_host::SyncFile;
use stile_wire::sync::{Access, OpCode};

use crate::blob::{Blob, BlobOptions};
use crate::context::{Context, ContextOptions};
use crate::cookie::{Cookie, Cookies};
use crate::error::{Error, Result};
use crate::node::RenderNode;
use crate::reader::{Record, Report};
use crate::status::{StatusBlob, StatusOptions};
use crate::submission::{Submission, Submitted};
use crate::syncobj::OutSyncobj;

/// Results that a session keeps for those who have not asked yet.
const MOST_KEPT: usize = 4096;

/// How a session is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Its context.
    pub context: ContextOptions,
    /// Its status blob. Its ring and tag are the session's own matter.
    pub status: StatusOptions,
}

/// A context with its status blob, cookies and tags.
///
/// Ring 0 carries the operations that do not wait, so that their results come at once; each buffer
/// and each cookie has one of the others, [`Session::ring_of`]. Fences of buffers that share a ring
/// signal in the order of their submissions.
#[derive(Debug)]
pub struct Session {
    context: Context,
    status: StatusBlob,
    /// How long the device may take for what does not wait.
    timeout: Duration,
    cookies: Cookies,
    last_tag: u32,
    results: Results,
}

/// An operation whose fence is on its way. It is pollable by its fence.
#[derive(Debug)]
pub struct Pending {
    /// Signals when the operation, and everything before it on its ring, has ended. Guest programs
    /// use it like any sync_file. That it signals says nothing of errors: see [`Session::finish`].
    pub fence: SyncFile,
    op: OpCode,
    tag: u32,
    ring: u8,
    cookie: Option<Cookie>,
}

impl Pending {
    /// The name of the host's sync_file, where the operation makes or uses one.
    pub fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    /// The operation's tag in its status record.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// The ring that it was submitted on.
    pub fn ring(&self) -> u8 {
        self.ring
    }

    /// What it is.
    pub fn op(&self) -> OpCode {
        self.op
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fence.as_fd()
    }
}

/// Where an EXPORT's fence goes, besides its sync_file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions<'a> {
    /// The ring; without it, [`Session::ring_of`] the buffer.
    pub ring: Option<u8>,
    /// On the guest's own dma-buf of the buffer too, where unmodified programs see it.
    pub onto_buffer: bool,
    /// Into a syncobj: at this point of its timeline, or 0 for a binary one.
    pub syncobj: Option<(&'a OutSyncobj, u64)>,
}

impl Session {
    /// A session on the first device that offers `stile-sync`.
    ///
    /// # Errors
    /// Those of [`RenderNode::find`] and [`Session::open`].
    pub fn find() -> Result<Self> {
        Self::open(RenderNode::find()?, &SessionOptions::default())
    }

    /// A session on a freshly opened node: makes the context and the status blob.
    ///
    /// # Errors
    /// Those of [`Context::new`] and [`StatusBlob::new`].
    pub fn open(node: RenderNode, options: &SessionOptions) -> Result<Self> {
        let context = Context::new(node, &options.context)?;
        let status = StatusOptions {
            ring: 0,
            tag: 0,
            ..options.status
        };
        Ok(Self {
            status: StatusBlob::new(&context, &status)?,
            context,
            timeout: options.status.timeout,
            cookies: Cookies::default(),
            last_tag: 0,
            results: Results::default(),
        })
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The blob that results come in.
    pub fn status_blob(&self) -> &StatusBlob {
        &self.status
    }

    /// Status records that were overwritten before they were read.
    pub fn lost(&self) -> u64 {
        self.results.lost
    }

    /// Makes a blob, see [`Context::create_blob`]. The host knows it once [`Session::settle`], or
    /// any operation on it, has come back.
    ///
    /// # Errors
    /// As there.
    pub fn create_blob(&self, options: &BlobOptions) -> Result<Blob> {
        self.context.create_blob(options)
    }

    /// Waits until the device has taken up everything that the guest's kernel had queued for it: what
    /// is answered at once has been answered then, and blobs that were made are known to the host.
    ///
    /// # Errors
    /// [`Error::Timeout`] and those of [`Context::submit`].
    pub fn settle(&self) -> Result<()> {
        // The control queue is one, and nothing waits on ring 0.
        let submitted = self.submit(&Submission::on_ring(0).out_fence())?;
        let fence = submitted.fence.ok_or(Error::NoFence)?;
        if fence.wait(Some(self.timeout))? {
            return Ok(());
        }
        Err(Error::Timeout {
            waited_ms: self.timeout.as_millis(),
        })
    }

    /// The ring that a session uses for a buffer's fences.
    pub fn ring_of(&self, blob: &Blob) -> u8 {
        self.waiting_ring(blob.resource_id().into())
    }

    /// A cookie that this session has not used.
    pub fn cookie(&mut self) -> Cookie {
        self.cookies.next()
    }

    /// A tag whose record the session keeps, for a submission of one's own: see
    /// [`Session::result`].
    pub fn tag(&mut self) -> u32 {
        loop {
            self.last_tag = self.last_tag.wrapping_add(1);
            // 0 is STATUS's.
            if self.last_tag != 0 && self.results.expect(self.last_tag) {
                return self.last_tag;
            }
        }
    }

    /// EXPORT: a fence that signals when nobody writes the buffer any more (`READ`), or nobody uses
    /// it at all (`WRITE`), as it stands when the device takes the command up. The host's sync_file
    /// keeps the name [`Pending::cookie`] until [`Session::drop_cookie`].
    ///
    /// # Errors
    /// Those of [`Context::submit`]. The device's own come with [`Session::finish`].
    pub fn export(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        self.export_with(blob, access, ExportOptions::default())
    }

    /// EXPORT, its fence on the guest's own dma-buf of the buffer too.
    ///
    /// # Errors
    /// As [`Session::export`].
    pub fn export_onto(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        let options = ExportOptions {
            onto_buffer: true,
            ..ExportOptions::default()
        };
        self.export_with(blob, access, options)
    }

    /// EXPORT, its fence wherever it is wanted.
    ///
    /// # Errors
    /// As [`Session::export`].
    pub fn export_with(
        &mut self,
        blob: &Blob,
        access: Access,
        options: ExportOptions<'_>,
    ) -> Result<Pending> {
        let ring = options.ring.unwrap_or_else(|| self.ring_of(blob));
        let (cookie, tag) = (self.cookie(), self.tag());
        let mut submission = Submission::on_ring(ring).export(blob, access, cookie, tag);
        if options.onto_buffer {
            submission = submission.fence_on(blob);
        }
        if let Some((syncobj, point)) = options.syncobj {
            submission = submission.out_syncobj(syncobj, point);
        }
        self.start(submission, OpCode::Export, ring, tag, Some(cookie))
    }

    /// WAIT: a fence that signals when the cookie does.
    ///
    /// # Errors
    /// Those of [`Context::submit`].
    pub fn wait(&mut self, cookie: Cookie) -> Result<Pending> {
        let ring = self.waiting_ring(cookie.get());
        let tag = self.tag();
        let submission = Submission::on_ring(ring).wait(cookie, tag);
        self.start(submission, OpCode::Wait, ring, tag, Some(cookie))
    }

    /// IMPORT: users of the buffer on the host wait for the cookie from now on. Returns when the
    /// device has done it.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Timeout`], and those of [`Context::submit`].
    pub fn import(&mut self, blob: &Blob, access: Access, cookie: Cookie) -> Result<Record> {
        let tag = self.tag();
        let submission = Submission::on_ring(0).import(blob, access, cookie, tag);
        self.at_once(submission, OpCode::Import, tag)
    }

    /// MERGE: a cookie that signals when both have. Returns when the device has made it.
    ///
    /// # Errors
    /// As [`Session::import`].
    pub fn merge(&mut self, first: Cookie, second: Cookie) -> Result<Cookie> {
        let (cookie, tag) = (self.cookie(), self.tag());
        let submission = Submission::on_ring(0).merge(first, second, cookie, tag);
        self.at_once(submission, OpCode::Merge, tag)?;
        Ok(cookie)
    }

    /// DROP: the device forgets the cookie.
    ///
    /// # Errors
    /// As [`Session::import`].
    pub fn drop_cookie(&mut self, cookie: Cookie) -> Result<Record> {
        let tag = self.tag();
        let submission = Submission::on_ring(0).drop_cookie(cookie, tag);
        self.at_once(submission, OpCode::Drop, tag)
    }

    /// A submission of one's own. Tags from [`Session::tag`] have their records kept.
    ///
    /// # Errors
    /// Those of [`Context::submit`].
    pub fn submit(&self, submission: &Submission<'_>) -> Result<Submitted> {
        self.context.submit(submission)
    }

    /// Waits for the operation's fence, at most `timeout` (`None`: for ever, which the device's
    /// deadline ends), and returns what became of it.
    ///
    /// # Errors
    /// [`Error::Timeout`], and then it can be asked again; [`Error::Refused`] with the errno that
    /// the device or the host's fence ended it with; [`Error::NoRecord`].
    pub fn finish(&mut self, pending: &Pending, timeout: Option<Duration>) -> Result<Record> {
        if !pending.fence.wait(timeout)? {
            return Err(Error::Timeout {
                waited_ms: timeout.unwrap_or_default().as_millis(),
            });
        }
        let record = self.result(pending.tag)?;
        checked(record, pending.op)
    }

    /// The record of the operation with this tag, once; its fence must have signalled. An errno in
    /// it is not made an error here.
    ///
    /// # Errors
    /// [`Error::NoRecord`]: the tag is not from [`Session::tag`], its record was taken already, the
    /// fence has not signalled, or the record was lost.
    pub fn result(&mut self, tag: u32) -> Result<Record> {
        while let Some(report) = self.status.read()? {
            self.results.put(report);
        }
        self.results.take(tag).ok_or(Error::NoRecord {
            tag,
            lost: self.results.lost,
        })
    }

    fn start(
        &mut self,
        submission: Submission<'_>,
        op: OpCode,
        ring: u8,
        tag: u32,
        cookie: Option<Cookie>,
    ) -> Result<Pending> {
        let submitted = self.context.submit(&submission.out_fence());
        match submitted.map(|submitted| submitted.fence) {
            Ok(Some(fence)) => Ok(Pending {
                fence,
                op,
                tag,
                ring,
                cookie,
            }),
            Ok(None) => Err(Error::NoFence),
            Err(error) => {
                self.results.forget(tag);
                Err(error)
            }
        }
    }

    fn at_once(&mut self, submission: Submission<'_>, op: OpCode, tag: u32) -> Result<Record> {
        let pending = self.start(submission, op, 0, tag, None)?;
        self.finish(&pending, Some(self.timeout))
    }

    /// One of the rings beside 0, always the same for the same number.
    fn waiting_ring(&self, number: u64) -> u8 {
        let others = u64::from(self.context.rings()).saturating_sub(1);
        let ring = number
            .checked_rem(others)
            .map_or(0, |ring| ring.saturating_add(1));
        u8::try_from(ring).unwrap_or(0)
    }
}

fn checked(record: Record, op: OpCode) -> Result<Record> {
    match record.errno {
        0 => Ok(record),
        errno => Err(Error::Refused { op, errno }),
    }
}

/// Records of operations that somebody may ask for.
#[derive(Debug, Default)]
struct Results {
    /// By tag; `None` until the record has come.
    kept: BTreeMap<u32, Option<Record>>,
    lost: u64,
}

impl Results {
    /// Keeps the record of this tag when it comes. False if the tag is in use.
    fn expect(&mut self, tag: u32) -> bool {
        if self.kept.contains_key(&tag) {
            return false;
        }
        // Tags go up, so the first is the one that nobody has asked for the longest.
        if self.kept.len() >= MOST_KEPT {
            self.kept.pop_first();
        }
        self.kept.insert(tag, None);
        true
    }

    fn put(&mut self, report: Report) {
        match report {
            Report::Record(record) => {
                if let Some(place) = self.kept.get_mut(&record.tag) {
                    *place = Some(record);
                }
            }
            Report::Lost { count } => self.lost = self.lost.saturating_add(count),
        }
    }

    fn take(&mut self, tag: u32) -> Option<Record> {
        let record = self.kept.get(&tag).copied().flatten();
        if record.is_some() {
            self.kept.remove(&tag);
        }
        record
    }

    fn forget(&mut self, tag: u32) {
        self.kept.remove(&tag);
    }
}

#[cfg(test)]
mod tests {
    use stile_wire::sync::StatusRecord;
    use zerocopy::FromZeros;

    use super::*;

    fn report(seq: u64, tag: u32) -> Report {
        let mut record = StatusRecord::new_zeroed();
        (record.seq, record.tag) = (seq.into(), tag.into());
        Report::Record(Record::from(&record))
    }

    #[test]
    fn a_result_is_there_once_and_only_for_those_who_expect_it() {
        let mut results = Results::default();
        assert!(results.expect(7));
        assert!(!results.expect(7), "the tag is in use");
        results.put(report(1, 6));
        assert_eq!(results.take(6), None);
        assert_eq!(results.take(7), None, "it has not come yet");
        results.put(report(2, 7));
        assert_eq!(results.take(7).map(|record| record.seq), Some(2));
        assert_eq!(results.take(7), None);
        assert!(results.expect(7), "the tag is free again");
    }

    #[test]
    fn losses_add_up() {
        let mut results = Results::default();
        results.put(Report::Lost { count: 2 });
        results.put(Report::Lost { count: u64::MAX });
        assert_eq!(results.lost, u64::MAX);
    }

    #[test]
    fn results_that_nobody_asks_for_do_not_pile_up() {
        let mut results = Results::default();
        let last = u32::try_from(MOST_KEPT).unwrap().saturating_mul(2);
        for tag in 1..=last {
            assert!(results.expect(tag));
            results.put(report(tag.into(), tag));
        }
        assert_eq!(results.kept.len(), MOST_KEPT);
        assert_eq!(results.take(1), None);
        assert!(results.take(last).is_some());
    }

    #[test]
    fn cookies_begin_at_one_and_go_up() {
        let mut cookies = Cookies::default();
        let first: Vec<_> = (0..3).map(|_| cookies.next().get()).collect();
        assert_eq!(first, [1, 2, 3]);
        assert_eq!(Cookie::new(0), None);
    }
}
