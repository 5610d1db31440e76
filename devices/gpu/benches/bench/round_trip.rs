//! One fenced command at a time.

use stile_frontend::gpu::{Command, submit};
use stile_frontend::{Daemon, Options};

use crate::echo::{Echo, Sleep};
use crate::lane::Lane;
use crate::reference::Reference;
use crate::report::{Report, median, quantile};

/// Round trips in a block.
const BLOCK: usize = 2000;

/// An empty submission with a fence on ring 1.
pub(crate) fn fenced() -> Command {
    submit(1, &[]).ring_fence(1, 0)
}

pub(crate) fn run(effort: usize) -> Report {
    let daemon = Daemon::start(Options::new(crate::DAEMON));
    let reference = Reference::start();
    let [echo, epoll, nested] = [Sleep::Read, Sleep::Epoll, Sleep::Nested].map(Echo::start);
    let mut stile = Lane::new(daemon.connect(), &fenced(), 1);
    let mut minimal = Lane::new(reference.connect(), &fenced(), 1);
    let mut all: [Vec<f64>; 5] = Default::default();
    let mut ratios: [Vec<f64>; 5] = Default::default();
    let mut tails: [Vec<f64>; 5] = Default::default();
    for round in 0..4 * effort {
        let mut blocks = [
            echo.block(BLOCK),
            stile.block(BLOCK),
            minimal.block(BLOCK),
            epoll.block(BLOCK),
            nested.block(BLOCK),
        ];
        if round == 0 {
            // Everything is cold.
            continue;
        }
        let base = median(&mut blocks[0]);
        for (ratios, block) in ratios.iter_mut().zip(&mut blocks) {
            ratios.push(median(block) / base);
        }
        let base = quantile(&mut blocks[0], 0.99);
        for (tails, block) in tails.iter_mut().zip(&mut blocks) {
            tails.push(quantile(block, 0.99) / base);
        }
        for (all, block) in all.iter_mut().zip(blocks) {
            all.extend(block);
        }
    }
    let mut report = Report::new("round-trip", "A fenced command's round trip, one at a time");
    let names = [
        (
            "ping_pong_p50",
            "ping_pong_p99",
            "two eventfds, two processes",
        ),
        ("stile_p50", "stile_p99", "stile-gpu"),
        (
            "reference_p50",
            "reference_p99",
            "vhost-user-backend, OK only",
        ),
    ];
    for ((p50, p99, name), all) in names.into_iter().zip(&mut all) {
        let label = format!("{name}, p50");
        report.row(p50, &label, quantile(all, 0.5) / 1000.0, "us");
        let label = format!("{name}, p99");
        report.row(p99, &label, quantile(all, 0.99) / 1000.0, "us");
    }
    let [_, ours, theirs, epoll, nested] = ratios.each_mut().map(|ratios| median(ratios));
    let label = "stile-gpu / ping-pong, median of the rounds' p50";
    report.aimed("stile_ratio", label, ours, "x", "at most 1.1");
    report.row("reference_ratio", "reference / ping-pong", theirs, "x");
    let [_, ours, theirs, _, _] = tails.each_mut().map(|tails| median(tails));
    let label = "stile-gpu / ping-pong, median of the rounds' p99";
    report.aimed("stile_p99_ratio", label, ours, "x", "at most 1.1");
    let label = "reference / ping-pong, the same";
    report.row("reference_p99_ratio", label, theirs, "x");
    let label = "ping-pong with an epoll set / without";
    report.row("epoll_ratio", label, epoll, "x");
    let label = "ping-pong with an epoll set in another / without";
    report.row("nested_ratio", label, nested, "x");
    report
}
