//! The bridge: host processes of the same user get a resource's dma-buf, and share timelines.
//!
//! A `SOCK_SEQPACKET` Unix socket of mode 0600; one packet asks, one answers, and the descriptor
//! comes with it. `docs/spec/bridge.md` has the tables.

mod client;
mod registry;
mod request;
mod server;
mod timelines;
mod wire;

pub use client::{Client, ClientError, Resource};
pub(crate) use registry::Registry;
pub(crate) use request::Office;
pub(crate) use server::start;
