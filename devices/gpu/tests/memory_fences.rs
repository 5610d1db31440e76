//! Counters in a blob: contexts and host processes wait for them and raise them. The blobs are guest
//! pages, which need no dma-buf.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use stile_frontend::gpu::{
    GUEST, assign_uuid, attach, create_blob, create_context, detach, submit, unref,
};
use stile_frontend::{Daemon, HANG, Options, Piece, Plan, Vm, readable};
use stile_gpu::bridge::{Client, Reply, ReplyTo, ResourceName};
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, EventHeader, EventRecord, Op};
use zerocopy::FromBytes;

const ENOENT: u32 = 2;
const EEXIST: u32 = 17;
const EINVAL: u32 = 22;
const ETIMEDOUT: u32 = 110;
const EDQUOT: u32 = 122;
const ECANCELED: u32 = 125;

/// Longer than any test, in nanoseconds.
const LONG: u64 = 60_000_000_000;

const COUNTERS: ResourceName = ResourceName::Id(1);
/// Bytes of the blob with the counters: its pages lie apart, in another order.
const SIZE: u64 = 16 * 4096;

struct Rig {
    vm: Vm,
    pages: Vec<Piece>,
    events: Piece,
    next_id: u64,
    daemon: Daemon,
}

fn daemon() -> Daemon {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    Daemon::start(options.with(&["--bridge=bridge.sock"]))
}

fn op(op: Op) -> Vec<u8> {
    op.encode(0, 7).to_vec()
}

fn signal(offset: u64, value: u64) -> Vec<u8> {
    let resource_id = 1;
    op(Op::MemSignal {
        resource_id,
        offset,
        value,
    })
}

fn wait_for(offset: u64, value: u64, event: u64, timeout_ns: u64) -> Vec<u8> {
    let resource_id = 1;
    op(Op::MemWait {
        resource_id,
        offset,
        value,
        event,
        timeout_ns,
    })
}

impl Rig {
    /// Context 1 has counters in blob 1 and its event ring in blob 2.
    #[track_caller]
    fn new() -> Self {
        let daemon = daemon();
        let vm = daemon.connect_with(Plan {
            sealable: false,
            ..Plan::default()
        });
        let mut pages: Vec<Piece> = (0..SIZE / 4096).map(|_| vm.room(4096)).collect();
        pages.reverse();
        let events = vm.room(65536);
        let mut rig = Self {
            vm,
            pages,
            events,
            next_id: 0,
            daemon,
        };
        rig.furnish();
        rig
    }

    #[track_caller]
    fn furnish(&mut self) {
        let vm = &mut self.vm;
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        let counters = create_blob(1, GUEST, 0, SIZE, &self.pages);
        vm.expect(&counters, RESP_OK_NODATA);
        let events = create_blob(2, GUEST, 0, 65536, &[self.events]);
        vm.expect(&events, RESP_OK_NODATA);
        for id in [1, 2] {
            vm.expect(&attach(1, id), RESP_OK_NODATA);
        }
        self.run(&op(Op::Events {
            resource_id: 2,
            offset: 0,
            size: 65536,
        }));
    }

    fn client(&self) -> Client {
        Client::connect(&self.daemon.folder().join("bridge.sock")).unwrap()
    }

    fn dial(&self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let path = self.daemon.folder().join("bridge.sock");
        connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        socket
    }

    #[track_caller]
    fn run(&mut self, payload: &[u8]) {
        self.vm.expect(&submit(1, payload), RESP_OK_NODATA);
    }

    /// Submits an EVENT_WAIT, and gives what is answered when there is more than `seen`.
    fn event_wait(&mut self, seen: u64) -> stile_frontend::Ticket {
        self.next_id += 1;
        let wait = op(Op::EventWait { seen });
        self.vm.send(&submit(1, &wait).ring_fence(0, self.next_id))
    }

