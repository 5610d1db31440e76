//! Instructions, counted by valgrind where the processor's own counters cannot be had: those of the
//! daemon for each command, and those of the core for a fence or a waiter among others.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use stile_frontend::gpu::{HOST3D, MAPPABLE, attach, create_blob, create_context, submit};
use stile_frontend::{Daemon, Options, Plan, Vm};
use stile_gpu::bridge::Client;
use stile_host::{Access, VgemGpu};
use stile_wire::gpu::types::RESP_OK_NODATA;
use stile_wire::sync::{self, CAPSET_ID, encode_export};

use crate::lane::Lane;
use crate::report::Report;
use crate::round_trip::fenced;
use crate::scale::{self, Walk};
use crate::throughput::DEPTH;

/// Whether there is valgrind; if not, the reports say so.
fn is_here() -> Result<(), String> {
    let version = Command::new("valgrind").arg("--version").output();
    version
        .map(|_| ())
        .map_err(|_| "install valgrind".to_owned())
}

pub(crate) fn run(daemon: &Path, effort: usize) -> Vec<Report> {
    vec![commands(daemon, effort), walks()]
}

fn commands(daemon: &Path, effort: usize) -> Report {
    let mut report = Report::new(
        "instructions",
        "Instructions of a fenced command (callgrind)",
    );
    let label = "stile-gpu, 64 in flight";
    if let Err(why) = is_here() {
        report.missing("stile", label, why);
        return report;
    }
    let rate = |commands| {
        of_daemon(daemon, &[], |vm, _| {
            Lane::new(vm, &fenced(), DEPTH).rate(commands);
        })
    };
    let each = difference(4000, 4000 * effort, rate);
    report.row("stile", label, each, "");
    report
}

/// What is done `more` times takes the difference of two runs: the start and the end are the same in
/// both.
fn difference(few: usize, more: usize, run: impl Fn(usize) -> f64) -> f64 {
    (run(few + more) - run(few)) / more as f64
}

/// Instructions of a whole run of the daemon.
fn of_daemon(daemon: &Path, words: &[&str], work: impl FnOnce(Vm, &Path)) -> f64 {
    let out = Out::new();
    let option = out.option();
    // It is connected already: valgrind may take longer to start than anybody waits for a socket.
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let options = Options::new(daemon).with(words).inheriting(theirs.into());
    let mut daemon =
        Daemon::start(options.under(&["valgrind", "--quiet", "--tool=callgrind", &option]));
    work(Vm::start(ours, Plan::default()), daemon.folder());
    daemon.wait_for_end();
    out.total()
}

/// Where callgrind writes.
struct Out(std::path::PathBuf);

impl Out {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("stile-callgrind-{}", std::process::id())))
    }

    fn option(&self) -> String {
        format!("--callgrind-out-file={}", self.0.display())
    }

    /// The sum over all functions.
    fn total(self) -> f64 {
        let text = std::fs::read_to_string(&self.0).expect("callgrind's file");
        let _gone = std::fs::remove_file(&self.0);
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        line.and_then(|count| count.trim().parse().ok())
            .expect("callgrind's sum")
    }
}

/// What the core executes while so many others are pending.
fn walks() -> Report {
    let mut report = Report::new(
        "scale-instructions",
        "Instructions of the core and the benchmark itself (callgrind)",
    );
    for (walk, counts, key, name, aim) in [
        (
            Walk::Fences,
            scale::FENCES,
            "fence",
            "adding and completing a fence, in any order",
            "O(1)",
        ),
        (
            Walk::Waiters,
            scale::WAITERS,
            "waiter",
            "adding and waking a waiter",
            "O(1)",
        ),
    ] {
        if let Err(why) = is_here() {
            report.missing(key, name, why);
            continue;
        }
        let taken = counts.map(|count| difference(256, 4096, |moves| of_walk(walk, count, moves)));
        for (count, taken) in counts.into_iter().zip(taken) {
            report.row(
                &format!("{key}_{count}"),
                &format!("{name}, at {count}"),
                taken,
                "",
            );
        }
        let label = format!("the same, at {} / at {}", counts[3], counts[0]);
        report.aimed(
            &format!("{key}_ratio"),
            &label,
            taken[3] / taken[0],
            "x",
            aim,
        );
    }
    report
}

/// Instructions of a whole run of this program.
fn of_walk(walk: Walk, count: usize, moves: usize) -> f64 {
    let out = Out::new();
    let role = match walk {
        Walk::Fences => "--role=walk-fences",
        Walk::Waiters => "--role=walk-waiters",
    };
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(out.option())
        .arg(std::env::current_exe().expect("this program"))
        .arg(role)
        .arg(format!("--count={count}"))
        .arg(format!("--moves={moves}"))
        .status()
        .expect("valgrind");
    assert!(status.success(), "valgrind failed");
    out.total()
}

/// The daemon's own instructions of an EXPORT, in the lab.
pub(crate) fn exports(daemon: &Path, effort: usize, gpu: &VgemGpu) -> Report {
    let mut report = Report::new(
        "export-instructions",
        "The daemon's own instructions, one command at a time (callgrind)",
    );
    for (key, label, export, busy) in [
        ("empty", "empty submission", false, false),
        ("idle", "EXPORT of an idle buffer", true, false),
        ("busy", "EXPORT of a busy buffer", true, true),
    ] {
        if let Err(why) = is_here() {
            report.missing(key, label, why);
            continue;
        }
        let run = |commands| {
            of_daemon(daemon, &["--bridge=bridge.sock"], |vm, folder| {
                one_by_one(vm, folder, export, busy.then_some(gpu), commands);
            })
        };
        report.row(key, label, difference(50, 20 * effort, run), "");
    }
    report
}

fn one_by_one(mut vm: Vm, folder: &Path, export: bool, busy: Option<&VgemGpu>, commands: usize) {
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&create_blob(1, HOST3D, MAPPABLE, 4096, &[]), RESP_OK_NODATA);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let bridge = Client::connect(&folder.join("bridge.sock")).expect("the bridge");
    let buffer = bridge.by_id(1).expect("the blob").buffer;
    let payload = encode_export(1, 0, 1, sync::Access::READ, 0);
    let payload = if export { &payload[..] } else { &[] };
    let mut lane = Lane::over(vm, &submit(1, payload).ring_fence(1, 0), 1);
    for _ in 0..commands {
        let fence = busy.map(|gpu| gpu.attach(&buffer, Access::WRITE).expect("a fence"));
        lane.send();
        if let Some(fence) = fence {
            lane.wait_taken();
            fence.signal().expect("a fence");
        }
        lane.wait_all();
    }
}
