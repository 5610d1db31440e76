//! Running all cases of a lab and telling what happened to each.

mod guest;
mod losses;

use std::cell::Cell;
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::event::Event;
use crate::lifecycle;
use crate::outcome::attempt;
use crate::vm::{self, Lab};

pub use losses::Losses;

/// The guest's program with the cases.
const GUEST_PROGRAM: &str = "guest-cases";

/// A case runs again, or whatever a guest runs that has no cases.
#[must_use]
pub fn again(case: &str, why: &str) -> Event {
    Event::Again {
        case: case.to_owned(),
        detail: why.to_owned(),
    }
}

/// What is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Only cases whose name contains this
    #[arg(default_value = "")]
    pub filter: String,
    /// Of these, only cases whose name contains one of these words, which | separates
    #[arg(long, default_value = "")]
    pub about: String,
    /// Leave the daemon and its device out: for work on the lab itself
    #[arg(long)]
    pub without_gpu: bool,
    /// Run each case so often, in one guest: for what fails seldom
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub times: u32,
}

impl Selection {
    fn takes(&self, name: &str) -> bool {
        name.contains(&self.filter) && self.about.split('|').any(|word| name.contains(word))
    }
}

/// Why the runner could not run anything.
#[derive(Debug, Error)]
pub enum RunError {
    /// The guest's program could not be asked for its cases.
    #[error("{GUEST_PROGRAM} could not be asked for its cases: {0}")]
    List(String),
}

/// The names of all cases that the selection takes: those in the guest, then those across lives.
///
/// # Errors
/// [`RunError::List`] when the guest's program is missing or does not run here.
pub fn list(lab: &Lab, selection: &Selection) -> Result<(Vec<String>, Vec<String>), RunError> {
    let mut command: Command = lab.program(GUEST_PROGRAM);
    let output = command
        .arg("--list")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| RunError::List(format!("{}: {error}", lab.programs.display())))?;
    if !output.status.success() {
        return Err(RunError::List(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let in_guest = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|name| selection.takes(name))
        .map(str::to_owned)
        .collect();
    let across = lifecycle::CASES
        .iter()
        .map(|case| case.name)
        .filter(|name| selection.takes(name))
        .map(str::to_owned)
        .collect();
    Ok((in_guest, across))
}

/// Runs what the selection takes and tells each event. Gives how many cases failed.
///
/// One guest at a time: two at once make the emulated host lose them more often (docs/adr/0006).
///
/// # Errors
/// [`RunError::List`] when there is nothing to choose from.
pub fn run(lab: &Lab, selection: &Selection, tell: &dyn Fn(&Event)) -> Result<usize, RunError> {
    let (in_guest, across) = list(lab, selection)?;
    let failed = Cell::new(0_usize);
    let counted = |event: &Event| {
        if matches!(event, Event::Fail { .. }) {
            failed.set(failed.get().saturating_add(1));
        }
        tell(event);
    };
    let mut losses = Losses::default();
    let rounds = (0..selection.times).flat_map(|_| in_guest.clone());
    let without_gpu = selection.without_gpu;
    guest::run(lab, rounds.collect(), without_gpu, &mut losses, &counted);

    let chosen = lifecycle::CASES
        .iter()
        .filter(|case| across.iter().any(|name| name == case.name));
    let rounds = (0..selection.times).flat_map(|_| chosen.clone());
    let mut life: u32 = 0;
    for case in rounds {
        loop {
            counted(&Event::Start {
                case: case.name.to_owned(),
            });
            let (mut logs, mut lost) = (lab.logs.clone(), None);
            let event = attempt(case.name.to_owned(), || {
                let own = lab.life(&format!("lifecycle-{life}"))?;
                logs.clone_from(&own.logs);
                lost = Some(own.lost());
                (case.run)(&own)
            });
            life = life.saturating_add(1);
            let lost = lost.and_then(|mark| std::fs::read_to_string(mark).ok());
            if let Some(why) = lost
                && matches!(event, Event::Fail { .. })
                && losses.may_run_again(case.name)
            {
                counted(&again(case.name, &why));
                continue;
            }
            losses.ended();
            counted(&with_logs(event, &logs));
            break;
        }
    }
    Ok(failed.get())
}

/// A failure with the ends of all logs of its life.
fn with_logs(event: Event, logs: &std::path::Path) -> Event {
    const LINES: usize = 30;
    let Event::Fail {
        case,
        mut detail,
        ms,
    } = event
    else {
        return event;
    };
    let mut paths: Vec<_> = std::fs::read_dir(logs)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    paths.sort();
    for path in paths {
        let said = vm::tail(&path, LINES);
        if !said.is_empty() {
            detail.push_str(&format!("\n--- {}\n{said}", path.display()));
        }
    }
    Event::Fail { case, detail, ms }
}
