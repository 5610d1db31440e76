//! Timelines over real drm_syncobjs: points that come before, after and without their fences.
//!
//! A test plays the host's compositor and GPU: it shares syncobjs with the guest over the bridge and
//! puts vgem fences on their points. It takes a machine with vgem and a DRM node with syncobj
//! timelines, which the lab's host VM is. Without the feature `lab` nothing of this is built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

mod across;
mod bad_input;
mod guest;
mod lives;
mod many;
mod points;
#[allow(dead_code, reason = "shared with the tests of dma-bufs")]
#[path = "../dma_buf/rig.rs"]
mod rig;
