//! Runs guests on the host side of the lab: in its host VM, or on a machine that has all it needs.
//! Prints one event a line on stdout and what a person wants to read on stderr.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use guest_tests::event::Event;
use guest_tests::runner::{self, Selection};
use guest_tests::vm::{self, Daemon, DaemonOptions, Guest, HostGpu, Lab};

#[derive(Parser)]
#[command(about = "Runs guests on the host side of the lab")]
struct Cli {
    #[command(flatten)]
    lab: Lab,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run cases, in guests and across their lives
    Test(Selection),
    /// Print the names of the cases
    List(Selection),
    /// Try whether this machine can be the host; says on stderr what it lacks
    Probe,
    /// A guest with this terminal as its console
    Shell {
        /// Leave the daemon and its device out
        #[arg(long)]
        without_gpu: bool,
        /// What runs in it
        #[arg(last = true, default_value = "sh")]
        program: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprintln!("because: {source}");
                cause = source.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &cli.command {
        Command::Test(selection) => {
            let failed = runner::run(&cli.lab, selection, &mut |event: &Event| {
                println!("{}", event.to_line());
            })?;
            Ok(if failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::List(selection) => {
            let (in_guest, across) = runner::list(&cli.lab, selection)?;
            for name in in_guest.into_iter().chain(across) {
                println!("{name}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe => Ok(match vm::probe(&cli.lab) {
            Ok(()) => ExitCode::SUCCESS,
            Err(lack) => {
                // One line: it is shown as the reason.
                eprintln!("{lack}");
                ExitCode::FAILURE
            }
        }),
        Command::Shell {
            without_gpu,
            program,
        } => {
            let lab = cli.lab.life("shell")?;
            let words: Vec<&str> = program.iter().map(String::as_str).collect();
            let mut guest = Guest::new(&lab).program(&words);
            // Held until the guest has ended.
            let parts;
            if *without_gpu {
                parts = None;
            } else {
                let daemon = Daemon::start(&lab, &DaemonOptions::default())?;
                let host_gpu = HostGpu::start(&lab, &daemon.bridge)?;
                guest = guest.gpu(&daemon).control(&host_gpu);
                parts = Some((daemon, host_gpu));
            }
            let status = guest.run_interactive()?;
            drop(parts);
            Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
