//! What a guest, a host GPU, a front end and time may do: the input, as the fuzzer makes it.

use libfuzzer_sys::arbitrary::{self, Arbitrary, Result, Unstructured};

use crate::operation::Operation;

/// Longer lives show nothing that shorter ones do not, and take longer.
const MOST_ACTS: usize = 150;

/// A life.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) roomy: bool,
    pub(crate) queue: Queue,
    pub(crate) host_signals_all: bool,
    pub(crate) acts: Vec<Act>,
}

impl Arbitrary<'_> for Input {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let mut input = Self {
            roomy: bytes.ratio(1, 4)?,
            queue: Queue::arbitrary(bytes)?,
            host_signals_all: bool::arbitrary(bytes)?,
            acts: Vec::new(),
        };
        while !bytes.is_empty() && input.acts.len() < MOST_ACTS {
            input.acts.push(Act::arbitrary(bytes)?);
        }
        Ok(input)
    }
}

/// How many descriptors the control queue has.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Queue {
    Long,
    Short,
    Shortest,
    Any(u16),
}

impl Queue {
    pub(crate) fn size(self) -> u16 {
        match self {
            Self::Long => 1024,
            Self::Short => 8,
            Self::Shortest => 1,
            Self::Any(size) => size,
        }
    }
}

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum Act {
    Command(Command, Small, Fencing),
    Submit {
        ctx: Small,
        fencing: Fencing,
        operations: Vec<Operation>,
        bend: Option<Bend>,
    },
    /// A chain of any bytes.
    Bytes(Vec<u8>),
    HostWork {
        resource: Small,
        write: bool,
    },
    Signal {
        nth: u8,
        error: bool,
    },
    Deliver {
        nth: u8,
        fresh: bool,
    },
    DeliverAll,
    DeliverAgain {
        nth: u8,
    },
    WatchFails {
        nth: u8,
    },
    Job {
        nth: u8,
        done: bool,
    },
    /// An access of the CPU has begun or ended, or could not.
    CpuDone {
        nth: u8,
        done: bool,
    },
    /// A host process asks for a counter.
    Ask(Ask),
    Withdraw {
        nth: u8,
    },
    /// A host process moves a buffer to other memory.
    Replace(Replace),
    /// The guest writes a counter itself.
    Store {
        resource: Small,
        at: u8,
        value: u8,
    },
    /// Whether the host takes its time for memory from now on.
    Slow(bool),
    Buffer {
        nth: u8,
        made: bool,
    },
    /// The device hears of the points that have come so far.
    Points,
    Pass {
        ms: u16,
    },
    HostFails {
        after: u8,
        errno: u8,
    },
    Queue(Queue),
    Reset,
}

impl Arbitrary<'_> for Act {
    /// Of a hundred acts so many are of each kind: what ends a life or spoils it is seldom.
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let nth = u8::arbitrary;
        Ok(match u8::arbitrary(bytes)? % 100 {
            0..40 => Self::Submit {
                ctx: Small::arbitrary(bytes)?,
                fencing: Fencing::arbitrary(bytes)?,
                operations: (0..bytes.int_in_range(0..=4)?)
                    .map(|_| Operation::arbitrary(bytes))
                    .collect::<Result<_>>()?,
                bend: match u8::arbitrary(bytes)? {
                    0..240 => None,
                    _ => Some(Bend::arbitrary(bytes)?),
                },
            },
            40..54 => Self::Command(
                Command::arbitrary(bytes)?,
                Small::arbitrary(bytes)?,
                Fencing::arbitrary(bytes)?,
            ),
            54..63 => Self::HostWork {
                resource: Small::arbitrary(bytes)?,
                write: bool::arbitrary(bytes)?,
            },
            68..76 => Self::Signal {
                nth: nth(bytes)?,
                error: bytes.ratio(1, 8)?,
            },
            76..82 => Self::Deliver {
                nth: nth(bytes)?,
                fresh: bool::arbitrary(bytes)?,
            },
            82 => Self::DeliverAll,
            83 => Self::DeliverAgain { nth: nth(bytes)? },
            84 => Self::WatchFails { nth: nth(bytes)? },
            63 => Self::Replace(Replace::arbitrary(bytes)?),
            64 => Self::CpuDone {
                nth: nth(bytes)?,
                done: bytes.ratio(3, 4)?,
            },
            65 => Self::Ask(Ask::arbitrary(bytes)?),
            66 => Self::Withdraw { nth: nth(bytes)? },
            67 => Self::Store {
                resource: Small::arbitrary(bytes)?,
                at: nth(bytes)? % 16,
                value: nth(bytes)?,
            },
            85..91 => Self::Job {
                nth: nth(bytes)?,
                done: bytes.ratio(3, 4)?,
            },
            91 => Self::Slow(bool::arbitrary(bytes)?),
            92 => Self::Buffer {
                nth: nth(bytes)?,
                made: bytes.ratio(3, 4)?,
            },
            93 => Self::Points,
            94..96 => Self::Pass {
                ms: u16::arbitrary(bytes)? % 600,
            },
            96 => Self::HostFails {
                after: nth(bytes)? % 4,
                errno: nth(bytes)?,
            },
            97 => Self::Queue(Queue::arbitrary(bytes)?),
            98 => Self::Reset,
            _ => Self::Bytes(Vec::arbitrary(bytes)?),
        })
    }
}

