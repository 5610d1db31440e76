//! The operations of a submission: what a guest may ask for.

use proptest::prelude::*;
use stile_wire::sync::{
    Access, Op, encode_drop, encode_export, encode_import, encode_merge, encode_status, encode_wait,
};

use super::points::event_op;

/// A piece of a submission. Its tag is its number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    Export {
        resource: u32,
        access: u32,
        cookie: u64,
    },
    Import {
        resource: u32,
        access: u32,
        cookie: u64,
    },
    Merge {
        first: u64,
        second: u64,
        cookie: u64,
    },
    Wait {
        cookie: u64,
    },
    Drop {
        cookie: u64,
    },
    Status {
        resource: u32,
        offset: u64,
        size: u64,
    },
    Poll {
        resource: u32,
        access: u32,
    },
    Deadline {
        cookie: u64,
        deadline_ns: u64,
    },
    Clock,
    FromRing {
        ctx: u32,
        from: u32,
        cookie: u64,
    },
    Snapshot {
        resource: u32,
        cookie: u64,
    },
    Cpu {
        begins: bool,
        resource: u32,
        access: u32,
    },
    MemSignal {
        resource: u32,
        offset: u64,
        value: u64,
    },
    /// One on events or timelines.
    Op(Op),
    /// An operation for the ring after the submission's.
    WrongRing {
        cookie: u64,
    },
    /// A code of no operation.
    Unknown,
    /// Eight bytes of EXPORT.
    WrongSize,
    /// From here on nothing can be cut.
    Broken,
}

impl Piece {
    pub(crate) fn encode(self, ring: u8, tag: u32) -> Vec<u8> {
        let access = |bits| Access::from_bits_retain(bits);
        match self {
            Self::Export {
                resource,
                access: bits,
                cookie,
            } => encode_export(ring, tag, resource, access(bits), cookie).to_vec(),
            Self::Import {
                resource,
                access: bits,
                cookie,
            } => encode_import(ring, tag, resource, access(bits), cookie).to_vec(),
            Self::Merge {
                first,
                second,
                cookie,
            } => encode_merge(ring, tag, first, second, cookie).to_vec(),
            Self::Wait { cookie } => encode_wait(ring, tag, cookie).to_vec(),
            Self::Drop { cookie } => encode_drop(ring, tag, cookie).to_vec(),
            Self::Status {
                resource,
                offset,
                size,
            } => encode_status(ring, tag, resource, offset, size).to_vec(),
            Self::Deadline {
                cookie,
                deadline_ns,
            } => {
                let op = Op::Deadline {
                    cookie,
                    deadline_ns,
                };
                op.encode(ring, tag).to_vec()
            }
            Self::Cpu {
                begins,
                resource: resource_id,
                access: bits,
            } => {
                let access = access(bits);
                let op = if begins {
                    Op::CpuBegin {
                        resource_id,
                        access,
                    }
                } else {
                    Op::CpuEnd {
                        resource_id,
                        access,
                    }
                };
                op.encode(ring, tag).to_vec()
            }
            Self::FromRing { ctx, from, cookie } => {
                let op = Op::FromRing {
                    ctx_id: ctx,
                    ring: from,
                    cookie,
                };
                op.encode(ring, tag).to_vec()
            }
            Self::Snapshot {
                resource: resource_id,
                cookie,
            } => {
                let op = Op::Snapshot {
                    resource_id,
                    cookie,
                };
                op.encode(ring, tag).to_vec()
            }
            Self::Op(op) => op.encode(ring, tag).to_vec(),
            Self::Clock => Op::Clock.encode(ring, tag).to_vec(),
            Self::Poll {
                resource: resource_id,
                access: bits,
            } => {
                let access = access(bits);
                let op = Op::Poll {
                    resource_id,
                    access,
                };
                op.encode(ring, tag).to_vec()
            }
            Self::MemSignal {
                resource: resource_id,
                offset,
                value,
            } => Op::MemSignal {
                resource_id,
                offset,
                value,
            }
            .encode(ring, tag)
            .to_vec(),
            Self::WrongRing { cookie } => encode_drop(ring.wrapping_add(1), tag, cookie).to_vec(),
            Self::Unknown => {
                let mut bytes = encode_drop(ring, tag, 1).to_vec();
                bytes[0] = 0xbf;
                bytes
            }
            Self::WrongSize => {
                let mut bytes = encode_drop(ring, tag, 1)[..8].to_vec();
                (bytes[0], bytes[2]) = (0x80, 8);
                bytes
            }
            Self::Broken => {
                let mut bytes = encode_drop(ring, tag, 1).to_vec();
                bytes[2] = 12;
                bytes
            }
        }
    }
}

