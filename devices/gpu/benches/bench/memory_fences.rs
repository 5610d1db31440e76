//! Memory fences through the daemon: how long a signal takes to the other side, and what many
//! waiters take besides their memory.

use std::time::Instant;

use stile_frontend::gpu::{Command, GUEST, attach, create_blob, create_context, submit};
use stile_frontend::{Daemon, Options, Plan, Vm};
use stile_gpu::bridge::{Client, ResourceName};
use stile_wire::gpu::types::{RESP_ERR_OUT_OF_MEMORY, RESP_OK_NODATA};
use stile_wire::sync::{CAPSET_ID, Op};

use crate::echo::{Echo, Sleep};
use crate::futexes;
use crate::lane::Lane;
use crate::report::{Report, median, quantile};

/// The blob with the counters, and its bytes: 4096 counters.
const COUNTERS: u32 = 1;
const BYTES: u64 = 8 * 4096;
/// The blob with the event ring.
const EVENTS: u32 = 2;
const EVENTS_BYTES: u32 = 65536;

/// Longer than the measurement, in nanoseconds.
const LONG: u64 = 60_000_000_000;

/// Signals in a block.
const BLOCK: usize = 500;

/// Waiters at once.
const WAITERS: u64 = 10_000;

/// A daemon, and a guest with counters and an event ring in its own pages.
struct Rig {
    daemon: Daemon,
    client: Client,
}

impl Rig {
    fn new() -> (Self, Vm) {
        let daemon = Daemon::start(Options::new(crate::DAEMON).with(&["--bridge=bridge.sock"]));
        let mut vm = daemon.connect_with(Plan {
            sealable: false,
            ..Plan::default()
        });
        let pages: Vec<_> = (0..BYTES / 4096).map(|_| vm.room(4096)).collect();
        let events = vm.room(EVENTS_BYTES);
        let bind = Op::Events {
            resource_id: EVENTS,
            offset: 0,
            size: EVENTS_BYTES.into(),
        };
        for command in [
            create_context(1, CAPSET_ID),
            create_blob(COUNTERS, GUEST, 0, BYTES, &pages),
            create_blob(EVENTS, GUEST, 0, EVENTS_BYTES.into(), &[events]),
            attach(1, COUNTERS),
            attach(1, EVENTS),
            submit(1, &bind.encode(0, 0)),
        ] {
            vm.expect(&command, RESP_OK_NODATA);
        }
        let client = Client::connect(&daemon.folder().join("bridge.sock")).expect("the bridge");
        assert!(client.by_id(u32::MAX).is_err(), "a blob of that id");
        (Self { daemon, client }, vm)
    }

    /// Waits until the device has taken up what the client has asked for: it answers another
    /// client's question behind it.
    fn settle(&self, probe: &Client) {
        assert!(self.client.by_id(u32::MAX).is_err(), "a blob of that id");
        let nobody = ResourceName::Id(u32::MAX);
        probe.mem_signal(0, nobody, 0, 0).expect("the bridge");
        let reply = probe.reply().expect("the bridge");
        assert!(reply.answer.is_err(), "a blob of that id");
    }
}

/// Waits for a value with an event, and for the event with a fence.
fn wait_for(value: u64) -> Command {
    let wait = Op::MemWait {
        resource_id: COUNTERS,
        offset: 0,
        value,
        event: value,
        timeout_ns: LONG,
    };
    let seen = value - 1;
    let sleep = Op::EventWait { seen };
    let payload = [&wait.encode(0, 0)[..], &sleep.encode(0, 0)[..]].concat();
    submit(1, &payload).ring_fence(0, 0)
}

fn signal(value: u64) -> Command {
    let (resource_id, offset) = (COUNTERS, 0);
    let signal = Op::MemSignal {
        resource_id,
        offset,
        value,
    };
    submit(1, &signal.encode(0, 0)).ring_fence(0, 0)
}

pub(crate) fn run(effort: usize) -> Report {
    let mut report = Report::new("memory-fences", "Memory fences");
    latency(effort, &mut report);
    futexes::compare(effort, &mut report);
    crowd(&mut report);
    report
}

/// How long a signal takes, where the guest tests run: emulated, on one processor.
pub(crate) fn in_lab(effort: usize) -> Report {
    let mut report = Report::new("memory-fences-lab", "Memory fences in the lab");
    latency(effort.div_ceil(2), &mut report);
    report
}

