//! A host that does what the test says and holds the device to the contract of `Host`.

mod bench;
mod guest;
mod host;
mod kernel;
mod points;
mod processes;
mod ring;
mod status;
mod storage;
mod syncobjs;

pub(crate) use bench::Bench;
pub(crate) use guest::{Fenced, GuestCommand, operation};
pub(crate) use host::{HostFails, Sim, Task};
pub(crate) use kernel::{Kernel, Reservation, Source, SyncFile};
pub(crate) use points::Points;
pub(crate) use status::{Records, record};
pub(crate) use syncobjs::Shared;
