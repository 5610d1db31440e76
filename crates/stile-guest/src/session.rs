//! The short way: a context, its status blob, and a number for everything.

mod clock;
mod events;
mod fences;
mod memory;
mod results;
mod timelines;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use stile_host::SyncFile;
use stile_wire::sync::{Op, OpCode};

use crate::blob::{Blob, BlobOptions};
use crate::context::{Context, ContextOptions};
use crate::error::{Error, Result};
use crate::events::EventOptions;
use crate::name::{Cookie, EventNumber, Numbers, Timeline};
use crate::node::RenderNode;
use crate::num::wide;
use crate::order::Place;
use crate::reader::Record;
use crate::status::{StatusBlob, StatusOptions};
use crate::submission::{Submission, Submitted};

use events::EventRing;
pub use fences::FenceOptions;
use results::Results;

/// How a session is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Its context.
    pub context: ContextOptions,
    /// Its status blob. Its ring and tag are the session's own matter.
    pub status: StatusOptions,
    /// Its event ring, which watches and waits for counters need; without it there are none.
    pub events: Option<EventOptions>,
}

/// A context with its status blob, its event ring, and its names and tags.
///
/// Ring 0 carries the operations that do not wait, so that their results come at once; the event
/// ring has one of its own ([`EventOptions::ring`]); each buffer and each cookie has one of the
/// others, [`Session::ring_of`]. Fences of buffers that share a ring signal in the order of their
/// submissions.
#[derive(Debug)]
pub struct Session {
    context: Context,
    status: StatusBlob,
    events: Option<EventRing>,
    /// How long the device may take for what does not wait.
    timeout: Duration,
    cookies: Numbers,
    timelines: Numbers,
    event_numbers: Numbers,
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
    place: Option<Place>,
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

    /// Where it stands among the submissions of its ring.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fence.as_fd()
    }
}

impl Session {
    /// A session on the first device that offers `stile-sync`.
    ///
    /// # Errors
    /// Those of [`RenderNode::find`] and [`Session::open`].
    pub fn find() -> Result<Self> {
        Self::open(RenderNode::find()?, &SessionOptions::default())
    }

