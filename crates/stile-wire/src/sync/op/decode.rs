//! From the bytes of a submission to its operations.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::layout::{
    AccessOp, BufferOp, CookieOp, DeadlineOp, FromRingOp, Header, MemSignalOp, MemWaitOp, MemoryOp,
    MergeOp, PointOp, SnapshotOp, TlCreateOp, TransferOp, UuidOp, WatchOp,
};
use super::{Access, Direction, Op, OpCode, PointEvent, Refused, Step, TimelineFlags};

/// Bytes of the header that every operation starts with.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// The submission cannot be cut into operations from here on: a header or `cmd_size` does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Operation of {size} bytes does not fit into the {left} that are left")]
pub struct Framing {
    /// The `cmd_size` found; 0 where the header itself is cut short.
    pub size: u16,
    /// The bytes left in the submission.
    pub left: usize,
    /// The header's first byte, 0 where it is missing.
    pub cmd: u8,
    /// The header's mark, 0 where it is cut short.
    pub tag: u32,
}

/// Cuts a `SUBMIT_3D` payload into its operations. Ends after the first [`Framing`] error.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    rest: &'a [u8],
}

impl<'a> Steps<'a> {
    /// The operations of `payload`.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, Framing>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        let rest = core::mem::take(&mut self.rest);
        let Ok((header, _)) = Header::ref_from_prefix(rest) else {
            let cmd = rest.first().copied().unwrap_or(0);
            return Some(Err(Framing {
                size: 0,
                left,
                cmd,
                tag: 0,
            }));
        };
        let size = header.cmd_size.get();
        let whole = usize::from(size);
        let framing = Framing {
            size,
            left,
            cmd: header.cmd,
            tag: header.tag.get(),
        };
        if whole < HEADER_BYTES || !whole.is_multiple_of(8) {
            return Some(Err(framing));
        }
        let Some((bytes, rest)) = rest.split_at_checked(whole) else {
            return Some(Err(framing));
        };
        self.rest = rest;
        Some(Ok(decode(header, bytes)))
    }
}

fn decode(header: &Header, bytes: &[u8]) -> Step {
    let mut step = Step {
        cmd: header.cmd,
        ring_idx: header.ring_idx,
        tag: header.tag.get(),
        cookie: 0,
        resource_id: 0,
        op: Err(Refused::UnknownCode),
    };
    step.op = match OpCode::from_code(header.cmd) {
        None => Err(Refused::UnknownCode),
        Some(code) => decode_op(code, bytes, &mut step),
    };
    step
}

fn decode_op(code: OpCode, bytes: &[u8], step: &mut Step) -> Result<Op, Refused> {
    match code {
        OpCode::Export | OpCode::Import => buffer_op(code, bytes, step),
        OpCode::Merge => {
            let op = whole::<MergeOp>(bytes)?;
            step.cookie = op.cookie.get();
            let first = named(op.first.get())?;
            let second = named(op.second.get())?;
            Ok(Op::Merge {
                first,
                second,
                cookie: named(step.cookie)?,
            })
        }
        OpCode::Wait => cookie_op(bytes, step).map(|cookie| Op::Wait { cookie }),
        OpCode::Drop => cookie_op(bytes, step).map(|cookie| Op::Drop { cookie }),
        OpCode::Status => memory_op(bytes, step).map(|(resource_id, offset, size)| Op::Status {
            resource_id,
            offset,
            size,
        }),
        OpCode::Events => memory_op(bytes, step).map(|(resource_id, offset, size)| Op::Events {
            resource_id,
            offset,
            size,
        }),
        OpCode::Poll => access_op(bytes, step).map(|(resource_id, access)| Op::Poll {
            resource_id,
            access,
        }),
        OpCode::CpuBegin => access_op(bytes, step).map(|(resource_id, access)| Op::CpuBegin {
            resource_id,
            access,
        }),
        OpCode::CpuEnd => access_op(bytes, step).map(|(resource_id, access)| Op::CpuEnd {
            resource_id,
            access,
        }),
        OpCode::Deadline => {
            let op = whole::<DeadlineOp>(bytes)?;
            step.cookie = op.cookie.get();
            Ok(Op::Deadline {
                cookie: named(step.cookie)?,
                deadline_ns: op.deadline_ns.get(),
            })
        }
        OpCode::Clock => whole::<Header>(bytes).map(|_| Op::Clock),
        OpCode::EventWait => whole::<CookieOp>(bytes).map(|op| Op::EventWait {
            seen: op.cookie.get(),
        }),
        OpCode::Cancel => cookie_op(bytes, step).map(|event| Op::Cancel { event }),
        OpCode::TlCreate
        | OpCode::TlDestroy
        | OpCode::TlSignal
        | OpCode::TlReset
        | OpCode::TlTransfer
        | OpCode::TlWatch
        | OpCode::TlShare
        | OpCode::TlAdopt => timeline_op(code, bytes, step),
        OpCode::MemWait => {
            let op = whole::<MemWaitOp>(bytes)?;
            (step.cookie, step.resource_id) = (op.event.get(), op.resource_id.get());
            zero(op.reserved.get())?;
            Ok(Op::MemWait {
                resource_id: step.resource_id,
                offset: op.offset.get(),
                value: op.value.get(),
                event: named(step.cookie)?,
                timeout_ns: op.timeout_ns.get(),
            })
        }
        OpCode::MemSignal => {
            let op = whole::<MemSignalOp>(bytes)?;
            step.resource_id = op.resource_id.get();
            zero(op.reserved.get())?;
            Ok(Op::MemSignal {
                resource_id: step.resource_id,
                offset: op.offset.get(),
                value: op.value.get(),
            })
        }
        OpCode::Snapshot => {
            let op = whole::<SnapshotOp>(bytes)?;
            (step.cookie, step.resource_id) = (op.cookie.get(), op.resource_id.get());
            zero(op.reserved.get())?;
            Ok(Op::Snapshot {
                resource_id: step.resource_id,
                cookie: named(step.cookie)?,
            })
        }
        OpCode::FromRing => {
            let op = whole::<FromRingOp>(bytes)?;
            step.cookie = op.cookie.get();
            Ok(Op::FromRing {
                ctx_id: op.ctx_id.get(),
                ring: op.ring.get(),
                cookie: named(step.cookie)?,
            })
        }
    }
}

