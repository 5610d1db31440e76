//! The codes.

/// Operation codes. A code's bit in [`crate::sync::Capset::operations`] is `1 << (code - 0x80)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpCode {
    /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE` on a resource.
    Export = 0x80,
    /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE` on a resource.
    Import = 0x81,
    /// `SYNC_IOC_MERGE` of two cookies.
    Merge = 0x82,
    /// The submission's fence waits for a cookie.
    Wait = 0x83,
    /// Forgets a cookie.
    Drop = 0x84,
    /// Names the context's status blob.
    Status = 0x85,
    /// The submission's fence waits for what is on a buffer when its turn comes.
    Poll = 0x86,
    /// `SYNC_IOC_SET_DEADLINE` on a cookie.
    Deadline = 0x87,
    /// `DMA_BUF_IOCTL_SYNC` with `DMA_BUF_SYNC_START`.
    CpuBegin = 0x88,
    /// `DMA_BUF_IOCTL_SYNC` with `DMA_BUF_SYNC_END`.
    CpuEnd = 0x89,
    /// Nothing but its record, which has the host's time.
    Clock = 0x8a,
    /// Names the context's event ring.
    Events = 0x8b,
    /// The submission's fence waits for an event.
    EventWait = 0x8c,
    /// Ends a watch or a wait for a counter.
    Cancel = 0x8d,
    /// A new drm_syncobj.
    TlCreate = 0x90,
    /// Forgets a timeline.
    TlDestroy = 0x91,
    /// Signals a point.
    TlSignal = 0x92,
    /// `DRM_IOCTL_SYNCOBJ_RESET`.
    TlReset = 0x93,
    /// A cookie's fences to a point, or a point's to a cookie.
    TlTransfer = 0x94,
    /// `DRM_IOCTL_SYNCOBJ_EVENTFD`: an event when a point is available or signalled.
    TlWatch = 0x95,
    /// Gives a timeline to the host under a UUID.
    TlShare = 0x96,
    /// Takes a timeline that the host gave under a UUID.
    TlAdopt = 0x97,
    /// An event when a counter in memory has reached a value.
    MemWait = 0x98,
    /// Raises a counter in memory and looks who waits for it.
    MemSignal = 0x99,
    /// The latest fences of every context that holds a resource.
    Snapshot = 0x9c,
    /// The last fence of a ring.
    FromRing = 0x9d,
}

impl OpCode {
    /// Every operation that this version knows, in the order of the codes.
    pub const ALL: [Self; 26] = [
        Self::Export,
        Self::Import,
        Self::Merge,
        Self::Wait,
        Self::Drop,
        Self::Status,
        Self::Poll,
        Self::Deadline,
        Self::CpuBegin,
        Self::CpuEnd,
        Self::Clock,
        Self::Events,
        Self::EventWait,
        Self::Cancel,
        Self::TlCreate,
        Self::TlDestroy,
        Self::TlSignal,
        Self::TlReset,
        Self::TlTransfer,
        Self::TlWatch,
        Self::TlShare,
        Self::TlAdopt,
        Self::MemWait,
        Self::MemSignal,
        Self::Snapshot,
        Self::FromRing,
    ];

    /// The code as it stands in the header's first byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Export => 0x80,
            Self::Import => 0x81,
            Self::Merge => 0x82,
            Self::Wait => 0x83,
            Self::Drop => 0x84,
            Self::Status => 0x85,
            Self::Poll => 0x86,
            Self::Deadline => 0x87,
            Self::CpuBegin => 0x88,
            Self::CpuEnd => 0x89,
            Self::Clock => 0x8a,
            Self::Events => 0x8b,
            Self::EventWait => 0x8c,
            Self::Cancel => 0x8d,
            Self::TlCreate => 0x90,
            Self::TlDestroy => 0x91,
            Self::TlSignal => 0x92,
            Self::TlReset => 0x93,
            Self::TlTransfer => 0x94,
            Self::TlWatch => 0x95,
            Self::TlShare => 0x96,
            Self::TlAdopt => 0x97,
            Self::MemWait => 0x98,
            Self::MemSignal => 0x99,
            Self::Snapshot => 0x9c,
            Self::FromRing => 0x9d,
        }
    }

    /// The name, as `docs/spec/stile-sync.md` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Export => "EXPORT",
            Self::Import => "IMPORT",
            Self::Merge => "MERGE",
            Self::Wait => "WAIT",
            Self::Drop => "DROP",
            Self::Status => "STATUS",
            Self::Poll => "POLL",
            Self::Deadline => "DEADLINE",
            Self::CpuBegin => "CPU_BEGIN",
            Self::CpuEnd => "CPU_END",
            Self::Clock => "CLOCK",
            Self::Events => "EVENTS",
            Self::EventWait => "EVENT_WAIT",
            Self::Cancel => "CANCEL",
            Self::TlCreate => "TL_CREATE",
            Self::TlDestroy => "TL_DESTROY",
            Self::TlSignal => "TL_SIGNAL",
            Self::TlReset => "TL_RESET",
            Self::TlTransfer => "TL_TRANSFER",
            Self::TlWatch => "TL_WATCH",
            Self::TlShare => "TL_SHARE",
            Self::TlAdopt => "TL_ADOPT",
            Self::MemWait => "MEM_WAIT",
            Self::MemSignal => "MEM_SIGNAL",
            Self::Snapshot => "SNAPSHOT",
            Self::FromRing => "FROM_RING",
        }
    }

    /// The operation's bit in a mask.
    pub fn bit(self) -> u64 {
        1_u64.wrapping_shl(u32::from(self.code() & 0x3f))
    }

    /// The mask of all operations, as the capset states it.
    pub fn mask() -> u64 {
        Self::ALL.iter().fold(0, |mask, op| mask | op.bit())
    }

    /// The operation with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.code() == code)
    }
}

impl core::fmt::Display for OpCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}
