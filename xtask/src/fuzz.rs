//! `cargo xtask fuzz`: the targets of `fuzz/` (see `fuzz/README.md`), built and run without
//! cargo-fuzz, so that nothing has to be installed and a stable compiler will do.
//!
//! A sanitizer needs a nightly compiler, and would find nothing in code without `unsafe`; so the
//! programs are built with the coverage that libFuzzer steers by, and with all assertions.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;

use crate::process::{cannot_start, last_lines, output_of};
use crate::progress::Progress;
use crate::supervise::supervise;
use crate::workspace::{Workspace, cargo};

/// What cargo-fuzz gives the compiler for `--sanitizer none`.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Longer than one input may take on a busy machine; libFuzzer's own bound is 1200 s.
const INPUT_SECONDS: u32 = 60;
/// How long an input that fails may be shortened.
const SHORTEN_SECONDS: u32 = 20;
/// How much of what a target says is kept when it fails.
const QUOTED_LINES: usize = 24;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What it shows while it finds nothing.
    pub(crate) holds: &'static str,
    /// Bytes of its longest input: longer ones are slower and show nothing else.
    longest: u32,
}

/// All of them.
pub(crate) const TARGETS: [Target; 3] = [
    Target {
        name: "life",
        holds: "the device is as its model says, after every step of any life",
        longest: 400,
    },
    Target {
        name: "device",
        holds: "no rule of a fence is broken, whatever guest and host do",
        longest: 2048,
    },
    Target {
        name: "decode",
        holds: "whatever a guest sends is read or refused",
        longest: 4096,
    },
];

/// What is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long, for each target
    #[arg(long, default_value_t = 120, value_name = "N")]
    seconds: u32,
    /// Only this target: life, device or decode
    target: Option<String>,
    /// Only these inputs of the target, once, to see them fail
    inputs: Vec<PathBuf>,
}

/// How a target's run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How often it was run, and what that has reached, in words.
    pub(crate) counts: String,
    /// What went wrong, with the input that shows it and how to run that again.
    pub(crate) failure: Option<String>,
    pub(crate) time: Duration,
}

/// Fuzzes, and says what came of it.
pub(crate) fn run(
    workspace: &Workspace,
    progress: &Progress,
    options: &Options,
) -> Result<ExitCode> {
    let chosen: Vec<Target> = match &options.target {
        None => TARGETS.to_vec(),
        Some(name) => vec![
            *TARGETS
                .iter()
                .find(|target| target.name == name)
                .with_context(|| format!("There is no fuzz target `{name}`"))?,
        ],
    };
    progress.say("building the fuzz targets");
    let fuzzer = Fuzzer::build(workspace)?;
    if let (Some(target), [_, ..]) = (chosen.first(), &options.inputs[..]) {
        return fuzzer.again(*target, &options.inputs);
    }
    let mut good = true;
    for (target, ended) in fuzzer.fuzz(&chosen, options.seconds, progress) {
        let ended = ended?;
        println!("{}: {}", target.name, ended.counts);
        if let Some(failure) = ended.failure {
            good = false;
            println!("{failure}");
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The machine's name, as cargo spells it.
fn host() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not say what machine this is")?;
    Ok(host.to_owned())
}

/// libFuzzer is C++. Where there is no compiler for it, root gets Debian's.
fn ensure_cxx() -> Result<()> {
    let asked = || Command::new("c++").arg("--version").output();
    if asked().is_err_and(|error| error.kind() == ErrorKind::NotFound) && geteuid().is_root() {
        eprintln!("There is no `c++` on this machine: installing Debian's g++.");
        for words in [&["update"][..], &["install", "--yes", "g++"]] {
            output_of(Command::new("apt-get").arg("--quiet").args(words))?;
        }
    }
    match asked() {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot_start(&Command::new("c++"), error)),
    }
}

/// Cargo, for the workspace in `fuzz/`, with the fuzzer's flags.
pub(crate) fn cargo_of_fuzz(workspace: &Workspace, subcommand: &str) -> Result<Command> {
    ensure_cxx()?;
    let mut command = cargo();
    command
        .args([subcommand, "--quiet", "--locked", "--release", "--bins"])
        .arg("--manifest-path")
        .arg(workspace.root.join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace.target.join("fuzz/build"))
        // With a target of its own, build scripts and macros get none of the flags.
        .args(["--target", &host()?])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    Ok(command)
}

/// The built targets.
pub(crate) struct Fuzzer<'a> {
    workspace: &'a Workspace,
    programs: PathBuf,
}

