//! The status blob: where the device tells a context what became of its operations.
//!
//! A header of 64 bytes, then records of 64 bytes, used round and round. The device writes; the
//! guest only reads. `seq` is written last and with release order, so that a record whose `seq` is
//! the expected one before and after it was read is whole.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `magic` of the status blob: the bytes "STIL".
pub const STATUS_MAGIC: u32 = 0x4c49_5453;
/// `version` of the status blob.
pub const STATUS_VERSION: u32 = 1;
/// Bytes of the header.
pub const STATUS_HEADER_BYTES: u64 = 64;
/// Bytes of a record.
pub const RECORD_BYTES: u64 = 64;

bitflags::bitflags! {
    /// What else happened to an operation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecordFlags: u16 {
        /// The fence's deadline passed before the host signalled: `errno` is `ETIMEDOUT`.
        const DEADLINE = 1;
        /// The host's fence signalled with an error: `errno` is the host's.
        const HOST_ERROR = 2;
    }
}

/// The first 64 bytes of a status blob.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct StatusHeader {
    /// [`STATUS_MAGIC`].
    pub magic: U32,
    /// [`STATUS_VERSION`].
    pub version: U32,
    /// Records that fit: `(size - 64) / 64`.
    pub capacity: U32,
    /// Bytes of a record: 64.
    pub record_bytes: U32,
    /// `seq` of the newest record; 0 while there is none. Written after the record.
    pub head: U64,
    /// Zero.
    pub reserved: [U64; 5],
}

/// What became of one operation.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct StatusRecord {
    /// 1 for the context's first record, then one more for each; 0 while the record is written.
    pub seq: U64,
    /// The cookie that the operation named or made; 0 for none.
    pub cookie: U64,
    /// The operation's `tag`.
    pub tag: U32,
    /// 0, or a Linux errno.
    pub errno: U32,
    /// The operation's code.
    pub cmd: u8,
    /// The operation's ring.
    pub ring_idx: u8,
    /// [`RecordFlags`].
    pub flags: U16,
    /// The resource that the operation named; 0 for none.
    pub resource_id: U32,
    /// When the device took the operation up: nanoseconds of the host's `CLOCK_MONOTONIC`.
    pub taken_ns: U64,
    /// When the operation was done, its wait included: same clock.
    pub done_ns: U64,
    /// When the host's fence signalled, as the host's kernel says: same clock; 0 if unknown.
    pub signalled_ns: U64,
    /// Zero.
    pub reserved: U64,
}

/// A header or a record of a status blob or an event ring, as it lies in memory. `seq` is the first
/// word of a record, `head` the third of a header.
pub type Block = [u8; 64];

impl StatusHeader {
    /// As it lies in memory.
    pub const fn to_block(self) -> Block {
        zerocopy::transmute!(self)
    }
}

impl StatusRecord {
    /// As it lies in memory.
    pub const fn to_block(self) -> Block {
        zerocopy::transmute!(self)
    }
}

/// How many records a status blob of `size` bytes holds.
pub const fn capacity(size: u64) -> u64 {
    match size.checked_sub(STATUS_HEADER_BYTES) {
        Some(rest) => match rest.checked_div(RECORD_BYTES) {
            Some(records) => records,
            None => 0,
        },
        None => 0,
    }
}

/// Where the record `seq` lies from the start of a status blob of `capacity` records, in bytes.
/// `None` for `seq` 0 or an empty blob.
pub const fn record_offset(seq: u64, capacity: u64) -> Option<u64> {
    let Some(index) = seq.checked_sub(1) else {
        return None;
    };
    let Some(slot) = index.checked_rem(capacity) else {
        return None;
    };
    let Some(bytes) = slot.checked_mul(RECORD_BYTES) else {
        return None;
    };
    bytes.checked_add(STATUS_HEADER_BYTES)
}
