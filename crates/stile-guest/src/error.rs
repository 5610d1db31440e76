//! What can go wrong between a guest program and the device.

use std::path::PathBuf;

use stile_host::Errno;
use stile_wire::sync::OpCode;

/// What can go wrong. The text is a whole sentence with every value in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No node in `/dev/dri` is virtio-gpu's.
    #[error("No render node in /dev/dri is driven by virtio_gpu.")]
    NoRenderNode,
    /// The node is another driver's.
    #[error("{} is driven by {driver:?}, not by virtio_gpu.", path.display())]
    NotVirtioGpu {
        /// The node.
        path: PathBuf,
        /// Its driver.
        driver: String,
    },
    /// The device lacks the capset.
    #[error("The device does not offer capset {id}; the mask of those it offers is {mask:#x}.")]
    NoCapset {
        /// The capset wanted.
        id: u32,
        /// Bit n: the device offers capset n.
        mask: u32,
    },
    /// The capset's content is not one that this crate understands.
    #[error("Capset {id} says version {version} in {size} bytes; this program knows version 1.")]
    CapsetVersion {
        /// The capset's id.
        id: u32,
        /// The version it says.
        version: u32,
        /// The size it says, in bytes.
        size: u32,
    },
    /// An ioctl or another call of the kernel failed.
    #[error("{call} failed: {errno}.")]
    Kernel {
        /// The call, by its name in the kernel's headers.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// Opening the node, or something with a sync_file, a dma-buf or a syncobj failed.
    #[error(transparent)]
    Host(#[from] stile_host::Error),
    /// More rings than a context can have, or none.
    #[error("A context has 1 to 64 rings, not {rings}.")]
    Rings {
        /// The rings asked for.
        rings: u32,
    },
    /// The context's debug name has a NUL in it, or is longer than 63 bytes.
    #[error("The debug name {name:?} has a NUL or more than 63 bytes.")]
    DebugName {
        /// The name.
        name: String,
    },
    /// The context has no such ring.
    #[error("Ring {ring} is not one of the context's {rings}.")]
    NoRing {
        /// The ring asked for.
        ring: u32,
        /// Rings of the context.
        rings: u8,
    },
    /// The device does not offer the operation: nothing was sent.
    #[error("The device does not offer {op}.")]
    NotOffered {
        /// The operation.
        op: OpCode,
    },
    /// The payload is longer than the device takes; it would drop it whole.
    #[error(
        "The submission has {bytes} bytes and {operations} operations; \
             the device takes {max_bytes} and {max_operations}"
    )]
    SubmissionTooLong {
        /// Bytes of the payload.
        bytes: usize,
        /// Operations in it.
        operations: usize,
        /// The device's limit in bytes.
        max_bytes: u32,
        /// The device's limit in operations.
        max_operations: u32,
    },
    /// A blob or syncobj belongs to another context's file.
    #[error("Handle {handle} belongs to another context.")]
    OtherContext {
        /// The GEM or syncobj handle.
        handle: u32,
    },
    /// The fence has not signalled in the time given. The operation goes on.
    #[error("The fence has not signalled within {waited_ms} ms.")]
    Timeout {
        /// The time given, in milliseconds.
        waited_ms: u128,
    },
    /// The device refused an operation; this is what the status record says.
    #[error("The device refused {op} with errno {errno}.")]
    Refused {
        /// The operation.
        op: OpCode,
        /// A Linux errno.
        errno: u32,
    },
    /// The kernel took a submission but gave no fence for it.
    #[error("The kernel gave no fence for a submission that asked for one.")]
    NoFence,
    /// The fence has signalled, but the status blob has no record of the operation.
    #[error("The operation with tag {tag} left no status record ({lost} records were lost).")]
    NoRecord {
        /// The operation's tag.
        tag: u32,
        /// Records overwritten before they were read, over the whole life of the session.
        lost: u64,
    },
    /// The header of a status blob or an event ring is not what the device writes there.
    #[error("The {what} begins with magic {magic:#x}, version {version}, capacity {capacity}.")]
    Header {
        /// "status blob" or "event ring".
        what: &'static str,
        /// The magic found.
        magic: u32,
        /// The version found.
        version: u32,
        /// The capacity found, in records.
        capacity: u32,
    },
    /// The newest record is older than one that was read: the device was reset, or something
    /// else wrote to the blob.
    #[error("The {what}'s head went back from {seen} to {head}.")]
    WentBack {
        /// "status blob" or "event ring".
        what: &'static str,
        /// The last record read.
        seen: u64,
        /// What the head says now.
        head: u64,
    },
    /// A status blob or an event ring of this size cannot be.
    #[error("A {what} has 128 to 65536 bytes, not {bytes}.")]
    Size {
        /// "status blob" or "event ring".
        what: &'static str,
        /// The size asked for, in bytes.
        bytes: u64,
    },
    /// No exchange of times has told how the host's clock stands.
    #[error("No exchange of times has told how the host's clock stands.")]
    NoClock,
    /// The session was opened without an event ring.
    #[error("The session has no event ring.")]
    NoEvents,
    /// Events were overwritten before they were read, which no device does that keeps to the
    /// protocol.
    #[error("{count} events were overwritten before they were read.")]
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err` on a call of the kernel.
    pub(crate) fn kernel(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Kernel { call, errno }
    }

    /// The errno behind the error: the kernel's, or the one that the device put into the status
    /// record, or would have put there.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Host(error) => Some(error.errno()),
            Self::NotOffered { .. } => Some(Errno::NOSYS),
            Self::Refused { errno, .. } => i32::try_from(*errno).ok().map(Errno::from_raw_os_error),
            _ => None,
        }
    }
}
