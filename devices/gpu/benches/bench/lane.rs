//! A driver that keeps so many commands in flight and costs little itself: its descriptors and
//! commands stand in memory from the start, and only the fences' ids change.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use stile_frontend::gpu::{Command, create_context};
use stile_frontend::{Piece, Ram, Vm, descriptor};
use stile_wire::gpu::types::RESP_OK_NODATA;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use crate::echo::{sleep, tell};

/// Where `fence_id` and `type` stand in a header.
const FENCE_ID: usize = 8;

/// The control ring of a guest, from now on only used through this.
pub(crate) struct Lane {
    ram: Arc<Ram>,
    kick: File,
    call: File,
    size: u16,
    available: u64,
    used: u64,
    /// Commands and responses, by their head.
    commands: Vec<u64>,
    responses: Vec<u64>,
    free: Vec<u16>,
    put: u16,
    shown: u16,
    seen: u16,
    last_id: u64,
    /// Keeps the connection.
    _vm: Vm,
}

impl Lane {
    /// Commands as `command` makes them, each in a table of its own as Linux' driver has them; up to
    /// `depth` of them in flight.
    pub(crate) fn new(mut vm: Vm, command: &Command, depth: u16) -> Self {
        vm.expect(
            &create_context(1, stile_wire::sync::CAPSET_ID),
            RESP_OK_NODATA,
        );
        Self::over(vm, command, depth)
    }

    /// The same for a guest whose context 1 is there.
    pub(crate) fn over(vm: Vm, command: &Command, depth: u16) -> Self {
        Self::of_many(vm, |_| command.clone(), depth)
    }

