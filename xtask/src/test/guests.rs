//! The guest tests: `stile-lab` runs them on the host side and tells one event a line.

use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::report::{Case, Suite};
use crate::host::Host;
use crate::hostvm::Job;
use crate::process::{last_lines, output_of};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::setup::{Kernel, Lab};
use crate::stile_lab::{self, Event};
use crate::supervise::Stream;
use crate::workspace::Workspace;

/// A guest on a host.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) guest: Kernel,
    pub(crate) host: Kernel,
    /// The words of which a case's name has one, `|` between them; empty for all cases.
    pub(crate) about: &'static str,
}

/// Which guest runs on which host. **One more is a suite more.** The newer host kernel is asked for
/// sync_files at points in another way.
pub(crate) const PAIRS: [Pair; 3] = [
    Pair {
        guest: Kernel::Stable,
        host: Kernel::Stable,
        about: "",
    },
    Pair {
        guest: Kernel::Backports,
        host: Kernel::Stable,
        about: "",
    },
    Pair {
        guest: Kernel::Stable,
        host: Kernel::Backports,
        about: "a point|timeline",
    },
];

/// Longer than one suite takes, with guests that hang in it.
const BOUND: Duration = Duration::from_secs(900);
/// How much of the runner's stderr is kept when it fails.
const QUOTED_LINES: usize = 60;

/// Which cases, and how.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a> {
    /// Those whose name contains this.
    pub(crate) filter: &'a str,
    /// Of these, those whose name has one of these words, `|` between them.
    pub(crate) about: &'a str,
    /// Without the daemon and its device.
    pub(crate) without_gpu: bool,
    /// Each so often.
    pub(crate) times: u32,
}

/// What all suites share.
pub(crate) struct Guests<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) lab: &'a Lab,
    pub(crate) programs: &'a Programs,
    pub(crate) progress: &'a Progress,
}

impl Guests<'_> {
    /// Runs the chosen cases, with this guest kernel.
    pub(crate) fn run(
        &self,
        host: &Host<'_>,
        guest_kernel: Kernel,
        chosen: Chosen<'_>,
    ) -> Result<Suite> {
        let Chosen {
            filter,
            about,
            without_gpu,
            times,
        } = chosen;
        let Self {
            workspace,
            lab,
            programs,
            progress,
        } = *self;
        let begin = Instant::now();
        let name = format!(
            "guest {} on {}",
            lab.kernel(guest_kernel)?.version,
            host.kernel_version()?
        );
        if !self.has_cases(guest_kernel, filter, about)? {
            return Ok(Suite {
                name,
                cases: Vec::new(),
                time: begin.elapsed(),
            });
        }
        let logs = workspace
            .target
            .join("test/logs")
            .join(name.replace(' ', "-"));
        std::fs::create_dir_all(&logs)?;
        progress.say(format!(
            "running the cases of {name}; logs in {}",
            logs.display()
        ));
        let here = matches!(host, Host::Here);
        let count = times.to_string();
        let about = format!("--about={about}");
        let mut words = vec!["test", "--times", &count, &about];
        if without_gpu {
            words.push("--without-gpu");
        }
        words.extend(["--", filter]);
        let words = stile_lab::command(lab, programs, guest_kernel, &logs, here, &words)?;
        let job = Job {
            directory: workspace.root.clone(),
            words,
            environment: vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())],
        };
        let heard = Mutex::new(Heard::default());
        let ended = host.run(&job, BOUND.saturating_mul(times), &|stream, line| {
            let mut heard = heard
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            match stream {
                Stream::Stdout => heard.event(line, progress),
                Stream::Stderr => heard.said.push_str(&format!("{line}\n")),
            }
        });
        let heard = heard
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let said = last_lines(&heard.said, QUOTED_LINES);
        let mut cases = heard.cases;
        if let Some(last) = cases.last_mut() {
            last.again.extend(heard.again);
        }
        let failed = cases
            .iter()
            .any(|case| matches!(case.outcome, super::report::Outcome::Failed(_)));
        for case in heard.running {
            cases.push(Case::failed(
                &case,
                "The host side ended in the middle of it.",
            ));
        }
        match ended {
            Ok(0) => {}
            Ok(_) if failed => {}
            Ok(status) => {
                let detail = format!("stile-lab ended with status {status}:\n{said}");
                cases.push(Case::failed("the runner runs to its end", detail));
            }
            Err(error) => {
                let detail = format!("{error:#}\n{said}");
                cases.push(Case::failed("the runner runs to its end", detail));
            }
        }
        Ok(Suite {
            name,
            cases,
            time: begin.elapsed(),
        })
    }

    /// Whether the filter leaves anything: known without a boot.
    fn has_cases(&self, kernel: Kernel, filter: &str, about: &str) -> Result<bool> {
        let about = format!("--about={about}");
        let words = ["list", &about, "--", filter];
        let logs = self.lab.directory.join("logs");
        let command = stile_lab::command(self.lab, self.programs, kernel, &logs, false, &words)?;
        let (program, words) = command.split_first().context("A command has no words")?;
        Ok(!output_of(Command::new(program).args(words))?.is_empty())
    }
}

#[derive(Default)]
struct Heard {
    cases: Vec<Case>,
    /// Those that have begun.
    running: Vec<String>,
    /// Why the next case to end has run again.
    again: Vec<String>,
    said: String,
}

impl Heard {
    fn event(&mut self, line: &str, progress: &Progress) {
        let case = match serde_json::from_str(line) {
            Ok(Event::Start { case }) => {
                self.running.push(case);
                return;
            }
            Ok(Event::Pass { case, ms }) => {
                progress.say(format!("  ok       {case} ({ms} ms)"));
                Case::passed(&case).took(Duration::from_millis(ms))
            }
            Ok(Event::Fail { case, detail, ms }) => {
                progress.say(format!("  FAILED   {case} ({ms} ms)"));
                Case::failed(&case, detail).took(Duration::from_millis(ms))
            }
            Ok(Event::Skip { case, detail }) => {
                progress.say(format!("  skipped  {case}: {detail}"));
                Case::skipped(&case, detail)
            }
            Ok(Event::Again { case, detail }) => {
                progress.say(format!("  again    {case}: {detail}"));
                self.running.retain(|name| *name != case);
                self.again.push(if case.is_empty() {
                    format!("Between cases: {detail}")
                } else {
                    detail
                });
                return;
            }
            Ok(Event::Exit) => return,
            Err(_) => {
                self.said.push_str(line);
                self.said.push('\n');
                return;
            }
        };
        self.running.retain(|name| *name != case.name);
        self.cases.push(case.after(std::mem::take(&mut self.again)));
    }
}
