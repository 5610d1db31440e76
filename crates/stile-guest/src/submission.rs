//! Submissions: operations in one `SUBMIT_3D`, and the fence that waits for them.

mod operations;

use std::borrow::Cow;

use stile_host::SyncFile;
use stile_wire::sync::{Capset, Op, OpCode};

use crate::blob::Blob;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::order::Place;
use crate::syncobj::OutSyncobj;
use crate::sys::{self, ExecBuffer, ExecSyncobj};

/// The resource that an operation names: `&blob`, or any number for those who test the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceId(pub u32);

impl From<&Blob> for ResourceId {
    fn from(blob: &Blob) -> Self {
        Self(blob.resource_id())
    }
}

/// Operations for the device, in their order, and where the fence of the whole goes.
///
/// The device takes up each operation before it looks at the next, so a later one may use a cookie
/// that an earlier one makes. Each carries a `tag`, any number, which its status record repeats.
///
/// # The fence
/// A submission has one where something asks for it: [`Submission::out_fence`],
/// [`Submission::out_syncobj`], [`Submission::fence_on`], or a polled ring. It signals when every
/// EXPORT, WAIT, POLL, CPU_BEGIN, CPU_END and EVENT_WAIT in it has ended, and after the fences of
/// earlier submissions on the same ring. It always signals with success; errors stand in the status
/// blob.
///
/// Without a fence there is no ring either: the driver tells the device of both or of neither.
///
/// There is no in-fence. The driver would wait for one inside the ioctl, without a time-out, and
/// tell the device nothing of it (`virtgpu_submit.c`): poll the fence, then submit. What the device
/// itself has made is waited for by cookie, with [`Submission::wait`].
///
/// # Errors of [`Context::submit`]
/// [`Error::NotOffered`], [`Error::NoRing`], [`Error::SubmissionTooLong`] (all checked here, before
/// anything is sent), [`Error::OtherContext`], or [`Error::Kernel`]: `ENOMEM`, `EMFILE`, `ENOSYS`
/// without 3D.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    ring: Option<u32>,
    header_ring: u8,
    /// Whether `header_ring` is to stand in the headers whatever the submission's ring is.
    any_header_ring: bool,
    payload: Vec<u8>,
    /// Where in the payload a header has the submission's ring.
    ring_bytes: Vec<usize>,
    operations: usize,
    /// The bits of the operations in it, as the capset's mask has them.
    mask: u64,
    fence_on: Vec<&'a Blob>,
    out_syncobjs: Vec<(&'a OutSyncobj, u64)>,
    out_fence: bool,
    unchecked: bool,
}

/// What a submission gave back.
#[derive(Debug)]
pub struct Submitted {
    /// The out-fence, where [`Submission::out_fence`] asked for it. It polls readable once it has
    /// signalled.
    pub fence: Option<SyncFile>,
    /// Where it stands among the others of its ring.
    pub(crate) place: Option<Place>,
}

impl<'a> Submission<'a> {
    /// A submission on a ring of the context.
    pub fn on_ring(ring: u8) -> Self {
        Self {
            ring: Some(ring.into()),
            header_ring: ring,
            ..Self::global()
        }
    }

    /// A submission on the device's global timeline, which all contexts share: its fence waits for
    /// everything that was submitted there before.
    pub fn global() -> Self {
        Self {
            ring: None,
            header_ring: 0,
            any_header_ring: false,
            payload: Vec::new(),
            ring_bytes: Vec::new(),
            operations: 0,
            mask: 0,
            fence_on: Vec::new(),
            out_syncobjs: Vec::new(),
            out_fence: false,
            unchecked: false,
        }
    }

    /// Any operation, as `docs/spec/stile-sync.md` has it. The methods named after the operations
    /// are easier to read.
    #[must_use]
    pub fn op(mut self, op: &Op, tag: u32) -> Self {
        if !self.any_header_ring {
            // The second byte of `docs/spec/stile-sync.md`'s header.
            self.ring_bytes.push(self.payload.len().saturating_add(1));
        }
        self.mask |= op.code().bit();
        let bytes = op.encode(self.header_ring, tag);
        self.raw_payload(&bytes)
    }

    /// Any bytes, for those who test the device. They count as one operation.
    #[must_use]
    pub fn raw_payload(mut self, bytes: &[u8]) -> Self {
        self.payload.extend_from_slice(bytes);
        self.operations = self.operations.saturating_add(1);
        self
    }

    /// The ring that operations added from now on have in their headers: another than the
    /// submission's makes the device refuse them.
    #[must_use]
    pub fn header_ring(mut self, ring: u8) -> Self {
        self.header_ring = ring;
        self.any_header_ring = true;
        self
    }

