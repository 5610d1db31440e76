//! A connection of a front end with a guest behind it.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VringConfigData};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use crate::gpu::{Answer, Command};
use crate::requests::{Requests, serve};
use crate::{Chain, Manner, Piece, Ram, Reply, Request, Ring, Used};

/// Room for the longest response.
const RESPONSE_BYTES: u64 = 1056;

/// How a guest and its front end are to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Entries of the control ring.
    pub control_size: u16,
    /// Entries of the cursor ring.
    pub cursor_size: u16,
    /// Whether EVENT_IDX is negotiated.
    pub event_idx: bool,
    /// Whether the memory may become udmabufs.
    pub sealable: bool,
    /// Regions of memory: addresses and sizes.
    pub regions: Vec<(u64, u64)>,
    /// How requests of the back-end channel are answered.
    pub manner: Manner,
    /// Protocol features that are negotiated if they are offered.
    pub protocol_features: VhostUserProtocolFeatures,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            control_size: 256,
            cursor_size: 16,
            event_idx: true,
            sealable: true,
            regions: vec![(0x10_0000, 64 << 20), (1 << 32, 16 << 20)],
            manner: Manner::Accept,
            protocol_features: VhostUserProtocolFeatures::all(),
        }
    }
}

/// A command that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    command: Piece,
    response: Piece,
}

/// A guest that is connected to the daemon.
pub struct Vm {
    /// The vhost-user connection.
    pub frontend: Frontend,
    /// The guest's memory.
    pub ram: Arc<Ram>,
    /// The control queue.
    pub control: Ring,
    /// The cursor queue.
    pub cursor: Ring,
    /// Virtio features that the device offers.
    pub offered: u64,
    /// Protocol features that the device offers.
    pub protocol: VhostUserProtocolFeatures,
    requests: Option<Requests>,
    sent: HashMap<u16, Sent>,
    answers: HashMap<Ticket, Answer>,
    order: Vec<Ticket>,
    next_ticket: u64,
}

impl Vm {
    /// Shakes hands, shares memory and starts both rings.
    ///
    /// # Panics
    /// If the daemon refuses any of it.
    #[track_caller]
    pub fn start(stream: UnixStream, plan: Plan) -> Self {
        let mut vm = Self::introduce(stream, &plan);
        vm.share_memory();
        vm.start_ring(0, 0);
        vm.start_ring(1, 0);
        vm
    }

    /// Negotiates features and opens the back-end channel, and stops there.
    ///
    /// # Panics
    /// If the daemon refuses any of it.
    #[track_caller]
    pub fn introduce(stream: UnixStream, plan: &Plan) -> Self {
        let mut frontend = Frontend::from_stream(stream, 2);
        let offered = frontend.get_features().expect("GET_FEATURES");
        frontend.set_owner().expect("SET_OWNER");
        let protocol = frontend
            .get_protocol_features()
            .expect("GET_PROTOCOL_FEATURES");
        let wanted = protocol & plan.protocol_features;
        frontend
            .set_protocol_features(wanted)
            .expect("SET_PROTOCOL_FEATURES");
        if wanted.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let mut features = offered;
        if !plan.event_idx {
            features &= !(1 << VIRTIO_RING_F_EVENT_IDX);
        }
        frontend.set_features(features).expect("SET_FEATURES");
        let requests = wanted
            .contains(VhostUserProtocolFeatures::BACKEND_REQ)
            .then(|| {
                let (requests, server) = Requests::start(plan.manner);
                frontend
                    .set_backend_request_fd(&requests.socket)
                    .expect("SET_BACKEND_REQ_FD");
                serve(server);
                requests
            });
        let ram = Arc::new(Ram::new(&plan.regions, plan.sealable));
        Self {
            frontend,
            control: Ring::new(&ram, plan.control_size, plan.event_idx),
            cursor: Ring::new(&ram, plan.cursor_size, plan.event_idx),
            ram,
            offered,
            protocol,
            requests,
            sent: HashMap::new(),
            answers: HashMap::new(),
            order: Vec::new(),
            next_ticket: 1,
        }
    }

