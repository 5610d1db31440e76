//! The operations of the property: what a guest, a host GPU, a front end and time may do.

use proptest::collection::vec;
use proptest::prelude::*;
use stile_core::{Request, ResourceName};
use stile_wire::sync::{Access, Op, TimelineFlags};

use super::moving::NewBuffer;
use super::pieces::{Piece, count, counter, piece, resource};
use super::points::{PointStep, event_op, point_step};

/// Which id a fence gets, counted from the last of the whole device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FenceId {
    Next,
    Skip,
    Same,
    Back(u64),
}

/// How a command is fenced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fencing {
    No,
    RingOnly(u8),
    Global(FenceId),
    Ring(u8, FenceId),
}

/// A command of the guest.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    CtxCreate {
        ctx: u32,
        capset: u32,
    },
    CtxDestroy {
        ctx: u32,
    },
    Attach {
        ctx: u32,
        resource: u32,
    },
    Detach {
        ctx: u32,
        resource: u32,
    },
    Blob {
        resource: u32,
        mem: u32,
        mappable: bool,
        size: u64,
    },
    Unref {
        resource: u32,
    },
    AssignUuid {
        resource: u32,
        ctx: u32,
    },
    Map {
        resource: u32,
        ctx: u32,
        offset: u64,
    },
    Unmap {
        resource: u32,
        ctx: u32,
    },
    Submit {
        ctx: u32,
        pieces: Vec<Piece>,
        cut_short: bool,
    },
    DisplayInfo {
        ctx: u32,
    },
    Unknown {
        ctx: u32,
    },
}

/// How a test ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// The host signals everything.
    Signals,
    /// The host signals nothing more.
    Deadlines,
}

/// One operation of the property.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Guest(Command, Fencing),
    /// A host GPU begins to read or write a buffer.
    HostWork {
        resource: u32,
        access: u32,
    },
    /// One of the host's pending fences signals.
    Signal {
        nth: usize,
        error: bool,
    },
    /// The device hears of one signalled watch.
    Deliver {
        nth: usize,
        fresh: bool,
    },
    /// The device hears of all of them.
    DeliverAll,
    /// The device hears again of a watch that is over.
    DeliverAgain {
        nth: usize,
    },
    /// A watch cannot be kept up.
    WatchFails {
        nth: usize,
    },
    /// The front end has done a job.
    Job {
        nth: usize,
        done: bool,
    },
    /// The front end says so again.
    JobAgain {
        nth: usize,
    },
    /// The host makes the next buffers at once, or when it is told to.
    Slow(bool),
    /// The host has made one of the buffers, or could not.
    Buffer {
        nth: usize,
        errno: Option<u32>,
    },
    /// An access of the CPU is done.
    Accessed {
        nth: usize,
        errno: Option<u32>,
    },
    /// A host process asks by the bridge.
    Ask(Request),
    /// A host process moves a buffer.
    Replace(NewBuffer),
    /// One that waits goes.
    Withdraw {
        nth: usize,
    },
    /// A program counts in a buffer, and says nothing.
    Store {
        resource: u32,
        offset: u64,
        value: u64,
    },
    /// About points.
    Point(PointStep),
    Pass {
        ms: u64,
    },
    /// Of the host's next calls that can fail, one does.
    HostFails {
        errno: u32,
        after: u32,
    },
    /// See [`blob_slowly`].
    BlobSlowly {
        mem: u32,
        fencing: Fencing,
    },
    /// The device is reset, and is booted again.
    Reset,
    /// The guest boots: see [`boot`].
    Boot,
    /// See [`context_again`].
    ContextAgain {
        ctx: u32,
    },
    /// See [`blob_again`].
    BlobAgain {
        resource: u32,
    },
}

fn ctx() -> impl Strategy<Value = u32> {
    prop_oneof![30 => Just(1_u32), 12 => Just(2), 1 => Just(3), 1 => Just(0)]
}

fn ring() -> impl Strategy<Value = u8> {
    prop_oneof![40 => 0_u8..=1, 3 => Just(63), 1 => Just(64), 1 => Just(255)]
}

fn fence_id() -> impl Strategy<Value = FenceId> {
    prop_oneof![
        24 => Just(FenceId::Next),
        2 => Just(FenceId::Skip),
        1 => Just(FenceId::Same),
        1 => (1_u64..6).prop_map(FenceId::Back),
    ]
}

fn fencing() -> impl Strategy<Value = Fencing> {
    prop_oneof![
        4 => Just(Fencing::No),
        1 => ring().prop_map(Fencing::RingOnly),
        3 => fence_id().prop_map(Fencing::Global),
        12 => (ring(), fence_id()).prop_map(|(ring, id)| Fencing::Ring(ring, id)),
    ]
}

fn name() -> impl Strategy<Value = ResourceName> {
    prop_oneof![
        6 => resource().prop_map(ResourceName::Id),
        1 => (1_u8..4).prop_map(|nth| ResourceName::Uuid([nth; 16])),
    ]
}

