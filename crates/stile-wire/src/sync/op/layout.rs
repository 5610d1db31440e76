//! The operations as they lie in a submission.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) cmd: u8,
    pub(super) ring_idx: u8,
    pub(super) cmd_size: U16,
    pub(super) tag: U32,
}

/// EXPORT and IMPORT.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BufferOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) access: U32,
    pub(super) cookie: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MergeOp {
    pub(super) header: Header,
    pub(super) first: U64,
    pub(super) second: U64,
    pub(super) cookie: U64,
}

/// An operation about one number: WAIT, DROP, EVENT_WAIT, CANCEL, TL_DESTROY, TL_RESET.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CookieOp {
    pub(super) header: Header,
    pub(super) cookie: U64,
}

/// STATUS and EVENTS.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) reserved: U32,
    pub(super) offset: U64,
    pub(super) size: U64,
}

/// POLL, CPU_BEGIN and CPU_END.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct AccessOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) access: U32,
}

/// DEADLINE.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DeadlineOp {
    pub(super) header: Header,
    pub(super) cookie: U64,
    pub(super) deadline_ns: U64,
}

/// TL_CREATE.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TlCreateOp {
    pub(super) header: Header,
    pub(super) timeline: U64,
    pub(super) flags: U32,
    pub(super) reserved: U32,
}

/// TL_SIGNAL.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct PointOp {
    pub(super) header: Header,
    pub(super) timeline: U64,
    pub(super) point: U64,
}

/// TL_TRANSFER.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct TransferOp {
    pub(super) header: Header,
    pub(super) timeline: U64,
    pub(super) point: U64,
    pub(super) cookie: U64,
    pub(super) direction: U32,
    pub(super) reserved: U32,
}

/// TL_WATCH.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct WatchOp {
    pub(super) header: Header,
    pub(super) timeline: U64,
    pub(super) point: U64,
    pub(super) event: U64,
    pub(super) timeout_ns: U64,
    pub(super) until: U32,
    pub(super) reserved: U32,
}

/// TL_SHARE and TL_ADOPT.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct UuidOp {
    pub(super) header: Header,
    pub(super) timeline: U64,
    pub(super) uuid: [u8; 16],
}

/// MEM_WAIT.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemWaitOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) reserved: U32,
    pub(super) offset: U64,
    pub(super) value: U64,
    pub(super) event: U64,
    pub(super) timeout_ns: U64,
}

/// MEM_SIGNAL.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemSignalOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) reserved: U32,
    pub(super) offset: U64,
    pub(super) value: U64,
}

/// SNAPSHOT.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SnapshotOp {
    pub(super) header: Header,
    pub(super) resource_id: U32,
    pub(super) reserved: U32,
    pub(super) cookie: U64,
}

/// FROM_RING.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FromRingOp {
    pub(super) header: Header,
    pub(super) ctx_id: U32,
    pub(super) ring: U32,
    pub(super) cookie: U64,
}
