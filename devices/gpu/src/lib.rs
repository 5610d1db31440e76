//! `stile-gpu`: a vhost-user virtio-gpu device whose fences are the host kernel's.
//!
//! A command's way, each step in its own file: the front end's kick wakes the `reactor`, the
//! `machine` drains the `ring`, `chain` copies the command in, `stile_core::Device` decides,
//! `shell` does what it asks of the kernel, and the answer goes back through the ring with one
//! call for the whole batch. A host fence that signals wakes the same reactor.
//!
//! One thread carries all of that, and nothing on it blocks. What can block is asked of the front
//! end by the `channel`'s thread, or of the kernel by that of the `allocation`s. The `bridge` has a
//! thread of its own.

mod allocation;
pub mod bridge;
mod buffer;
mod chain;
mod channel;
pub mod cli;
mod clock;
mod connection;
mod cpu_access;
mod error;
mod growth;
mod kernel;
mod machine;
mod mailbox;
mod memory;
mod offer;
mod protocol;
mod reactor;
mod records;
mod ring;
mod seldom;
mod server;
mod shell;
mod timeline;
mod watches;
mod words;

pub use error::{Error, Result};
pub use server::{Config, Endpoint, SyncobjChoice, serve};
