//! What a case plays on: a context in the guest, and the proofs about its fences.

use std::error::Error;
use std::time::Duration;

use guest_tests::gpu::{Clock, Fence, Gpu, Times, Use};
use stile_guest::{
    Access, Blob, BlobOptions, Cookie, Errno, Event, EventOptions, FenceOptions, OpCode, Pending,
    Record, RenderNode, Session, SessionOptions, StatusOptions, Submission, SyncFile,
};

/// How a step of a case ends.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Longer than any fence takes that comes at all, also where everything is emulated twice.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a buffer that nobody looks into.
pub(crate) const PAGE: u64 = 4096;

/// A guest program with a context of its own.
///
/// # What is pending
/// That a fence has not signalled a moment after it was asked for proves nothing: the device may not
/// have looked yet. [`Guest::settle`] makes sure that it has, and the fence's owner on the host has
/// not signalled it. So a fence that [`Guest::pending`] accepts is held by the device on purpose.
pub(crate) struct Guest {
    pub(crate) session: Session,
    clock: Clock,
}

/// Work of a guest program that a GPU of the host does: it draws into a buffer of its own, and has
/// not finished. Its fence can be put on whatever it uses besides.
pub(crate) struct Work<'a> {
    /// Signals when the work is done.
    pub(crate) fence: Fence<'a>,
    /// The same fence in the guest.
    pub(crate) pending: Pending,
    /// Its name there.
    pub(crate) cookie: Cookie,
    /// What it draws into.
    pub(crate) target: Blob,
}

