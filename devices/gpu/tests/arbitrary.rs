//! Whatever a driver puts into its rings, every chain comes back once and the device goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

#[path = "support/arbitrary.rs"]
mod arbitrary;

use proptest::test_runner::{Config, TestRunner};
use stile_frontend::{Daemon, Options};

#[test]
fn every_chain_is_used_once_whatever_it_says() {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.log("error,stile_gpu::server=info"));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&arbitrary::puts(), |puts| {
        let mut vm = daemon.connect_with(arbitrary::plan());
        arbitrary::survives(&mut vm, &puts);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
