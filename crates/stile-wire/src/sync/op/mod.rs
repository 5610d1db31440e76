//! The operations: their codes, layouts, decoding and encoding.
//!
//! A `SUBMIT_3D` payload is a sequence of operations, each as long as its `cmd_size`. The header is
//! cross-domain's, so that both kinds can stand in one submission; the codes start at 0x80, above
//! every cross-domain command.

mod code;
mod decode;
mod encode;
mod layout;

pub use code::OpCode;
pub use decode::{Framing, HEADER_BYTES, Steps};
pub use encode::{
    Encoded, encode_drop, encode_export, encode_import, encode_merge, encode_status, encode_wait,
};

bitflags::bitflags! {
    /// Which fences of a buffer an operation is about (`DMA_BUF_SYNC_READ` and
    /// `DMA_BUF_SYNC_WRITE`, Linux `dma-buf.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// The access is a read: it waits for writers, and later writers wait for it.
        const READ = 1;
        /// The access is a write: it waits for everybody, and everybody waits for it.
        const WRITE = 2;
    }

    /// What a new timeline is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TimelineFlags: u32 {
        /// A binary drm_syncobj: its one point is 0.
        const BINARY = 1;
        /// It begins with a signalled fence (`DRM_SYNCOBJ_CREATE_SIGNALED`). Only with `BINARY`.
        const SIGNALLED = 2;
    }
}

/// Where TL_TRANSFER takes fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the cookie to the point, which materialises.
    ToPoint,
    /// From the point, which must have materialised, to a new cookie.
    ToCookie,
}

impl Direction {
    /// As it stands in the operation.
    pub const fn code(self) -> u32 {
        match self {
            Self::ToPoint => 1,
            Self::ToCookie => 2,
        }
    }
}

/// What TL_WATCH waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointEvent {
    /// The point has a fence (`DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE`).
    Available,
    /// Its fence has signalled.
    Signalled,
}

impl PointEvent {
    /// As it stands in the operation.
    pub const fn code(self) -> u32 {
        match self {
            Self::Available => 1,
            Self::Signalled => 2,
        }
    }
}

/// One operation, decoded. Resource ids and cookies are the guest's and unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// What is on the buffer now; the submission's fence waits for it, and a cookie keeps it.
    Export {
        /// The buffer.
        resource_id: u32,
        /// Whose fences: of writers (`READ`) or of everybody (`WRITE`).
        access: Access,
        /// The name of the host sync_file from now on; 0 for none.
        cookie: u64,
    },
    /// Puts a cookie's fences on the buffer.
    Import {
        /// The buffer.
        resource_id: u32,
        /// As read fences or as write fences.
        access: Access,
        /// The host sync_file.
        cookie: u64,
    },
    /// One sync_file that signals when both have.
    Merge {
        /// A cookie.
        first: u64,
        /// Another, or the same.
        second: u64,
        /// The name of the result.
        cookie: u64,
    },
    /// The submission's fence waits for the cookie.
    Wait {
        /// The host sync_file.
        cookie: u64,
    },
    /// The cookie is free again. Fences that wait for it go on waiting.
    Drop {
        /// The host sync_file.
        cookie: u64,
    },
    /// The context's status blob lies in this resource from now on; id 0 for none.
    Status {
        /// A blob resource attached to the context, or 0.
        resource_id: u32,
        /// Where it starts, in bytes; a multiple of 64.
        offset: u64,
        /// Its length in bytes; at least 128.
        size: u64,
    },
    /// The submission's fence waits for what is on the buffer when all fences before it on its
    /// timeline have signalled.
    Poll {
        /// The buffer.
        resource_id: u32,
        /// For whose fences: those of writers (`READ`) or of everybody (`WRITE`).
        access: Access,
    },
    /// Tells the host's driver when the cookie's fences are wanted.
    Deadline {
        /// The host sync_file.
        cookie: u64,
        /// Nanoseconds of the host's `CLOCK_MONOTONIC`.
        deadline_ns: u64,
    },
    /// The CPU begins to use the buffer; the submission's fence waits until it may.
    CpuBegin {
        /// The buffer.
        resource_id: u32,
        /// What the CPU does.
        access: Access,
    },
    /// The CPU has used the buffer; the submission's fence waits until that has taken effect.
    CpuEnd {
        /// The buffer.
        resource_id: u32,
        /// As it began.
        access: Access,
    },
    /// Writes its record.
    Clock,
    /// The context's event ring lies in this resource from now on; id 0 for none.
    Events {
        /// A blob resource attached to the context, or 0.
        resource_id: u32,
        /// Where it starts, in bytes; a multiple of 64.
        offset: u64,
        /// Its length in bytes; at least 128.
        size: u64,
    },
    /// The submission's fence waits for an event that the guest has not seen.
    EventWait {
        /// `seq` of the newest event that the guest has seen; those up to it may be overwritten.
        seen: u64,
    },
    /// There will be no event of this number.
    Cancel {
        /// Of a TL_WATCH or MEM_WAIT.
        event: u64,
    },
    /// A new timeline.
    TlCreate {
        /// Its name from now on.
        timeline: u64,
        /// What it is.
        flags: TimelineFlags,
    },
    /// The name is free again. Watches of the timeline end with an event each.
    TlDestroy {
        /// The timeline.
        timeline: u64,
    },
    /// Signals a point, and those before it.
    TlSignal {
        /// The timeline.
        timeline: u64,
        /// Above all points that it has; 0 if binary.
        point: u64,
    },
    /// Takes all fences and points away.
    TlReset {
        /// The timeline.
        timeline: u64,
    },
    /// Takes fences from a cookie to a point, or back.
    TlTransfer {
        /// The timeline.
        timeline: u64,
        /// 0 if binary.
        point: u64,
        /// One that exists, or a new name.
        cookie: u64,
        /// From where to where.
        direction: Direction,
    },
    /// An event when a point has come so far.
    TlWatch {
        /// The timeline.
        timeline: u64,
        /// 0 if binary.
        point: u64,
        /// The event's number.
        event: u64,
        /// When it is given up, in nanoseconds from now; 0 for never.
        timeout_ns: u64,
        /// How far.
        until: PointEvent,
    },
    /// Gives the timeline to host processes.
    TlShare {
        /// The timeline.
        timeline: u64,
        /// Under this name.
        uuid: [u8; 16],
    },
    /// Takes a timeline that a host process gave.
    TlAdopt {
        /// Its name in the context from now on.
        timeline: u64,
        /// The name under which it was given.
        uuid: [u8; 16],
    },
    /// An event when a counter has reached a value.
    MemWait {
        /// The blob with the counter.
        resource_id: u32,
        /// Where the counter is, in bytes; a multiple of 8.
        offset: u64,
        /// The counter's least value.
        value: u64,
        /// The event's number.
        event: u64,
        /// When it is given up, in nanoseconds from now; not 0.
        timeout_ns: u64,
    },
    /// Raises a counter to a value, unless it is there already, and wakes who waits for it.
    MemSignal {
        /// The blob with the counter.
        resource_id: u32,
        /// Where the counter is, in bytes; a multiple of 8.
        offset: u64,
        /// The counter's new value; 0 where the guest has written it itself.
        value: u64,
    },
    /// What the contexts that hold the buffer have queued last.
    Snapshot {
        /// The buffer.
        resource_id: u32,
        /// The name of the result.
        cookie: u64,
    },
    /// What was queued last on a ring.
    FromRing {
        /// The context; 0 for the submission's own.
        ctx_id: u32,
        /// A ring, 0 to 63.
        ring: u32,
        /// The name of the result.
        cookie: u64,
    },
}

