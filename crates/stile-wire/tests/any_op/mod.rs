//! Any operation that a guest may encode.

use proptest::prelude::*;
use stile_wire::sync::{Access, Direction, Op, PointEvent, TimelineFlags};

fn access() -> impl Strategy<Value = Access> {
    (1_u32..=3).prop_map(Access::from_bits_truncate)
}

/// What an operation is made of: names, which are not 0, and any other numbers.
#[derive(Clone, Copy, Debug)]
struct Parts {
    small: [u32; 2],
    names: [u64; 3],
    numbers: [u64; 3],
    access: Access,
    uuid: [u8; 16],
    second: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let name = 1_u64..;
    (
        any::<[u32; 2]>(),
        [name.clone(), name.clone(), name],
        any::<[u64; 3]>(),
        access(),
        any::<[u8; 16]>(),
        any::<bool>(),
    )
        .prop_map(|(small, names, numbers, access, uuid, second)| Parts {
            small,
            names,
            numbers,
            access,
            uuid,
            second,
        })
}

/// Any operation.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    (0_u8..26, parts()).prop_map(|(kind, parts)| make(kind, parts))
}

fn make(kind: u8, parts: Parts) -> Op {
    let Parts {
        small: [resource_id, other],
        names: [cookie, first, second],
        numbers: [offset, size, timeout_ns],
        access,
        uuid,
        second: is_second,
    } = parts;
    let (timeline, point, event) = (first, offset, cookie);
    match kind {
        0 => Op::Export {
            resource_id,
            access,
            cookie: size,
        },
        1 => Op::Import {
            resource_id,
            access,
            cookie,
        },
        2 => Op::Merge {
            first,
            second,
            cookie,
        },
        3 => Op::Wait { cookie },
        4 => Op::Drop { cookie },
        5 => Op::Status {
            resource_id,
            offset,
            size,
        },
        6 => Op::Poll {
            resource_id,
            access,
        },
        7 => Op::Deadline {
            cookie,
            deadline_ns: size,
        },
        8 => Op::CpuBegin {
            resource_id,
            access,
        },
        9 => Op::CpuEnd {
            resource_id,
            access,
        },
        10 => Op::Clock,
        11 => Op::Events {
            resource_id,
            offset,
            size,
        },
        12 => Op::EventWait { seen: size },
        13 => Op::Cancel { event },
        14 => Op::TlCreate {
            timeline,
            flags: TimelineFlags::from_bits_truncate(other),
        },
        15 => Op::TlDestroy { timeline },
        16 => Op::TlSignal { timeline, point },
        17 => Op::TlReset { timeline },
        18 => {
            let direction = if is_second {
                Direction::ToCookie
            } else {
                Direction::ToPoint
            };
            Op::TlTransfer {
                timeline,
                point,
                cookie,
                direction,
            }
        }
        19 => {
            let until = if is_second {
                PointEvent::Signalled
            } else {
                PointEvent::Available
            };
            Op::TlWatch {
                timeline,
                point,
                event,
                timeout_ns,
                until,
            }
        }
        20 => Op::TlShare { timeline, uuid },
        21 => Op::TlAdopt { timeline, uuid },
        22 => Op::MemWait {
            resource_id,
            offset,
            value: size,
            event,
            timeout_ns,
        },
        23 => Op::MemSignal {
            resource_id,
            offset,
            value: size,
        },
        24 => Op::Snapshot {
            resource_id,
            cookie,
        },
        _ => Op::FromRing {
            ctx_id: resource_id,
            ring: other,
            cookie,
        },
    }
}

/// What a record says that an operation names: cookie, timeline or event, and resource.
pub(crate) fn names(op: Op) -> (u64, u32) {
    match op {
        Op::Export {
            resource_id,
            cookie,
            ..
        }
        | Op::Import {
            resource_id,
            cookie,
            ..
        }
        | Op::Snapshot {
            resource_id,
            cookie,
        }
        | Op::MemWait {
            resource_id,
            event: cookie,
            ..
        } => (cookie, resource_id),
        Op::Merge { cookie, .. }
        | Op::Wait { cookie }
        | Op::Drop { cookie }
        | Op::Deadline { cookie, .. }
        | Op::Cancel { event: cookie }
        | Op::TlCreate {
            timeline: cookie, ..
        }
        | Op::TlDestroy { timeline: cookie }
        | Op::TlSignal {
            timeline: cookie, ..
        }
        | Op::TlReset { timeline: cookie }
        | Op::TlTransfer { cookie, .. }
        | Op::TlWatch { event: cookie, .. }
        | Op::TlShare {
            timeline: cookie, ..
        }
        | Op::TlAdopt {
            timeline: cookie, ..
        }
        | Op::FromRing { cookie, .. } => (cookie, 0),
        Op::Status { resource_id, .. }
        | Op::Events { resource_id, .. }
        | Op::Poll { resource_id, .. }
        | Op::CpuBegin { resource_id, .. }
        | Op::CpuEnd { resource_id, .. }
        | Op::MemSignal { resource_id, .. } => (0, resource_id),
        Op::Clock | Op::EventWait { .. } => (0, 0),
    }
}
