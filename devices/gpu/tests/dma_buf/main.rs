//! The daemon over real dma-bufs and real fences.
//!
//! A test plays the GPU: it takes buffers from the bridge and puts vgem fences on them. It takes a
//! machine with udmabuf, the system dma-heap and vgem, which the lab's host VM is. Without the
//! feature `lab` nothing of this is built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

mod allocations;
#[path = "../support/arbitrary.rs"]
mod arbitrary;
mod blobs;
mod cookies;
mod counters;
mod cpu;
mod deadlines;
mod exports;
mod joined;
mod mappings;
mod moving;
mod polls;
mod quotas;
mod rig;
mod survival;
