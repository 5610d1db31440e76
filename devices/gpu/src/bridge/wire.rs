//! The packets of the bridge: little-endian, one question and one answer.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `kind` of a question by resource id.
pub(crate) const BY_ID: u32 = 1;
/// `kind` of a question by UUID.
pub(crate) const BY_UUID: u32 = 2;

/// A question: 24 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Question {
    pub(crate) kind: U32,
    /// For [`BY_ID`], else 0.
    pub(crate) resource_id: U32,
    /// For [`BY_UUID`], else 0.
    pub(crate) uuid: [u8; 16],
}

/// An answer: 32 bytes. One descriptor comes with it if `errno` is 0.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Answer {
    /// 0; `ENOENT`; or `EINVAL` for a question that is none.
    pub(crate) errno: U32,
    pub(crate) resource_id: U32,
    /// Bytes of the buffer.
    pub(crate) size: U64,
    /// Zeros if it has none.
    pub(crate) uuid: [u8; 16],
}
