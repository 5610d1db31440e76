//! The reference: a device on `vhost-user-backend` that answers every fenced command with OK and
//! does nothing else. What that stack costs is all that it costs.
//!
//! Fences would be watched in an epoll set that is nested in the thread of the rings. It is a bare
//! one: `event-manager` 0.4 does not give its own away, so it cannot be nested.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use stile_frontend::{Plan, Vm};
use stile_wire::gpu::layout::Header;
use stile_wire::gpu::types::RESP_OK_NODATA;
use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueOwnedT;
use vm_memory::{Bytes, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};
use vmm_sys_util::eventfd::EventFd;
use zerocopy::{FromZeros, IntoBytes};

/// The process.
pub(crate) struct Reference {
    child: Child,
    folder: PathBuf,
}

impl Reference {
    pub(crate) fn start() -> Self {
        let name = format!("stile-reference-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg("--role=reference")
            .arg("--socket")
            .arg(folder.join("gpu.sock"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self { child, folder }
    }

    pub(crate) fn connect(&self) -> Vm {
        let path = self.folder.join("gpu.sock");
        let stream = std::os::unix::net::UnixStream::connect(path).expect("the reference");
        Vm::start(stream, Plan::default())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// The process' part.
pub(crate) fn serve(socket: &Path) {
    let mut listener = Listener::new(socket, true).expect("a listener");
    println!("ready");
    std::io::stdout().flush().expect("a pipe");
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let device = Arc::new(Mutex::new(Device {
        memory: memory.clone(),
        event_idx: false,
        exit: new_event_consumer_and_notifier(EventFlag::NONBLOCK).expect("an eventfd"),
    }));
    let mut daemon =
        VhostUserDaemon::new("reference".to_owned(), device, memory).expect("a daemon");
    let fences = Epoll::new().expect("an epoll set");
    let fence = EventFd::new(0).expect("an eventfd");
    let event = EpollEvent::new(EventSet::IN, 0);
    fences
        .ctl(ControlOperation::Add, fence.as_raw_fd(), event)
        .expect("an event");
    let handler = &daemon.get_epoll_handlers()[0];
    handler
        .register_listener(fences.as_raw_fd(), EventSet::IN, 3)
        .expect("a nested epoll set");
    daemon.start(&mut listener).expect("a front end");
    // The front end's end is the end.
    let _ended = daemon.wait();
}

struct Device {
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    event_idx: bool,
    exit: (EventConsumer, EventNotifier),
}

impl VhostUserBackendMut for Device {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        2
    }

    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
            | 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, enabled: bool) {
        self.event_idx = enabled;
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> std::io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        Some((self.exit.0.try_clone().ok()?, self.exit.1.try_clone().ok()?))
    }

    fn handle_event(
        &mut self,
        event: u16,
        _set: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> std::io::Result<()> {
        let Some(vring) = vrings.get(usize::from(event)) else {
            return Ok(());
        };
        loop {
            vring.disable_notification().expect("the ring");
            self.drain(vring);
            if !vring.enable_notification().expect("the ring") {
                return Ok(());
            }
        }
    }
}

impl Device {
    /// As the crate's own devices do it: one answer after the other into the used ring, and a call
    /// at the end.
    fn drain(&self, vring: &VringMutex) {
        let memory = self.memory.memory();
        let mut vring = vring.get_mut();
        let queue = vring.get_queue_mut();
        let chains: Vec<_> = queue.iter(memory.clone()).expect("the ring").collect();
        for chain in &chains {
            let head = chain.head_index();
            let mut header = [0; size_of::<Header>()];
            let mut written = 0;
            for descriptor in chain.clone() {
                if !descriptor.is_write_only() {
                    memory
                        .read_slice(&mut header, descriptor.addr())
                        .expect("a header");
                    continue;
                }
                let mut response = Header::new_zeroed();
                response.as_mut_bytes().copy_from_slice(&header);
                response.kind.set(RESP_OK_NODATA);
                memory
                    .write_slice(response.as_bytes(), descriptor.addr())
                    .expect("room");
                written = 24;
            }
            vring.add_used(head, written).expect("the ring");
        }
        if !chains.is_empty() && vring.needs_notification().expect("the ring") {
            vring.signal_used_queue().expect("a call");
        }
    }
}