fn latency(effort: usize, report: &mut Report) {
    let echo = Echo::start(Sleep::Epoll);
    let ((to_guest, vm), (to_host, other)) = (Rig::new(), Rig::new());
    let mut sleeper = Lane::over(vm, &wait_for(1), 1);
    let mut signaller = Lane::over(other, &signal(1), 1);
    let probe = Client::connect(&to_host.daemon.folder().join("bridge.sock")).expect("the bridge");
    let mut all: [Vec<f64>; 3] = Default::default();
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut value = 0;
    for round in 0..=2 * effort {
        let mut blocks: [Vec<f64>; 3] = Default::default();
        for _ in 0..BLOCK {
            value += 1;
            blocks[0].extend(echo.block(1));
            blocks[1].push(host_to_guest(&to_guest.client, &mut sleeper, value));
            to_host
                .client
                .mem_wait(value, ResourceName::Id(COUNTERS), 0, value, LONG)
                .expect("the bridge");
            to_host.settle(&probe);
            blocks[2].push(guest_to_host(&to_host.client, &mut signaller, value));
        }
        if round == 0 {
            continue;
        }
        let base = median(&mut blocks[0]);
        for (ratios, block) in ratios.iter_mut().zip(&mut blocks[1..]) {
            ratios.push(median(block) / base);
        }
        for (all, block) in all.iter_mut().zip(blocks) {
            all.extend(block);
        }
    }
    let names = [
        ("loop", "the smallest eventfd and epoll loop"),
        (
            "to_guest",
            "host MEM_SIGNAL to the guest's event and used ring",
        ),
        ("to_host", "guest MEM_SIGNAL to the host's reply"),
    ];
    for (values, (key, name)) in all.iter_mut().zip(names) {
        for (share, which) in [(0.5, "p50"), (0.99, "p99")] {
            let (key_of, label) = (format!("{key}_{which}"), format!("{name}, {which}"));
            let value = quantile(values, share) / 1000.0;
            if key == "loop" {
                report.row(&key_of, &label, value, "us");
            } else {
                report.aimed(&key_of, &label, value, "us", "under 1 ms");
            }
        }
    }
    let [to_guest, to_host] = ratios.each_mut().map(|ratios| median(ratios));
    let label = "host to guest / loop, median of the rounds' p50";
    report.row("to_guest_ratio", label, to_guest, "x");
    let label = "guest to host / loop, median of the rounds' p50";
    report.row("to_host_ratio", label, to_host, "x");
}

fn host_to_guest(client: &Client, sleeper: &mut Lane, value: u64) -> f64 {
    sleeper.rewrite(&wait_for(value));
    sleeper.send();
    sleeper.wait_taken();
    let begin = Instant::now();
    client
        .mem_signal(value, ResourceName::Id(COUNTERS), 0, value)
        .expect("the bridge");
    sleeper.wait_all();
    let took = begin.elapsed().as_nanos() as f64;
    let reply = client.reply().expect("the bridge");
    assert_eq!(reply.answer, Ok(value));
    took
}

fn guest_to_host(client: &Client, signaller: &mut Lane, value: u64) -> f64 {
    signaller.rewrite(&signal(value));
    let begin = Instant::now();
    signaller.send();
    let reply = client.reply().expect("the bridge");
    let took = begin.elapsed().as_nanos() as f64;
    assert_eq!((reply.tag, reply.answer), (value, Ok(value)));
    signaller.wait_all();
    took
}

/// As many waiters as there may be take no thread and no descriptor.
fn crowd(report: &mut Report) {
    let (rig, mut vm) = Rig::new();
    let had = (rig.daemon.threads().len(), rig.daemon.open_fds().len());
    let waits: Vec<_> = (0..WAITERS)
        .map(|nth| {
            let wait = Op::MemWait {
                resource_id: COUNTERS,
                offset: nth % 4096 * 8,
                value: nth / 4096 + 1,
                event: nth + 1,
                timeout_ns: LONG,
            };
            wait.encode(0, 0).to_vec()
        })
        .collect();
    for some in waits.chunks(250) {
        vm.expect(&submit(1, &some.concat()), RESP_OK_NODATA);
    }
    let now = (rig.daemon.threads().len(), rig.daemon.open_fds().len());
    let more = |now: usize, had: usize| now as f64 - had as f64;
    let label = format!("threads for {WAITERS} waiters");
    report.aimed("threads", &label, more(now.0, had.0), "", "none");
    let label = format!("descriptors for {WAITERS} waiters");
    report.aimed("descriptors", &label, more(now.1, had.1), "", "none");
    // They do wait: each of the device's 16384 events is somebody's.
    let rest: Vec<_> = (WAITERS..16385)
        .map(|nth| {
            let wait = Op::MemWait {
                resource_id: COUNTERS,
                offset: 0,
                value: u64::MAX,
                event: nth + 1,
                timeout_ns: LONG,
            };
            wait.encode(0, 0).to_vec()
        })
        .collect();
    let (over, rest) = rest.split_last().expect("waiters");
    for some in rest.chunks(250) {
        vm.expect(&submit(1, &some.concat()), RESP_OK_NODATA);
    }
    vm.expect(&submit(1, over), RESP_ERR_OUT_OF_MEMORY);
}
