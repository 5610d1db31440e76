//! From an operation to its bytes.

use core::ops::Deref;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

use super::layout::{
    AccessOp, BufferOp, CookieOp, DeadlineOp, FromRingOp, Header, MemSignalOp, MemWaitOp, MemoryOp,
    MergeOp, PointOp, SnapshotOp, TlCreateOp, TransferOp, UuidOp, WatchOp,
};
use super::{Access, Op, OpCode};

/// Bytes of the longest operation.
const MAX_BYTES: usize = 48;

/// The bytes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Encoded {
    fn of(op: &(impl IntoBytes + Immutable)) -> Self {
        let mut bytes = [0; MAX_BYTES];
        let length = size_of_val(op);
        if let Some(start) = bytes.get_mut(..length) {
            start.copy_from_slice(op.as_bytes());
        }
        Self { bytes, length }
    }
}

impl Op {
    /// The operation's bytes in a submission on `ring`, with the guest's mark `tag`.
    pub fn encode(&self, ring: u8, tag: u32) -> Encoded {
        let header = |size| header(self.code(), ring, tag, size);
        match *self {
            Self::Export {
                resource_id,
                access,
                cookie,
            }
            | Self::Import {
                resource_id,
                access,
                cookie,
            } => Encoded::of(&buffer_bytes(header(24), resource_id, access, cookie)),
            Self::Merge {
                first,
                second,
                cookie,
            } => Encoded::of(&encode_merge(ring, tag, first, second, cookie)),
            Self::Wait { cookie: name }
            | Self::Drop { cookie: name }
            | Self::EventWait { seen: name }
            | Self::Cancel { event: name }
            | Self::TlDestroy { timeline: name }
            | Self::TlReset { timeline: name } => Encoded::of(&cookie_bytes(header(16), name)),
            Self::Status {
                resource_id,
                offset,
                size,
            }
            | Self::Events {
                resource_id,
                offset,
                size,
            } => Encoded::of(&memory_bytes(header(32), resource_id, offset, size)),
            Self::Poll {
                resource_id,
                access,
            }
            | Self::CpuBegin {
                resource_id,
                access,
            }
            | Self::CpuEnd {
                resource_id,
                access,
            } => Encoded::of(&AccessOp {
                header: header(16),
                resource_id: U32::new(resource_id),
                access: U32::new(access.bits()),
            }),
            Self::Deadline {
                cookie,
                deadline_ns,
            } => Encoded::of(&DeadlineOp {
                header: header(24),
                cookie: U64::new(cookie),
                deadline_ns: U64::new(deadline_ns),
            }),
            Self::Clock => Encoded::of(&header(8)),
            Self::TlCreate { .. }
            | Self::TlSignal { .. }
            | Self::TlTransfer { .. }
            | Self::TlWatch { .. }
            | Self::TlShare { .. }
            | Self::TlAdopt { .. } => self.encode_timeline(ring, tag),
            Self::MemWait {
                resource_id,
                offset,
                value,
                event,
                timeout_ns,
            } => Encoded::of(&MemWaitOp {
                header: header(48),
                resource_id: U32::new(resource_id),
                reserved: U32::ZERO,
                offset: U64::new(offset),
                value: U64::new(value),
                event: U64::new(event),
                timeout_ns: U64::new(timeout_ns),
            }),
            Self::MemSignal {
                resource_id,
                offset,
                value,
            } => Encoded::of(&MemSignalOp {
                header: header(32),
                resource_id: U32::new(resource_id),
                reserved: U32::ZERO,
                offset: U64::new(offset),
                value: U64::new(value),
            }),
            Self::Snapshot {
                resource_id,
                cookie,
            } => Encoded::of(&SnapshotOp {
                header: header(24),
                resource_id: U32::new(resource_id),
                reserved: U32::ZERO,
                cookie: U64::new(cookie),
            }),
            Self::FromRing {
                ctx_id,
                ring: of,
                cookie,
            } => Encoded::of(&FromRingOp {
                header: header(24),
                ctx_id: U32::new(ctx_id),
                ring: U32::new(of),
                cookie: U64::new(cookie),
            }),
        }
    }

