//! A wait: an operation that has begun and not ended.

use stile_wire::sync::Access;

use crate::fence::FenceKey;
use crate::host::{Host, WaitId};
use crate::list::{Link, Linked};
use crate::status::Subject;

/// The list of the waits of one fence.
#[derive(Debug)]
pub(crate) enum OfFence {}

/// What ends a wait, its deadline aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A watched host fence: [`crate::Device::signalled`], [`crate::Device::watch_failed`].
    Fence,
    /// A POLL that has not started: its fence's turn.
    Poll {
        /// The blob's serial; its id stands in the subject.
        blob: u64,
        access: Access,
    },
    /// An access of the CPU: [`crate::Device::cpu_done`].
    Cpu,
    /// An event in the context's ring, or the ring's end.
    Event,
}

impl Kind {
    /// Has the host stop what it does for the wait.
    pub(crate) fn stop<H: Host>(self, host: &mut H, id: WaitId) {
        match self {
            Self::Fence => host.unwatch(id),
            Self::Poll { .. } => {}
            // Nobody can: its result comes late.
            Self::Cpu => {}
            Self::Event => {}
        }
    }
}

/// An operation that goes on.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    /// The fence that it keeps from signalling; `None` only while its submission is being read.
    pub(crate) fence: Option<FenceKey>,
    pub(crate) siblings: Link,
    pub(crate) subject: Subject,
    /// Of the context that `subject` names: an id may have come back.
    pub(crate) ctx_serial: u64,
}

impl Linked<OfFence> for Wait {
    fn link(&mut self) -> &mut Link {
        &mut self.siblings
    }

    fn linked(&self) -> Link {
        self.siblings
    }
}
