//! Many real fences at once, watched by a daemon in this process, whose memory is counted.

use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, setrlimit};
use stile_core::Limits;
use stile_frontend::gpu::{HOST3D, MAPPABLE, attach, create_blob, create_context, submit};
use stile_frontend::{Plan, Vm};
use stile_gpu::bridge::Client;
use stile_gpu::{Config, Endpoint, SyncobjChoice};
use stile_host::{Access, DmaBuf, VgemGpu};
use stile_wire::gpu::types::RESP_OK_NODATA;
use stile_wire::sync::{self, CAPSET_ID, encode_export};

use crate::heap;
use crate::lane::Lane;
use crate::report::{Report, median};

/// Pending fences. There are no more of a daemon: a queue has at most 32768 descriptors, of which
/// 3/8 may be pending, which is 12288.
const COUNTS: [usize; 3] = [100, 1_000, 10_000];

/// Contexts that they are spread over, as many as in the core's figures.
const CONTEXTS: u32 = 512;

/// The ring of each context that the fences are on.
const RING: u8 = 1;

/// Descriptors that this process may have: two for each fence, and some more.
const DESCRIPTORS: u64 = 32768;

/// A daemon's thread, and a guest with a blob that it shares with the host and has in many contexts.
struct Crowd {
    lane: Lane,
    buffer: DmaBuf,
    folder: PathBuf,
    thread: JoinHandle<stile_gpu::Result<()>>,
}

impl Crowd {
    /// For so many EXPORTs at once, over all contexts in turn, each with a cookie or without.
    fn new(depth: usize, cookies: bool) -> Self {
        let folder = std::env::temp_dir().join(format!("stile-crowd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let bridge = folder.join("bridge.sock");
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let config = Config {
            endpoint: Endpoint::Fd(theirs.into_raw_fd()),
            bridge: Some(bridge.clone()),
            allocator: Some("udmabuf".parse().expect("an allocator")),
            syncobjs: SyncobjChoice::None,
            limits: Limits {
                pending_fences: u32::MAX,
                cookies: u32::MAX,
                fds: u32::MAX,
                ..Limits::default()
            },
            once: true,
        };
        let thread = std::thread::spawn(move || stile_gpu::serve(&config));
        let plan = Plan {
            control_size: 32768,
            ..Plan::default()
        };
        let mut vm = Vm::start(ours, plan);
        vm.expect(&create_blob(1, HOST3D, MAPPABLE, 4096, &[]), RESP_OK_NODATA);
        for context in 1..=CONTEXTS {
            vm.expect(&create_context(context, CAPSET_ID), RESP_OK_NODATA);
            vm.expect(&attach(context, 1), RESP_OK_NODATA);
            // A ring is made by its first fence and stays, so it is not counted as the next one's.
            let first = submit(context, &[]).ring_fence(RING, 0);
            vm.expect(&first, RESP_OK_NODATA);
        }
        let bridge = Client::connect(&bridge).expect("the bridge");
        let buffer = bridge.by_id(1).expect("the blob").buffer;
        let export = |head: u16| {
            let context = u32::from(head) % CONTEXTS + 1;
            let cookie = if cookies { u64::from(head) + 1 } else { 0 };
            let export = encode_export(RING, 0, 1, sync::Access::READ, cookie);
            submit(context, &export).ring_fence(RING, 0)
        };
        Self {
            lane: Lane::of_many(vm, export, depth as u16),
            buffer,
            folder,
            thread,
        }
    }

    /// Has so many fences pending, and then all of them signalled. Gives the nanoseconds that each
    /// took to be added and to be completed, and the bytes that the daemon kept for it.
    fn wave(&mut self, gpu: &VgemGpu, count: usize) -> [f64; 3] {
        let fence = gpu.attach(&self.buffer, Access::WRITE).expect("a fence");
        let before = heap::live();
        let begin = Instant::now();
        self.lane.burst(count);
        self.lane.wait_taken();
        let added = begin.elapsed().as_nanos() as f64;
        let kept = heap::live() - before;
        let begin = Instant::now();
        fence.signal().expect("a fence");
        self.lane.wait_all();
        // The daemon closes what has ended before it takes this up.
        self.lane.burst(1);
        self.lane.wait_all();
        let completed = begin.elapsed().as_nanos() as f64;
        [added, completed, kept].map(|all| all / count as f64)
    }

    fn end(self) {
        drop(self.lane);
        let ended = self.thread.join().expect("the daemon's thread");
        ended.expect("a clean end");
        let _gone = std::fs::remove_dir_all(self.folder);
    }
}

pub(crate) fn run(effort: usize, gpu: &VgemGpu) -> Vec<Report> {
    let limit = Some(DESCRIPTORS);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::Nofile, limit).expect("root may");
    vec![memory(gpu), time(effort, gpu)]
}

fn memory(gpu: &VgemGpu) -> Report {
    let mut report = Report::new(
        "daemon-memory",
        "Memory of the daemon for a pending fence over 512 contexts, besides the kernel's",
    );
    let kept = |count, cookies| {
        let mut crowd = Crowd::new(count, cookies);
        let [_, _, kept] = crowd.wave(gpu, count);
        crowd.end();
        kept
    };
    for (cookies, key, name) in [
        (false, "export", "without a cookie"),
        (true, "cookie", "with a cookie"),
    ] {
        for count in COUNTS {
            let label = format!("an EXPORT's, {name}, at {count}");
            let key = format!("{key}_{count}");
            report.aimed(&key, &label, kept(count, cookies), "B", "at most 256");
        }
    }
    report
}

fn time(effort: usize, gpu: &VgemGpu) -> Report {
    let title =
        "A fence of the daemon among others that are pending and watched, over 512 contexts";
    let mut report = Report::new("watched-fences", title);
    let mut crowd = Crowd::new(COUNTS[2], false);
    let mut times = COUNTS.map(|_| [Vec::new(), Vec::new()]);
    for round in 0..=effort.div_ceil(2) {
        for (count, times) in COUNTS.into_iter().zip(&mut times) {
            for _ in 0..(COUNTS[2] / count).min(10) {
                let [added, completed, _] = crowd.wave(gpu, count);
                if round > 0 {
                    times[0].push(added);
                    times[1].push(completed);
                }
            }
        }
    }
    crowd.end();
    for (nth, what) in [(0, "adding"), (1, "completing")] {
        let medians = times.each_mut().map(|both| median(&mut both[nth]));
        for (count, time) in COUNTS.into_iter().zip(medians) {
            let label = format!("{what}, {count} at once");
            report.row(&format!("{what}_{count}"), &label, time / 1000.0, "us");
        }
        let label = format!("{what}, {} at once / {} at once", COUNTS[2], COUNTS[0]);
        let key = format!("{what}_ratio");
        report.aimed(&key, &label, medians[2] / medians[0], "x", "O(1)");
    }
    report
}