impl<'a> Fuzzer<'a> {
    /// Builds them.
    pub(crate) fn build(workspace: &'a Workspace) -> Result<Self> {
        output_of(&mut cargo_of_fuzz(workspace, "build")?)
            .context("The fuzz targets do not build")?;
        let built = workspace.target.join("fuzz/build").join(host()?);
        let programs = built.join("release");
        Ok(Self {
            workspace,
            programs,
        })
    }

    /// Runs targets side by side, for so many seconds.
    pub(crate) fn fuzz(
        &self,
        targets: &[Target],
        seconds: u32,
        progress: &Progress,
    ) -> Vec<(Target, Result<Ended>)> {
        progress.say(format!("fuzzing for {seconds} s"));
        std::thread::scope(|scope| {
            let runs: Vec<_> = targets
                .iter()
                .map(|target| (*target, scope.spawn(|| self.one(*target, seconds))))
                .collect();
            runs.into_iter()
                .map(|(target, run)| {
                    let ended = run
                        .join()
                        .unwrap_or_else(|_| bail!("The fuzzing of {} panicked.", target.name));
                    (target, ended)
                })
                .collect()
        })
    }

    /// A target's program, to be run in its own folder.
    fn program(&self, target: Target) -> Result<(Command, PathBuf)> {
        let folder = self.workspace.target.join("fuzz").join(target.name);
        for needed in ["corpus", "failures"] {
            let needed = folder.join(needed);
            std::fs::create_dir_all(&needed)
                .with_context(|| format!("{} could not be made", needed.display()))?;
        }
        let mut command = Command::new(self.programs.join(target.name));
        command
            .current_dir(&folder)
            .env("RUST_BACKTRACE", "1")
            .arg("-artifact_prefix=failures/")
            .arg(format!("-timeout={INPUT_SECONDS}"));
        Ok((command, folder))
    }

    /// Fuzzes with what was found before, and what the tree has.
    fn one(&self, target: Target, seconds: u32) -> Result<Ended> {
        let (mut command, folder) = self.program(target)?;
        let seeds = self.workspace.root.join("fuzz/corpus").join(target.name);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", target.longest))
            // Long inputs from the start: a fence needs a few steps to go wrong.
            .args(["-len_control=0", "-print_final_stats=1", "corpus"])
            .arg(seeds);
        let begin = Instant::now();
        let said = Mutex::new(String::new());
        // It ends by itself; the bound is for a target that does not even begin.
        let bound = Duration::from_secs(u64::from(seconds) + 10 * u64::from(INPUT_SECONDS));
        let status = supervise(&mut command, bound, &|_, line| {
            let mut said = said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            said.push_str(line);
            said.push('\n');
        })?;
        let time = begin.elapsed();
        let said = said
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let failure = match status {
            Some(status) if status.success() => None,
            Some(_) => Some(self.failure(target, &folder, &said)),
            None => Some("It does not come to its end.".to_owned()),
        };
        Ok(Ended {
            counts: counts(&said),
            failure,
            time,
        })
    }

    /// What a person needs to know of a failure.
    fn failure(&self, target: Target, folder: &Path, said: &str) -> String {
        let complaint = complaint(said);
        let Some(input) = written(said).map(|input| folder.join(input)) else {
            return format!("{complaint}\nThere is no input that shows it.");
        };
        let input = self.shortened(target, &input).unwrap_or(input);
        let steps = match self.shown(target, &input) {
            Ok(steps) => steps,
            Err(error) => format!("({error:#})"),
        };
        format!(
            "{complaint}\nThe input: {}\nOnce more: cargo xtask fuzz {} {}\nWhat it means: {steps}",
            input.display(),
            target.name,
            input.display(),
        )
    }

