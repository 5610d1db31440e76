//! Answers, and which error the guest is told for which fault.

use alloc::boxed::Box;

use stile_wire::gpu::{MAX_RESPONSE_BYTES, Malformed, Response, ResponseError, Timeline};
use stile_wire::sync::Refused;

use crate::fence::TimelineKey;
use crate::host::{Errno, errno};

/// Names the descriptor chain of a command. The host's own number; the device only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain(pub u32);

/// A response and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The command's chain.
    pub chain: Chain,
    /// The command's context.
    pub ctx_id: u32,
    /// The fence that the response signals.
    pub fence: Option<(Timeline, u64)>,
    /// What to say.
    pub response: Response,
}

impl Answer {
    /// Writes the response as the guest reads it, and says how many bytes it takes.
    pub fn encode(&self, out: &mut [u8; MAX_RESPONSE_BYTES]) -> usize {
        self.response.encode(self.ctx_id, self.fence, out)
    }
}

/// An answer that waits for its time. There may be many, and nearly all of them say OK.
#[derive(Debug)]
pub(crate) struct HeldAnswer {
    chain: Chain,
    pub(crate) ctx_id: u32,
    pub(crate) fence: Option<(Timeline, u64)>,
    /// `None` stands for [`Response::Ok`].
    response: Option<Box<Response>>,
}

impl HeldAnswer {
    /// Changes what it will say.
    pub(crate) fn say(&mut self, response: Response) {
        self.response = (response != Response::Ok).then(|| Box::new(response));
    }

    pub(crate) fn into_answer(self) -> Answer {
        Answer {
            chain: self.chain,
            ctx_id: self.ctx_id,
            fence: self.fence,
            response: self.response.map_or(Response::Ok, |response| *response),
        }
    }
}

impl From<Answer> for HeldAnswer {
    fn from(answer: Answer) -> Self {
        let mut held = Self {
            chain: answer.chain,
            ctx_id: answer.ctx_id,
            fence: answer.fence,
            response: None,
        };
        held.say(answer.response);
        held
    }
}

/// Whom an answer goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) chain: Chain,
    pub(crate) ctx_id: u32,
    pub(crate) fence: Option<(Timeline, u64)>,
    /// The timeline of the fence, if there is one and there can be fences on it.
    pub(crate) timeline: Option<TimelineKey>,
}

impl Asker {
    pub(crate) const fn answer(self, response: Response) -> Answer {
        Answer {
            chain: self.chain,
            ctx_id: self.ctx_id,
            fence: self.fence,
            response,
        }
    }
}

/// A command that cannot be read.
pub(crate) const fn to_malformed(fault: Malformed) -> ResponseError {
    match fault {
        Malformed::Short | Malformed::ShortPayload(_) | Malformed::BadField => {
            ResponseError::InvalidParameter
        }
        Malformed::UnknownType(_) => ResponseError::Unspec,
    }
}

/// An operation that cannot be read.
pub(crate) const fn to_refused(refused: Refused) -> Errno {
    match refused {
        Refused::UnknownCode => errno::ENOSYS,
        Refused::WrongSize
        | Refused::BadAccess
        | Refused::BadFlags
        | Refused::BadReserved
        | Refused::NoName => errno::EINVAL,
    }
}

/// A host that could not do what a command asked for. In-band there is room for the errno; here
/// only for its kind.
pub(crate) const fn to_host_error(error: Errno) -> ResponseError {
    match error {
        // ENOSPC
        Errno(28) | errno::ENOMEM | errno::EMFILE | errno::EDQUOT => ResponseError::OutOfMemory,
        errno::EINVAL => ResponseError::InvalidParameter,
        _ => ResponseError::Unspec,
    }
}