    fn encode_timeline(&self, ring: u8, tag: u32) -> Encoded {
        let header = |size| header(self.code(), ring, tag, size);
        match *self {
            Self::TlCreate { timeline, flags } => Encoded::of(&TlCreateOp {
                header: header(24),
                timeline: U64::new(timeline),
                flags: U32::new(flags.bits()),
                reserved: U32::ZERO,
            }),
            Self::TlSignal { timeline, point } => Encoded::of(&PointOp {
                header: header(24),
                timeline: U64::new(timeline),
                point: U64::new(point),
            }),
            Self::TlTransfer {
                timeline,
                point,
                cookie,
                direction,
            } => Encoded::of(&TransferOp {
                header: header(40),
                timeline: U64::new(timeline),
                point: U64::new(point),
                cookie: U64::new(cookie),
                direction: U32::new(direction.code()),
                reserved: U32::ZERO,
            }),
            Self::TlWatch {
                timeline,
                point,
                event,
                timeout_ns,
                until,
            } => Encoded::of(&WatchOp {
                header: header(48),
                timeline: U64::new(timeline),
                point: U64::new(point),
                event: U64::new(event),
                timeout_ns: U64::new(timeout_ns),
                until: U32::new(until.code()),
                reserved: U32::ZERO,
            }),
            Self::TlShare { timeline, uuid } | Self::TlAdopt { timeline, uuid } => {
                Encoded::of(&UuidOp {
                    header: header(32),
                    timeline: U64::new(timeline),
                    uuid,
                })
            }
            _ => Encoded::of(&header(8)),
        }
    }
}

fn memory_bytes(header: Header, resource_id: u32, offset: u64, size: u64) -> [u8; 32] {
    zerocopy::transmute!(MemoryOp {
        header,
        resource_id: U32::new(resource_id),
        reserved: U32::ZERO,
        offset: U64::new(offset),
        size: U64::new(size),
    })
}

const fn header(op: OpCode, ring_idx: u8, tag: u32, size: u16) -> Header {
    Header {
        cmd: op.code(),
        ring_idx,
        cmd_size: U16::new(size),
        tag: U32::new(tag),
    }
}

fn buffer_bytes(header: Header, resource_id: u32, access: Access, cookie: u64) -> [u8; 24] {
    zerocopy::transmute!(BufferOp {
        header,
        resource_id: U32::new(resource_id),
        access: U32::new(access.bits()),
        cookie: U64::new(cookie),
    })
}

fn cookie_bytes(header: Header, cookie: u64) -> [u8; 16] {
    zerocopy::transmute!(CookieOp {
        header,
        cookie: U64::new(cookie)
    })
}

/// EXPORT, 24 bytes. `cookie` 0 keeps no name for the result.
pub fn encode_export(
    ring: u8,
    tag: u32,
    resource_id: u32,
    access: Access,
    cookie: u64,
) -> [u8; 24] {
    buffer_bytes(
        header(OpCode::Export, ring, tag, 24),
        resource_id,
        access,
        cookie,
    )
}

/// IMPORT, 24 bytes.
pub fn encode_import(
    ring: u8,
    tag: u32,
    resource_id: u32,
    access: Access,
    cookie: u64,
) -> [u8; 24] {
    buffer_bytes(
        header(OpCode::Import, ring, tag, 24),
        resource_id,
        access,
        cookie,
    )
}

/// MERGE of `first` and `second` into the new `cookie`, 32 bytes.
pub fn encode_merge(ring: u8, tag: u32, first: u64, second: u64, cookie: u64) -> [u8; 32] {
    zerocopy::transmute!(MergeOp {
        header: header(OpCode::Merge, ring, tag, 32),
        first: U64::new(first),
        second: U64::new(second),
        cookie: U64::new(cookie),
    })
}

/// WAIT, 16 bytes.
pub fn encode_wait(ring: u8, tag: u32, cookie: u64) -> [u8; 16] {
    cookie_bytes(header(OpCode::Wait, ring, tag, 16), cookie)
}

/// DROP, 16 bytes.
pub fn encode_drop(ring: u8, tag: u32, cookie: u64) -> [u8; 16] {
    cookie_bytes(header(OpCode::Drop, ring, tag, 16), cookie)
}

/// STATUS, 32 bytes. `offset` and `size` in bytes; `resource_id` 0 for no status blob.
pub fn encode_status(ring: u8, tag: u32, resource_id: u32, offset: u64, size: u64) -> [u8; 32] {
    memory_bytes(
        header(OpCode::Status, ring, tag, 32),
        resource_id,
        offset,
        size,
    )
}
