//! Counters in a blob: contexts and host processes wait for them and raise them. The blobs are guest
//! pages, which need no dma-buf.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

mod clients;
mod counters;
mod rig;