impl Guest {
    /// A context with its status blob.
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        Self::with_status(gpu, StatusOptions::default())
    }

    /// The same with a status blob of one's own.
    pub(crate) fn with_status(gpu: &Gpu, status: StatusOptions) -> Result<Self> {
        let options = SessionOptions {
            status,
            ..SessionOptions::default()
        };
        Self::open(gpu, &options)
    }

    /// The same with an event ring.
    pub(crate) fn with_events(gpu: &Gpu) -> Result<Self> {
        let options = SessionOptions {
            events: Some(EventOptions::default()),
            ..SessionOptions::default()
        };
        Self::open(gpu, &options)
    }

    pub(crate) fn open(gpu: &Gpu, options: &SessionOptions) -> Result<Self> {
        Ok(Self {
            clock: Clock::compare(gpu)?,
            session: Session::open(RenderNode::find()?, options)?,
        })
    }

    /// A buffer that the host knows, whose own ring is none of those that cases name.
    pub(crate) fn blob(&self, options: &BlobOptions) -> Result<Blob> {
        let mut blob = self.session.create_blob(options)?;
        while is_named(self.session.ring_of(&blob)) {
            // A session takes a buffer's ring by its number, and each has the next number.
            blob = self.session.create_blob(options)?;
        }
        self.settle()?;
        Ok(blob)
    }

    /// The same: a host buffer of one page.
    pub(crate) fn buffer(&self) -> Result<Blob> {
        self.blob(&BlobOptions::host(PAGE))
    }

    /// A GPU of the host begins to work for this guest.
    pub(crate) fn work<'a>(&mut self, gpu: &'a Gpu) -> Result<Work<'a>> {
        self.work_with(gpu, FenceOptions::default())
    }

    /// The same on a ring of the case's choice: what else is on the ring has to wait for it.
    pub(crate) fn work_on<'a>(&mut self, gpu: &'a Gpu, ring: u8) -> Result<Work<'a>> {
        self.work_with(gpu, on_ring(ring))
    }

    fn work_with<'a>(&mut self, gpu: &'a Gpu, options: FenceOptions<'_>) -> Result<Work<'a>> {
        let target = self.buffer()?;
        let fence = gpu.take(target.resource_id())?.begin(Use::Write)?;
        let pending = self.session.export_with(&target, Access::READ, options)?;
        self.pending(&pending)?;
        Ok(Work {
            fence,
            cookie: cookie_of(&pending)?,
            pending,
            target,
        })
    }

    /// Returns when the device has taken up everything that the guest's kernel had queued: what is
    /// answered at once has been answered by then.
    pub(crate) fn settle(&self) -> Result {
        Ok(self.session.settle()?)
    }

    /// The device has the operation and holds its fence back.
    pub(crate) fn pending(&self, pending: &Pending) -> Result {
        self.fence_pending(&pending.fence)
    }

    /// The same for any fence of this guest.
    pub(crate) fn fence_pending(&self, fence: &SyncFile) -> Result {
        self.settle()?;
        assert!(!fence.signalled()?, "the fence has signalled early");
        Ok(())
    }

    /// The host has signalled: the operation's fence signals, not before, and its record agrees.
    pub(crate) fn signals(&mut self, pending: &Pending, host: &Times) -> Result<Record> {
        let record = self.session.finish(pending, Some(PATIENCE))?;
        self.not_before(&pending.fence, host)?;
        let signalled = record.signalled_ns.ok_or("the record has no host time")?;
        assert!(
            host.contain(signalled),
            "the host signalled at {host:?}, the record says {record:?}"
        );
        assert!(record.taken_ns <= signalled, "{record:?}");
        assert!(signalled <= record.done_ns, "{record:?}");
        Ok(record)
    }

    /// The fence has signalled, and not before the host did.
    pub(crate) fn not_before(&self, fence: &SyncFile, host: &Times) -> Result {
        assert!(fence.wait(Some(PATIENCE))?, "the fence has not signalled");
        let here = fence.timestamp_ns()?.ok_or("the fence has no time")?;
        let latest = self.clock.latest_ns(here);
        assert!(
            latest >= host.before_ns,
            "the guest's fence signalled at {latest} ns of the host's clock or before, the host's \
             at {} ns or after",
            host.before_ns
        );
        Ok(())
    }

    /// There was nothing to wait for: the fence is signalled as soon as the device has taken the
    /// operation up. An EXPORT has not gone through the device's event loop for it: of a fence that
    /// woke it, the device asks the kernel for the time.
    pub(crate) fn at_once(&mut self, pending: &Pending) -> Result<Record> {
        self.fence_at_once(&pending.fence)?;
        let record = self.session.finish(pending, Some(Duration::ZERO))?;
        if pending.op() == OpCode::Export {
            assert_eq!(record.signalled_ns, None, "{record:?}");
        }
        Ok(record)
    }

    /// The same for any fence of this guest.
    pub(crate) fn fence_at_once(&self, fence: &SyncFile) -> Result {
        // The answer may come behind that of a first round on another ring, in the same batch; it
        // comes before that of a second, which is asked for only then.
        self.settle()?;
        self.settle()?;
        assert!(fence.signalled()?, "the fence waits for something");
        Ok(())
    }

    /// The next event, however long it takes.
    pub(crate) fn event(&mut self) -> Result<Event> {
        let event = self.session.wait_event(Some(PATIENCE))?;
        Ok(event.ok_or("no event has come")?)
    }

    /// There is no event for what has been done so far.
    pub(crate) fn no_event(&mut self) -> Result {
        // A descriptor that the host's kernel has made readable the device has looked at by the end
        // of the second round, if not of the first.
        self.settle()?;
        self.settle()?;
        assert_eq!(self.session.next_event()?, None);
        Ok(())
    }

    /// Submits operations of one's own, and gives their fence.
    pub(crate) fn submit(&self, submission: Submission<'_>) -> Result<SyncFile> {
        let submitted = self.session.submit(&submission.out_fence())?;
        Ok(submitted.fence.ok_or("the kernel gave no fence")?)
    }
}

/// Whether cases name this ring themselves. What is on a ring waits for what was there before.
fn is_named(ring: u8) -> bool {
    matches!(ring, 1..=12 | 60..=63)
}

/// A fence on this ring.
pub(crate) fn on_ring(ring: u8) -> FenceOptions<'static> {
    FenceOptions {
        ring: Some(ring),
        ..FenceOptions::default()
    }
}

/// The device refused an operation, with this errno.
pub(crate) fn refused<T: std::fmt::Debug>(result: stile_guest::Result<T>, errno: Errno) {
    let found = result.as_ref().err().and_then(stile_guest::Error::errno);
    assert_eq!(found, Some(errno), "{result:?}");
}

/// The event is of what the host did then: the device has not told it before.
pub(crate) fn not_told_before(event: &Event, host: &Times) {
    assert!(event.happened(), "{event:?}");
    assert!(
        event.time_ns >= host.before_ns,
        "{event:?} is before {host:?}"
    );
}

/// The name that an EXPORT has given to the host's fences.
pub(crate) fn cookie_of(pending: &Pending) -> Result<Cookie> {
    Ok(pending.cookie().ok_or("an EXPORT has a cookie")?)
}
