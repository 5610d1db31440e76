//! Jobs: what the front end is asked to do, and who waits for it.

use crate::answer::Answer;
use crate::fence::FenceKey;

/// Whom a job's end is told.
#[derive(Debug)]
pub(crate) enum Promise {
    /// The guest has its answer already, or is gone.
    Nobody,
    /// A command without a fence.
    Command(Answer),
    /// A fence, whose answer waits in its timeline.
    Fence(FenceKey),
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// The blob with this serial is being mapped at `offset`.
    Map {
        resource_id: u32,
        serial: u64,
        offset: u64,
    },
    /// It is being unmapped.
    Unmap { resource_id: u32, serial: u64 },
    /// Its UUID is being announced.
    Share { uuid: [u8; 16] },
    /// Of a life before the reset.
    Forgotten,
}

/// A request to the front end that has not been answered.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) errand: Errand,
    pub(crate) promise: Promise,
}

impl Job {
    pub(crate) const fn forgotten() -> Self {
        Self {
            errand: Errand::Forgotten,
            promise: Promise::Nobody,
        }
    }
}