    /// The events so far: number, value and errno.
    fn events(&self) -> Vec<(u64, u64, u32)> {
        let bytes = self.vm.ram.read(self.events.address, 65536);
        let (header, records) = EventHeader::read_from_prefix(&bytes).unwrap();
        (0..header.head.get() as usize)
            .map(|nth| {
                let bytes = &records[nth * 64..nth * 64 + 64];
                let event = EventRecord::read_from_bytes(bytes).unwrap();
                (event.event.get(), event.value.get(), event.errno.get())
            })
            .collect()
    }

    fn address(&self, offset: u64) -> u64 {
        self.pages[offset as usize / 4096].address + offset % 4096
    }

    /// What the guest's CPU sees.
    fn load(&self, offset: u64) -> u64 {
        let bytes = self.vm.ram.read(self.address(offset), 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// The guest's CPU stores, and says nothing.
    fn store(&self, offset: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.vm.ram.write(self.address(offset), &bytes);
    }
}

/// Waits until the bridge has taken up what the client has sent: it answers a question behind it.
#[track_caller]
fn heard(client: &Client) {
    assert!(client.by_id(u32::MAX).is_err());
}

/// Waits until the device has, too: it answers another client's request behind it.
#[track_caller]
fn settle(rig: &Rig, client: &Client) {
    heard(client);
    let probe = rig.client();
    let nobody = ResourceName::Id(u32::MAX);
    probe.mem_signal(1, nobody, 0, 0).unwrap();
    assert_eq!(reply(&probe), to_signal(1, Err(ENOENT)));
}

#[track_caller]
fn reply(client: &Client) -> Reply {
    let reply = client.try_reply().unwrap();
    reply.unwrap_or_else(|| {
        assert!(readable(client, HANG), "the bridge does not reply");
        client.reply().unwrap()
    })
}

#[track_caller]
fn assert_quiet(client: &Client) {
    assert_eq!(client.try_reply().unwrap(), None);
}

fn to_wait(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::MemWait;
    Reply { kind, tag, answer }
}

fn to_signal(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::MemSignal;
    Reply { kind, tag, answer }
}

fn to_cancel(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::Cancel;
    Reply { kind, tag, answer }
}

#[test]
fn the_guest_signals_and_a_host_process_wakes() {
    let mut rig = Rig::new();
    let client = rig.client();
    client.mem_wait(5, COUNTERS, 4096 + 8, 3, LONG).unwrap();
    settle(&rig, &client);
    rig.run(&signal(4096 + 8, 2));
    settle(&rig, &client);
    assert_quiet(&client);
    rig.run(&signal(4096 + 8, 4));
    assert_eq!(reply(&client), to_wait(5, Ok(4)));
    assert_eq!(rig.load(4096 + 8), 4);
}

#[test]
fn a_host_process_signals_and_the_guest_wakes() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 1, 11, LONG));
    let wait = rig.event_wait(0);
    client.mem_signal(1, COUNTERS, 0, 9).unwrap();
    assert_eq!(rig.vm.wait(wait).kind(), RESP_OK_NODATA);
    assert_eq!(rig.events(), [(11, 9, 0)]);
    assert_eq!(reply(&client), to_signal(1, Ok(9)));
    assert_eq!(rig.load(0), 9);
}

#[test]
fn whoever_has_stored_itself_says_so() {
    let mut rig = Rig::new();
    let client = rig.client();
    let last = SIZE - 8;
    client.mem_wait(1, COUNTERS, last, 7, LONG).unwrap();
    settle(&rig, &client);
    rig.store(last, 7);
    rig.run(&signal(last, 0));
    assert_eq!(reply(&client), to_wait(1, Ok(7)));
    assert_eq!(rig.load(last), 7);
    // Nothing was written but by the guest.
    assert_eq!(rig.load(last - 8), 0);
    client.mem_signal(2, COUNTERS, last, 0).unwrap();
    assert_eq!(reply(&client), to_signal(2, Ok(7)));
}

#[test]
fn one_context_wakes_another_with_nobody_between() {
    let mut rig = Rig::new();
    let vm = &mut rig.vm;
    vm.expect(&create_context(2, CAPSET_ID), RESP_OK_NODATA);
    vm.expect(&attach(2, 1), RESP_OK_NODATA);
    rig.run(&wait_for(16, 1, 3, LONG));
    let wait = rig.event_wait(0);
    rig.vm.expect(&submit(2, &signal(16, 1)), RESP_OK_NODATA);
    rig.vm.wait(wait);
    assert_eq!(rig.events(), [(3, 1, 0)]);
}

