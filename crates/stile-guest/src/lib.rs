//! The guest side of Stile, for programs in a guest: the host's fences as the guest's own.
//!
//! A device that offers capset `stile-sync` lets a guest use the fences on the *host's* buffers:
//! wait for them, keep them, put them on other buffers. This crate opens the guest's virtio-gpu
//! render node, makes a context and blob resources on it, and submits operations. What comes back
//! is what the guest's kernel has for fences: a sync_file, a point of a syncobj, or a fence on the
//! guest's own dma-buf, where programs that know nothing of Stile see it.
//!
//! | What | Type |
//! | --- | --- |
//! | the node and what it can do | [`RenderNode`], [`Params`], [`Capset`] |
//! | a context and its rings | [`Context`] |
//! | buffers | [`Blob`], [`Mapping`], [`DmaBuf`] |
//! | operations, and where their fence goes | [`Submission`] |
//! | what became of them | [`StatusBlob`], [`Record`] |
//! | what may never happen: points and counters | [`Event`], [`EventOptions`] |
//! | the host's time | [`HostClock`] |
//! | a buffer whose fences are told on both sides | [`Mirror`] |
//! | all of it together | [`Session`] |
//!
//! The protocol is in `docs/spec/stile-sync.md`; the kernel's side of it in `virtgpu_drm.h`, Linux
//! 6.12 or newer.
//!
//! # A host's fence in the guest
//!
//! ```no_run
//! use stile_guest::{Access, BlobOptions, Session};
//!
//! # fn main() -> stile_guest::Result<()> {
//! let mut session = Session::find()?;
//! let buffer = session.create_blob(&BlobOptions::host(1 << 20))?;
//! // … a process of the host draws into it, and its GPU's fence is on the host's dma-buf …
//! let drawn = session.export(&buffer, Access::READ)?;
//! // `drawn.fence` can be polled, merged, or given to any program of the guest.
//! let record = session.finish(&drawn, None)?;
//! println!("the host had signalled at {:?} ns", record.signalled_ns);
//! # Ok(())
//! # }
//! ```
//!
//! # Nothing here waits, unless it says so
//!
//! No runtime, no threads, no timers. What takes time is a descriptor that can be polled: fences
//! ([`SyncFile`], [`Pending`]), dma-bufs, and the [`Context`] for events and polled rings.
//! `EINTR` is dealt with inside.

mod blob;
mod clock;
mod context;
mod error;
mod events;
mod mirror;
mod name;
mod node;
mod num;
mod order;
mod reader;
mod session;
mod status;
mod submission;
mod syncobj;
mod sys;

pub use blob::{Blob, BlobMemory, BlobOptions, BlobUse};
pub use clock::HostClock;
pub use context::{Context, ContextOptions};
pub use error::{Error, Result};
pub use events::{Event, EventOptions};
pub use mirror::{Mirror, Pulled, Pushed};
pub use name::{Cookie, EventNumber, Timeline};
pub use node::{Params, RenderNode};
pub use reader::{Record, Report};
pub use session::{FenceOptions, Pending, Session, SessionOptions};
pub use status::{StatusBlob, StatusOptions};
/// What the calls of [`DmaBuf`] take: the same bits as [`Access`], which the operations take.
pub use stile_host::Access as DmaBufAccess;
pub use stile_host::{
    DmaBuf, Errno, FenceInfo, Mapping, Outcome, PointEvent, Status, SyncFile, Syncobj, SyncobjNode,
};
pub use stile_wire::sync::{
    Access, CAPSET_ID, Capset, Direction, Op, OpCode, RecordFlags, TimelineFlags,
};
pub use submission::{ResourceId, Submission, Submitted};
pub use syncobj::OutSyncobj;