    /// The same with another command for each head.
    pub(crate) fn of_many(vm: Vm, command: impl Fn(u16) -> Command, depth: u16) -> Self {
        let ring = &vm.control;
        let (_, available, used) = ring.addresses();
        let ram = Arc::clone(&vm.ram);
        let duplicate = |fd: &dyn AsRawFd| {
            // SAFETY: the ring, which owns the descriptor, lives during this call.
            let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
            // The daemon writes it and nobody else reads it: it may block here.
            rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::empty()).expect("a flag");
            File::from(fd.try_clone_to_owned().expect("a descriptor"))
        };
        let (kick, call) = (duplicate(&ring.kick), duplicate(&ring.call));
        let (mut commands, mut responses) = (Vec::new(), Vec::new());
        for head in 0..depth {
            let bytes = command(head).bytes();
            let at = ram.take(bytes.len() as u64);
            let (response, table) = (ram.take(64), ram.take(64));
            ram.write(at, &bytes);
            let readable = Piece {
                address: at,
                bytes: bytes.len() as u32,
            };
            let writable = Piece {
                address: response,
                bytes: 24,
            };
            ram.write(table, &descriptor(readable, 0, Some(1)));
            let write = VRING_DESC_F_WRITE as u16;
            ram.write(table + 16, &descriptor(writable, write, None));
            let indirect = Piece {
                address: table,
                bytes: 32,
            };
            let flags = VRING_DESC_F_INDIRECT as u16;
            ring.set_descriptor(head, &descriptor(indirect, flags, None));
            commands.push(at);
            responses.push(response);
        }
        Self {
            kick,
            call,
            size: ring.size(),
            available,
            used,
            commands,
            responses,
            free: (0..depth).rev().collect(),
            put: ring.available_index(),
            shown: ring.available_index(),
            seen: ring.used_index(),
            last_id: 0,
            ram,
            _vm: vm,
        }
    }

    /// Nanoseconds of so many round trips, one command at a time.
    pub(crate) fn block(&mut self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let begin = Instant::now();
                self.send();
                self.wait_all();
                begin.elapsed().as_nanos() as f64
            })
            .collect()
    }

    /// Sends one command, and kicks if that is wanted.
    pub(crate) fn send(&mut self) {
        self.burst(1);
    }

    /// The next command is this one, which is as long as those before it. For one at a time.
    pub(crate) fn rewrite(&mut self, command: &Command) {
        assert_eq!(self.free.len(), 1, "a command is in flight");
        self.ram.write(self.commands[0], &command.bytes());
    }

    /// Sends so many commands, and kicks once if that is wanted.
    pub(crate) fn burst(&mut self, count: usize) {
        for _ in 0..count {
            self.put_one();
        }
        self.store(self.available + 4 + 2 * u64::from(self.size), self.seen);
        self.show();
    }

    /// Waits until nothing is in flight.
    pub(crate) fn wait_all(&mut self) {
        while self.free.len() < self.commands.len() {
            if self.reap() == 0 {
                self.sleep();
            }
        }
    }

    /// Commands a second, with as many in flight as there may be.
    pub(crate) fn rate(&mut self, count: usize) -> f64 {
        let begin = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < count {
            while sent < count && !self.free.is_empty() {
                self.put_one();
                sent += 1;
            }
            self.show();
            let reaped = self.reap();
            done += reaped;
            if reaped == 0 {
                self.sleep();
            }
        }
        count as f64 / begin.elapsed().as_secs_f64()
    }

    /// Waits until the device has taken up all that was shown and asks for a kick: it sleeps then,
    /// or is about to. Looks at the ring only, so that nobody is woken by it.
    pub(crate) fn wait_taken(&self) {
        while self.load(self.used + 4 + 8 * u64::from(self.size)) != self.put {
            std::thread::yield_now();
        }
    }

    fn put_one(&mut self) {
        let head = self.free.pop().expect("a free command");
        self.last_id += 1;
        let command = self.slice(self.commands[usize::from(head)], 24);
        command
            .store(self.last_id.to_le(), FENCE_ID, Ordering::Relaxed)
            .expect("a header");
        let slot = u64::from(self.put % self.size);
        self.store(self.available + 4 + 2 * slot, head);
        self.put = self.put.wrapping_add(1);
    }

    fn show(&mut self) {
        if self.put == self.shown {
            return;
        }
        fence(Ordering::Release);
        self.store(self.available + 2, self.put);
        fence(Ordering::SeqCst);
        let event = self.load(self.used + 4 + 8 * u64::from(self.size));
        let new = self.put.wrapping_sub(event).wrapping_sub(1);
        if new < self.put.wrapping_sub(self.shown) {
            tell(&self.kick);
        }
        self.shown = self.put;
    }

    fn reap(&mut self) -> usize {
        let index = self.load(self.used + 2);
        fence(Ordering::Acquire);
        let mut count = 0;
        while self.seen != index {
            let slot = u64::from(self.seen % self.size);
            let head = self.load(self.used + 4 + 8 * slot);
            self.seen = self.seen.wrapping_add(1);
            let response = self.slice(self.responses[usize::from(head)], 24);
            let kind: u32 = response.load(0, Ordering::Relaxed).expect("a response");
            assert_eq!(u32::from_le(kind), RESP_OK_NODATA, "the command failed");
            self.free.push(head);
            count += 1;
        }
        count
    }

    /// Sleeps until there is something to reap.
    fn sleep(&self) {
        self.store(self.available + 4 + 2 * u64::from(self.size), self.seen);
        fence(Ordering::SeqCst);
        if self.load(self.used + 2) == self.seen {
            sleep(&self.call);
        }
    }

    fn slice(&self, address: u64, bytes: usize) -> VolatileSlice<'_> {
        self.ram
            .memory()
            .get_slice(GuestAddress(address), bytes)
            .expect("guest memory")
    }

    fn load(&self, address: u64) -> u16 {
        let value: u16 = self
            .slice(address, 2)
            .load(0, Ordering::Relaxed)
            .expect("the ring");
        u16::from_le(value)
    }

    fn store(&self, address: u64, value: u16) {
        let slice = self.slice(address, 2);
        slice
            .store(value.to_le(), 0, Ordering::Relaxed)
            .expect("the ring");
    }
}