impl Op {
    /// The operation's code.
    pub const fn code(&self) -> OpCode {
        match self {
            Self::Export { .. } => OpCode::Export,
            Self::Import { .. } => OpCode::Import,
            Self::Merge { .. } => OpCode::Merge,
            Self::Wait { .. } => OpCode::Wait,
            Self::Drop { .. } => OpCode::Drop,
            Self::Status { .. } => OpCode::Status,
            Self::Clock => OpCode::Clock,
            Self::Poll { .. } => OpCode::Poll,
            Self::Deadline { .. } => OpCode::Deadline,
            Self::CpuBegin { .. } => OpCode::CpuBegin,
            Self::CpuEnd { .. } => OpCode::CpuEnd,
            Self::Events { .. } => OpCode::Events,
            Self::EventWait { .. } => OpCode::EventWait,
            Self::Cancel { .. } => OpCode::Cancel,
            Self::TlCreate { .. } => OpCode::TlCreate,
            Self::TlDestroy { .. } => OpCode::TlDestroy,
            Self::TlSignal { .. } => OpCode::TlSignal,
            Self::TlReset { .. } => OpCode::TlReset,
            Self::TlTransfer { .. } => OpCode::TlTransfer,
            Self::TlWatch { .. } => OpCode::TlWatch,
            Self::TlShare { .. } => OpCode::TlShare,
            Self::TlAdopt { .. } => OpCode::TlAdopt,
            Self::MemWait { .. } => OpCode::MemWait,
            Self::MemSignal { .. } => OpCode::MemSignal,
            Self::Snapshot { .. } => OpCode::Snapshot,
            Self::FromRing { .. } => OpCode::FromRing,
        }
    }
}

/// Why a well framed operation is refused. Later operations of the submission still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The code is none of this version's.
    #[error("Unknown operation code")]
    UnknownCode,
    /// `cmd_size` is not the operation's.
    #[error("The operation's size is not its code's")]
    WrongSize,
    /// `access` is zero or has unknown bits.
    #[error("The access flags are zero or unknown")]
    BadAccess,
    /// A reserved field is not zero.
    #[error("A reserved field is not zero")]
    BadReserved,
    /// 0 as the name of a cookie, timeline or event.
    #[error("0 names nothing")]
    NoName,
    /// `flags`, `direction` or `until` is none of the values that the operation has.
    #[error("A flag is unknown")]
    BadFlags,
}

/// One operation of a submission, or the reason it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The header's first byte.
    pub cmd: u8,
    /// The header's ring.
    pub ring_idx: u8,
    /// The guest's own mark; the status record repeats it.
    pub tag: u32,
    /// The cookie that the operation names or makes, for its status record; 0 for none.
    pub cookie: u64,
    /// The resource that the operation names, for its status record; 0 for none.
    pub resource_id: u32,
    /// What to do.
    pub op: Result<Op, Refused>,
}
