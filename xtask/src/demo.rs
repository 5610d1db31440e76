//! `cargo xtask demo`: not there yet.

use std::process::ExitCode;

/// Says that there is nothing to show yet.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    anyhow::bail!("There is no demo yet.")
}
