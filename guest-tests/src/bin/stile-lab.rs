//! Runs guests on the host side of the lab: in its host VM, or on a machine that has all it needs.
//! Prints one event a line on stdout and what a person wants to read on stderr.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use guest_tests::event::Event;
use guest_tests::runner::{self, Losses, Selection};
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
    /// Fences crossing for people to watch; the guest's program tells them, a line each
    Demo,
    /// Run a program of the guest's and pass on the lines that it writes to the results port
    Program {
        /// The program and its words, without spaces in them
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
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
            let failed = runner::run(&cli.lab, selection, &|event: &Event| {
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
        Command::Demo => {
            let options = DaemonOptions {
                // Soon enough for people who wait for it.
                fence_deadline: Some(Duration::from_millis(1500)),
                ..DaemonOptions::default()
            };
            pass_on(&cli.lab, "demo", &options, &["guest-demo"])
        }
        Command::Program { words } => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            pass_on(&cli.lab, "program", &DaemonOptions::default(), &words)
        }
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
                eprintln!("the bridge's socket is {}", daemon.bridge.display());
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

/// Longer than a guest takes to boot, also on a machine with too much to do, and than a program takes
/// from one line to the next.
const SILENCE: Duration = Duration::from_secs(300);

/// Boots a guest with this program and passes on what it tells; from the beginning, and saying so,
/// where the emulated host loses the guest.
fn pass_on(
    lab: &Lab,
    name: &str,
    options: &DaemonOptions,
    program: &[&str],
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut losses = Losses::default();
    let mut life: u32 = 0;
    loop {
        let lab = lab.life(&format!("{name}-{life}"))?;
        match pass_on_once(&lab, options, program) {
            Err(lost @ vm::Error::Lost(_)) if losses.may_run_again("") => {
                println!("{}", runner::again("", &lost.to_string()).to_line());
            }
            Err(error) => {
                eprintln!("{}", vm::tail(&lab.logs.join("console.log"), 20));
                return Err(error.into());
            }
            Ok(code) => return Ok(code),
        }
        life = life.saturating_add(1);
    }
}

fn pass_on_once(
    lab: &Lab,
    options: &DaemonOptions,
    program: &[&str],
) -> Result<ExitCode, vm::Error> {
    let daemon = Daemon::start(lab, options)?;
    let host_gpu = HostGpu::start(lab, &daemon.bridge)?;
    let mut guest = Guest::new(lab)
        .gpu(&daemon)
        .control(&host_gpu)
        .program(program)
        .start()?;
    while let Some(line) = guest.next_line(SILENCE)? {
        if let Ok(Event::Exit { code }) = serde_json::from_str(&line) {
            if code != 0 {
                eprintln!("{}", vm::tail(&lab.logs.join("console.log"), 20));
            }
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        println!("{line}");
    }
    eprintln!("{}", vm::tail(&lab.logs.join("console.log"), 20));
    eprintln!("The guest powered off before its program had ended.");
    Ok(ExitCode::FAILURE)
}
