//! A daemon with its bridge, a guest, and a GPU.

use std::rc::Rc;

use stile_frontend::gpu::{
    CROSS_DEVICE, GUEST, HOST3D, MAPPABLE, attach, create_blob, create_context, submit,
};
use stile_frontend::status::StatusBlob;
use stile_frontend::{Daemon, Manner, Options, Piece, Plan, Ticket, Vm};
use stile_gpu::bridge::Client;
use stile_host::{Access, DmaBuf, VgemFence, VgemGpu};
use stile_wire::gpu::types::*;
use stile_wire::sync::{CAPSET_ID, StatusRecord, encode_export, encode_status};

pub(crate) const READ: stile_wire::sync::Access = stile_wire::sync::Access::READ;
pub(crate) const WRITE: stile_wire::sync::Access = stile_wire::sync::Access::WRITE;

/// The status blob.
const STATUS_ID: u32 = 1000;

/// The guest has context 1, whose records go to a status blob.
pub(crate) struct Rig {
    pub(crate) vm: Vm,
    pub(crate) bridge: Client,
    pub(crate) gpu: VgemGpu,
    pub(crate) status: StatusBlob,
    next_id: u64,
    // Last, so that the guest goes before the daemon.
    pub(crate) daemon: Rc<Daemon>,
}

/// A daemon with a bridge, not yet started.
pub(crate) fn options() -> Options {
    Options::new(env!("CARGO_BIN_EXE_stile-gpu")).with(&["--bridge=bridge.sock"])
}

/// A daemon with a bridge.
pub(crate) fn daemon(arguments: &[&str]) -> Daemon {
    Daemon::start(options().with(arguments))
}

impl Rig {
    #[track_caller]
    pub(crate) fn new(arguments: &[&str]) -> Self {
        Self::with(arguments, Manner::Accept)
    }

    #[track_caller]
    pub(crate) fn with(arguments: &[&str], manner: Manner) -> Self {
        Self::start(Rc::new(daemon(arguments)), manner)
    }

    /// The next front end of a daemon.
    #[track_caller]
    pub(crate) fn on(daemon: &Rc<Daemon>) -> Self {
        Self::start(Rc::clone(daemon), Manner::Accept)
    }

    #[track_caller]
    fn start(daemon: Rc<Daemon>, manner: Manner) -> Self {
        let vm = daemon.connect_with(Plan {
            manner,
            ..Plan::default()
        });
        let bridge = Client::connect(&daemon.folder().join("bridge.sock")).unwrap();
        let mut pages: Vec<Piece> = (0..4).map(|_| vm.room(4096)).collect();
        pages.reverse();
        let mut rig = Self {
            vm,
            bridge,
            gpu: VgemGpu::find().unwrap(),
            status: StatusBlob { pages, offset: 0 },
            next_id: 1,
            daemon,
        };
        rig.furnish();
        rig
    }

    /// The context and its status blob.
    #[track_caller]
    pub(crate) fn furnish(&mut self) {
        let vm = &mut self.vm;
        vm.expect(&create_context(1, CAPSET_ID), RESP_OK_NODATA);
        let blob = create_blob(STATUS_ID, GUEST, 0, 4 * 4096, &self.status.pages);
        vm.expect(&blob, RESP_OK_NODATA);
        vm.expect(&attach(1, STATUS_ID), RESP_OK_NODATA);
        let bind = encode_status(0, 0, STATUS_ID, 0, 4 * 4096);
        vm.expect(&submit(1, &bind), RESP_OK_NODATA);
    }

    /// A new host blob of some bytes, attached to the context, and its buffer.
    #[track_caller]
    pub(crate) fn blob_of(&mut self, id: u32, bytes: u64) -> DmaBuf {
        let flags = MAPPABLE | CROSS_DEVICE;
        let blob = create_blob(id, HOST3D, flags, bytes, &[]);
        self.vm.expect(&blob, RESP_OK_NODATA);
        self.vm.expect(&attach(1, id), RESP_OK_NODATA);
        self.bridge.by_id(id).unwrap().buffer
    }

    /// One page or more of it.
    #[track_caller]
    pub(crate) fn blob(&mut self, id: u32) -> DmaBuf {
        self.blob_of(id, 65536)
    }

    /// A fence that the GPU puts on a buffer.
    #[track_caller]
    pub(crate) fn busy(&self, buffer: &DmaBuf, access: Access) -> VgemFence {
        self.gpu.attach(buffer, access).unwrap()
    }

    /// A fence id above all before.
    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Submits operations with a fence on a ring.
    #[track_caller]
    pub(crate) fn submit(&mut self, ring: u8, payload: &[u8]) -> Ticket {
        let id = self.id();
        self.vm.send(&submit(1, payload).ring_fence(ring, id))
    }

    /// Submits an EXPORT with a fence on a ring; the resource's id is its tag.
    #[track_caller]
    pub(crate) fn export(
        &mut self,
        ring: u8,
        id: u32,
        access: stile_wire::sync::Access,
        cookie: u64,
    ) -> Ticket {
        self.submit(ring, &encode_export(ring, id, id, access, cookie))
    }

    /// Submits operations without a fence, and sees that none of them failed.
    #[track_caller]
    pub(crate) fn run(&mut self, payload: &[u8]) {
        let before = self.status.header(&self.vm.ram).head.get();
        self.vm.expect(&submit(1, payload), RESP_OK_NODATA);
        for record in self.status.records(&self.vm.ram) {
            let errno = record.errno.get();
            assert!(record.seq.get() <= before || errno == 0, "errno {errno}");
        }
    }

    /// Submits operations without a fence, and gives their errnos.
    #[track_caller]
    pub(crate) fn errnos(&mut self, payload: &[u8]) -> Vec<u32> {
        let before = self.status.header(&self.vm.ram).head.get();
        self.vm.ask(&submit(1, payload));
        let records = self.status.records(&self.vm.ram);
        let new = records.iter().filter(|record| record.seq.get() > before);
        new.map(|record| record.errno.get()).collect()
    }

    /// The newest record.
    #[track_caller]
    pub(crate) fn last(&self) -> StatusRecord {
        *self.status.records(&self.vm.ram).last().expect("a record")
    }

    /// Sees that a command is not answered, also after the daemon has done all that it knows of.
    #[track_caller]
    pub(crate) fn assert_pending(&mut self, ticket: Ticket) {
        for _ in 0..2 {
            self.vm.expect(&submit(1, &[]), RESP_OK_NODATA);
        }
        assert!(!self.vm.is_answered(ticket), "the fence is early");
    }

    /// Waits for a fence and sees that the submission was fine.
    #[track_caller]
    pub(crate) fn assert_signals(&mut self, ticket: Ticket) {
        let answer = self.vm.wait(ticket);
        assert_eq!(answer.kind(), RESP_OK_NODATA);
        assert!(answer.fence().is_some());
    }
}
