//! `cargo xtask bench`: not there yet.

use std::process::ExitCode;

/// Says that there is nothing to measure yet.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!("There are no benchmarks yet.")
}