#[test]
fn a_resource_may_be_named_by_its_uuid() {
    let mut rig = Rig::new();
    let answer = rig.vm.expect(&assign_uuid(1), RESP_OK_RESOURCE_UUID);
    let uuid: [u8; 16] = answer.body();
    let client = rig.client();
    client
        .mem_signal(1, ResourceName::Uuid(uuid), 0, 1)
        .unwrap();
    assert_eq!(reply(&client), to_signal(1, Ok(1)));
    assert_eq!(rig.load(0), 1);
}

#[test]
fn what_does_not_come_in_time_is_over() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 1, 1, 1_000_000));
    let wait = rig.event_wait(0);
    client.mem_wait(2, COUNTERS, 0, 1, 2_000_000).unwrap();
    rig.vm.wait(wait);
    assert_eq!(rig.events(), [(1, 0, ETIMEDOUT)]);
    assert_eq!(reply(&client), to_wait(2, Err(ETIMEDOUT)));
    client.mem_signal(3, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(3, Ok(1)));
    assert_eq!(rig.events().len(), 1);
}

#[test]
fn a_request_may_be_given_up() {
    let rig = Rig::new();
    let client = rig.client();
    client.mem_wait(1, COUNTERS, 0, 1, LONG).unwrap();
    client.cancel(1).unwrap();
    assert_eq!(reply(&client), to_wait(1, Err(ECANCELED)));
    assert_eq!(reply(&client), to_cancel(1, Ok(0)));
    client.cancel(1).unwrap();
    assert_eq!(reply(&client), to_cancel(1, Err(ENOENT)));
    client.mem_signal(2, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(2, Ok(1)));
    assert_quiet(&client);
}

#[test]
fn a_blob_that_goes_and_a_guest_that_boots_again_tell_who_waits() {
    let mut rig = Rig::new();
    let client = rig.client();
    for (nth, goes) in [unref(1), detach(1, 1)].into_iter().enumerate() {
        let tag = nth as u64;
        client.mem_wait(tag, COUNTERS, 8, 1, LONG).unwrap();
        settle(&rig, &client);
        rig.run(&wait_for(8, 1, tag + 1, LONG));
        rig.vm.expect(&goes, RESP_OK_NODATA);
        assert_eq!(rig.events().last(), Some(&(tag + 1, 0, ECANCELED)));
        if nth == 0 {
            assert_eq!(reply(&client), to_wait(tag, Err(ECANCELED)));
            let counters = create_blob(1, GUEST, 0, SIZE, &rig.pages);
            rig.vm.expect(&counters, RESP_OK_NODATA);
            rig.vm.expect(&attach(1, 1), RESP_OK_NODATA);
        }
    }
    rig.vm.reboot();
    // The new guest's first kick resets the device.
    rig.furnish();
    assert_eq!(reply(&client), to_wait(1, Err(ECANCELED)));
}

#[test]
fn a_front_end_that_goes_leaves_nobody_waiting() {
    let mut rig = Rig::new();
    let client = rig.client();
    for tag in 0..100 {
        client.mem_wait(tag, COUNTERS, tag * 8, 1, LONG).unwrap();
    }
    settle(&rig, &client);
    let Rig { vm, daemon, .. } = rig;
    drop(vm);
    let told: BTreeSet<u64> = (0..100)
        .map(|_| {
            let reply = reply(&client);
            assert_eq!(reply, to_wait(reply.tag, Err(ECANCELED)));
            reply.tag
        })
        .collect();
    assert_eq!(told, (0..100).collect());
    client.mem_wait(1, COUNTERS, 0, 0, LONG).unwrap();
    assert_eq!(reply(&client), to_wait(1, Err(ENOENT)));
    client.mem_signal(1, COUNTERS, 0, 0).unwrap();
    assert_eq!(reply(&client), to_signal(1, Err(ENOENT)));
    // The next guest's resources are others.
    let vm = daemon.connect();
    client.mem_signal(2, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(2, Err(ENOENT)));
    drop(vm);
    rig = Rig::new();
    rig.run(&signal(0, 1));
}

