//! What the device asks of the world around it.

mod syncobjs;

use stile_wire::gpu::layout::MemEntry;
use stile_wire::sync::{Access, Block};

use crate::answer::Answer;
use crate::request::RequestId;
use crate::slab::Key;

pub use syncobjs::{Adopted, PointId, Syncobjs};

/// A Linux errno: what the host's kernel said, or what the device says in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u32);

/// The errnos that the device itself gives (Linux `errno-base.h` and `errno.h`).
pub mod errno {
    use super::Errno;

    /// The context may not.
    pub const EPERM: Errno = Errno(1);
    /// The cookie, timeline, event or resource does not exist.
    pub const ENOENT: Errno = Errno(2);
    /// The context has no event ring.
    pub const ENXIO: Errno = Errno(6);
    /// More bytes or operations than a submission may have.
    pub const E2BIG: Errno = Errno(7);
    /// Others change the counter all the time.
    pub const EAGAIN: Errno = Errno(11);
    /// The host has no memory.
    pub const ENOMEM: Errno = Errno(12);
    /// The guest's pages are not there any more.
    pub const EFAULT: Errno = Errno(14);
    /// So much is under way already.
    pub const EBUSY: Errno = Errno(16);
    /// The name is taken.
    pub const EEXIST: Errno = Errno(17);
    /// An argument makes no sense.
    pub const EINVAL: Errno = Errno(22);
    /// The device may not open more file descriptors.
    pub const EMFILE: Errno = Errno(24);
    /// The operation's code is unknown.
    pub const ENOSYS: Errno = Errno(38);
    /// The submission cannot be cut into operations.
    pub const EBADMSG: Errno = Errno(74);
    /// The resource has no dma-buf.
    pub const EOPNOTSUPP: Errno = Errno(95);
    /// The deadline passed.
    pub const ETIMEDOUT: Errno = Errno(110);
    /// A quota is reached.
    pub const EDQUOT: Errno = Errno(122);
    /// What was waited for is gone.
    pub const ECANCELED: Errno = Errno(125);
}

/// Names what [`Host::watch`] or [`Host::access`] started. Never used again, also not after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(pub(crate) Key);

impl WaitId {
    /// As an epoll token.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// From an epoll token; `None` for a number that is no token.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Key::from_bits(bits).map(Self)
    }

    /// A row of a table for whoever keeps something for each wait: no two that go on have the same,
    /// and there are no more rows than there have been waits at once.
    pub fn row(self) -> usize {
        self.0.row()
    }
}

/// Names a request to the front end that is answered later. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobId(pub(crate) Key);

/// Names a buffer that is being made. Never used again, also not after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub(crate) Key);

/// Which end of an access by the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPhase {
    /// `DMA_BUF_SYNC_START`: waits for the fences that the access has to wait for.
    Begin,
    /// `DMA_BUF_SYNC_END`.
    End,
}

/// How a host fence ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The fence's error.
    pub error: Option<Errno>,
    /// When it signalled, in nanoseconds of `CLOCK_MONOTONIC`; 0 if unknown.
    pub signalled_ns: u64,
}

/// Where the memory of a new blob comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobSource<'a> {
    /// New host memory, zeroed.
    Host {
        /// Bytes.
        size: u64,
    },
    /// The guest's own pages, in this order.
    Guest {
        /// Bytes; no more than the entries hold.
        size: u64,
        /// Guest physical ranges, unchecked.
        entries: &'a [MemEntry],
    },
}

/// The world around the device. **No method may block**: what cannot be done at once is answered
/// by an event ([`crate::Device::signalled`], [`crate::Device::job_done`],
/// [`crate::Device::buffer_created`], [`crate::Device::cpu_done`]).
pub trait Host: Syncobjs {
    /// A blob's memory, with its dma-buf if it has one.
    type Buffer;
    /// The memory of a status blob or an event ring. It must stay valid when the buffer is dropped.
    type Records;
    /// The memory of a blob as 64-bit counters.
    type Words;

