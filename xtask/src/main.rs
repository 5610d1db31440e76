//! The project's own commands. `cargo xtask --help` lists them.

use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod fuzz;
mod host;
mod hostvm;
mod lab;
mod process;
mod programs;
mod progress;
mod setup;
mod stile_lab;
mod supervise;
mod test;
mod workspace;

use progress::Progress;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start host, daemon, VMM and guest, and show fences crossing between them
    Demo,
    /// Everything: format, clippy, docs, unit and property tests, then the guest tests
    Test(test::Options),
    /// The lab: a host VM with real dma-bufs and KVM, and guests in it
    #[command(subcommand)]
    Lab(lab::Command),
    /// Fuzz the device and the wire; a target's name and files run just those inputs
    Fuzz(fuzz::Options),
    /// Measure the daemon, on this machine and in the lab
    Bench(bench::Options),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("because: {cause}");
            }
            std::process::ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<std::process::ExitCode> {
    let workspace = Workspace::find()?;
    let progress = Progress::start();
    match command {
        Command::Demo => demo::run(&workspace, &progress),
        Command::Test(options) => test::run(&workspace, &progress, &options),
        Command::Lab(command) => lab::run(&workspace, &progress, command),
        Command::Fuzz(options) => fuzz::run(&workspace, &progress, &options),
        Command::Bench(options) => bench::run(&workspace, &progress, &options),
    }
}
