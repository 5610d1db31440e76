//! The fences of one ring on the guest's dma-buf, all of which the host has as well.

use stile_host::SyncFile;

use crate::context::Context;
use crate::error::Result;
use crate::order::Place;
use crate::session::{Pending, Session};
use crate::submission::Submission;

/// Successive submissions on a ring, nothing else between them, whose fences the host has.
///
/// The kernel does not tell whether two sync_files are of the same fence. But a dma-buf has one fence
/// of each ring, the latest, which signals no earlier than those before it. So as long as these
/// submissions are the ring's last ones, and those before them are done, any fence of the ring on the
/// dma-buf is one of these.
#[derive(Debug)]
pub(super) struct Told {
    /// An empty submission before the first: has it signalled, so has all that came before.
    before: SyncFile,
    /// The last one's fence.
    newest: SyncFile,
    last: Place,
}

impl Told {
    /// What the next submission on the ring follows: the ones so far, or where somebody else has
    /// used the ring meanwhile, an empty one of its own.
    pub(super) fn next(told: Option<Self>, session: &Session, ring: u8) -> Result<Option<Self>> {
        let order = session.context().order();
        if let Some(told) = told
            && order.is_last(told.last)
        {
            return Ok(Some(told));
        }
        let empty = session.submit(&Submission::on_ring(ring).out_fence())?;
        let (Some(fence), Some(last)) = (empty.fence, empty.place) else {
            return Ok(None);
        };
        Ok(Some(Self {
            before: fence.try_clone()?,
            newest: fence,
            last,
        }))
    }

    /// The same with one more, unless another came in between.
    pub(super) fn with(self, pending: &Pending) -> Result<Option<Self>> {
        match pending.place() {
            Some(place) if place.follows(self.last) => Ok(Some(Self {
                before: self.before,
                newest: pending.fence.try_clone()?,
                last: place,
            })),
            _ => Ok(None),
        }
    }

    /// The newest fence, where all fences of the ring that have not signalled are these.
    pub(super) fn all(&self, context: &Context) -> Result<Option<&SyncFile>> {
        let alone = context.order().is_last(self.last) && self.before.signalled()?;
        Ok(alone.then_some(&self.newest))
    }
}
