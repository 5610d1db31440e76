//! The packets of the bridge, all little-endian: a question and its answer, a request and its reply.

use stile_core::Errno;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `kind` of a question by resource id.
pub(crate) const BY_ID: u32 = 1;
/// `kind` of a question by UUID.
pub(crate) const BY_UUID: u32 = 2;

/// `kind` of a question for a guest's timeline, by UUID.
pub(crate) const TIMELINE: u32 = 3;
/// `kind` of a question that gives a timeline away, with its descriptor.
pub(crate) const OFFER_TIMELINE: u32 = 4;
/// `detail` of [`OFFER_TIMELINE`]: it is a binary one.
pub(crate) const BINARY: u32 = 1;

/// `kind` of a request to raise a counter.
pub(crate) const MEM_SIGNAL: u32 = 16;
/// `kind` of a request to wait for a counter.
pub(crate) const MEM_WAIT: u32 = 17;
/// `kind` of a request to give up another one.
pub(crate) const CANCEL: u32 = 18;
/// `kind` of a request that gives a resource another buffer, whose descriptor comes with it.
pub(crate) const REPLACE: u32 = 19;

/// Replies that go into one packet at most.
pub(crate) const BATCH: usize = 64;
/// Bytes of the longest packet.
pub(crate) const MAX_PACKET: usize = BATCH * size_of::<Reply>();

/// A question: 24 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Question {
    pub(crate) kind: U32,
    /// For [`BY_ID`] the resource's id, for [`OFFER_TIMELINE`] 0 or [`BINARY`], else 0.
    pub(crate) detail: U32,
    /// For [`BY_ID`] 0.
    pub(crate) uuid: [u8; 16],
}

/// An answer: 32 bytes. One descriptor comes with it if `errno` is 0, unless something was given.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Answer {
    /// 0, or a Linux errno: `EINVAL` for a question that is none.
    pub(crate) errno: U32,
    pub(crate) resource_id: U32,
    /// Bytes of the buffer; 0 for a timeline.
    pub(crate) size: U64,
    /// Zeros if it has none.
    pub(crate) uuid: [u8; 16],
}

/// A request: 56 bytes. What its kind has no use for is zero.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Request {
    pub(crate) kind: U32,
    /// 0 where the resource is named by its UUID.
    pub(crate) resource_id: U32,
    /// Zeros where it is named by its id.
    pub(crate) uuid: [u8; 16],
    /// The client's name for the request.
    pub(crate) tag: U64,
    /// Of a counter in the resource, in bytes.
    pub(crate) offset: U64,
    pub(crate) value: U64,
    pub(crate) timeout_ns: U64,
}

/// A reply: 24 bytes, of which several may be in a packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Reply {
    /// 0, or a Linux errno.
    pub(crate) errno: U32,
    /// The request's.
    pub(crate) kind: U32,
    /// The request's.
    pub(crate) tag: U64,
    /// What the counter holds; 0 with an error, and where there is none.
    pub(crate) value: U64,
}

impl Reply {
    pub(crate) fn new(kind: u32, tag: u64, answer: Result<u64, Errno>) -> Self {
        Self {
            errno: answer.err().map_or(0, |error| error.0).into(),
            kind: kind.into(),
            tag: tag.into(),
            value: answer.unwrap_or(0).into(),
        }
    }
}

#[cfg(test)]
mod tests;
