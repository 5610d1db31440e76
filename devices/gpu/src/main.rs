//! `stile-gpu`: see `stile-gpu --help`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use stile_gpu::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("STILE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let Some(config) = Cli::parse().into_config() else {
        return ExitCode::FAILURE;
    };
    match stile_gpu::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            let mut text = error.to_string();
            while let Some(source) = cause.source() {
                text = format!("{text}: {source}");
                cause = source;
            }
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}