/// What a host process asks for.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) waits: bool,
    pub(crate) by_uuid: bool,
    pub(crate) resource: Small,
    pub(crate) at: u8,
    pub(crate) value: u8,
    pub(crate) ms: u16,
}

/// What a buffer moves to.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Replace {
    pub(crate) by_uuid: bool,
    pub(crate) resource: Small,
    pub(crate) pages: Small,
    /// Whether the host already works on the new memory.
    pub(crate) work: bool,
    pub(crate) ms: u16,
}

/// A command but SUBMIT_3D.
#[derive(Arbitrary, Debug)]
pub(crate) enum Command {
    CtxCreate {
        capset: Capset,
    },
    CtxDestroy,
    Attach {
        resource: Small,
    },
    Detach {
        resource: Small,
    },
    Blob {
        resource: Small,
        mem: Small,
        flags: Small,
        pages: Small,
        bytes_less: u16,
    },
    Unref {
        resource: Small,
    },
    AssignUuid {
        resource: Small,
    },
    Map {
        resource: Small,
        page: Small,
    },
    Unmap {
        resource: Small,
    },
    Other {
        kind: u32,
        body: Vec<u8>,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Capset {
    StileSync,
    None,
    Other(u8),
}

/// How a command is fenced, and how its fence's id comes after the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fencing {
    Ring { ring: Ring, step: IdStep },
    Global { step: IdStep },
    No,
    RingOnly { ring: Ring },
}

impl Arbitrary<'_> for Fencing {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u8::arbitrary(bytes)? {
            0..190 => Self::Ring {
                ring: Ring::arbitrary(bytes)?,
                step: IdStep::arbitrary(bytes)?,
            },
            190..225 => Self::Global {
                step: IdStep::arbitrary(bytes)?,
            },
            225..250 => Self::No,
            _ => Self::RingOnly {
                ring: Ring::arbitrary(bytes)?,
            },
        })
    }
}

/// Where a byte of a submission is changed.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Bend {
    pub(crate) at: u8,
    pub(crate) to: u8,
}

/// A ring, mostly one of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring(pub(crate) u8);

impl Arbitrary<'_> for Ring {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let byte = u8::arbitrary(bytes)?;
        Ok(Self(if byte < 240 { byte % 2 } else { byte - 192 }))
    }
}

/// How far an id is from the last of the device: mostly one on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdStep(pub(crate) i8);

impl Arbitrary<'_> for IdStep {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let byte = i8::arbitrary(bytes)?;
        Ok(Self(if byte >= -118 { 1 } else { byte + 123 }))
    }
}

/// The number of a context, a resource or of pages: mostly one of the first few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Small(pub(crate) u32);

impl Arbitrary<'_> for Small {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        Ok(Self(match u8::arbitrary(bytes)? {
            255 => u32::arbitrary(bytes)?,
            byte @ 240..255 => u32::from(byte - 240),
            byte => [1, 1, 1, 1, 2, 2, 2, 3][usize::from(byte % 8)],
        }))
    }
}
