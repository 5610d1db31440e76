//! The system calls of 64 EXPORTs at once.

use stile_frontend::gpu::{Command, HOST3D, MAPPABLE, attach, create_blob, create_context, submit};
use stile_frontend::{Daemon, Options};
use stile_gpu::bridge::Client;
use stile_host::{Access, DmaBuf, VgemGpu};
use stile_wire::gpu::types::RESP_OK_NODATA;
use stile_wire::sync::{self, CAPSET_ID, encode_export};

use crate::counters::Calls;
use crate::lane::Lane;
use crate::report::Report;

/// EXPORTs of a batch.
const BATCH: usize = 64;

pub(crate) fn run(effort: usize, gpu: &VgemGpu) -> Report {
    let mut report = Report::new("batch", "System calls of 64 EXPORTs at once");
    let export = encode_export(1, 0, 1, sync::Access::READ, 0);
    let one = submit(1, &export).ring_fence(1, 0);
    let many = submit(1, &export.repeat(BATCH)).ring_fence(1, 0);
    for (command, depth, key, name) in [
        (many, 1, "operations", "64 operations in one submission"),
        (one, BATCH, "submissions", "64 submissions with one kick"),
    ] {
        for (busy, state) in [(false, "idle"), (true, "busy")] {
            let label = format!("{name}, {state} buffer");
            let key = format!("{key}_{state}");
            match count(effort, gpu, &command, depth, busy) {
                Ok((calls, named)) => {
                    let label = format!("{label} ({named})");
                    report.aimed(&key, &label, calls, "", "64 ioctls + O(1)");
                }
                Err(why) => report.missing(&key, &label, why),
            }
        }
    }
    report
}

/// The calls of a batch, and which they are.
fn count(
    effort: usize,
    gpu: &VgemGpu,
    command: &Command,
    depth: usize,
    busy: bool,
) -> Result<(f64, String), String> {
    let daemon = Daemon::start(Options::new(crate::DAEMON).with(&["--bridge=bridge.sock"]));
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&create_blob(1, HOST3D, MAPPABLE, 4096, &[]), RESP_OK_NODATA);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let bridge = Client::connect(&daemon.folder().join("bridge.sock")).expect("the bridge");
    let buffer = bridge.by_id(1).expect("the blob").buffer;
    let mut lane = Lane::over(vm, command, depth as u16);
    wave(&mut lane, gpu, &buffer, depth, busy);
    let mut calls = Calls::of(daemon.pid())?;
    let count = 4 * effort;
    for _ in 0..count {
        wave(&mut lane, gpu, &buffer, depth, busy);
    }
    Ok(calls.each_of(count))
}

fn wave(lane: &mut Lane, gpu: &VgemGpu, buffer: &DmaBuf, depth: usize, busy: bool) {
    let fence = busy.then(|| gpu.attach(buffer, Access::WRITE).expect("a fence"));
    lane.burst(depth);
    if let Some(fence) = fence {
        lane.wait_taken();
        fence.signal().expect("a fence");
    }
    lane.wait_all();
}
