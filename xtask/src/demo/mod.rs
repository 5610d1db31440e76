//! `cargo xtask demo`: fences cross from a real host to a real guest, and a person can watch.
//!
//! The guest's program (`guest-demo`) asks the host's helper (`host-gpu`) for work on its buffers,
//! has the fences of that work exported to it, and waits for them. It tells each moment as a line.

mod page;
mod story;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::host::Host;
use crate::hostvm::Job;
use crate::process::last_lines;
use crate::programs::with_lab;
use crate::progress::Progress;
use crate::setup::Kernel;
use crate::stile_lab::{self, Event};
use crate::supervise::Stream;
use crate::workspace::Workspace;
use story::{Fence, Story, human};

/// Longer than the machines take to boot and the scenes to play.
const BOUND: Duration = Duration::from_secs(240);

/// A line of `stile-lab demo`.
#[derive(Deserialize)]
#[serde(tag = "demo", rename_all = "lowercase")]
enum Line {
    /// A scene begins.
    Scene { title: String },
    /// The host has put a fence on a buffer, or left it idle.
    Made {
        name: String,
        ring: u8,
        work: String,
    },
    /// The guest has a fence of its own kernel for it.
    Crossed { name: String },
    /// The guest's program saw that fence signalled.
    Seen(Fence),
    /// That was all.
    End {
        clock_error_ns: u64,
        guest_kernel: String,
    },
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    fences: Vec<Fence>,
    /// Of each ring: when the host had done all of its work so far.
    done: BTreeMap<u8, u64>,
    end: Option<(u64, String)>,
    /// What was no [`Line`], for when something goes wrong.
    said: String,
}

/// Plays it, prints what happens, and draws `target/demo/fences.html`.
pub(crate) fn run(workspace: &Workspace, progress: &Progress) -> Result<ExitCode> {
    let (lab, programs) = with_lab(workspace, progress)?;
    let host = Host::choose(workspace, &lab, &programs, progress)?;
    let directory = workspace.target.join("demo");
    let logs = directory.join("logs");
    std::fs::create_dir_all(&logs)
        .with_context(|| format!("{} could not be made", logs.display()))?;
    let here = matches!(host, Host::Here);
    let words = stile_lab::command(&lab, &programs, Kernel::Stable, &logs, here, &["demo"])?;
    let job = Job {
        directory: workspace.root.clone(),
        words,
        environment: Vec::new(),
    };

    progress.say("booting the host and, on it, a guest with our device");
    let heard = Mutex::new(Heard::default());
    let status = host.run(&job, BOUND, &|stream, line| {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match (
            stream,
            serde_json::from_str(line),
            serde_json::from_str(line),
        ) {
            (Stream::Stdout, Ok(line), _) => heard.hear(line, progress),
            (Stream::Stdout, _, Ok(Event::Again { detail, .. })) => {
                progress.say(format!(
                    "{detail} (docs/adr/0006). Once more from the beginning:"
                ));
                let said = std::mem::take(&mut heard.said);
                *heard = Heard {
                    said,
                    ..Heard::default()
                };
            }
            _ => heard.said.push_str(&format!("{line}\n")),
        }
    });
    let heard = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (Ok(0), Some((clock_error_ns, guest_kernel))) = (&status, heard.end) else {
        let how = match status {
            Ok(status) => format!("it ended with status {status}"),
            Err(error) => format!("{error:#}"),
        };
        bail!(
            "The demo did not come to its end: {how}. Logs are in {}.\n{}",
            logs.display(),
            last_lines(&heard.said, 40),
        );
    };
    let host_kernel = host.kernel_version()?;
    let mut fences = heard.fences;
    fences.sort_by_key(|fence| fence.taken_ns);
    let story = Story {
        fences,
        clock_error_ns,
        guest_kernel,
        host_kernel,
        emulated: !here,
    };
    let picture = directory.join("fences.html");
    std::fs::write(&picture, page::render(&story))
        .with_context(|| format!("{} could not be written", picture.display()))?;
    conclude(&story);
    println!("\nThe picture of the timelines: {}", picture.display());
    Ok(if story.summary().holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Heard {
    /// Remembers a line and shows it.
    fn hear(&mut self, line: Line, progress: &Progress) {
        match line {
            Line::Scene { title } => progress.say(bold(&title)),
            Line::Made { name, ring, work } => {
                progress.say(format!("  host   {name:<16} ring {ring:<2}  {work}"));
            }
            Line::Crossed { name } => {
                progress.say(format!(
                    "  guest  {name:<16} has a fence of its own kernel for it"
                ));
            }
            Line::Seen(fence) => {
                let done = self.done.entry(fence.ring).or_default();
                let own = fence.signalled_ns.unwrap_or(fence.done_ns);
                progress.say(seen(&fence, *done > own));
                *done = own.max(*done);
                self.fences.push(fence);
            }
            Line::End {
                clock_error_ns,
                guest_kernel,
            } => {
                self.end = Some((clock_error_ns, guest_kernel));
            }
        }
    }
}

/// A fence has come to its end, for a person.
fn seen(fence: &Fence, held: bool) -> String {
    let how = match (fence.seen_ns, fence.signalled_ns) {
        (None, _) => "was never signalled: LOST".to_owned(),
        (Some(_), _) if fence.errno != 0 => {
            format!(
                "answered by its deadline, the status says errno {}",
                fence.errno
            )
        }
        (Some(_), Some(_)) if held => {
            "signalled; it was held for the fence before it on its ring".to_owned()
        }
        (Some(seen), Some(signalled)) => format!(
            "signalled, seen {} after the host's signal",
            human(seen.saturating_sub(signalled))
        ),
        (Some(seen), None) => {
            format!(
                "signalled, seen {} after it was asked",
                human(seen.saturating_sub(fence.taken_ns))
            )
        }
    };
    format!("  guest  {:<16} {how}", fence.name)
}

/// The verdict, as the page has it.
fn conclude(story: &Story) {
    let summary = story.summary();
    let mark = |broken: usize| if broken == 0 { "✓" } else { "✗" };
    println!();
    println!("{}", bold("Summary"));
    println!(
        "  {} fences crossed, {} of them with work to wait for, {} answered by a deadline",
        summary.crossed, summary.waited, summary.by_deadline
    );
    println!(
        "  {} never early         {} early",
        mark(summary.early),
        summary.early
    );
    println!(
        "  {} never lost          {} lost",
        mark(summary.lost),
        summary.lost
    );
    println!(
        "  {} never out of order  {} out of order",
        mark(summary.out_of_order),
        summary.out_of_order
    );
    println!(
        "  host signal to guest program: {} median, {} at most ({}the guest's clock is known to {})",
        human(summary.latency_p50_ns),
        human(summary.latency_max_ns),
        if story.emulated {
            "emulated machines; "
        } else {
            ""
        },
        human(story.clock_error_ns),
    );
}

fn bold(text: &str) -> String {
    if std::io::stderr().is_terminal() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