#[test]
fn while_the_ring_is_stopped_requests_wait_and_nothing_is_written() {
    let mut rig = Rig::new();
    let client = rig.client();
    rig.run(&wait_for(0, 5, 1, LONG));
    let base = rig.vm.stop_ring(0);
    client.mem_signal(1, COUNTERS, 0, 5).unwrap();
    client.mem_wait(2, COUNTERS, 0, 1, LONG).unwrap();
    client.mem_wait(3, COUNTERS, 0, 9, LONG).unwrap();
    client.cancel(3).unwrap();
    assert_eq!(reply(&client), to_wait(3, Err(ECANCELED)));
    assert_eq!(reply(&client), to_cancel(3, Ok(0)));
    heard(&client);
    assert_quiet(&client);
    assert_eq!((rig.load(0), rig.events()), (0, vec![]));
    rig.vm.start_ring(0, base);
    assert_eq!(reply(&client), to_signal(1, Ok(5)));
    assert_eq!(reply(&client), to_wait(2, Ok(5)));
    assert_eq!((rig.load(0), rig.events()), (5, vec![(1, 5, 0)]));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_in_its_name() {
    let rig = Rig::new();
    let client = rig.client();
    for offset in [1, 4, 4095, SIZE - 4, SIZE, u64::MAX - 7, u64::MAX] {
        client.mem_signal(1, COUNTERS, offset, 1).unwrap();
        assert_eq!(reply(&client), to_signal(1, Err(EINVAL)), "{offset}");
        client.mem_wait(1, COUNTERS, offset, 1, LONG).unwrap();
        assert_eq!(reply(&client), to_wait(1, Err(EINVAL)), "{offset}");
    }
    for timeout in [0, 3_600_000_000_001, u64::MAX] {
        client.mem_wait(1, COUNTERS, 0, 1, timeout).unwrap();
        assert_eq!(reply(&client), to_wait(1, Err(EINVAL)), "{timeout}");
    }
    for unknown in [ResourceName::Id(9), ResourceName::Uuid([9; 16])] {
        client.mem_signal(1, unknown, 0, 1).unwrap();
        assert_eq!(reply(&client), to_signal(1, Err(ENOENT)));
    }
    client.mem_wait(4, COUNTERS, 0, 1, LONG).unwrap();
    client.mem_signal(4, COUNTERS, 8, 1).unwrap();
    assert_eq!(reply(&client), to_signal(4, Err(EEXIST)));
    client.mem_signal(5, COUNTERS, 0, 1).unwrap();
    let mut both = [reply(&client), reply(&client)];
    both.sort_by_key(|reply| reply.tag);
    assert_eq!(both, [to_wait(4, Ok(1)), to_signal(5, Ok(1))]);

    // Fields that a kind has no use for, and names that are none.
    let socket = rig.dial();
    let request = |kind: u32, id: u32, uuid: u8, words: [u64; 4]| {
        let mut bytes = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        bytes.extend([uuid; 16]);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    };
    for (kind, id, uuid, words) in [
        (16, 0, 0, [3, 0, 1, 0]),
        (16, 1, 1, [3, 0, 1, 0]),
        (16, 1, 0, [3, 0, 1, 1]),
        (17, 0, 0, [3, 0, 1, LONG]),
        (17, 1, 1, [3, 0, 1, LONG]),
        (18, 1, 0, [3, 0, 0, 0]),
        (18, 0, 1, [3, 0, 0, 0]),
        (18, 0, 0, [3, 1, 0, 0]),
        (18, 0, 0, [3, 0, 1, 0]),
        (18, 0, 0, [3, 0, 0, 1]),
        (0, 1, 0, [3, 0, 0, 0]),
        (1, 1, 0, [3, 0, 0, 0]),
        (15, 1, 0, [3, 0, 0, 0]),
        (u32::MAX, 1, 0, [3, 0, 0, 0]),
    ] {
        let bytes = request(kind, id, uuid, words);
        send(&socket, &bytes, SendFlags::NOSIGNAL).unwrap();
        assert!(readable(&socket, HANG), "the bridge does not reply");
        let mut reply = [0; 64];
        let (_, length) = recv(&socket, &mut reply, RecvFlags::TRUNC).unwrap();
        let mut expected = [EINVAL.to_le_bytes(), kind.to_le_bytes()].concat();
        expected.extend([3_u64.to_le_bytes(), [0; 8]].concat());
        assert_eq!(reply[..length], expected, "{kind} {id} {uuid} {words:?}");
    }
}

#[test]
fn a_client_has_a_quota_and_so_have_all_together() {
    let rig = Rig::new();
    let clients: Vec<Client> = (0..5).map(|_| rig.client()).collect();
    for client in &clients[..4] {
        for tag in 0..1024 {
            client.mem_wait(tag, COUNTERS, 0, 1, LONG).unwrap();
        }
        client.mem_wait(2000, COUNTERS, 0, 1, LONG).unwrap();
        assert_eq!(reply(client), to_wait(2000, Err(EDQUOT)));
        // There is always a way out.
        client.cancel(0).unwrap();
        assert_eq!(reply(client), to_wait(0, Err(ECANCELED)));
        assert_eq!(reply(client), to_cancel(0, Ok(0)));
        client.mem_wait(0, COUNTERS, 0, 1, LONG).unwrap();
        heard(client);
    }
    let last = &clients[4];
    last.mem_signal(1, COUNTERS, 8, 1).unwrap();
    assert_eq!(reply(last), to_signal(1, Err(EDQUOT)));
    // While so many wait, nobody is awake.
    rig.daemon.assert_asleep(Duration::from_millis(300));
    let mut clients = clients;
    let gone = clients.remove(0);
    drop(gone);
    let last = clients.last().unwrap();
    // The bridge sees the one that went no later than the next one's question.
    heard(last);
    last.mem_signal(1, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(last), to_signal(1, Ok(1)));
    for client in &clients[..3] {
        let tags: BTreeSet<u64> = (0..1024)
            .map(|_| {
                let reply = reply(client);
                assert_eq!(reply, to_wait(reply.tag, Ok(1)));
                reply.tag
            })
            .collect();
        assert_eq!(tags.len(), 1024, "each is told once");
        assert_quiet(client);
    }
}

#[test]
fn a_client_that_reads_late_loses_nothing() {
    let mut rig = Rig::new();
    let client = rig.client();
    // Each in a packet of its own, so that the socket's buffer is full long before the last.
    for tag in 0..1024 {
        client.mem_wait(tag, COUNTERS, tag * 8, 1, LONG).unwrap();
    }
    settle(&rig, &client);
    for tag in 0..1024 {
        rig.run(&signal(tag * 8, 1));
    }
    let tags: Vec<u64> = (0..1024).map(|_| reply(&client).tag).collect();
    assert_eq!(tags, (0..1024).collect::<Vec<_>>());
}

#[test]
fn a_client_that_asks_on_and_never_reads_is_disconnected() {
    let rig = Rig::new();
    let lazy = rig.client();
    let gone = (0..1_000_000).any(|tag| lazy.cancel(tag).is_err());
    assert!(gone);
    let client = rig.client();
    client.mem_signal(1, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(1, Ok(1)));
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let mut rig = Rig::new();
    let first = rig.client();
    heard(&first);
    let before = rig.daemon.open_fds();
    for round in 0..20 {
        let client = rig.client();
        for tag in 0..200 {
            client
                .mem_wait(tag, COUNTERS, tag * 8, round + 1, LONG)
                .unwrap();
        }
        if round % 2 == 0 {
            settle(&rig, &client);
        }
    }
    rig.run(&signal(0, 100));
    first.mem_signal(1, COUNTERS, 0, 0).unwrap();
    assert_eq!(reply(&first), to_signal(1, Ok(100)));
    // What they have sent is read to its end before their hang-up is seen.
    let begin = Instant::now();
    while rig.daemon.open_fds() != before {
        assert!(begin.elapsed() < HANG, "a client stays");
        heard(&first);
    }
}
