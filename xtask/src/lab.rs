//! `cargo xtask lab …`: the lab by hand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use crate::host::Host;
use crate::hostvm::{HostVm, Job};
use crate::programs::{Programs, with_lab};
use crate::progress::Progress;
use crate::setup::{Kernel, Lab};
use crate::stile_lab;
use crate::supervise::Stream;
use crate::test::{Chosen, Guests, Report, Suite, of_igt};
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
    /// A guest in the host VM, attached to the daemon, with this terminal as its console
    Guest {
        /// The host VM's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        kernel: Kernel,
        /// The guest's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        guest_kernel: Kernel,
        /// Leave the daemon and its device out
        #[arg(long)]
        without_gpu: bool,
        /// A file of your own for the guest, where it is a program in /payload. Guests have no
        /// libraries: link it statically. May be given more than once
        #[arg(long, value_name = "FILE")]
        with: Vec<PathBuf>,
    },
    /// Only the guest tests, with one guest kernel: for work on them
    Test {
        /// The host VM's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        kernel: Kernel,
        /// The guest's kernel
        #[arg(long, value_enum, default_value_t = Kernel::Stable)]
        guest_kernel: Kernel,
        /// Leave the daemon and its device out
        #[arg(long)]
        without_gpu: bool,
        /// Run each case so often: for what fails seldom
        #[arg(long, default_value_t = 1, value_name = "N")]
        times: u32,
        /// Only cases whose name contains this
        #[arg(default_value = "")]
        filter: String,
    },
    /// Only IGT's programs, on all host kernels and in all guests
    Igt {
        /// Only subtests whose full name (igt@PROGRAM@SUBTEST) contains this
        #[arg(default_value = "")]
        filter: String,
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
            let words = at_this_terminal(vec!["/bin/bash".into(), "--login".into()]);
            let vm = HostVm {
                kernel,
                ..HostVm::new(workspace, &lab)
            };
            vm.run_interactive(&job(words)?).map(exit_code)
        }
        Command::Guest {
            kernel,
            guest_kernel,
            without_gpu,
            with,
        } => {
            let (lab, mut programs) = with_lab(workspace, progress)?;
            for file in &with {
                programs.take_along(file)?;
            }
            let host = Host::choose(workspace, &lab, &programs, progress)?;
            let host = host.with_kernel(kernel).unwrap_or(host);
            progress.say("booting a guest; `exit` leaves it, Ctrl-A X ends it at once");
            let logs = lab.directory.join("logs");
            let here = matches!(host, Host::Here);
            let words: &[&str] = if without_gpu {
                &["shell", "--without-gpu"]
            } else {
                &["shell"]
            };
            let words = stile_lab::command(&lab, &programs, guest_kernel, &logs, here, words)?;
            host.run_interactive(&job(at_this_terminal(words))?)
                .map(exit_code)
        }
        Command::Test {
            kernel,
            guest_kernel,
            without_gpu,
            times,
            filter,
        } => {
            let (lab, programs) = with_lab(workspace, progress)?;
            let host = Host::choose(workspace, &lab, &programs, progress)?;
            let host = host.with_kernel(kernel).unwrap_or(host);
            let chosen = Chosen {
                filter: &filter,
                about: "",
                without_gpu,
                times,
            };
            let guests = Guests {
                workspace,
                lab: &lab,
                programs: &programs,
                progress,
            };
            let suite = guests.run(&host, guest_kernel, chosen)?;
            Ok(printed([suite]))
        }
        Command::Igt { filter } => {
            let lab = Lab::ensure(workspace, progress, false)?;
            let igt = lab.igt(progress);
            let programs = Programs::build(workspace, progress)?;
            let suites = of_igt(workspace, &lab, &igt, &programs, &filter, progress);
            Ok(printed(suites))
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

fn printed(suites: impl IntoIterator<Item = Suite>) -> ExitCode {
    let mut report = Report::default();
    for suite in suites {
        report.add(suite);
    }
    report.print();
    if report.counts().failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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

/// A serial line does not know how large the terminal at its end is.
fn at_this_terminal(words: Vec<OsString>) -> Vec<OsString> {
    let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout()) else {
        return words;
    };
    let script = format!(
        "stty rows {} cols {}; exec \"$@\"",
        size.ws_row, size.ws_col
    );
    let mut all = vec!["/bin/sh".into(), "-c".into(), script.into(), "sh".into()];
    all.extend(words);
    all
}

fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