    /// Any ring number, for those who test the kernel.
    #[must_use]
    pub fn raw_ring(mut self, ring: u32) -> Self {
        self.ring = Some(ring);
        self
    }

    /// Leaves the checks of operations, ring and length to the kernel and the device. Of a payload
    /// that the device drops whole, the guest hears nothing: the fence signals, no record is written.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Asks for the fence as a sync_file.
    #[must_use]
    pub fn out_fence(mut self) -> Self {
        self.out_fence = true;
        self
    }

    /// Puts the fence into a syncobj: at `point` of its timeline, which it materialises, or with
    /// `point` 0 in place of the fence of a binary one.
    #[must_use]
    pub fn out_syncobj(mut self, syncobj: &'a OutSyncobj, point: u64) -> Self {
        self.out_syncobjs.push((syncobj, point));
        self
    }

    /// Puts the fence on the guest's own dma-buf of the blob, as a write fence: any program of the
    /// guest that waits for the buffer waits for it. The device is told nothing of it.
    #[must_use]
    pub fn fence_on(mut self, blob: &'a Blob) -> Self {
        self.fence_on.push(blob);
        self
    }

    /// The payload as it is sent with a fence. Without one, the headers have ring 0.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload with the ring that the driver tells the device.
    fn sent_payload(&self, polled_rings: u64) -> Cow<'_, [u8]> {
        let bit = self.ring.and_then(|ring| 1_u64.checked_shl(ring));
        let fenced = self.out_fence
            || !self.out_syncobjs.is_empty()
            || !self.fence_on.is_empty()
            || bit.is_some_and(|bit| polled_rings & bit != 0);
        if fenced {
            return Cow::Borrowed(&self.payload);
        }
        let mut payload = self.payload.clone();
        for at in &self.ring_bytes {
            if let Some(ring) = payload.get_mut(*at) {
                *ring = 0;
            }
        }
        Cow::Owned(payload)
    }

    fn check(&self, rings: u8, capset: &Capset) -> Result<()> {
        let lacking = self.mask & !capset.operations.get();
        if let Some(op) = OpCode::ALL.into_iter().find(|op| op.bit() & lacking != 0) {
            return Err(Error::NotOffered { op });
        }
        if let Some(ring) = self.ring.filter(|ring| *ring >= rings.into()) {
            return Err(Error::NoRing { ring, rings });
        }
        let (max_bytes, max_operations) = (capset.max_submit_bytes, capset.max_operations);
        let fits = |have: usize, max: u32| u32::try_from(have).is_ok_and(|have| have <= max);
        if !fits(self.payload.len(), max_bytes.get())
            || !fits(self.operations, max_operations.get())
        {
            return Err(Error::SubmissionTooLong {
                bytes: self.payload.len(),
                operations: self.operations,
                max_bytes: max_bytes.get(),
                max_operations: max_operations.get(),
            });
        }
        Ok(())
    }

    pub(crate) fn submit(&self, context: &Context) -> Result<Submitted> {
        if !self.unchecked {
            self.check(context.rings(), context.capset())?;
        }
        let blobs = self
            .fence_on
            .iter()
            .map(|blob| (blob.context(), blob.handle()));
        let syncobjs = self.out_syncobjs.iter();
        let syncobjs = syncobjs.map(|(syncobj, _)| (syncobj.context(), syncobj.handle()));
        for (owner, handle) in blobs.chain(syncobjs) {
            if !owner.same(context) {
                return Err(Error::OtherContext { handle });
            }
        }
        let handles: Vec<u32> = self.fence_on.iter().map(|blob| blob.handle()).collect();
        let syncobjs = self
            .out_syncobjs
            .iter()
            .map(|(syncobj, point)| ExecSyncobj {
                handle: syncobj.handle(),
                flags: 0,
                point: *point,
            });
        let payload = self.sent_payload(context.polled_rings());
        let exec = ExecBuffer {
            payload: &payload,
            ring: self.ring,
            bo_handles: &handles,
            out_syncobjs: &syncobjs.collect::<Vec<_>>(),
            out_fence: self.out_fence,
        };
        let begun = self.ring.and_then(|ring| context.order().begin(ring));
        let fence = sys::execbuffer(context, exec).map_err(Error::kernel("VIRTGPU_EXECBUFFER"));
        let place = begun.map(|begun| context.order().end(begun));
        let fence = fence?.map(SyncFile::from_fd).transpose()?;
        Ok(Submitted { fence, place })
    }
}

#[cfg(test)]
mod tests;
