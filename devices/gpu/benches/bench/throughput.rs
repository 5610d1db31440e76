//! Many fenced commands in flight.

use stile_frontend::{Daemon, Options};

use crate::lane::Lane;
use crate::reference::Reference;
use crate::report::{Report, median, quantile};
use crate::round_trip::fenced;

/// Commands in flight.
pub(crate) const DEPTH: u16 = 64;

/// Commands in a block.
const BLOCK: usize = 300_000;

pub(crate) fn run(effort: usize) -> Report {
    let daemon = Daemon::start(Options::new(crate::DAEMON));
    let reference = Reference::start();
    let mut stile = Lane::new(daemon.connect(), &fenced(), DEPTH);
    let mut minimal = Lane::new(reference.connect(), &fenced(), DEPTH);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=2 * effort {
        let pair = (stile.rate(BLOCK), minimal.rate(BLOCK));
        if round > 0 {
            ours.push(pair.0 / 1e6);
            theirs.push(pair.1 / 1e6);
            ratios.push(pair.0 / pair.1);
        }
    }
    let mut report = Report::new("throughput", "Fenced commands with 64 in flight");
    let unit = "M/s";
    report.aimed(
        "stile",
        "stile-gpu, median",
        median(&mut ours),
        unit,
        "over 1.5",
    );
    report.row(
        "stile_best",
        "stile-gpu, best",
        quantile(&mut ours, 1.0),
        unit,
    );
    let name = "vhost-user-backend, OK only";
    let label = format!("{name}, median");
    report.row("reference", &label, median(&mut theirs), unit);
    let label = format!("{name}, best");
    report.row("reference_best", &label, quantile(&mut theirs, 1.0), unit);
    let label = "stile-gpu / reference, median of the rounds";
    report.row("ratio", label, median(&mut ratios), "x");
    report
}
