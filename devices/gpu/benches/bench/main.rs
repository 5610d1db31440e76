//! How fast the daemon is, beside the least that anything could be: `cargo xtask bench`.
//!
//! Everything that is compared is measured in the same run, a block of one, a block of the other,
//! so that a noisy machine disturbs both alike. The figures that count are ratios, and medians over
//! the rounds. The results go to the terminal and, as JSON, to the folder of `--out`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a benchmark may panic"
)]

mod batch;
mod callgrind;
mod counters;
mod crowd;
mod echo;
mod futexes;
mod heap;
mod lab;
mod lane;
mod machine;
mod memory_fences;
mod reference;
mod report;
mod round_trip;
mod scale;
mod throughput;

use std::path::PathBuf;

use clap::Parser;
use echo::Sleep;
use scale::Walk;

/// So that memory can be counted.
#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// The daemon that is measured.
const DAEMON: &str = env!("CARGO_BIN_EXE_stile-gpu");

#[derive(Parser)]
struct Cli {
    /// Where the JSON files go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// How many rounds, in tenths of what the figures need; 1 shows that it works
    #[arg(long, default_value_t = 10)]
    effort: usize,
    /// Only the part with this name: round-trip, throughput, per-command, memory-fences or scale,
    /// in the lab per-command, export, batch, memory-fences or crowd; with --callgrind also
    /// instructions
    #[arg(long)]
    only: Option<String>,
    /// What needs real dma-bufs, and nothing else
    #[arg(long)]
    lab: bool,
    /// Count instructions with valgrind's callgrind, of this daemon: one that was built with
    /// `--cfg rustix_use_libc`, since valgrind has no vDSO
    #[arg(long, value_name = "DAEMON")]
    callgrind: Option<PathBuf>,
    /// The part of a helper process
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// For the reference device
    #[arg(long, hide = true)]
    socket: Option<PathBuf>,
    /// Fences or waiters beside those whose instructions are counted
    #[arg(long, hide = true, default_value_t = 0)]
    count: usize,
    /// How many are counted
    #[arg(long, hide = true, default_value_t = 0)]
    moves: usize,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    Echo,
    EchoEpoll,
    EchoNested,
    EchoFutex,
    EchoFutexes,
    Reference,
    Loop,
    WalkFences,
    WalkWaiters,
}

fn main() {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Echo) => return echo::serve(Sleep::Read),
        Some(Role::EchoEpoll) => return echo::serve(Sleep::Epoll),
        Some(Role::EchoNested) => return echo::serve(Sleep::Nested),
        Some(Role::EchoFutex) => return futexes::serve(futexes::Sleep::One),
        Some(Role::EchoFutexes) => return futexes::serve(futexes::Sleep::Many),
        Some(Role::Loop) => return lab::serve_loop(),
        Some(Role::Reference) => return reference::serve(&cli.socket.expect("a socket")),
        Some(Role::WalkFences) => return scale::walk(Walk::Fences, cli.count, cli.moves),
        Some(Role::WalkWaiters) => return scale::walk(Walk::Waiters, cli.count, cli.moves),
        None => {}
    }
    let effort = cli.effort.max(1);
    let mut reports = Vec::new();
    let wanted = |name| cli.only.as_deref().is_none_or(|only| only == name);
    if cli.lab {
        let gpu = stile_host::VgemGpu::find().expect("vgem");
        if wanted("per-command") {
            // This kernel counts system calls, and is slow.
            reports.push(counters::run(effort.div_ceil(10)));
        }
        if wanted("export") {
            reports.extend(lab::run(effort, &gpu));
        }
        if wanted("batch") {
            reports.push(batch::run(effort, &gpu));
        }
        if wanted("memory-fences") {
            reports.push(memory_fences::in_lab(effort));
        }
        if wanted("crowd") {
            reports.extend(crowd::run(effort, &gpu));
        }
        if let Some(daemon) = cli.callgrind.as_ref().filter(|_| wanted("instructions")) {
            reports.push(callgrind::exports(daemon, effort, &gpu));
        }
    } else {
        if wanted("round-trip") {
            reports.push(round_trip::run(effort));
        }
        if wanted("throughput") {
            reports.push(throughput::run(effort));
        }
        if wanted("per-command") {
            reports.push(counters::run(effort));
        }
        if wanted("memory-fences") {
            reports.push(memory_fences::run(effort));
        }
        if wanted("scale") {
            reports.extend(scale::run(effort));
        }
        if let Some(daemon) = cli.callgrind.as_ref().filter(|_| wanted("instructions")) {
            reports.extend(callgrind::run(daemon, effort));
        }
    }
    let machine = machine::describe();
    for report in &reports {
        report.print();
        report.write(&cli.out, &machine);
    }
    println!("{machine}");
    println!("The same as JSON is in {}.", cli.out.display());
}