fn timeout() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 1_u64..2_000_000_000,
        1 => Just(0),
        1 => Just(2_000_000_000),
        1 => Just(2_000_000_001),
    ]
}

/// Mostly of the size of one of the two buffers of [`boot`].
fn new_buffer() -> impl Strategy<Value = NewBuffer> {
    let pages = prop_oneof![8 => Just(2_u64), 8 => Just(3), 1 => Just(1), 1 => Just(50)];
    let work = prop_oneof![
        Just(None),
        Just(Some(Access::READ)),
        Just(Some(Access::WRITE))
    ];
    let words = [(Just(1024_u64), count()), (Just(1032), count())];
    let new = (name(), timeout(), pages, work, words);
    new.prop_map(|(resource, timeout_ns, pages, work, words)| NewBuffer {
        resource,
        timeout_ns,
        size: pages * 4096,
        work,
        words,
    })
}

fn request() -> impl Strategy<Value = Request> {
    (
        name(),
        counter(),
        count(),
        timeout(),
        prop::bool::weighted(0.6),
    )
        .prop_map(|(resource, offset, value, timeout_ns, waits)| {
            if waits {
                Request::Wait {
                    resource,
                    offset,
                    value,
                    timeout_ns,
                }
            } else {
                Request::Signal {
                    resource,
                    offset,
                    value,
                }
            }
        })
}

fn command() -> impl Strategy<Value = Command> {
    let page = 4096_u64;
    let size = prop_oneof![
        10 => (2_u64..=3).prop_map(move |pages| pages * page),
        2 => Just(2 * page - 1),
        1 => Just(0),
        1 => Just(50 * page),
    ];
    let offset = prop_oneof![10 => (0_u64..=5).prop_map(move |at| at * page), 1 => Just(7)];
    let capset = prop_oneof![20 => Just(30_u32), 2 => Just(0), 1 => Just(5)];
    prop_oneof![
        4 => (ctx(), capset).prop_map(|(ctx, capset)| Command::CtxCreate { ctx, capset }),
        1 => ctx().prop_map(|ctx| Command::CtxDestroy { ctx }),
        8 => (ctx(), resource()).prop_map(|(ctx, resource)| Command::Attach { ctx, resource }),
        1 => (ctx(), resource()).prop_map(|(ctx, resource)| Command::Detach { ctx, resource }),
        4 => (resource(), 1_u32..=3, prop::bool::weighted(0.8), size).prop_map(
            |(resource, mem, mappable, size)| Command::Blob { resource, mem, mappable, size }
        ),
        1 => resource().prop_map(|resource| Command::Unref { resource }),
        1 => (resource(), ctx())
            .prop_map(|(resource, ctx)| Command::AssignUuid { resource, ctx }),
        6 => (resource(), ctx(), offset).prop_map(|(resource, ctx, offset)| {
            Command::Map { resource, ctx, offset }
        }),
        3 => (resource(), ctx()).prop_map(|(resource, ctx)| Command::Unmap { resource, ctx }),
        50 => (ctx(), vec(piece(), 0..6), prop::bool::weighted(0.02)).prop_map(
            |(ctx, pieces, cut_short)| Command::Submit { ctx, pieces, cut_short }
        ),
        1 => ctx().prop_map(|ctx| Command::DisplayInfo { ctx }),
        1 => ctx().prop_map(|ctx| Command::Unknown { ctx }),
    ]
}

/// One step of a life.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let nth = 0_usize..8;
    let time = prop_oneof![4 => 0_u64..600, 1 => 900_u64..1_100];
    let errno = prop::sample::select(vec![9_u32, 12, 22, 24, 28, 95, 122]);
    prop_oneof![
        30 => (command(), fencing()).prop_map(|(command, fencing)| Step::Guest(command, fencing)),
        12 => (1_u32..=2, 1_u32..=2)
            .prop_map(|(resource, access)| Step::HostWork { resource, access }),
        6 => (nth.clone(), prop::bool::weighted(0.1))
            .prop_map(|(nth, error)| Step::Signal { nth, error }),
        5 => (nth.clone(), any::<bool>()).prop_map(|(nth, fresh)| Step::Deliver { nth, fresh }),
        2 => Just(Step::DeliverAll),
        1 => nth.clone().prop_map(|nth| Step::DeliverAgain { nth }),
        1 => nth.clone().prop_map(|nth| Step::WatchFails { nth }),
        4 => (nth.clone(), prop::bool::weighted(0.8))
            .prop_map(|(nth, done)| Step::Job { nth, done }),
        1 => nth.clone().prop_map(|nth| Step::JobAgain { nth }),
        2 => any::<bool>().prop_map(Step::Slow),
        5 => (nth.clone(), prop::option::weighted(0.2, errno.clone()))
            .prop_map(|(nth, errno)| Step::Buffer { nth, errno }),
        3 => (nth, prop::option::weighted(0.2, Just(22)))
            .prop_map(|(nth, errno)| Step::Accessed { nth, errno }),
        8 => request().prop_map(Step::Ask),
        4 => new_buffer().prop_map(Step::Replace),
        1 => (0_usize..8).prop_map(|nth| Step::Withdraw { nth }),
        2 => (1_u32..=2, counter(), count())
            .prop_map(|(resource, offset, value)| Step::Store { resource, offset, value }),
        18 => point_step().prop_map(Step::Point),
        4 => time.prop_map(|ms| Step::Pass { ms }),
        1 => (errno, 0_u32..3).prop_map(|(errno, after)| Step::HostFails { errno, after }),
        1 => (1_u32..=2).prop_map(|ctx| Step::ContextAgain { ctx }),
        1 => (1_u32..=2).prop_map(|resource| Step::BlobAgain { resource }),
        3 => (1_u32..=3, fencing()).prop_map(|(mem, fencing)| Step::BlobSlowly { mem, fencing }),
        1 => prop::bool::weighted(0.4)
            .prop_map(|reset| if reset { Step::Reset } else { Step::DeliverAll }),
    ]
}