/// Operations about timelines. The record has the timeline's name, or the cookie's or event's where
/// there is one.
fn timeline_op(code: OpCode, bytes: &[u8], step: &mut Step) -> Result<Op, Refused> {
    Ok(match code {
        OpCode::TlCreate => {
            let op = whole::<TlCreateOp>(bytes)?;
            step.cookie = op.timeline.get();
            let flags = TimelineFlags::from_bits(op.flags.get()).ok_or(Refused::BadFlags)?;
            zero(op.reserved.get())?;
            Op::TlCreate {
                timeline: named(step.cookie)?,
                flags,
            }
        }
        OpCode::TlSignal => {
            let op = whole::<PointOp>(bytes)?;
            step.cookie = op.timeline.get();
            Op::TlSignal {
                timeline: named(step.cookie)?,
                point: op.point.get(),
            }
        }
        OpCode::TlTransfer => {
            let op = whole::<TransferOp>(bytes)?;
            step.cookie = op.cookie.get();
            let direction = [Direction::ToPoint, Direction::ToCookie]
                .into_iter()
                .find(|direction| direction.code() == op.direction.get())
                .ok_or(Refused::BadFlags)?;
            zero(op.reserved.get())?;
            Op::TlTransfer {
                timeline: named(op.timeline.get())?,
                point: op.point.get(),
                cookie: named(step.cookie)?,
                direction,
            }
        }
        OpCode::TlWatch => {
            let op = whole::<WatchOp>(bytes)?;
            step.cookie = op.event.get();
            let until = [PointEvent::Available, PointEvent::Signalled]
                .into_iter()
                .find(|until| until.code() == op.until.get())
                .ok_or(Refused::BadFlags)?;
            zero(op.reserved.get())?;
            Op::TlWatch {
                timeline: named(op.timeline.get())?,
                point: op.point.get(),
                event: named(step.cookie)?,
                timeout_ns: op.timeout_ns.get(),
                until,
            }
        }
        OpCode::TlShare | OpCode::TlAdopt => {
            let op = whole::<UuidOp>(bytes)?;
            step.cookie = op.timeline.get();
            let (timeline, uuid) = (named(step.cookie)?, op.uuid);
            if code == OpCode::TlShare {
                Op::TlShare { timeline, uuid }
            } else {
                Op::TlAdopt { timeline, uuid }
            }
        }
        OpCode::TlDestroy => Op::TlDestroy {
            timeline: cookie_op(bytes, step)?,
        },
        OpCode::TlReset => Op::TlReset {
            timeline: cookie_op(bytes, step)?,
        },
        _ => return Err(Refused::UnknownCode),
    })
}

fn whole<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> Result<&T, Refused> {
    T::ref_from_bytes(bytes).map_err(|_| Refused::WrongSize)
}

const fn named(name: u64) -> Result<u64, Refused> {
    if name == 0 {
        Err(Refused::NoName)
    } else {
        Ok(name)
    }
}

const fn zero(reserved: u32) -> Result<(), Refused> {
    if reserved == 0 {
        Ok(())
    } else {
        Err(Refused::BadReserved)
    }
}

fn checked_access(bits: u32) -> Result<Access, Refused> {
    Access::from_bits(bits)
        .filter(|access| !access.is_empty())
        .ok_or(Refused::BadAccess)
}

fn buffer_op(code: OpCode, bytes: &[u8], step: &mut Step) -> Result<Op, Refused> {
    let op = whole::<BufferOp>(bytes)?;
    (step.resource_id, step.cookie) = (op.resource_id.get(), op.cookie.get());
    let access = checked_access(op.access.get())?;
    let (resource_id, cookie) = (step.resource_id, step.cookie);
    if code == OpCode::Export {
        return Ok(Op::Export {
            resource_id,
            access,
            cookie,
        });
    }
    Ok(Op::Import {
        resource_id,
        access,
        cookie: named(cookie)?,
    })
}

fn access_op(bytes: &[u8], step: &mut Step) -> Result<(u32, Access), Refused> {
    let op = whole::<AccessOp>(bytes)?;
    step.resource_id = op.resource_id.get();
    Ok((step.resource_id, checked_access(op.access.get())?))
}

fn memory_op(bytes: &[u8], step: &mut Step) -> Result<(u32, u64, u64), Refused> {
    let op = whole::<MemoryOp>(bytes)?;
    step.resource_id = op.resource_id.get();
    zero(op.reserved.get())?;
    Ok((step.resource_id, op.offset.get(), op.size.get()))
}

fn cookie_op(bytes: &[u8], step: &mut Step) -> Result<u64, Refused> {
    step.cookie = whole::<CookieOp>(bytes)?.cookie.get();
    named(step.cookie)
}
