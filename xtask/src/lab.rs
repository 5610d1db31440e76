//! `cargo xtask lab …`: the lab by hand.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::hostvm::{HostVm, Job, Stream};
use crate::progress::Progress;
use crate::setup::{Kernel, Lab};
use crate::workspace::Workspace;

/// What can be done with the lab by hand.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Download and unpack what the lab needs
    Setup {
        /// Ask for newer packages and make everything again
        #[arg(long)]
        refresh: bool,
    },
    /// A shell in the host VM, with the tree mounted
    Shell {
        /// The host VM's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        kernel: Kernel,
    },
    /// Run a command in the host VM, in this directory
    Run {
        /// The host VM's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        kernel: Kernel,
        /// After so many seconds the machine is taken for hung and ended
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        bound: u64,
        /// The command and its words
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Does it.
pub(crate) fn run(
    workspace: &Workspace,
    progress: &Progress,
    command: Command,
) -> Result<ExitCode> {
    match command {
        Command::Setup { refresh } => {
            let lab = Lab::ensure(workspace, progress, refresh)?;
            for kernel in Kernel::ALL {
                progress.say(format!("kernel {kernel}: {}", lab.kernel(kernel)?.version));
            }
            progress.say(format!("the lab is ready in {}", lab.directory.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Shell { kernel } => {
            let lab = Lab::ensure(workspace, progress, false)?;
            progress.say("booting the host VM; `exit` leaves it, Ctrl-A X ends it at once");
            let words = vec!["/bin/bash".into(), "--login".into()];
            let vm = HostVm {
                kernel,
                ..HostVm::new(workspace, &lab)
            };
            vm.run_interactive(&job(words)?).map(exit_code)
        }
        Command::Run {
            kernel,
            bound,
            command,
        } => {
            let lab = Lab::ensure(workspace, progress, false)?;
            let vm = HostVm {
                kernel,
                ..HostVm::new(workspace, &lab)
            };
            let bound = Duration::from_secs(bound);
            let status = vm.run(&job(command)?, bound, &|stream, line| match stream {
                Stream::Stdout => println!("{line}"),
                Stream::Stderr => eprintln!("{line}"),
            })?;
            Ok(exit_code(status))
        }
    }
}

fn job(words: Vec<OsString>) -> Result<Job> {
    let mut environment = vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())];
    environment.extend(
        std::env::var("TERM")
            .ok()
            .map(|value| ("TERM".to_owned(), value)),
    );
    Ok(Job {
        directory: std::env::current_dir()?,
        words,
        environment,
    })
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
