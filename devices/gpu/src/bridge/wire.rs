//! The packets of the bridge: little-endian, one question and one answer.

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
