//! Tests on real parts: guests with the stock driver, under a real VMM, on a real host kernel.
//!
//! Several programs share this library:
//!
//! - `stile-lab` runs on the host side (in the lab's host VM, or on a capable machine): it starts the
//!   daemon, a VMM with a guest, and the program that plays the GPU, and reports one result a case;
//! - `host-gpu` plays the GPU, beside the daemon;
//! - `guest-cases` runs in the guest and holds the cases;
//! - `guest-igt` runs IGT's programs, on either side.
//!
//! `cargo xtask test` starts all of them.

pub mod control;
pub mod event;
pub mod gpu;
pub mod igt;
#[cfg(feature = "host")]
pub mod lifecycle;
pub mod outcome;
pub mod part;
pub mod payload;
#[cfg(feature = "host")]
pub mod runner;
mod stuck;
#[cfg(feature = "host")]
pub mod vm;
