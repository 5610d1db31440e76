//! A buffer whose fences the guest and the host tell each other.

mod told;

use std::time::Duration;

use stile_host::{Access as DmaBufAccess, DmaBuf, SyncFile};
use stile_wire::sync::{Access, OpCode};

use crate::blob::Blob;
use crate::error::{Error, Result};
use crate::name::Cookie;
use crate::session::{Pending, Session, checked};
use crate::submission::Submission;

use told::Told;

/// A blob whose guest dma-buf and host dma-buf tell the same story.
///
/// A shared buffer has two reservation objects: the guest's, on the guest's dma-buf, and the host's,
/// on the host's. Neither kernel knows of the other's, so that a program in between tells what is on
/// the one to the other, when the buffer changes hands.
///
/// | what there is | who tells | what comes of it |
/// | --- | --- | --- |
/// | users of the buffer on the host | [`Mirror::pull`] | the guest's readers wait for the host's writers, its writers for the host's readers, too |
/// | a cookie: what this device has made a fence for | [`Mirror::attach`] | users on both sides wait for it, and nobody in the guest has to wait before the host is told |
/// | any other fence of the guest | [`Mirror::push`] | a fence to poll; when it has signalled, tell the host that the buffer is done |
///
/// The last line is all that can be done. A fence of another device is the guest's alone, and the
/// host's kernel must not wait for what a guest may never do. So the message that hands the buffer
/// over is held back until the fence has signalled. No ioctl here waits for a fence.
///
/// # Readers
/// Fences of the host's readers go on the guest's dma-buf as read fences: the guest's writers wait
/// for them, its readers do not. Read and write fences come from two rings, since of two fences on
/// one ring the later never signals before the earlier.
#[derive(Debug)]
pub struct Mirror {
    blob: Blob,
    guest: DmaBuf,
    /// The write fences on the guest's dma-buf that the host has as well.
    writers: Option<Told>,
    /// The read fences.
    readers: Option<Told>,
}

/// What [`Mirror::pull`] has put on the guest's dma-buf. The records of the operations are there for
/// [`Session::finish`].
#[derive(Debug)]
pub struct Pulled {
    /// The host's writers, as a write fence; `None` where there are none.
    pub writers: Option<Pending>,
    /// All of the host's users, as a read fence; `None` where there are none.
    pub everybody: Option<Pending>,
}

/// What the host may be told.
#[derive(Debug)]
pub enum Pushed {
    /// Nothing in the guest keeps the host from using the buffer, or the host's kernel knows of it.
    Done,
    /// Something does, and the host does not know of it. This signals when it is done, and can be
    /// polled. To be sure that nothing has come meanwhile, push again.
    Unfinished(SyncFile),
}

impl Mirror {
    /// A mirror for the buffer.
    ///
    /// # Errors
    /// [`Error::Kernel`] or [`Error::Host`] where the guest has no dma-buf of it that takes
    /// sync_files: [`crate::BlobUse::SHAREABLE`] is needed.
    pub fn new(buffer: Blob) -> Result<Self> {
        let guest = buffer.dma_buf()?;
        guest.check_sync_files()?;
        Ok(Self {
            blob: buffer,
            guest,
            writers: None,
            readers: None,
        })
    }

    /// The buffer.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// The guest's dma-buf of it, for the programs of the guest.
    pub fn dma_buf(&self) -> &DmaBuf {
        &self.guest
    }

    /// Puts what is on the host's dma-buf on the guest's. Ask for it when the buffer comes from the
    /// host, and before anybody in the guest uses it. Returns when the device has looked; it does not
    /// wait for the host's fences.
    ///
    /// # Errors
    /// [`Error::Refused`], such as `EDQUOT`: the guest's dma-buf lacks fences then, do not hand it
    /// on. [`Error::OtherContext`] for the session of another context; [`Error::Timeout`], and those
    /// of [`crate::Context::submit`].
    pub fn pull(&mut self, session: &mut Session) -> Result<Pulled> {
        let writers = self.put(
            session,
            Kind::Write,
            OpCode::Export,
            |mirror, start, tag| start.export(&mirror.blob, Access::READ, 0_u64, tag),
        )?;
        let everybody = self.put(session, Kind::Read, OpCode::Export, |mirror, start, tag| {
            start.export(&mirror.blob, Access::WRITE, 0_u64, tag)
        })?;
        // A fence that the device refuses signals at once, as if there were nothing to wait for.
        session.settle_for(&[&writers.fence, &everybody.fence])?;
        Ok(Pulled {
            writers: if_waiting(session, writers)?,
            everybody: if_waiting(session, everybody)?,
        })
    }

