//! Buffers, cookies and the fences between them.

use stile_wire::sync::{Access, Op, OpCode};

use super::{Pending, Session};
use crate::blob::Blob;
use crate::error::Result;
use crate::name::Cookie;
use crate::reader::Record;
use crate::submission::Submission;
use crate::syncobj::OutSyncobj;

/// Where an operation's fence goes, besides its sync_file.
#[derive(Clone, Copy, Debug, Default)]
pub struct FenceOptions<'a> {
    /// The ring; without it, [`Session::ring_of`] the buffer.
    pub ring: Option<u8>,
    /// On the guest's own dma-buf of the buffer too, where unmodified programs see it.
    pub onto_buffer: bool,
    /// Into a syncobj: at this point of its timeline, or 0 for a binary one.
    pub syncobj: Option<(&'a OutSyncobj, u64)>,
}

/// What waits, and what makes fences.
impl Session {
    /// EXPORT: a fence that signals when nobody writes the buffer any more (`READ`), or nobody uses
    /// it at all (`WRITE`), as it stands when the device takes the command up. The host's sync_file
    /// keeps the name [`Pending::cookie`] until [`Session::drop_cookie`].
    ///
    /// # Errors
    /// Those of [`crate::Context::submit`]. The device's own come with [`Session::finish`].
    pub fn export(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        self.export_with(blob, access, FenceOptions::default())
    }

    /// EXPORT, its fence on the guest's own dma-buf of the buffer too.
    ///
    /// # Errors
    /// As [`Session::export`].
    pub fn export_onto(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        let options = FenceOptions {
            onto_buffer: true,
            ..FenceOptions::default()
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
        options: FenceOptions<'_>,
    ) -> Result<Pending> {
        let (cookie, tag) = (self.cookie(), self.tag());
        let ring = options.ring.unwrap_or_else(|| self.ring_of(blob));
        let submission = Submission::on_ring(ring).export(blob, access, cookie, tag);
        let what = (OpCode::Export, ring, tag);
        self.start(sent_to(submission, blob, options), what, Some(cookie))
    }

    /// POLL: as EXPORT, but as the buffer stands when the wait starts: when the fences before it on
    /// its ring have signalled. There is no cookie.
    ///
    /// # Errors
    /// Those of [`crate::Context::submit`]. The device's own come with [`Session::finish`].
    pub fn poll(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        self.poll_with(blob, access, FenceOptions::default())
    }

    /// POLL, its fence wherever it is wanted.
    ///
    /// # Errors
    /// As [`Session::poll`].
    pub fn poll_with(
        &mut self,
        blob: &Blob,
        access: Access,
        options: FenceOptions<'_>,
    ) -> Result<Pending> {
        let tag = self.tag();
        let ring = options.ring.unwrap_or_else(|| self.ring_of(blob));
        let submission = Submission::on_ring(ring).poll(blob, access, tag);
        let what = (OpCode::Poll, ring, tag);
        self.start(sent_to(submission, blob, options), what, None)
    }

    /// CPU_BEGIN: a fence that signals when the CPU may use the host's buffer like this. It may
    /// take as long as the host's fences do; what follows on the buffer's ring comes after it.
    ///
    /// # Errors
    /// Those of [`crate::Context::submit`]. The device's own come with [`Session::finish`]: `EBUSY`
    /// where too many are under way.
    pub fn cpu_begin(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        self.cpu_begin_with(blob, access, FenceOptions::default())
    }

    /// CPU_BEGIN, its fence wherever it is wanted.
    ///
    /// # Errors
    /// As [`Session::cpu_begin`].
    pub fn cpu_begin_with(
        &mut self,
        blob: &Blob,
        access: Access,
        options: FenceOptions<'_>,
    ) -> Result<Pending> {
        let tag = self.tag();
        let ring = options.ring.unwrap_or_else(|| self.ring_of(blob));
        let submission = Submission::on_ring(ring).cpu_begin(blob, access, tag);
        let what = (OpCode::CpuBegin, ring, tag);
        self.start(sent_to(submission, blob, options), what, None)
    }

    /// CPU_END: a fence that signals when the use that CPU_BEGIN began has taken effect. Wait for
    /// the fence of the CPU_BEGIN first: the device keeps no order between the two.
    ///
    /// # Errors
    /// As [`Session::cpu_begin`].
    pub fn cpu_end(&mut self, blob: &Blob, access: Access) -> Result<Pending> {
        let (ring, tag) = (self.ring_of(blob), self.tag());
        let submission = Submission::on_ring(ring).cpu_end(blob, access, tag);
        self.start(submission, (OpCode::CpuEnd, ring, tag), None)
    }

    /// WAIT: a fence that signals when the cookie does.
    ///
    /// # Errors
    /// Those of [`crate::Context::submit`].
    pub fn wait(&mut self, cookie: Cookie) -> Result<Pending> {
        self.wait_on(cookie, self.waiting_ring(cookie.get()))
    }

    /// WAIT, on a ring of one's choice: its fence comes after those that are there already.
    ///
    /// # Errors
    /// As [`Session::wait`].
    pub fn wait_on(&mut self, cookie: Cookie, ring: u8) -> Result<Pending> {
        let tag = self.tag();
        let submission = Submission::on_ring(ring).wait(cookie, tag);
        self.start(submission, (OpCode::Wait, ring, tag), Some(cookie))
    }
}

/// What is done at once.
impl Session {
    /// IMPORT: users of the buffer on the host wait for the cookie from now on. Returns when the
    /// device has done it.
    ///
    /// # Errors
    /// [`crate::Error::Refused`], [`crate::Error::Timeout`], and those of [`crate::Context::submit`].
    pub fn import(&mut self, blob: &Blob, access: Access, cookie: Cookie) -> Result<Record> {
        self.at_once(&Op::Import {
            resource_id: blob.resource_id(),
            access,
            cookie: cookie.get(),
        })
    }