pub(super) fn resource() -> impl Strategy<Value = u32> {
    prop_oneof![20 => Just(1_u32), 15 => Just(2), 5 => Just(3), 1 => Just(4), 1 => Just(0)]
}

/// Those that operations make are seldom there, those that they name often.
fn new_cookie() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 1_u64..=8, 1 => Just(0)]
}

pub(super) fn cookie() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 1_u64..=2, 6 => 3_u64..=6, 1 => Just(0)]
}

fn access() -> impl Strategy<Value = u32> {
    prop_oneof![40 => 1_u32..=3, 1 => Just(0), 1 => Just(5)]
}

/// Where a counter may be; seldom where none can be.
pub(super) fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => Just(1024_u64),
        6 => Just(1032),
        1 => Just(1028),
        1 => Just(8184),
        1 => Just(8192),
        1 => Just(u64::MAX - 7),
    ]
}

pub(super) fn count() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..6, 1 => Just(u64::MAX)]
}

pub(super) fn piece() -> impl Strategy<Value = Piece> {
    let offset = prop_oneof![8 => Just(0_u64), 2 => Just(192), 1 => Just(32), 1 => Just(8128)];
    let size = prop_oneof![8 => Just(256_u64), 3 => 127_u64..=192, 1 => Just(8192), 1 => Just(0)];
    prop_oneof![
        24 => (resource(), access(), new_cookie()).prop_map(|(resource, access, cookie)| {
            Piece::Export { resource, access, cookie }
        }),
        12 => (resource(), access())
            .prop_map(|(resource, access)| Piece::Export { resource, access, cookie: 0 }),
        8 => (resource(), access(), cookie()).prop_map(|(resource, access, cookie)| {
            Piece::Import { resource, access, cookie }
        }),
        8 => (cookie(), cookie(), new_cookie())
            .prop_map(|(first, second, cookie)| Piece::Merge { first, second, cookie }),
        16 => cookie().prop_map(|cookie| Piece::Wait { cookie }),
        5 => cookie().prop_map(|cookie| Piece::Drop { cookie }),
        3 => (cookie(), any::<u64>())
            .prop_map(|(cookie, deadline_ns)| Piece::Deadline { cookie, deadline_ns }),
        1 => Just(Piece::Clock),
        8 => (0_u32..=2, prop_oneof![20 => 0_u32..=1, 1 => Just(63), 1 => Just(64)], new_cookie())
            .prop_map(|(ctx, from, cookie)| Piece::FromRing { ctx, from, cookie }),
        6 => (resource(), new_cookie())
            .prop_map(|(resource, cookie)| Piece::Snapshot { resource, cookie }),
        8 => (any::<bool>(), resource(), access())
            .prop_map(|(begins, resource, access)| Piece::Cpu { begins, resource, access }),
        40 => event_op().prop_map(Piece::Op),
        20 => (resource(), access())
            .prop_map(|(resource, access)| Piece::Poll { resource, access }),
        4 => (resource(), offset, size).prop_map(|(resource, offset, size)| {
            Piece::Status { resource, offset, size }
        }),
        6 => (resource(), counter(), count()).prop_map(|(resource, offset, value)| {
            Piece::MemSignal { resource, offset, value }
        }),
        1 => cookie().prop_map(|cookie| Piece::WrongRing { cookie }),
        1 => Just(Piece::Unknown),
        1 => Just(Piece::WrongSize),
        1 => Just(Piece::Broken),
    ]
}
