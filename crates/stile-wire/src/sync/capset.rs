//! The capset that tells a guest what this device can do and how much of it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The capset's id. Linux keeps a 32-bit mask of ids; 1 to 9 are taken by others.
pub const CAPSET_ID: u32 = 30;

/// The newest version of the capset that this crate describes.
pub const CAPSET_VERSION: u32 = 1;

/// `GET_CAPSET`'s answer for id 30: 80 bytes, little-endian.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Capset {
    /// Version of the operations: 1.
    pub version: U32,
    /// Bytes of this capset that are filled in: 80. A later version may be longer.
    pub size: U32,
    /// Bit n set: the operation with code 0x80 + n is offered (see [`super::OpCode`]).
    pub operations: U64,
    /// Longest `SUBMIT_3D` payload, in bytes.
    pub max_submit_bytes: U32,
    /// Most operations in one `SUBMIT_3D`.
    pub max_operations: U32,
    /// Most fences of the whole device that may be pending at once.
    pub max_pending_fences: U32,
    /// Most cookies of one context.
    pub max_cookies: U32,
    /// Rings of a context: 64.
    pub max_rings: U32,
    /// Milliseconds after which a pending fence is answered whatever the host does.
    pub fence_deadline_ms: U32,
    /// Bytes of one record of the status blob: 64.
    pub status_record_bytes: U32,
    /// Most timelines of one context.
    pub max_timelines: U32,
    /// Most bytes of host memory that the blobs of this device may hold.
    pub max_host_bytes: U64,
    /// Most events that the contexts of this device may be waiting for.
    pub max_events: U32,
    /// Most uses of buffers by the CPU that may be beginning or ending at once.
    pub max_cpu_accesses: U32,
    /// Longest `timeout_ns` of an operation, in milliseconds.
    pub max_timeout_ms: U32,
    /// Zero.
    pub reserved: U32,
    /// Zero.
    pub reserved_tail: U64,
}
