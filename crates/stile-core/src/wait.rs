//! A wait: an operation whose host fence has not signalled.

use crate::fence::FenceKey;
use crate::list::{Link, Linked};
use crate::status::Subject;

/// The list of the waits of one fence.
#[derive(Debug)]
pub(crate) enum OfFence {}

/// An EXPORT or WAIT that goes on.
#[derive(Debug)]
pub(crate) struct Wait {
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
