//! Jobs: what the front end is asked to do, and who waits for it.

use crate::answer::Answer;
use crate::fence::FenceKey;
use crate::list::{Link, Linked};
use crate::request::RequestId;

/// Whom a job's end is told.
#[derive(Debug)]
pub(crate) enum Promise {
    /// The guest has its answer already, or is gone.
    Nobody,
    /// A command without a fence. The job is in the list of those with a deadline.
    Command {
        answer: Answer,
        /// When the guest is answered whatever the front end does.
        deadline_ns: u64,
    },
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
    /// It is being mapped at `offset` again, after it was unmapped: it has another buffer.
    Move {
        resource_id: u32,
        serial: u64,
        offset: u64,
        request: RequestId,
    },
    /// Its UUID is being announced.
    Share { uuid: [u8; 16] },
    /// Of a life before the reset, or the first half of a move.
    Forgotten,
}

/// A request to the front end that has not been answered.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) errand: Errand,
    pub(crate) promise: Promise,
    /// In the list of deadlines, while a command without a fence waits.
    due: Link,
}

/// The list of the jobs that commands without a fence wait for, soonest deadline first.
#[derive(Debug)]
pub(crate) enum DueJob {}

impl Job {
    pub(crate) const fn new(errand: Errand, promise: Promise) -> Self {
        Self {
            errand,
            promise,
            due: Link::new(),
        }
    }

    /// When the command that waits is answered at the latest; `None` for a job that has no deadline
    /// of its own.
    pub(crate) const fn deadline_ns(&self) -> Option<u64> {
        match self.promise {
            Promise::Command { deadline_ns, .. } => Some(deadline_ns),
            Promise::Nobody | Promise::Fence(_) => None,
        }
    }
}

impl Linked<DueJob> for Job {
    fn link(&mut self) -> &mut Link {
        &mut self.due
    }

    fn linked(&self) -> Link {
        self.due
    }
}
