//! Submissions: operations in one `SUBMIT_3D`, and the fence that waits for them.

use std::borrow::Cow;

use stile_host::SyncFile;
use stile_wire::sync::{
    self, Access, encode_drop, encode_export, encode_import, encode_merge, encode_status,
    encode_wait,
};

use crate::blob::Blob;
use crate::context::Context;
use crate::error::{Error, Result};
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
/// EXPORT and WAIT in it has ended, and after the fences of earlier submissions on the same ring.
/// It always signals with success; errors stand in the status blob.
///
/// Without a fence there is no ring either: the driver tells the device of both or of neither.
///
/// There is no in-fence. The driver would wait for one inside the ioctl, without a time-out, and
/// tell the device nothing of it (`virtgpu_submit.c`): poll the fence, then submit. What the device
/// itself has made is waited for by cookie, with [`Submission::wait`].
///
/// # Errors of [`Context::submit`]
/// [`Error::NoRing`], [`Error::SubmissionTooLong`] (both checked here, since the kernel does not
/// tell what the device says to a payload that it drops), [`Error::OtherContext`], or
/// [`Error::Kernel`]: `ENOMEM`, `EMFILE`, `ENOSYS` without 3D.
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
            fence_on: Vec::new(),
            out_syncobjs: Vec::new(),
            out_fence: false,
            unchecked: false,
        }
    }

    /// EXPORT: the fence waits for what is on the buffer now, and `cookie` names it (0: nothing
    /// does).
    #[must_use]
    pub fn export(
        self,
        resource: impl Into<ResourceId>,
        access: Access,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ResourceId(resource) = resource.into();
        let ring = self.header_ring;
        self.operation(&encode_export(ring, tag, resource, access, cookie.into()))
    }

    /// IMPORT: the fences of `cookie` go on the buffer.
    #[must_use]
    pub fn import(
        self,
        resource: impl Into<ResourceId>,
        access: Access,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ResourceId(resource) = resource.into();
        let ring = self.header_ring;
        self.operation(&encode_import(ring, tag, resource, access, cookie.into()))
    }

    /// MERGE: `cookie` names what signals when `first` and `second` have.
    #[must_use]
    pub fn merge(
        self,
        first: impl Into<u64>,
        second: impl Into<u64>,
        cookie: impl Into<u64>,
        tag: u32,
    ) -> Self {
        let ring = self.header_ring;
        let (first, second) = (first.into(), second.into());
        self.operation(&encode_merge(ring, tag, first, second, cookie.into()))
    }

    /// WAIT: the fence waits for `cookie`.
    #[must_use]
    pub fn wait(self, cookie: impl Into<u64>, tag: u32) -> Self {
        let ring = self.header_ring;
        self.operation(&encode_wait(ring, tag, cookie.into()))
    }

    /// DROP: `cookie` is forgotten; what waits for it goes on.
    #[must_use]
    pub fn drop_cookie(self, cookie: impl Into<u64>, tag: u32) -> Self {
        let ring = self.header_ring;
        self.operation(&encode_drop(ring, tag, cookie.into()))
    }

    /// STATUS: records go to `size` bytes from `offset` on of the resource.
    #[must_use]
    pub fn status(self, resource: impl Into<ResourceId>, offset: u64, size: u64, tag: u32) -> Self {
        let ResourceId(resource) = resource.into();
        let ring = self.header_ring;
        self.operation(&encode_status(ring, tag, resource, offset, size))
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

    /// Leaves the checks of ring and length to the kernel and the device. Of a payload that the
    /// device drops whole, the guest hears nothing: the fence signals, no record is written.
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

    fn operation(mut self, bytes: &[u8]) -> Self {
        if !self.any_header_ring {
            // The second byte of `docs/spec/stile-sync.md`'s header.
            self.ring_bytes.push(self.payload.len().saturating_add(1));
        }
        self.raw_payload(bytes)
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

    fn check(&self, rings: u8, capset: &sync::Capset) -> Result<()> {
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
        let fence = sys::execbuffer(context, exec).map_err(Error::kernel("VIRTGPU_EXECBUFFER"))?;
        let fence = fence.map(SyncFile::from_fd).transpose()?;
        Ok(Submitted { fence })
    }
}

#[cfg(test)]
mod tests {
    use stile_wire::sync::{Capset, Op, Steps};
    use zerocopy::FromZeros;

    use super::*;
    use crate::Cookie;

    fn limits(max_bytes: u32, max_operations: u32) -> Capset {
        let mut capset = Capset::new_zeroed();
        capset.max_submit_bytes = max_bytes.into();
        capset.max_operations = max_operations.into();
        capset
    }

    #[test]
    fn the_device_decodes_what_was_asked_for_in_its_order() {
        let cookie = Cookie::new(7).unwrap();
        let submission = Submission::on_ring(5)
            .export(ResourceId(3), Access::READ, cookie, 1)
            .import(ResourceId(4), Access::WRITE, cookie, 2)
            .merge(cookie, cookie, 8_u64, 3)
            .wait(8_u64, 4)
            .drop_cookie(8_u64, 5)
            .status(ResourceId(9), 64, 4096, 6);
        let steps: Vec<_> = Steps::new(submission.payload())
            .map(|step| step.unwrap())
            .collect();
        let ops: Vec<_> = steps.iter().map(|step| step.op.unwrap()).collect();
        let (resource_id, access) = (3, Access::READ);
        let expected = [
            Op::Export {
                resource_id,
                access,
                cookie: 7,
            },
            Op::Import {
                resource_id: 4,
                access: Access::WRITE,
                cookie: 7,
            },
            Op::Merge {
                first: 7,
                second: 7,
                cookie: 8,
            },
            Op::Wait { cookie: 8 },
            Op::Drop { cookie: 8 },
            Op::Status {
                resource_id: 9,
                offset: 64,
                size: 4096,
            },
        ];
        assert_eq!(ops, expected);
        assert!((1..).zip(&steps).all(|(tag, step)| step.tag == tag));
        assert!(steps.iter().all(|step| step.ring_idx == 5));
    }

    #[test]
    fn a_submission_without_a_ring_has_ring_0_in_its_headers() {
        let submission = Submission::global().wait(1_u64, 0);
        let step = Steps::new(submission.payload()).next().unwrap().unwrap();
        assert_eq!((submission.ring, step.ring_idx), (None, 0));
    }

    #[test]
    fn another_ring_can_stand_in_the_header_for_those_who_test_the_device() {
        let submission = Submission::on_ring(1)
            .wait(1_u64, 0)
            .header_ring(2)
            .wait(1_u64, 0);
        let rings: Vec<_> = Steps::new(submission.payload())
            .map(|step| step.unwrap().ring_idx)
            .collect();
        assert_eq!((submission.ring, rings), (Some(1), vec![1, 2]));
    }

    #[test]
    fn without_a_fence_the_device_hears_of_no_ring_and_the_headers_say_so() {
        let rings = |submission: &Submission<'_>, polled: u64| -> Vec<_> {
            let payload = submission.sent_payload(polled);
            Steps::new(&payload)
                .map(|step| step.unwrap().ring_idx)
                .collect()
        };
        let two = Submission::on_ring(5)
            .wait(1_u64, 0)
            .header_ring(7)
            .wait(1_u64, 0);
        assert_eq!(rings(&two, 0), [0, 7]);
        assert_eq!(rings(&two, 1 << 5), [5, 7], "a polled ring has fences");
        assert_eq!(rings(&two.out_fence(), 0), [5, 7]);
    }

    #[test]
    fn what_the_device_would_drop_whole_is_refused_here() {
        let two = Submission::on_ring(0).wait(1_u64, 0).wait(1_u64, 0);
        assert_eq!(two.check(1, &limits(32, 2)), Ok(()));
        for limits in [limits(31, 2), limits(32, 1)] {
            let error = two.check(1, &limits).unwrap_err();
            assert!(matches!(error, Error::SubmissionTooLong { .. }), "{error}");
        }
    }

    #[test]
    fn a_ring_that_the_context_lacks_is_refused_here() {
        let limits = limits(64, 4);
        assert_eq!(Submission::on_ring(7).check(8, &limits), Ok(()));
        assert_eq!(Submission::global().check(1, &limits), Ok(()));
        for (submission, ring) in [
            (Submission::on_ring(8), 8),
            (Submission::global().raw_ring(0xffff_ffff), 0xffff_ffff),
        ] {
            let error = Error::NoRing { ring, rings: 8 };
            assert_eq!(submission.check(8, &limits), Err(error));
        }
    }
}