/// What happens in a life that is full of events.
pub(crate) fn event_step() -> impl Strategy<Value = Step> {
    let nth = 0_usize..8;
    let submit = (1_u32..=2, vec(event_op(), 1..3)).prop_map(|(ctx, ops)| Command::Submit {
        ctx,
        pieces: ops.into_iter().map(Piece::Op).collect(),
        cut_short: false,
    });
    prop_oneof![
        30 => (submit, fencing()).prop_map(|(submit, fencing)| Step::Guest(submit, fencing)),
        12 => point_step().prop_map(Step::Point),
        3 => nth.prop_map(|nth| Step::Signal { nth, error: false }),
        1 => Just(Step::DeliverAll),
        2 => (0_u64..500).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::HostFails { errno: 12, after: 1 }),
        1 => (1_u32..=2).prop_map(|resource| Step::BlobAgain { resource }),
        1 => (1_u32..=2).prop_map(|ctx| Step::ContextAgain { ctx }),
    ]
}

fn guest(command: Command) -> Step {
    Step::Guest(command, Fencing::No)
}

/// A buffer with work of the host on it; its last page is not whole.
fn blob(resource: u32) -> [Step; 2] {
    let size = 4096 * u64::from(1 + resource) - 1;
    let blob = Command::Blob {
        resource,
        mem: 2,
        mappable: true,
        size,
    };
    [
        guest(blob),
        Step::HostWork {
            resource,
            access: resource,
        },
    ]
}

/// A context with both buffers, a status blob, two cookies, an event ring and two timelines, of which
/// the second is a binary one.
fn context(ctx: u32) -> [Step; 5] {
    let pieces = vec![
        Piece::Status {
            // The other one may move.
            resource: 2,
            offset: 256 * u64::from(ctx),
            size: 256,
        },
        Piece::Export {
            resource: 1,
            access: 1,
            cookie: 1,
        },
        Piece::Export {
            resource: 2,
            access: 2,
            cookie: 2,
        },
    ];
    let events = Op::Events {
        resource_id: 2,
        offset: 1792 + 256 * u64::from(ctx),
        size: 192,
    };
    let timeline = |timeline, flags| Op::TlCreate { timeline, flags };
    let plain = timeline(1, TimelineFlags::empty());
    let binary = timeline(2, TimelineFlags::BINARY);
    let timelines = [events, plain, binary].map(Piece::Op);
    [
        guest(Command::CtxCreate { ctx, capset: 30 }),
        guest(Command::Attach { ctx, resource: 1 }),
        guest(Command::Attach { ctx, resource: 2 }),
        guest(Command::Submit {
            ctx,
            pieces,
            cut_short: false,
        }),
        guest(Command::Submit {
            ctx,
            pieces: timelines.into(),
            cut_short: false,
        }),
    ]
}

/// What makes most of the operations possible.
pub(crate) fn boot() -> Vec<Step> {
    [blob(1), blob(2)]
        .into_iter()
        .flatten()
        .chain(context(1))
        .chain(context(2))
        .collect()
}

/// A context is destroyed, and another one gets its id.
pub(crate) fn context_again(ctx: u32) -> Vec<Step> {
    [guest(Command::CtxDestroy { ctx })]
        .into_iter()
        .chain(context(ctx))
        .collect()
}

/// A blob is destroyed, and another one gets its id.
pub(crate) fn blob_again(resource: u32) -> Vec<Step> {
    [guest(Command::Unref { resource })]
        .into_iter()
        .chain(blob(resource))
        .collect()
}

/// A blob of which neither boot knows is made, and takes its time.
pub(crate) fn blob_slowly(mem: u32, fencing: Fencing) -> Vec<Step> {
    let blob = Command::Blob {
        resource: 3,
        mem,
        mappable: true,
        size: 4096,
    };
    vec![
        guest(Command::Unref { resource: 3 }),
        Step::Slow(true),
        Step::Guest(blob, fencing),
    ]
}