    /// A shorter input that fails as well, if one is found soon.
    fn shortened(&self, target: Target, input: &Path) -> Option<PathBuf> {
        let (mut command, _) = self.program(target).ok()?;
        let short = input.with_extension("short");
        command
            .arg("-minimize_crash=1")
            .arg(format!("-max_total_time={SHORTEN_SECONDS}"))
            .arg(format!("-exact_artifact_path={}", short.display()))
            .arg(input);
        // It fails once it finds nothing shorter.
        let bound = Duration::from_secs(u64::from(SHORTEN_SECONDS + INPUT_SECONDS));
        let _status = supervise(&mut command, bound, &|_, _| {});
        let (mut command, _) = self.program(target).ok()?;
        let status = supervise(command.arg(&short), bound, &|_, _| {}).ok()??;
        (short.exists() && !status.success()).then_some(short)
    }

    /// An input as the target reads it.
    fn shown(&self, target: Target, input: &Path) -> Result<String> {
        let (mut command, _) = self.program(target)?;
        let text = input.with_extension("txt");
        command.arg(input).env("RUST_LIBFUZZER_DEBUG_PATH", &text);
        output_of(&mut command)?;
        let said = std::fs::read_to_string(&text)
            .with_context(|| format!("{} could not be read", text.display()))?;
        Ok(said)
    }

    /// Runs inputs once each, and shows everything that is said.
    fn again(&self, target: Target, inputs: &[PathBuf]) -> Result<ExitCode> {
        let (mut command, _) = self.program(target)?;
        for input in inputs {
            let input = std::path::absolute(input)
                .with_context(|| format!("{} is no path", input.display()))?;
            if !input.is_file() {
                bail!("There is no file {}.", input.display());
            }
            println!("{}", self.shown(target, &input)?);
            command.arg(input);
        }
        let status = command.status().context("A fuzz target does not start")?;
        Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// libFuzzer's last figures: how often, how many edges of the code, how many inputs are kept.
fn counts(said: &str) -> String {
    let number = |line: &str, name: &str| -> Option<String> {
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).map(str::to_owned)
    };
    let executions = said
        .lines()
        .find_map(|line| number(line, "stat::number_of_executed_units:"));
    let last = said.lines().rev().find(|line| line.contains(" cov: "));
    let of_last = |name| last.and_then(|line| number(line, name));
    let or_none = |count: Option<String>| count.unwrap_or_else(|| "?".to_owned());
    format!(
        "{} executions, {} edges and {} features in {} inputs",
        or_none(executions),
        or_none(of_last("cov:")),
        or_none(of_last("ft:")),
        or_none(of_last("corp:")),
    )
}

/// What a target said when it failed: from its panic on, or else from libFuzzer's error.
fn complaint(said: &str) -> String {
    let panicked = |line: &&str| !line.contains(" panicked at ");
    let failed = |line: &&str| !line.contains("ERROR: libFuzzer");
    let of_panic: Vec<&str> = said
        .lines()
        .skip_while(panicked)
        .take_while(failed)
        .collect();
    let lines = if of_panic.is_empty() {
        said.lines().skip_while(failed).collect()
    } else {
        of_panic
    };
    if lines.is_empty() {
        return last_lines(said, QUOTED_LINES);
    }
    lines[..lines.len().min(QUOTED_LINES)].join("\n")
}

/// Where libFuzzer has written the input that fails.
fn written(said: &str) -> Option<&str> {
    said.lines().find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, path)| path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
INFO: Seed: 1\n\
#4096\tpulse  cov: 69 ft: 70 corp: 58/2065b lim: 4096 exec/s: 2048 rss: 27Mb\n\
thread '<unnamed>' panicked at device.rs:1:2:\n\
lost\n\
==1== ERROR: libFuzzer: deadly signal\n\
#9000\tDONE   cov: 71 ft: 75 corp: 60/2100b lim: 4096 exec/s: 2048 rss: 27Mb\n\
artifact_prefix='failures/'; Test unit written to failures/crash-1\n\
stat::number_of_executed_units: 9000\n";

    #[test]
    fn the_last_figures_are_told() {
        assert_eq!(
            counts(SAID),
            "9000 executions, 71 edges and 75 features in 60/2100b inputs"
        );
    }

    #[test]
    fn the_input_that_fails_is_found_and_so_is_the_complaint() {
        assert_eq!(written(SAID), Some("failures/crash-1"));
        let complaint = complaint(SAID);
        assert_eq!(
            complaint,
            "thread '<unnamed>' panicked at device.rs:1:2:\nlost"
        );
    }
}
