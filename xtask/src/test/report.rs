//! What came out: suites of cases, their sums, and how a person sees them.

use std::time::Duration;

use crate::progress::Progress;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With what went wrong.
    Failed(String),
    /// With why.
    Skipped(String),
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// How long it took, where that is known.
    pub(crate) time: Option<Duration>,
    /// Why it ran again, each time that it did: the emulated host had lost its guest, or the one
    /// before it (docs/adr/0006).
    pub(crate) again: Vec<String>,
}

impl Case {
    pub(crate) fn new(name: &str, outcome: Outcome) -> Self {
        Self {
            name: name.to_owned(),
            outcome,
            time: None,
            again: Vec::new(),
        }
    }

    pub(crate) fn passed(name: &str) -> Self {
        Self::new(name, Outcome::Passed)
    }

    pub(crate) fn failed(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Failed(detail.into()))
    }

    pub(crate) fn skipped(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skipped(detail.into()))
    }

    pub(crate) fn took(self, time: Duration) -> Self {
        Self {
            time: Some(time),
            ..self
        }
    }

    pub(crate) fn after(self, again: Vec<String>) -> Self {
        Self { again, ..self }
    }
}

/// Tests that ran together.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
    pub(crate) time: Duration,
}

impl Suite {
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            match case.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
            counts.again += case.again.len();
        }
        counts
    }
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// How often a case ran again.
    pub(crate) again: usize,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            passed: sum.passed + one.passed,
            failed: sum.failed + one.failed,
            skipped: sum.skipped + one.skipped,
            again: sum.again + one.again,
        })
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            again,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )?;
        match again {
            0 => Ok(()),
            again => write!(formatter, "; {again} run again (docs/adr/0006)"),
        }
    }
}

/// All that ran.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) suites: Vec<Suite>,
}

impl Report {
    /// Adds a suite; one without cases, as a filter leaves it, is left out.
    pub(crate) fn add(&mut self, suite: Suite) {
        if !suite.cases.is_empty() {
            self.suites.push(suite);
        }
    }

    /// Adds a suite and says at once how it went.
    pub(crate) fn say_and_add(&mut self, suite: Suite, progress: &Progress) {
        if !suite.cases.is_empty() {
            progress.say(format!("{}: {}", suite.name, suite.counts()));
        }
        self.add(suite);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.suites.iter().map(Suite::counts).sum()
    }

    /// What ran again and what failed, with all that is known of it, then a line for each suite, then
    /// the sums alone on the last line.
    pub(crate) fn print(&self) {
        for suite in &self.suites {
            for case in &suite.cases {
                for why in &case.again {
                    println!(
                        "\nrun again {}: {}\n{}",
                        suite.name,
                        case.name,
                        indented(why)
                    );
                }
                match &case.outcome {
                    Outcome::Failed(detail) => {
                        println!(
                            "\nFAILED {}: {}\n{}",
                            suite.name,
                            case.name,
                            indented(detail)
                        );
                    }
                    Outcome::Skipped(detail) => {
                        println!(
                            "\nskipped {}: {}\n{}",
                            suite.name,
                            case.name,
                            indented(detail)
                        );
                    }
                    Outcome::Passed => {}
                }
            }
        }
        let width = self
            .suites
            .iter()
            .map(|suite| suite.name.len())
            .max()
            .unwrap_or(0)
            .max(5);
        println!("\n{:width$}  passed  failed  skipped  seconds", "suite");
        for suite in &self.suites {
            let Counts {
                passed,
                failed,
                skipped,
                ..
            } = suite.counts();
            let seconds = suite.time.as_secs_f64();
            println!(
                "{:width$}  {passed:6}  {failed:6}  {skipped:7}  {seconds:7.1}",
                suite.name
            );
        }
        println!("{}", self.counts());
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
