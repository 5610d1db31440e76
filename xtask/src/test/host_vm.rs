//! Test programs that need a real host kernel with dma-bufs: they run on the lab's host side, all in
//! one boot, each a suite. A test target becomes one by requiring the feature "lab" in its
//! Cargo.toml; nothing else names it.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cargo_tests::{self, TestProgram};
use super::report::{Case, Suite};
use crate::host::Host;
use crate::hostvm::{Job, quoted};
use crate::process::output_of;
use crate::workspace::Workspace;

/// Longer than all of them take together.
const BOUND: Duration = Duration::from_secs(600);
/// Stands before and after what a program prints.
const MARK: &str = "@stile-suite";

/// Runs these programs on the host side. One that the machine takes with it fails, and so do those
/// after it.
pub(crate) fn run(
    workspace: &Workspace,
    host: &Host<'_>,
    programs: &[&TestProgram],
    filter: &str,
) -> Result<Vec<Suite>> {
    let mut script = String::new();
    let filter = quoted(filter.as_ref())?;
    for (number, program) in programs.iter().enumerate() {
        let directory = quoted(program.directory.as_os_str())?;
        let executable = quoted(program.executable.as_os_str())?;
        writeln!(
            script,
            "echo '{MARK} begin {number}'\n(cd {directory} && {executable} {filter}) 2>&1\n\
             echo \"{MARK} end {number} $?\""
        )?;
    }
    let job = Job {
        directory: workspace.root.clone(),
        words: vec!["/bin/sh".into(), "-c".into(), script.into()],
        environment: vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())],
    };
    let heard = Mutex::new(Heard::new(programs.len()));
    let ended = host.run(&job, BOUND, &|_, line| {
        heard
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .line(line);
    });
    let heard = heard
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let why = match &ended {
        Ok(status) => format!("The job ended with status {status}."),
        Err(error) => format!("{error:#}"),
    };
    let kernel = host
        .kernel_version()
        .context("The host's kernel is not known")?;
    Ok(programs
        .iter()
        .zip(heard.runs)
        .map(|(program, run)| {
            let cases = match run.status {
                Some(status) => cargo_tests::outcome(&run.said, "", Some(status)),
                None => vec![Case::failed("the test program runs to its end", &*why)],
            };
            Suite {
                name: format!("{} on {kernel}", program.name),
                cases,
                time: run.time,
            }
        })
        .collect())
}

/// Whether the filter leaves any test of this program: known without a boot.
pub(crate) fn has_tests(program: &TestProgram, filter: &str) -> Result<bool> {
    let words = [filter, "--list", "--format=terse"];
    Ok(!output_of(Command::new(&program.executable).args(words))?.is_empty())
}

/// What came from one program.
#[derive(Clone, Default)]
struct Run {
    said: String,
    status: Option<i32>,
    time: Duration,
}

/// What came from all of them.
struct Heard {
    runs: Vec<Run>,
    current: Option<(usize, Instant)>,
}

impl Heard {
    fn new(count: usize) -> Self {
        Self {
            runs: vec![Run::default(); count],
            current: None,
        }
    }

    fn line(&mut self, line: &str) {
        // A program may leave its last line unfinished.
        let (before, mark) = match line.split_once(MARK) {
            Some((before, mark)) => (before, Some(mark)),
            None => (line, None),
        };
        let run = self
            .current
            .and_then(|(number, _)| self.runs.get_mut(number));
        if let Some(run) = run {
            run.said.push_str(before);
            run.said.push('\n');
        }
        let Some(mark) = mark else { return };
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words[..] {
            ["begin", number] => {
                self.current = number.parse().ok().map(|number| (number, Instant::now()));
            }
            ["end", _, status] => {
                if let Some((number, begin)) = self.current.take()
                    && let Some(run) = self.runs.get_mut(number)
                {
                    run.status = status.parse().ok();
                    run.time = begin.elapsed();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_told_apart_from_the_next_ones() {
        let mut heard = Heard::new(2);
        for line in [
            "@stile-suite begin 0",
            "one",
            "unfinished@stile-suite end 0 0",
            "@stile-suite begin 1",
            "two",
        ] {
            heard.line(line);
        }
        assert_eq!(heard.runs[0].said, "one\nunfinished\n");
        assert_eq!(heard.runs[0].status, Some(0));
        assert_eq!(heard.runs[1].said, "two\n");
        assert_eq!(heard.runs[1].status, None);
    }
}
