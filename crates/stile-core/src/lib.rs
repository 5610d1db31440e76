//! The device as a pure state machine: commands and events in, answers and requests out.
//!
//! There is no I/O in here, no clock and no file descriptor: [`Device`] is told the time, and asks
//! for everything else through the [`Host`] trait, none of whose methods may block. So it runs the
//! same under a daemon, a simulation and a fuzzer.
//!
//! Start reading at [`fence`], which is what the rest exists for, then [`Device::submit`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod allocation;
mod answer;
mod blob;
mod check;
mod command;
mod context;
mod counters;
mod device;
mod event;
mod events;
pub mod fence;
mod host;
mod job;
mod limits;
mod list;
mod memory_fence;
mod moving;
mod operation;
mod region;
mod request;
mod resource;
mod slab;
mod status;
mod timeline;
mod wait;
mod waiters;

pub use answer::{Answer, Chain};
pub use counters::Counters;
pub use device::Device;
pub use host::{
    Adopted, BlobSource, BufferId, CpuPhase, Errno, Host, JobId, Outcome, PointId, Syncobjs,
    WaitId, errno,
};
pub use limits::Limits;
pub use moving::Replacement;
pub use request::{Request, RequestId, ResourceName};
