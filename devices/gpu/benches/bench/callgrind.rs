//! Instructions of each fenced command, counted by valgrind where the processor's own counters
//! cannot be had.

use std::path::Path;
use std::process::Command;

use stile_frontend::{Daemon, Options};

use crate::lane::Lane;
use crate::report::Report;
use crate::round_trip::fenced;
use crate::throughput::DEPTH;

pub(crate) fn run(daemon: &Path, effort: usize) -> Report {
    let mut report = Report::new(
        "instructions",
        "Instructions of a fenced command (callgrind)",
    );
    let label = "stile-gpu, 64 in flight";
    if Command::new("valgrind").arg("--version").output().is_err() {
        report.missing("stile", label, "install valgrind".to_owned());
        return report;
    }
    // What the start and the end take is the same in both.
    let (short, long) = (4000, 4000 + 4000 * effort);
    let difference = count(daemon, long) - count(daemon, short);
    report.row("stile", label, difference / (long - short) as f64, "");
    report
}

/// Instructions of a whole run of the daemon.
fn count(daemon: &Path, commands: usize) -> f64 {
    let file = std::env::temp_dir().join(format!("stile-callgrind-{}", std::process::id()));
    let out = format!("--callgrind-out-file={}", file.display());
    let mut daemon = Daemon::start(Options::new(daemon).with(&["--once"]).under(&[
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        &out,
    ]));
    let mut lane = Lane::new(daemon.connect(), &fenced(), DEPTH);
    lane.rate(commands);
    drop(lane);
    daemon.wait_for_end();
    let total = total(&file);
    let _gone = std::fs::remove_file(&file);
    total
}

/// The sum over all functions.
fn total(file: &Path) -> f64 {
    let text = std::fs::read_to_string(file).expect("callgrind's file");
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    line.and_then(|count| count.trim().parse().ok())
        .expect("callgrind's sum")
}