    /// A session on a freshly opened node: makes the context, the status blob and the event ring.
    ///
    /// # Errors
    /// Those of [`Context::new`] and [`StatusBlob::new`]; where an event ring is asked for,
    /// [`Error::NotOffered`], [`Error::NoRing`], [`Error::Size`], [`Error::Refused`] or
    /// [`Error::Header`], too.
    pub fn open(node: RenderNode, options: &SessionOptions) -> Result<Self> {
        let mut context = options.context.clone();
        if let Some(events) = options.events {
            let ring = events.ring;
            if ring == 0 || ring >= context.rings {
                let rings = context.rings;
                return Err(Error::NoRing {
                    ring: ring.into(),
                    rings,
                });
            }
            context.polled_rings |= 1_u64.checked_shl(ring.into()).unwrap_or(0);
        }
        let context = Context::new(node, &context)?;
        let status = StatusOptions {
            ring: 0,
            tag: 0,
            ..options.status
        };
        let mut session = Self {
            status: StatusBlob::new(&context, &status)?,
            context,
            events: None,
            timeout: options.status.timeout,
            cookies: Numbers::default(),
            timelines: Numbers::default(),
            event_numbers: Numbers::default(),
            results: Results::default(),
        };
        if let Some(options) = &options.events {
            session.open_events(options)?;
        }
        Ok(session)
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
        self.results.lost()
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

    /// Waits until the device has looked at what these fences wait for: those that wait for nothing
    /// have signalled then.
    ///
    /// # Errors
    /// Those of [`Session::settle`].
    pub fn settle_for(&self, fences: &[&SyncFile]) -> Result<()> {
        self.settle()?;
        for fence in fences {
            if !fence.signalled()? {
                // The answer may be behind that of the first round, but not of a second.
                return self.settle();
            }
        }
        Ok(())
    }

    /// The ring that a session uses for a buffer's fences.
    pub fn ring_of(&self, blob: &Blob) -> u8 {
        self.waiting_ring(blob.resource_id().into())
    }

    /// A cookie that this session has not used.
    pub fn cookie(&mut self) -> Cookie {
        self.cookies.next()
    }

    /// A name for a timeline that this session has not used.
    pub fn timeline(&mut self) -> Timeline {
        self.timelines.next()
    }

    /// A number for an event that this session has not used.
    pub fn event_number(&mut self) -> EventNumber {
        self.event_numbers.next()
    }

    /// A tag whose record the session keeps, for a submission of one's own: see
    /// [`Session::result`].
    pub fn tag(&mut self) -> u32 {
        self.results.tag()
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
        self.read_status()?;
        self.results.take(tag).ok_or(Error::NoRecord {
            tag,
            lost: self.results.lost(),
        })
    }

    fn read_status(&mut self) -> Result<()> {
        while let Some(report) = self.status.read()? {
            self.results.put(report);
        }
        Ok(())
    }

    /// Submits one operation, whose tag is `tag`, with an out-fence.
    pub(crate) fn start(
        &mut self,
        submission: Submission<'_>,
        (op, ring, tag): (OpCode, u8, u32),
        cookie: Option<Cookie>,
    ) -> Result<Pending> {
        match self.context.submit(&submission.out_fence()) {
            Ok(Submitted {
                fence: Some(fence),
                place,
            }) => Ok(Pending {
                fence,
                op,
                tag,
                ring,
                cookie,
                place,
            }),
            Ok(_) => Err(Error::NoFence),
            Err(error) => {
                self.results.forget(tag);
                Err(error)
            }
        }
    }

    /// Does what does not wait.
    fn at_once(&mut self, op: &Op) -> Result<Record> {
        let tag = self.tag();
        let submission = Submission::on_ring(0).op(op, tag);
        self.submit_at_once(submission, op.code(), tag)
    }

    /// The same with a submission on ring 0.
    fn submit_at_once(
        &mut self,
        submission: Submission<'_>,
        op: OpCode,
        tag: u32,
    ) -> Result<Record> {
        let pending = self.start(submission, (op, 0, tag), None)?;
        self.finish(&pending, Some(self.timeout))
    }

    /// One of the rings beside 0 and the event ring's, always the same for the same number.
    fn waiting_ring(&self, number: u64) -> u8 {
        let rings = self.waiting_rings();
        let [ring] = chosen(&rings, number);
        ring
    }

    /// Two of them, for fences of two kinds.
    pub(crate) fn two_rings_of(&self, blob: &Blob) -> [u8; 2] {
        chosen(&self.waiting_rings(), blob.resource_id().into())
    }

    fn waiting_rings(&self) -> Vec<u8> {
        let events = self.events.as_ref().map(EventRing::ring);
        let rings = 1..self.context.rings();
        rings.filter(|ring| Some(*ring) != events).collect()
    }
}

/// Of these rings, N that stand together, for `number`; ring 0 where there are not so many.
fn chosen<const N: usize>(rings: &[u8], number: u64) -> [u8; N] {
    let (groups, _) = rings.as_chunks::<N>();
    let nth = number.checked_rem(wide(groups.len())).unwrap_or(0);
    let nth = usize::try_from(nth).unwrap_or(0);
    groups.get(nth).copied().unwrap_or([0; N])
}

/// An errno in the record as an error.
pub(crate) fn checked(record: Record, op: OpCode) -> Result<Record> {
    match record.errno {
        0 => Ok(record),
        errno => Err(Error::Refused { op, errno }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_chosen_in_turn() {
        let one = |rings: &[u8]| -> Vec<_> { (0..6).map(|n| chosen::<1>(rings, n)[0]).collect() };
        assert_eq!(one(&[1, 2, 4]), [1, 2, 4, 1, 2, 4]);
        assert_eq!(one(&[]), [0; 6]);
        let two = |rings: &[u8]| -> Vec<_> { (0..3).map(|n| chosen::<2>(rings, n)).collect() };
        assert_eq!(two(&[1, 2, 3, 5, 6]), [[1, 2], [3, 5], [1, 2]]);
        assert_eq!(two(&[1]), [[0, 0]; 3], "there are not two");
    }
}