    /// Puts the fences of a cookie on both sides, as a reader's (`READ`) or a writer's (`WRITE`):
    /// what this device has made a fence for, the host is told of by its cookie. Returns when the
    /// device has done it; it does not wait for the fences.
    ///
    /// Submissions that make no cookie get one by [`Session::from_ring`], where a fence of the host
    /// stands for them.
    ///
    /// # Errors
    /// As [`Mirror::pull`].
    pub fn attach(&mut self, session: &mut Session, access: Access, cookie: Cookie) -> Result<()> {
        let kind = if access.contains(Access::WRITE) {
            Kind::Write
        } else {
            Kind::Read
        };
        let import = session.tag();
        let waiting = self.put(session, kind, OpCode::Wait, |mirror, start, tag| {
            let imported = start.import(&mirror.blob, access, cookie, import);
            imported.wait(cookie, tag)
        })?;
        session.settle_for(&[&waiting.fence])?;
        checked(session.result(import)?, OpCode::Import)?;
        if_waiting(session, waiting).map(drop)
    }

    /// Whether the host may begin to use the buffer, as a reader (`READ`) or as a writer (`WRITE`),
    /// as far as the guest is concerned. It asks the guest's kernel only, and never waits.
    ///
    /// What [`Mirror::pull`] and [`Mirror::attach`] have put there does not keep the host waiting,
    /// since the host has it. Only where other fences are there as well, all are waited for
    /// together; and also where this session has used the mirror's two rings for another buffer
    /// meanwhile, as the guest's kernel does not tell such fences apart.
    ///
    /// # Errors
    /// [`Error::Host`].
    pub fn push(&self, access: Access) -> Result<Pushed> {
        let access = DmaBufAccess::from_bits_retain(access.bits());
        let fences = self.guest.export_sync_file(access)?;
        if fences.signalled()? || self.knows_all(&fences)? {
            return Ok(Pushed::Done);
        }
        Ok(Pushed::Unfinished(fences))
    }

    /// Submits on the ring of this kind of fences, and puts the fence on the guest's dma-buf.
    fn put(
        &mut self,
        session: &mut Session,
        kind: Kind,
        op: OpCode,
        fill: impl for<'a> FnOnce(&'a Self, Submission<'a>, u32) -> Submission<'a>,
    ) -> Result<Pending> {
        if !session.context().same(self.blob.context()) {
            let handle = self.blob.handle();
            return Err(Error::OtherContext { handle });
        }
        let [writers, readers] = session.two_rings_of(&self.blob);
        let ring = match kind {
            Kind::Write => writers,
            Kind::Read => readers,
        };
        let told = match kind {
            Kind::Write => self.writers.take(),
            Kind::Read => self.readers.take(),
        };
        let told = Told::next(told, session, ring)?;
        let tag = session.tag();
        let mut submission = fill(self, Submission::on_ring(ring), tag);
        if kind == Kind::Write {
            submission = submission.fence_on(&self.blob);
        }
        let pending = session.start(submission, (op, ring, tag), None)?;
        if kind == Kind::Read {
            // What is signalled already leaves no trace there.
            let read = DmaBufAccess::READ;
            self.guest.import_sync_file(read, &pending.fence)?;
        }
        let told = told.map(|told| told.with(&pending)).transpose()?.flatten();
        match kind {
            Kind::Write => self.writers = told,
            Kind::Read => self.readers = told,
        }
        Ok(pending)
    }

    /// Whether each of these fences is one that the host has. Where the kernel merges fences of one
    /// ring it keeps the latest; so fences that add nothing to the known ones are of the same rings.
    fn knows_all(&self, fences: &SyncFile) -> Result<bool> {
        let mut known: Option<SyncFile> = None;
        for told in [&self.writers, &self.readers].into_iter().flatten() {
            let Some(fence) = told.all(self.blob.context())? else {
                continue;
            };
            known = Some(match known {
                None => fence.try_clone()?,
                Some(known) => known.merge(fence, NAME)?,
            });
        }
        let Some(known) = known else {
            return Ok(false);
        };
        let together = fences.merge(&known, NAME)?.fences()?.len();
        // Counted last: what signals in between is missing here, and then the counts differ.
        let known = known.merge(&known, NAME)?;
        let alone = known.fences()?.len();
        // A sync_file of nothing has one fence, too: a signalled one.
        Ok(together == alone && !known.signalled()?)
    }
}

/// The kernel wants a name for what is merged.
const NAME: &str = "stile mirror";

/// How a fence is on the guest's dma-buf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Everybody waits for it.
    Write,
    /// Writers wait for it.
    Read,
}

/// The operation, if it waits for anything; an error if the device has refused it.
fn if_waiting(session: &mut Session, pending: Pending) -> Result<Option<Pending>> {
    if !pending.fence.signalled()? {
        return Ok(Some(pending));
    }
    session.finish(&pending, Some(Duration::ZERO))?;
    Ok(None)
}
