//! A daemon with its bridge, and a guest with counters in a blob.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use stile_frontend::gpu::{GUEST, attach, create_blob, create_context, submit};
use stile_frontend::{Daemon, HANG, Options, Piece, Plan, Vm, readable};
use stile_gpu::bridge::{Client, Reply, ReplyTo, ResourceName};
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, EventHeader, EventRecord, Op};
use zerocopy::FromBytes;

pub(crate) const ENOENT: u32 = 2;
pub(crate) const EBADF: u32 = 9;
pub(crate) const EEXIST: u32 = 17;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const ETIMEDOUT: u32 = 110;
pub(crate) const EDQUOT: u32 = 122;
pub(crate) const ECANCELED: u32 = 125;

/// Longer than any test, in nanoseconds.
pub(crate) const LONG: u64 = 60_000_000_000;

pub(crate) const COUNTERS: ResourceName = ResourceName::Id(1);
/// Bytes of the blob with the counters: its pages lie apart, in another order.
pub(crate) const SIZE: u64 = 16 * 4096;

pub(crate) struct Rig {
    pub(crate) vm: Vm,
    pub(crate) pages: Vec<Piece>,
    events: Piece,
    next_id: u64,
    pub(crate) daemon: Daemon,
}

pub(crate) fn daemon() -> Daemon {
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    Daemon::start(options.with(&["--bridge=bridge.sock"]))
}

pub(crate) fn op(op: Op) -> Vec<u8> {
    op.encode(0, 7).to_vec()
}

pub(crate) fn signal(offset: u64, value: u64) -> Vec<u8> {
    let resource_id = 1;
    op(Op::MemSignal {
        resource_id,
        offset,
        value,
    })
}

pub(crate) fn wait_for(offset: u64, value: u64, event: u64, timeout_ns: u64) -> Vec<u8> {
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
    pub(crate) fn new() -> Self {
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
    pub(crate) fn furnish(&mut self) {
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

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.daemon.folder().join("bridge.sock")).unwrap()
    }

    pub(crate) fn dial(&self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let path = self.daemon.folder().join("bridge.sock");
        connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        socket
    }

    #[track_caller]
    pub(crate) fn run(&mut self, payload: &[u8]) {
        self.vm.expect(&submit(1, payload), RESP_OK_NODATA);
    }

    /// Submits an EVENT_WAIT, and gives what is answered when there is more than `seen`.
    pub(crate) fn event_wait(&mut self, seen: u64) -> stile_frontend::Ticket {
        self.next_id += 1;
        let wait = op(Op::EventWait { seen });
        self.vm.send(&submit(1, &wait).ring_fence(0, self.next_id))
    }

    /// The events so far: number, value and errno.
    pub(crate) fn events(&self) -> Vec<(u64, u64, u32)> {
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

    pub(crate) fn address(&self, offset: u64) -> u64 {
        self.pages[offset as usize / 4096].address + offset % 4096
    }

    /// What the guest's CPU sees.
    pub(crate) fn load(&self, offset: u64) -> u64 {
        let bytes = self.vm.ram.read(self.address(offset), 8);
        u64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// The guest's CPU stores, and says nothing.
    pub(crate) fn store(&self, offset: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.vm.ram.write(self.address(offset), &bytes);
    }
}

/// Waits until the bridge has taken up what the client has sent: it answers a question behind it.
#[track_caller]
pub(crate) fn heard(client: &Client) {
    assert!(client.by_id(u32::MAX).is_err());
}

/// Waits until the device has, too: it answers another client's request behind it.
#[track_caller]
pub(crate) fn settle(rig: &Rig, client: &Client) {
    heard(client);
    let probe = rig.client();
    let nobody = ResourceName::Id(u32::MAX);
    probe.mem_signal(1, nobody, 0, 0).unwrap();
    assert_eq!(reply(&probe), to_signal(1, Err(ENOENT)));
}

#[track_caller]
pub(crate) fn reply(client: &Client) -> Reply {
    let reply = client.try_reply().unwrap();
    reply.unwrap_or_else(|| {
        assert!(readable(client, HANG), "the bridge does not reply");
        client.reply().unwrap()
    })
}

#[track_caller]
pub(crate) fn assert_quiet(client: &Client) {
    assert_eq!(client.try_reply().unwrap(), None);
}

pub(crate) fn to_wait(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::MemWait;
    Reply { kind, tag, answer }
}

pub(crate) fn to_signal(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::MemSignal;
    Reply { kind, tag, answer }
}

pub(crate) fn to_cancel(tag: u64, answer: Result<u64, u32>) -> Reply {
    let kind = ReplyTo::Cancel;
    Reply { kind, tag, answer }
}
