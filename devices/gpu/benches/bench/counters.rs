//! What the kernel and the processor count: system calls and instructions of each fenced command.

use perf_event::events::{Hardware, Tracepoint};
use perf_event::{Builder, Counter};
use stile_frontend::{Daemon, Options};

use crate::lane::Lane;
use crate::reference::Reference;
use crate::report::Report;
use crate::round_trip::fenced;
use crate::throughput::DEPTH;

/// A counter for each thread of a process.
pub(crate) struct Counters(Vec<Counter>);

impl Counters {
    /// System calls.
    ///
    /// # Errors
    /// Why the kernel does not count them, in words.
    pub(crate) fn system_calls(pid: u32) -> Result<Self, String> {
        Self::of_call(pid, "raw_syscalls", "sys_enter")
    }

    /// System calls of one kind, such as `ioctl`.
    ///
    /// # Errors
    /// As [`Counters::system_calls`].
    pub(crate) fn calls_of(pid: u32, name: &str) -> Result<Self, String> {
        Self::of_call(pid, "syscalls", &format!("sys_enter_{name}"))
    }

    fn of_call(pid: u32, group: &str, name: &str) -> Result<Self, String> {
        Self::new(pid, || {
            let path = format!("/sys/kernel/tracing/events/{group}/{name}/id");
            let id = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let id = id
                .trim()
                .parse()
                .map_err(|_| format!("{path} is no number"))?;
            let mut builder = Builder::new(Tracepoint::with_id(id));
            builder.exclude_kernel(false);
            Ok(builder)
        })
    }

    /// Instructions of the program itself.
    ///
    /// # Errors
    /// As [`Counters::system_calls`].
    pub(crate) fn instructions(pid: u32) -> Result<Self, String> {
        Self::new(pid, || Ok(Builder::new(Hardware::INSTRUCTIONS)))
    }

    fn new<'a>(
        pid: u32,
        builder: impl Fn() -> Result<Builder<'a>, String>,
    ) -> Result<Self, String> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("/proc");
        let tasks = tasks
            .flatten()
            .filter_map(|task| task.file_name().to_str()?.parse().ok());
        let counters = tasks.map(|task: i32| {
            let mut counter = builder()?
                .observe_pid(task)
                .build()
                .map_err(|error| format!("the kernel does not count them here: {error}"))?;
            counter.enable().map_err(|error| error.to_string())?;
            Ok(counter)
        });
        counters.collect::<Result<_, String>>().map(Self)
    }

    /// Counted so far.
    pub(crate) fn read(&mut self) -> f64 {
        let counts = self
            .0
            .iter_mut()
            .map(|counter| counter.read().expect("a counter"));
        counts.sum::<u64>() as f64
    }
}

/// All system calls of a process, and those that the data path makes by their names.
pub(crate) struct Calls {
    all: Counters,
    each: Vec<(&'static str, Counters)>,
}

impl Calls {
    /// # Errors
    /// As [`Counters::system_calls`].
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let names = [
            "ioctl",
            "poll",
            "ppoll",
            "epoll_wait",
            "epoll_pwait",
            "epoll_ctl",
            "timerfd_settime",
            "write",
            "close",
            "close_range",
        ];
        Ok(Self {
            all: Counters::system_calls(pid)?,
            each: names
                .into_iter()
                .filter_map(|name| Some((name, Counters::calls_of(pid, name).ok()?)))
                .collect(),
        })
    }

    /// How many there were, of each of so many commands, and which.
    pub(crate) fn each_of(&mut self, count: usize) -> (f64, String) {
        let of = |counted: f64| counted / count as f64;
        let named: Vec<String> = self
            .each
            .iter_mut()
            .map(|(name, counters)| (*name, of(counters.read())))
            .filter(|(_, calls)| *calls > 0.005)
            .map(|(name, calls)| format!("{name} {calls:.2}"))
            .collect();
        (of(self.all.read()), named.join(", "))
    }
}

pub(crate) fn run(effort: usize) -> Report {
    let mut report = Report::new("per-command", "Of each fenced command");
    let daemon = Daemon::start(Options::new(crate::DAEMON));
    let count = 20_000 * effort;
    for (depth, keys, aim) in [
        (1, ["stile_calls_1", "reference_calls_1"], None),
        (
            DEPTH,
            ["stile_calls_64", "reference_calls_64"],
            Some("none but the batch's own two"),
        ),
    ] {
        // It serves one front end.
        let reference = Reference::start();
        let devices = [
            ("stile-gpu", daemon.pid(), daemon.connect()),
            ("reference", reference.pid(), reference.connect()),
        ];
        for ((name, pid, vm), key) in devices.into_iter().zip(keys) {
            let mut lane = Lane::new(vm, &fenced(), depth);
            lane.rate(1000);
            let label = format!("{name}, system calls, {depth} in flight");
            match Counters::system_calls(pid) {
                Ok(mut counters) => {
                    lane.rate(count);
                    let calls = counters.read() / count as f64;
                    match aim.filter(|_| name == "stile-gpu") {
                        Some(aim) => report.aimed(key, &label, calls, "", aim),
                        None => report.row(key, &label, calls, ""),
                    }
                }
                Err(why) => report.missing(key, &label, why),
            }
            if depth == DEPTH {
                instructions(&mut report, name, pid, &mut lane, count);
            }
        }
    }
    report
}

fn instructions(report: &mut Report, name: &str, pid: u32, lane: &mut Lane, count: usize) {
    let key = match name {
        "stile-gpu" => "stile_instructions_64",
        _ => "reference_instructions_64",
    };
    let label = format!("{name}, instructions, {DEPTH} in flight");
    match Counters::instructions(pid) {
        Ok(mut counters) => {
            lane.rate(count);
            report.row(key, &label, counters.read() / count as f64, "");
        }
        Err(why) => report.missing(key, &label, why),
    }
}
