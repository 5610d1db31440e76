//! Any operation of stile-sync. Names are mostly of the first few, so that one operation often
//! means what another one made.

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use stile_wire::sync::{Access, Direction, Op, OpCode, PointEvent, TimelineFlags};

use crate::input::Small;

/// An operation, for its submission's ring or the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    op: Op,
    wrong_ring: bool,
}

impl Operation {
    pub(crate) fn encode(&self, ring: u8, tag: u32) -> Vec<u8> {
        let ring = ring.wrapping_add(self.wrong_ring.into());
        self.op.encode(ring, tag).to_vec()
    }
}

/// A cookie, a timeline, an event, a point.
fn name(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? {
        255 => u64::arbitrary(bytes)?,
        254 => 0,
        byte => 1 + u64::from(byte % 6),
    })
}

/// A place or a length in a blob.
fn place(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? {
        255 => u64::arbitrary(bytes)?,
        byte @ 230..255 => u64::from(byte) * 8,
        byte => u64::from(byte % 16) * 64,
    })
}

/// A time, mostly of so many milliseconds.
fn time(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u8::arbitrary(bytes)? {
        255 => u64::arbitrary(bytes)?,
        byte => u64::from(byte) * 10_000_000,
    })
}

fn access(bytes: &mut Unstructured<'_>) -> Result<Access> {
    let byte = u8::arbitrary(bytes)?;
    let bits = if byte < 250 { 1 + byte % 3 } else { byte - 250 };
    Ok(Access::from_bits_retain(bits.into()))
}

fn uuid(bytes: &mut Unstructured<'_>) -> Result<[u8; 16]> {
    Ok([u8::arbitrary(bytes)? % 4; 16])
}

impl Arbitrary<'_> for Operation {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        const WAITS: [OpCode; 3] = [OpCode::Export, OpCode::Wait, OpCode::Poll];
        let code = if bytes.ratio(3, 8)? {
            *bytes.choose(&WAITS)?
        } else {
            *bytes.choose(&OpCode::ALL)?
        };
        Ok(Self {
            op: any(code, bytes)?,
            wrong_ring: bytes.ratio(1, 64)?,
        })
    }
}

fn any(code: OpCode, bytes: &mut Unstructured<'_>) -> Result<Op> {
    let resource_id = match code {
        OpCode::Status | OpCode::Events if bytes.ratio(1, 8)? => 0,
        _ => Small::arbitrary(bytes)?.0,
    };
    Ok(match code {
        OpCode::Export => Op::Export {
            resource_id,
            access: access(bytes)?,
            cookie: name(bytes)?,
        },
        OpCode::Import => Op::Import {
            resource_id,
            access: access(bytes)?,
            cookie: name(bytes)?,
        },
        OpCode::Merge => Op::Merge {
            first: name(bytes)?,
            second: name(bytes)?,
            cookie: name(bytes)?,
        },
        OpCode::Wait => Op::Wait {
            cookie: name(bytes)?,
        },
        OpCode::Drop => Op::Drop {
            cookie: name(bytes)?,
        },
        OpCode::Status => Op::Status {
            resource_id,
            offset: place(bytes)?,
            size: place(bytes)?,
        },
        OpCode::Events => Op::Events {
            resource_id,
            offset: place(bytes)?,
            size: place(bytes)?,
        },
        OpCode::Poll => Op::Poll {
            resource_id,
            access: access(bytes)?,
        },
        OpCode::CpuBegin => Op::CpuBegin {
            resource_id,
            access: access(bytes)?,
        },
        OpCode::CpuEnd => Op::CpuEnd {
            resource_id,
            access: access(bytes)?,
        },
        OpCode::Deadline => Op::Deadline {
            cookie: name(bytes)?,
            deadline_ns: time(bytes)?,
        },
        OpCode::Clock => Op::Clock,
        OpCode::EventWait => Op::EventWait { seen: name(bytes)? },
        OpCode::Cancel => Op::Cancel {
            event: name(bytes)?,
        },
        OpCode::TlCreate => Op::TlCreate {
            timeline: name(bytes)?,
            flags: TimelineFlags::from_bits_retain((u8::arbitrary(bytes)? % 5).into()),
        },
        OpCode::TlDestroy => Op::TlDestroy {
            timeline: name(bytes)?,
        },
        OpCode::TlSignal => Op::TlSignal {
            timeline: name(bytes)?,
            point: name(bytes)?,
        },
        OpCode::TlReset => Op::TlReset {
            timeline: name(bytes)?,
        },
        OpCode::TlTransfer => Op::TlTransfer {
            timeline: name(bytes)?,
            point: name(bytes)?,
            cookie: name(bytes)?,
            direction: *bytes.choose(&[Direction::ToPoint, Direction::ToCookie])?,
        },
        OpCode::TlWatch => Op::TlWatch {
            timeline: name(bytes)?,
            point: name(bytes)?,
            event: name(bytes)?,
            timeout_ns: time(bytes)?,
            until: *bytes.choose(&[PointEvent::Available, PointEvent::Signalled])?,
        },
        OpCode::TlShare => Op::TlShare {
            timeline: name(bytes)?,
            uuid: uuid(bytes)?,
        },
        OpCode::TlAdopt => Op::TlAdopt {
            timeline: name(bytes)?,
            uuid: uuid(bytes)?,
        },
        OpCode::MemWait => Op::MemWait {
            resource_id,
            offset: place(bytes)?,
            value: name(bytes)?,
            event: name(bytes)?,
            timeout_ns: time(bytes)?,
        },
        OpCode::MemSignal => Op::MemSignal {
            resource_id,
            offset: place(bytes)?,
            value: name(bytes)?,
        },
        OpCode::Snapshot => Op::Snapshot {
            resource_id,
            cookie: name(bytes)?,
        },
        OpCode::FromRing => Op::FromRing {
            ctx_id: resource_id % 4,
            ring: (u8::arbitrary(bytes)? % 65).into(),
            cookie: name(bytes)?,
        },
    })
}
