//! The event ring: where the device tells a context that a point or a counter has come so far.
//!
//! Laid out like the status blob, and read in the same way. It differs in that nothing is
//! overwritten that the guest has not seen: EVENT_WAIT says how far it has read.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::status::Block;

/// `magic` of the event ring: the bytes "STEV".
pub const EVENTS_MAGIC: u32 = 0x5645_5453;
/// `version` of the event ring.
pub const EVENTS_VERSION: u32 = 1;

/// The first 64 bytes of an event ring.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct EventHeader {
    /// [`EVENTS_MAGIC`].
    pub magic: U32,
    /// [`EVENTS_VERSION`].
    pub version: U32,
    /// Records that fit: `(size - 64) / 64`.
    pub capacity: U32,
    /// Bytes of a record: 64.
    pub record_bytes: U32,
    /// `seq` of the newest event; 0 while there is none. Written after the event.
    pub head: U64,
    /// Events that are kept back until the guest has made room; not 0 is the overflow flag.
    pub overflow: U64,
    /// Zero.
    pub reserved: [U64; 4],
}

/// One event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct EventRecord {
    /// 1 for the first event, then one more for each; 0 while the record is written.
    pub seq: U64,
    /// The number that the operation gave it.
    pub event: U64,
    /// The point, or what the counter was seen to hold.
    pub value: U64,
    /// When the device saw it: nanoseconds of the host's `CLOCK_MONOTONIC`.
    pub time_ns: U64,
    /// 0, or a Linux errno: why there will be no such event.
    pub errno: U32,
    /// The operation's code.
    pub cmd: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The operation's `tag`.
    pub tag: U32,
    /// The resource that the operation named; 0 for none.
    pub resource_id: U32,
    /// Zero.
    pub reserved_tail: [U64; 2],
}

impl EventHeader {
    /// As it lies in memory.
    pub const fn to_block(self) -> Block {
        zerocopy::transmute!(self)
    }
}

impl EventRecord {
    /// As it lies in memory.
    pub const fn to_block(self) -> Block {
        zerocopy::transmute!(self)
    }
}
