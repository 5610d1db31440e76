//! Whether the core's costs stay what they are while the number of fences and waiters grows: time
//! and memory of each, at one number and at another in turns.

mod core;
mod fences;
mod host;
mod waiters;

use fences::{Order, Pending};
use waiters::{Waiting, Who};

use crate::heap;
use crate::report::{Report, median};

/// Fences or waiters that are added or ended in a row. The smallest number is measured while there
/// are so many more, too.
const BLOCK: usize = 32;

pub(crate) const FENCES: [usize; 4] = [100, 1_000, 10_000, 50_000];
pub(crate) const WAITERS: [usize; 4] = [10, 100, 1_000, 10_000];

pub(crate) fn run(effort: usize) -> Vec<Report> {
    vec![time_of_fences(effort), time_of_waiters(effort), memory()]
}

/// Medians of the time to add and to end one, at each number.
fn in_turns<T>(
    effort: usize,
    all: &mut [T],
    add: fn(&mut T, usize) -> f64,
    end: fn(&mut T, usize) -> f64,
) -> Vec<[f64; 2]> {
    let mut times = vec![[Vec::new(), Vec::new()]; all.len()];
    for round in 0..=100 * effort {
        for (one, [adding, ending]) in all.iter_mut().zip(&mut times) {
            let took = [add(one, BLOCK), end(one, BLOCK)];
            if round > 0 {
                adding.push(took[0]);
                ending.push(took[1]);
            }
        }
    }
    let medians = times
        .iter_mut()
        .map(|both| both.each_mut().map(|all| median(all)));
    medians.collect()
}

fn rows(
    report: &mut Report,
    key: &str,
    what: &str,
    counts: [usize; 4],
    times: &[f64],
    aim: &'static str,
) {
    for (count, time) in counts.into_iter().zip(times) {
        report.row(
            &format!("{key}_{count}"),
            &format!("{what}, at {count}"),
            *time,
            "ns",
        );
    }
    let label = format!("{what}, at {} / at {}", counts[3], counts[0]);
    report.aimed(
        &format!("{key}_ratio"),
        &label,
        times[3] / times[0],
        "x",
        aim,
    );
}

fn time_of_fences(effort: usize) -> Report {
    let title = "A fence of the core among others that are pending, over 512 contexts";
    let mut report = Report::new("fences", title);
    for (order, key, name) in [
        (Order::OldestFirst, "oldest", "oldest first"),
        (Order::Any, "any", "in any order"),
    ] {
        let mut all = FENCES.map(|count| Pending::with(count, order, false));
        let times = in_turns(effort, &mut all, Pending::add, Pending::complete);
        all.into_iter().for_each(Pending::finish);
        for (nth, what) in [(0, "adding"), (1, "completing")] {
            let times: Vec<f64> = times.iter().map(|both| both[nth]).collect();
            let (key, what) = (format!("{what}_{key}"), format!("{what} ({name})"));
            let aim = "O(1), but for the caches";
            rows(&mut report, &key, &what, FENCES, &times, aim);
        }
    }
    report
}

fn time_of_waiters(effort: usize) -> Report {
    let mut report = Report::new(
        "waiters",
        "A waiter for a counter in memory among others, over 4096 counters",
    );
    for (who, key, name) in [
        (Who::Context, "context", "a context's"),
        (Who::Process, "process", "a host process'"),
    ] {
        let mut all = WAITERS.map(|count| Waiting::with(count, who));
        let times = in_turns(effort, &mut all, Waiting::add, Waiting::wake);
        all.into_iter().for_each(Waiting::finish);
        for (nth, what) in [(0, "adding"), (1, "waking")] {
            let times: Vec<f64> = times.iter().map(|both| both[nth]).collect();
            let (key, what) = (format!("{what}_{key}"), format!("{what} {name}"));
            rows(&mut report, &key, &what, WAITERS, &times, "O(1)");
        }
    }
    report
}

/// What the core keeps for each, its tables' spare room included.
fn memory() -> Report {
    let mut report = Report::new("core-memory", "Memory of the core");
    let kept = |count, cookies| {
        let mut pending = Pending::none(count, Order::OldestFirst, cookies);
        let before = heap::live();
        pending.fill(count);
        let bytes = (heap::live() - before) / count as f64;
        pending.finish();
        bytes
    };
    for count in FENCES {
        let label = format!("a pending fence and its wait, at {count}");
        let aim = "at most 256 with the shell's";
        report.aimed(
            &format!("fence_{count}"),
            &label,
            kept(count, false),
            "B",
            aim,
        );
    }
    let count = FENCES[3];
    let label = format!("the cookie of an EXPORT besides, at {count}");
    let cookie = kept(count, true) - kept(count, false);
    report.row("cookie", &label, cookie, "B");
    for (who, key, name) in [
        (Who::Context, "context", "a context's"),
        (Who::Process, "process", "a host process'"),
    ] {
        let count = WAITERS[3];
        let mut waiting = Waiting::none(count, who);
        let before = heap::live();
        waiting.fill(count);
        let bytes = (heap::live() - before) / count as f64;
        waiting.finish();
        let label = format!("a waiter for a counter, {name}, at {count}");
        report.row(&format!("waiter_{key}"), &label, bytes, "B");
    }
    report
}

/// What a process does whose instructions are counted.
#[derive(Clone, Copy)]
pub(crate) enum Walk {
    /// Adds and completes fences, in any order.
    Fences,
    /// Adds and wakes waiters of contexts.
    Waiters,
}

/// The process' part: so many times, among `count` others.
pub(crate) fn walk(what: Walk, count: usize, moves: usize) {
    let blocks = moves / BLOCK;
    match what {
        Walk::Fences => {
            let mut pending = Pending::with(count, Order::Any, false);
            for _ in 0..blocks {
                pending.add(BLOCK);
                pending.complete(BLOCK);
            }
        }
        Walk::Waiters => {
            let mut waiting = Waiting::with(count, Who::Context);
            for _ in 0..blocks {
                waiting.add(BLOCK);
                waiting.wake(BLOCK);
            }
        }
    }
}

/// Numbers without a pattern, the same in each run.
struct Random(u64);

impl Random {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}
