//! What needs real dma-bufs: from a host fence's signal to the used ring, and what an EXPORT costs.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use stile_frontend::gpu::{HOST3D, MAPPABLE, attach, create_blob, create_context, submit};
use stile_frontend::{Daemon, Options};
use stile_gpu::bridge::Client;
use stile_host::{Access, DmaBuf, SyncFile, VgemGpu};
use stile_wire::gpu::types::RESP_OK_NODATA;
use stile_wire::sync::{self, CAPSET_ID, encode_export};

use crate::counters::Calls;
use crate::echo::{sleep, tell};
use crate::lane::Lane;
use crate::report::{Report, median, quantile};
use crate::round_trip::fenced;

/// The smallest loop: a process that waits in epoll for a sync_file and tells an eventfd.
struct Loop {
    socket: UnixStream,
    back: OwnedFd,
    child: Child,
}

impl Loop {
    fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a socket pair");
        let back = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg("--role=loop")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(back.try_clone().expect("a descriptor")))
            .spawn()
            .expect("this program");
        Self {
            socket,
            back,
            child,
        }
    }

    /// Hands it a fence, and waits until it watches it.
    fn watch(&self, fence: &SyncFile) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fence.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let bytes = [IoSlice::new(&[1])];
        sendmsg(&self.socket, &bytes, &mut control, SendFlags::empty()).expect("a socket");
        sleep(&self.back);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The process' part: each descriptor from standard input is watched, then told, then forgotten.
pub(crate) fn serve_loop() {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let stdin = std::io::stdin();
        let received = recvmsg(&stdin, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC);
        if received.is_ok_and(|received| received.bytes == 0) {
            return;
        }
        let fence = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let fence = fence.expect("a fence");
        let token = epoll::EventData::new_u64(1);
        epoll::add(&set, &fence, token, epoll::EventFlags::IN).expect("a fence");
        tell(std::io::stdout());
        let mut events = [MaybeUninit::uninit(); 16];
        epoll::wait(&set, &mut events, None).expect("an epoll set");
        tell(std::io::stdout());
    }
}

pub(crate) fn run(effort: usize, gpu: &VgemGpu) -> Vec<Report> {
    let daemon = Daemon::start(Options::new(crate::DAEMON).with(&["--bridge=bridge.sock"]));
    let mut vm = daemon.connect();
    vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&create_blob(1, HOST3D, MAPPABLE, 4096, &[]), RESP_OK_NODATA);
    vm.expect(&attach(1, 1), RESP_OK_NODATA);
    let bridge = Client::connect(&daemon.folder().join("bridge.sock")).expect("the bridge");
    let buffer = bridge.by_id(1).expect("the blob").buffer;
    let export = encode_export(1, 0, 1, sync::Access::READ, 0);
    let export = submit(1, &export).ring_fence(1, 0);
    let mut lane = Lane::over(vm, &export, 1);
    let signals = signals(effort, &mut lane, &buffer, gpu);
    let costs = costs(effort, lane, &daemon, &buffer, gpu);
    vec![signals, costs]
}

/// From the moment before a fence is signalled to the moment when whoever waits has heard of it.
fn signals(effort: usize, lane: &mut Lane, buffer: &DmaBuf, gpu: &VgemGpu) -> Report {
    let smallest = Loop::start();
    let (mut ours, mut least, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=4 * effort {
        let (mut stile, mut epoll) = (Vec::new(), Vec::new());
        for _ in 0..25 {
            let fence = gpu.fence().expect("a fence");
            smallest.watch(fence.sync_file());
            let begin = Instant::now();
            fence.signal().expect("a fence");
            sleep(&smallest.back);
            epoll.push(begin.elapsed().as_nanos() as f64 / 1000.0);

            let fence = gpu.attach(buffer, Access::WRITE).expect("a fence");
            lane.send();
            lane.wait_taken();
            let begin = Instant::now();
            fence.signal().expect("a fence");
            lane.wait_all();
            stile.push(begin.elapsed().as_nanos() as f64 / 1000.0);
        }
        if round > 0 {
            ratios.push(median(&mut stile.clone()) / median(&mut epoll.clone()));
            ours.extend(stile);
            least.extend(epoll);
        }
    }
    let mut report = Report::new(
        "signal",
        "From a host fence's signal to whoever waits for it",
    );
    for (p50, p99, name, values) in [
        (
            "loop_p50",
            "loop_p99",
            "the smallest epoll loop",
            &mut least,
        ),
        (
            "stile_p50",
            "stile_p99",
            "stile-gpu's used ring and call",
            &mut ours,
        ),
    ] {
        let label = format!("{name}, p50");
        report.row(p50, &label, quantile(values, 0.5), "us");
        let label = format!("{name}, p99");
        report.row(p99, &label, quantile(values, 0.99), "us");
    }
    let label = "stile-gpu / smallest loop, median of the rounds' p50";
    report.row("ratio", label, median(&mut ratios), "x");
    report
}

/// What an EXPORT takes beyond an empty submission.
fn costs(
    effort: usize,
    mut export: Lane,
    daemon: &Daemon,
    buffer: &DmaBuf,
    gpu: &VgemGpu,
) -> Report {
    let mut report = Report::new("export", "What an EXPORT takes");
    let count = 200 * effort;
    let calls = |lane: &mut Lane, busy: bool| {
        let mut calls = Calls::of(daemon.pid())?;
        for _ in 0..count {
            if busy {
                let fence = gpu.attach(buffer, Access::WRITE).expect("a fence");
                lane.send();
                lane.wait_taken();
                fence.signal().expect("a fence");
            } else {
                lane.send();
            }
            lane.wait_all();
        }
        Ok::<_, String>(calls.each_of(count))
    };
    for (key, busy, name) in [
        (
            "idle_calls",
            false,
            "idle buffer, one at a time, system calls",
        ),
        (
            "busy_calls",
            true,
            "busy buffer, one at a time, system calls",
        ),
    ] {
        match calls(&mut export, busy) {
            Ok((calls, named)) => {
                report.row(key, &format!("{name} ({named})"), calls, "");
            }
            Err(why) => report.missing(key, name, why),
        }
    }
    // A daemon serves one front end at a time.
    let other = Daemon::start(Options::new(crate::DAEMON));
    let mut empty = Lane::new(other.connect(), &fenced(), 1);
    let (mut exported, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort {
        let mut pair = [export.block(200), empty.block(200)];
        if round > 0 {
            ratios.push(median(&mut pair[0]) / median(&mut pair[1]));
            exported.append(&mut pair[0]);
            bare.append(&mut pair[1]);
        }
    }
    let mut row = |key, label, values: &mut [f64]| {
        report.row(key, label, median(values) / 1000.0, "us");
    };
    row("idle_us", "idle buffer, round trip, p50", &mut exported);
    row("empty_us", "empty submission, round trip, p50", &mut bare);
    let label = "idle EXPORT / empty submission, median of the rounds";
    report.row("idle_ratio", label, median(&mut ratios), "x");
    report
}