    /// Begins to make the memory of a blob. [`crate::Device::buffer_created`] is told how it ended,
    /// once, after this call; until then the device is paused.
    ///
    /// # Errors
    /// The host's errno, where it cannot even begin; then nothing is told.
    fn create_buffer(&mut self, id: BufferId, source: BlobSource<'_>) -> Result<(), Errno>;

    /// The fences on a buffer now (`DMA_BUF_IOCTL_EXPORT_SYNC_FILE`).
    ///
    /// # Errors
    /// The kernel's errno; `EOPNOTSUPP` for a buffer without a dma-buf.
    fn export(&mut self, buffer: &Self::Buffer, access: Access) -> Result<Self::Fence, Errno>;

    /// Puts fences on a buffer (`DMA_BUF_IOCTL_IMPORT_SYNC_FILE`).
    ///
    /// # Errors
    /// The kernel's errno; `EOPNOTSUPP` for a buffer without a dma-buf.
    fn import(
        &mut self,
        buffer: &Self::Buffer,
        access: Access,
        fence: &Self::Fence,
    ) -> Result<(), Errno>;

    /// A fence that signals when both have (`SYNC_IOC_MERGE`).
    ///
    /// # Errors
    /// The kernel's errno.
    fn merge(&mut self, first: &Self::Fence, second: &Self::Fence) -> Result<Self::Fence, Errno>;

    /// Tells the fence's drivers when it is wanted, in nanoseconds of `CLOCK_MONOTONIC`
    /// (`SYNC_IOC_SET_DEADLINE`).
    ///
    /// # Errors
    /// The kernel's errno.
    fn set_deadline(&mut self, fence: &Self::Fence, deadline_ns: u64) -> Result<(), Errno>;

    /// Calls [`crate::Device::signalled`] once `fence` has signalled, at the soonest after the call
    /// of the device that asks for it. The watch is independent of the fence's owner.
    ///
    /// # Errors
    /// The host's errno; then there is no watch.
    fn watch(&mut self, wait: WaitId, fence: &Self::Fence) -> Result<(), Errno>;

    /// Begins or ends an access of the CPU to a buffer (`DMA_BUF_IOCTL_SYNC`), which may take for
    /// ever. [`crate::Device::cpu_done`] is called once when it is done, at the soonest after the
    /// call of the device that asks for it. Nobody takes it back: the device may have forgotten it
    /// by then, and may have been reset.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a buffer without a dma-buf; `EBUSY` while as many accesses are under way as
    /// may be.
    fn access(
        &mut self,
        wait: WaitId,
        buffer: &Self::Buffer,
        phase: CpuPhase,
        access: Access,
    ) -> Result<(), Errno>;

    /// The fence of a watch that goes on.
    fn watched(&mut self, wait: WaitId) -> Option<Self::Fence>;

    /// A fence that has signalled.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a host that has none, or the kernel's errno.
    fn signalled_fence(&mut self) -> Result<Self::Fence, Errno>;

    /// How the watched fence ended.
    fn outcome(&mut self, wait: WaitId) -> Outcome;

    /// Ends a watch, signalled or not.
    fn unwatch(&mut self, wait: WaitId);

    /// The memory of a status blob or an event ring: `size` bytes of `buffer` from `offset`, checked to lie inside.
    ///
    /// # Errors
    /// The host's errno.
    fn records(
        &mut self,
        buffer: &Self::Buffer,
        offset: u64,
        size: u64,
    ) -> Result<Self::Records, Errno>;

    /// Zeroes the memory and writes its header.
    fn write_header(&mut self, records: &mut Self::Records, header: &Block);

    /// Writes a record at `offset`: first a `seq` of 0, then the rest, then `seq` with release
    /// order, then the header's `head`, likewise.
    fn write_record(&mut self, records: &mut Self::Records, offset: u64, record: &Block);

    /// Stores an event ring's `overflow`.
    fn write_overflow(&mut self, records: &mut Self::Records, overflow: u64);

    /// Whether `new` may take the place of `old`, as far as can be known without trying.
    ///
    /// # Errors
    /// `EINVAL` for another size; `EOPNOTSUPP` for a buffer without a dma-buf.
    fn can_replace(&mut self, old: &Self::Buffer, new: &Self::Buffer) -> Result<(), Errno>;

    /// The whole memory of a blob, for its counters.
    ///
    /// # Errors
    /// The host's errno.
    fn words(&mut self, buffer: &Self::Buffer) -> Result<Self::Words, Errno>;

    /// Raises the counter at `offset` to `value` if it is below, in one step for everybody who
    /// counts there, and gives what it holds then. `offset` is a multiple of 8 and inside the blob.
    ///
    /// # Errors
    /// The host's errno: the memory is not there any more, or others keep changing the counter.
    fn raise(&mut self, words: &Self::Words, offset: u64, value: u64) -> Result<u64, Errno>;

    /// Maps a whole buffer into the hostmem region. The place is free once what was asked before
    /// is done: the front end is asked for one thing after the other, in the order of the calls.
    ///
    /// # Errors
    /// The host's errno, where the front end cannot even be asked; then the job is over.
    fn map(
        &mut self,
        job: JobId,
        buffer: &Self::Buffer,
        offset: u64,
        size: u64,
    ) -> Result<(), Errno>;

    /// Takes a mapping out of the hostmem region.
    fn unmap(&mut self, job: JobId, offset: u64, size: u64);

    /// A new random UUID (RFC 9562, version 4).
    fn new_uuid(&mut self) -> [u8; 16];

    /// Makes a buffer known to the front end's other devices.
    fn share(&mut self, job: JobId, uuid: [u8; 16], buffer: &Self::Buffer);

    /// The opposite of [`Host::share`].
    fn unshare(&mut self, uuid: [u8; 16]);

    /// A buffer has a resource id from now on, later a UUID, and may take another's place: for whoever
    /// asks from outside.
    fn publish(&mut self, resource_id: u32, uuid: Option<[u8; 16]>, buffer: &Self::Buffer);

    /// The resource is gone.
    fn unpublish(&mut self, resource_id: u32);

    /// Answers a request of a host process: what its counter holds, or an errno. Exactly once for
    /// each, but for those that were withdrawn.
    fn tell(&mut self, request: RequestId, answer: Result<u64, Errno>);

    /// Answers a command. Exactly once for each.
    fn reply(&mut self, answer: &Answer);
}