    /// `SET_MEM_TABLE`.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[track_caller]
    pub fn share_memory(&self) {
        self.frontend
            .set_mem_table(&self.ram.regions())
            .expect("SET_MEM_TABLE");
    }

    /// Starts a ring: 0 is the control ring, 1 the cursor ring.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[track_caller]
    pub fn start_ring(&mut self, index: usize, base: u16) {
        self.prepare_ring(index, base);
        self.give_call(index);
        self.enable_ring(index);
    }

    /// Starts a ring as QEMU does: the driver can be called only after it has started.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[track_caller]
    pub fn start_ring_before_its_call(&mut self, index: usize, base: u16) {
        self.prepare_ring(index, base);
        self.enable_ring(index);
        self.give_call(index);
    }

    #[track_caller]
    fn prepare_ring(&mut self, index: usize, base: u16) {
        let ring = self.ring(index);
        let (descriptors, available, used) = ring.addresses();
        let size = ring.size();
        let config = VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: 0,
            desc_table_addr: self.ram.user_address(descriptors),
            used_ring_addr: self.ram.user_address(used),
            avail_ring_addr: self.ram.user_address(available),
            log_addr: None,
        };
        let frontend = &mut self.frontend;
        frontend.set_vring_num(index, size).expect("SET_VRING_NUM");
        frontend
            .set_vring_addr(index, &config)
            .expect("SET_VRING_ADDR");
        frontend
            .set_vring_base(index, base)
            .expect("SET_VRING_BASE");
    }

    #[track_caller]
    fn give_call(&mut self, index: usize) {
        let call = clone(&self.ring(index).call);
        self.frontend
            .set_vring_call(index, &call)
            .expect("SET_VRING_CALL");
    }

    #[track_caller]
    fn enable_ring(&mut self, index: usize) {
        let kick = clone(&self.ring(index).kick);
        self.frontend
            .set_vring_kick(index, &kick)
            .expect("SET_VRING_KICK");
        self.frontend
            .set_vring_enable(index, true)
            .expect("SET_VRING_ENABLE");
    }

    /// Stops a ring and gives its base.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[track_caller]
    pub fn stop_ring(&mut self, index: usize) -> u16 {
        let base = self.frontend.get_vring_base(index).expect("GET_VRING_BASE");
        u16::try_from(base).expect("an index of the ring")
    }

    /// The guest starts anew: both rings are stopped, emptied, and started at 0. What was sent is
    /// forgotten.
    ///
    /// # Panics
    /// If the daemon refuses.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.stop_ring(0);
        self.stop_ring(1);
        self.forget();
        self.start_ring(0, 0);
        self.start_ring(1, 0);
    }

    /// Empties both rings, which must be stopped.
    pub fn forget(&mut self) {
        self.control.restart();
        self.cursor.restart();
        self.sent.clear();
        self.answers.clear();
        self.order.clear();
    }

    /// A ring by its number.
    pub fn ring(&mut self, index: usize) -> &mut Ring {
        if index == 0 {
            &mut self.control
        } else {
            &mut self.cursor
        }
    }

    /// Sends a command on the control queue.
    #[track_caller]
    pub fn send(&mut self, command: &Command) -> Ticket {
        self.send_bytes(&command.bytes())
    }

    /// Sends any bytes on the control queue.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Ticket {
        let ticket = self.put(bytes);
        self.control.show();
        self.control.kick();
        ticket
    }

    /// Puts a command into the control ring, but does not show it to the device.
    #[track_caller]
    pub fn put(&mut self, bytes: &[u8]) -> Ticket {
        let command = self.piece(bytes);
        let response = Piece {
            address: self.ram.take(RESPONSE_BYTES),
            bytes: RESPONSE_BYTES as u32,
        };
        let head = self.control.put(&Chain {
            readable: vec![command],
            writable: vec![response],
            indirect: false,
        });
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let sent = Sent {
            ticket,
            command,
            response,
        };
        self.sent.insert(head, sent);
        ticket
    }

    /// Guest memory with these bytes.
    pub fn piece(&self, bytes: &[u8]) -> Piece {
        let address = self.ram.take(bytes.len() as u64);
        self.ram.write(address, bytes);
        Piece {
            address,
            bytes: bytes.len() as u32,
        }
    }

    /// Guest memory for that many bytes, zeroed.
    pub fn room(&self, bytes: u32) -> Piece {
        self.piece(&vec![0; bytes as usize])
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, command: &Command) -> Answer {
        let ticket = self.send(command);
        self.wait(ticket)
    }

    /// Sends any bytes and waits for the answer.
    #[track_caller]
    pub fn ask_bytes(&mut self, bytes: &[u8]) -> Answer {
        let ticket = self.send_bytes(bytes);
        self.wait(ticket)
    }

    /// Sends a command and sees that the answer is of this type.
    #[track_caller]
    pub fn expect(&mut self, command: &Command, kind: u32) -> Answer {
        let answer = self.ask(command);
        let got = answer.kind();
        assert_eq!(got, kind, "the response is {got:#x}, not {kind:#x}");
        answer
    }

    /// Waits for the answer of a command.
    #[track_caller]
    pub fn wait(&mut self, ticket: Ticket) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(&ticket) {
                return answer;
            }
            let used = self.control.wait();
            self.finish(used);
        }
    }

    /// Whether a command is answered already.
    pub fn is_answered(&mut self, ticket: Ticket) -> bool {
        while let Some(used) = self.control.take() {
            self.finish(used);
        }
        self.answers.contains_key(&ticket)
    }

    /// What lies in the memory for the response of a command that is not answered yet.
    ///
    /// # Panics
    /// If the command is answered.
    #[track_caller]
    pub fn response_memory(&self, ticket: Ticket) -> Vec<u8> {
        let mut sent = self.sent.values();
        let sent = sent.find(|sent| sent.ticket == ticket);
        let response = sent.expect("a command without an answer").response;
        self.ram.read(response.address, response.bytes as usize)
    }

    /// All commands that are answered, in the order in which they were.
    pub fn order(&mut self) -> &[Ticket] {
        while let Some(used) = self.control.take() {
            self.finish(used);
        }
        &self.order
    }

    /// The next request of the back-end channel.
    ///
    /// # Panics
    /// If there is none for a long time, or no channel.
    #[track_caller]
    pub fn request(&self) -> Request {
        self.requests.as_ref().expect("a back-end channel").next()
    }

    /// Answers the request that waits.
    ///
    /// # Panics
    /// If there is no channel.
    #[track_caller]
    pub fn reply(&self, reply: Reply) {
        self.requests
            .as_ref()
            .expect("a back-end channel")
            .reply(reply);
    }

    #[track_caller]
    fn finish(&mut self, used: Used) {
        let sent = self
            .sent
            .remove(&used.head)
            .expect("a command that was sent");
        let bytes = usize::try_from(used.written).expect("a length");
        assert!(used.written <= sent.response.bytes, "{used:?} is too long");
        let answer = Answer {
            bytes: self.ram.read(sent.response.address, bytes),
        };
        self.answers.insert(sent.ticket, answer);
        self.order.push(sent.ticket);
        for piece in [sent.command, sent.response] {
            self.ram.give(piece.address, u64::from(piece.bytes));
        }
    }

    /// Whether the device offers a feature bit.
    pub fn offers(&self, bit: u32) -> bool {
        self.offered & (1 << bit) != 0
    }

    /// vhost-user's own feature bit.
    pub fn has_protocol_features(&self) -> bool {
        self.offered & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0
    }
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm").finish_non_exhaustive()
    }
}

fn clone(fd: &vmm_sys_util::eventfd::EventFd) -> vmm_sys_util::eventfd::EventFd {
    assert!(fd.as_raw_fd() >= 0);
    fd.try_clone().expect("a descriptor")
}
