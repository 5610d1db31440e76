//! The device against a simulated host: by example, and by properties over lists of operations.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod allocations;
mod anything;
mod blobs;
mod commands;
mod cpu;
mod events;
mod fences;
mod joined;
mod life;
mod memory;
mod model;
mod moving;
mod operations;
mod polls;
mod properties;
mod quotas;
mod sim;
mod spec;
#[allow(dead_code, reason = "shared with the wire's tests")]
#[path = "../../../stile-wire/tests/spec_table/mod.rs"]
mod spec_table;
mod status;
mod timelines;
mod watches;
