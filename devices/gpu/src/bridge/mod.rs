//! The bridge: host processes of the same user get a resource's dma-buf, share timelines, and wait
//! for memory fences.
//!
//! A `SOCK_SEQPACKET` Unix socket of mode 0600. A *question* is answered at once, and the descriptor
//! comes with the answer; a *request* goes to the data path, and its reply comes when there is
//! something to say. `docs/spec/bridge.md` has the tables.

mod client;
mod demand;
mod desk;
mod office;
mod registry;
mod server;
mod timelines;
mod wire;

pub use client::{Client, ClientError, Reply, ReplyTo, Resource};
pub(crate) use demand::Asked;
pub(crate) use desk::Desk;
pub(crate) use office::Office;
pub(crate) use registry::Registry;
pub(crate) use server::start;
pub use stile_core::ResourceName;