    /// MERGE: a cookie that signals when both have. Returns when the device has made it.
    ///
    /// # Errors
    /// As [`Session::import`].
    pub fn merge(&mut self, first: Cookie, second: Cookie) -> Result<Cookie> {
        let cookie = self.cookie();
        self.at_once(&Op::Merge {
            first: first.get(),
            second: second.get(),
            cookie: cookie.get(),
        })?;
        Ok(cookie)
    }

    /// DROP: the device forgets the cookie.
    ///
    /// # Errors
    /// As [`Session::import`].
    pub fn drop_cookie(&mut self, cookie: Cookie) -> Result<Record> {
        let cookie = cookie.get();
        self.at_once(&Op::Drop { cookie })
    }

    /// DEADLINE: tells the host's drivers by when the cookie's fences are wanted. `deadline_ns` is
    /// of the host's `CLOCK_MONOTONIC`: [`crate::HostClock::host_ns`] converts.
    ///
    /// # Errors
    /// As [`Session::import`]; [`crate::Error::NotOffered`] where the host's kernel takes no deadlines.
    pub fn deadline(&mut self, cookie: Cookie, deadline_ns: u64) -> Result<Record> {
        let cookie = cookie.get();
        self.at_once(&Op::Deadline {
            cookie,
            deadline_ns,
        })
    }

    /// SNAPSHOT: a cookie that signals when everything has that was queued so far by the contexts
    /// that hold the buffer.
    ///
    /// # Errors
    /// As [`Session::import`]: [`crate::Error::Refused`] with `EOPNOTSUPP` where some of it waits for what
    /// no fence of the host stands for.
    pub fn snapshot(&mut self, blob: &Blob) -> Result<Cookie> {
        let cookie = self.cookie();
        self.at_once(&Op::Snapshot {
            resource_id: blob.resource_id(),
            cookie: cookie.get(),
        })?;
        Ok(cookie)
    }

    /// FROM_RING: a cookie that signals when the fence has that was queued last on a ring of this
    /// context; one that has signalled where nothing is pending there.
    ///
    /// # Errors
    /// As [`Session::snapshot`].
    pub fn from_ring(&mut self, ring: u8) -> Result<Cookie> {
        let cookie = self.cookie();
        self.at_once(&Op::FromRing {
            ctx_id: 0,
            ring: ring.into(),
            cookie: cookie.get(),
        })?;
        Ok(cookie)
    }
}

/// The submission, and its fence where it is wanted.
fn sent_to<'a>(
    mut submission: Submission<'a>,
    blob: &'a Blob,
    options: FenceOptions<'a>,
) -> Submission<'a> {
    if options.onto_buffer {
        submission = submission.fence_on(blob);
    }
    if let Some((syncobj, point)) = options.syncobj {
        submission = submission.out_syncobj(syncobj, point);
    }
    submission
}
