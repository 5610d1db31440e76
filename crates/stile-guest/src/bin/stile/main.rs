//! `stile`: the host's fences from inside a guest, for people and scripts.

mod args;
mod bench;
mod failure;
mod info;
mod machine;
mod oneshot;
mod output;
mod script;
mod uuid;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Command::Info => info::info(&args),
        Command::Export(options) => oneshot::export(&args, options),
        Command::Import(options) => oneshot::import(&args, options),
        Command::Wait(options) => oneshot::wait(&args, options),
        Command::Run(options) => script::run(&args, options),
        Command::Clock => oneshot::clock(&args),
        Command::Bench(options) => bench::bench(&args, options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

/// Opens the device that the command line names, or finds one.
fn node(args: &Args) -> Result<stile_guest::RenderNode, Failure> {
    Ok(match &args.device {
        Some(path) => stile_guest::RenderNode::open(path)?,
        None => stile_guest::RenderNode::find()?,
    })
}
