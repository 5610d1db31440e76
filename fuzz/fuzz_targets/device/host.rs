//! The device, the simulated host, and time.

use std::collections::VecDeque;

use stile_core::{Device, Errno, Limits, Replacement, Request, ResourceName, WaitId};
use stile_wire::gpu::types;
use stile_wire::sync::{Access, Op, OpCode};

use crate::input::{Act, Ask, Capset, Command, Fencing, Input, Replace, Small};
use crate::rules::{Rules, Sent};
use crate::sim::{Fenced, GuestCommand, HostFails, Sim};

const MS: u64 = 1_000_000;
const PAGE: u64 = 4096;
const DEADLINE_MS: u32 = 1_000;

/// Small, so that every quota is reached.
fn small() -> Limits {
    Limits {
        contexts: 3,
        resources: 3,
        host_bytes: 10 * PAGE,
        guest_bytes: 5 * PAGE,
        maps: 2,
        hostmem_bytes: 6 * PAGE,
        cookies: 4,
        timelines: 2,
        events: 4,
        cpu_accesses: 2,
        timeout_ms: 2_000,
        pending_fences: 4,
        fds: 16,
        submit_bytes: 256,
        operations: 6,
        fence_deadline_ms: DEADLINE_MS,
        ..Limits::default()
    }
}

pub(crate) struct Scene {
    device: Device<Sim>,
    sim: Sim,
    rules: Rules,
    now_ns: u64,
    last_id: u64,
    /// What the device has not taken up: it pauses while the memory of a blob is made.
    ring: VecDeque<Vec<u8>>,
    /// The command that it pauses for.
    sent: Option<Sent>,
    /// Whether the host takes its time for memory.
    slow: bool,
}

impl Scene {
    /// A device whose guest has booted: two contexts, each with both buffers, a status blob and an event ring, and
    /// work of the host on the buffers.
    pub(crate) fn new(input: &Input) -> Self {
        let limits = if input.roomy {
            Limits {
                fence_deadline_ms: DEADLINE_MS,
                ..Limits::default()
            }
        } else {
            small()
        };
        let mut scene = Self {
            device: Device::new(limits, OpCode::mask()),
            sim: Sim::with_accesses(limits.cpu_accesses),
            rules: Rules::new(u64::from(DEADLINE_MS) * MS),
            now_ns: 5_000 * MS,
            last_id: 0,
            ring: VecDeque::new(),
            sent: None,
            slow: false,
        };
        scene.device.set_queue_size(input.queue.size());
        scene.boot();
        scene
    }

    fn boot(&mut self) {
        for resource in 1..=2 {
            self.unfenced(&GuestCommand::blob(resource, 2 * PAGE));
            self.host_work(resource, resource == 1);
        }
        for ctx in 1..=2 {
            self.unfenced(&GuestCommand::context(ctx));
            self.unfenced(&GuestCommand::attach(ctx, 1));
            self.unfenced(&GuestCommand::attach(ctx, 2));
            let (resource_id, size) = (ctx, 256);
            let status = Op::Status {
                resource_id,
                offset: 0,
                size,
            };
            let events = Op::Events {
                resource_id,
                offset: 512,
                size,
            };
            let operations = [status, events].map(|op| op.encode(0, 0).to_vec());
            self.unfenced(&GuestCommand::submit(ctx, &operations));
        }
    }

    fn unfenced(&mut self, command: &GuestCommand) {
        self.send(&command.bytes(Fenced::No));
    }

    /// Puts a chain into the ring.
    fn send(&mut self, bytes: &[u8]) {
        self.ring.push_back(bytes.to_vec());
        self.drain();
    }

    /// The device takes up what is in the ring, as far as it does.
    fn drain(&mut self) {
        while !self.device.is_paused()
            && let Some(bytes) = self.ring.pop_front()
        {
            let chain = self.sim.open_chain();
            let sent = self.rules.before(chain, &bytes, &self.device, &self.sim);
            self.sent = Some(sent);
            self.device
                .submit(&mut self.sim, self.now_ns, chain, &bytes);
            self.check();
            if !self.slow && self.device.is_paused() {
                let newest = self.sim.unmade.len() - 1;
                self.buffer(newest, true);
            }
        }
    }

    /// The memory of a blob is made, or cannot be.
    fn buffer(&mut self, nth: usize, made: bool) {
        let (id, buffer) = self.sim.make_buffer(nth);
        let result = if made { Ok(buffer) } else { Err(Errno(12)) };
        self.device.buffer_created(&mut self.sim, id, result);
        self.check();
    }

    fn check(&mut self) {
        self.device.check().expect("the device is whole");
        if !self.device.is_paused()
            && let Some(sent) = self.sent.take()
        {
            self.rules
                .after(sent, self.now_ns, &self.device, &mut self.sim);
        }
        self.rules.check(self.now_ns, &self.device, &mut self.sim);
    }

    fn fenced(&mut self, fencing: Fencing) -> Fenced {
        let mut id = |step: i8| {
            let id = self.last_id.saturating_add_signed(step.into());
            self.last_id = self.last_id.max(id);
            id
        };
        match fencing {
            Fencing::No => Fenced::No,
            Fencing::RingOnly { ring } => Fenced::RingOnly(ring.0),
            Fencing::Global { step } => Fenced::Global(id(step.0)),
            Fencing::Ring { ring, step } => Fenced::Ring(ring.0, id(step.0)),
        }
    }

    fn host_work(&mut self, resource: u32, write: bool) {
        if self.sim.published.contains_key(&resource) {
            let access = if write { Access::WRITE } else { Access::READ };
            self.sim.host_work(resource, access);
        }
    }

    fn deliver(&mut self, wait: WaitId, fresh: bool) {
        self.rules.told(wait);
        self.device
            .signalled(&mut self.sim, self.now_ns, wait, fresh);
        self.check();
    }

    fn deliver_all(&mut self) {
        for wait in self.sim.signalled_watches() {
            self.deliver(wait, false);
        }
    }

    fn job(&mut self, nth: usize, done: bool) {
        let (job, _) = self.sim.jobs[nth];
        self.rules.job_ended(nth);
        if !done {
            self.sim.job_failed(job);
        }
        let result = if done { Ok(()) } else { Err(Errno(5)) };
        self.device
            .job_done(&mut self.sim, self.now_ns, job, result);
        self.check();
    }

    fn pass(&mut self, ms: u64) {
        self.now_ns += ms * MS;
        self.device.tick(&mut self.sim, self.now_ns);
        self.check();
    }

    pub(crate) fn act(&mut self, act: &Act) {
        match act {
            Act::Command(command, ctx, fencing) => {
                let fenced = self.fenced(*fencing);
                self.send(&encode(command, ctx.0).bytes(fenced));
            }
            Act::Submit {
                ctx,
                fencing,
                operations,
                bend,
            } => {
                let fenced = self.fenced(*fencing);
                let ring = match fenced {
                    Fenced::No | Fenced::Global(_) => 0,
                    Fenced::RingOnly(ring) | Fenced::Ring(ring, _) => ring,
                };
                let tagged = (0..).zip(operations);
                let operations: Vec<_> = tagged.map(|(tag, one)| one.encode(ring, tag)).collect();
                let mut command = GuestCommand::submit(ctx.0, &operations);
                if let Some(bend) = bend
                    && let Some(byte) = command.body.get_mut(usize::from(bend.at))
                {
                    *byte = bend.to;
                }
                self.send(&command.bytes(fenced));
            }
            Act::Bytes(bytes) => self.send(bytes),
            Act::HostWork { resource, write } => self.host_work(resource.0, *write),
            Act::Signal { nth, error } => {
                if let Some(source) = pick(&self.sim.kernel.pending(), *nth) {
                    let error = error.then_some(Errno(125));
                    self.sim.kernel.signal(source, self.now_ns, error);
                }
            }
            Act::Deliver { nth, fresh } => {
                if let Some(wait) = pick(&self.sim.signalled_watches(), *nth) {
                    self.deliver(wait, *fresh);
                }
            }
            Act::DeliverAll => self.deliver_all(),
            Act::DeliverAgain { nth } => {
                if let Some(wait) = pick(&self.rules.over(), *nth) {
                    self.deliver(wait, false);
                }
            }
            Act::WatchFails { nth } => {
                if let Some(wait) = pick(&self.rules.watches(), *nth) {
                    self.rules.told(wait);
                    self.device
                        .watch_failed(&mut self.sim, self.now_ns, wait, Errno(24));
                    self.check();
                }
            }
            Act::Job { nth, done } => {
                if let Some(nth) = pick(&self.rules.open_jobs(&self.sim), *nth) {
                    self.job(nth, *done);
                }
            }
            Act::CpuDone { nth, done } => {
                if let Some(nth) = pick(&self.open_accesses(), *nth) {
                    self.accessed(nth, *done);
                }
            }
            Act::Ask(ask) => self.ask(*ask),
            Act::Withdraw { nth } => {
                if let Some(id) = pick(&self.sim.asking(), *nth) {
                    self.device.withdraw(id);
                    self.sim.withdrawn(id);
                    self.check();
                }
            }
            Act::Replace(replace) => self.replace(*replace),
            Act::Store {
                resource,
                at,
                value,
            } => {
                if self.sim.published.contains_key(&resource.0) {
                    let storage = self.sim.storage(resource.0);
                    storage.store(u64::from(*at) * 8, (*value).into());
                }
            }
            Act::Slow(slow) => self.slow = *slow,
            Act::Buffer { nth, made } => {
                let unmade: Vec<_> = (0..self.sim.unmade.len()).collect();
                if let Some(nth) = pick(&unmade, *nth) {
                    self.buffer(nth, *made);
                }
            }
            Act::Points => self.deliver_points(),
            Act::Pass { ms } => self.pass(u64::from(*ms)),
            Act::HostFails { after, errno } => {
                self.sim.fails = HostFails {
                    after: u32::from(*after),
                    error: Some(Errno(u32::from(*errno).max(1))),
                };
            }
            Act::Queue(queue) => {
                self.device.set_queue_size(queue.size());
                self.check();
            }
            Act::Reset => self.reset(),
        }
        self.drain();
    }

    fn ask(&mut self, ask: Ask) {
        let resource = name(ask.resource, ask.by_uuid);
        let (offset, value) = (u64::from(ask.at) * 8, ask.value.into());
        let request = if ask.waits {
            Request::Wait {
                resource,
                offset,
                value,
                timeout_ns: u64::from(ask.ms) * MS,
            }
        } else {
            Request::Signal {
                resource,
                offset,
                value,
            }
        };
        let id = self.sim.open_request();
        self.device.ask(&mut self.sim, self.now_ns, id, request);
        self.check();
    }

    fn replace(&mut self, replace: Replace) {
        let work = replace.work.then_some(Access::WRITE);
        let size = u64::from(replace.pages.0 % 16) * PAGE;
        let replacement = Replacement {
            resource: name(replace.resource, replace.by_uuid),
            buffer: self.sim.new_buffer_with(size, work, &[]),
            timeout_ns: u64::from(replace.ms) * MS,
        };
        let id = self.sim.open_request();
        self.device
            .replace(&mut self.sim, self.now_ns, id, replacement);
        self.check();
    }

    fn open_accesses(&self) -> Vec<usize> {
        let all = self.sim.accesses.iter().enumerate();
        all.filter(|(_, access)| !access.done)
            .map(|(nth, _)| nth)
            .collect()
    }

    fn accessed(&mut self, nth: usize, done: bool) {
        let access = &mut self.sim.accesses[nth];
        access.done = true;
        let wait = access.wait;
        let result = if done { Ok(()) } else { Err(Errno(4)) };
        self.device
            .cpu_done(&mut self.sim, self.now_ns, wait, result);
        self.check();
    }

    /// The device hears of the points that have come so far.
    fn deliver_points(&mut self) {
        let reached = self.sim.reached_points();
        self.device
            .points_reached(&mut self.sim, self.now_ns, reached);
        self.check();
    }

    fn reset(&mut self) {
        self.device.reset(&mut self.sim);
        self.sim.forget_chains();
        self.rules.reset();
        self.ring.clear();
        self.sent = None;
        self.check();
        self.boot();
    }

    /// The host signals what there is or leaves it to the deadlines, the front end does its jobs:
    /// then nothing is left to be answered. Then the guest goes, and nothing is left at all.
    pub(crate) fn end(mut self, host_signals_all: bool) {
        self.sim.fails = HostFails::default();
        self.slow = false;
        self.end_buffers();
        self.drain();
        if host_signals_all {
            for source in self.sim.kernel.pending() {
                self.sim.kernel.signal(source, self.now_ns, None);
            }
            self.deliver_all();
            self.deliver_points();
            for nth in self.open_accesses() {
                self.accessed(nth, true);
            }
            self.end_jobs();
        }
        self.pass(DEADLINE_MS.into());
        assert_eq!(self.device.pending_fences(), 0, "lost");
        self.end_jobs();
        let lost = &self.sim.outstanding;
        assert!(lost.is_empty(), "lost: {lost:?}");
        self.device.reset(&mut self.sim);
        self.rules.reset();
        self.end_jobs();
        self.sim.assert_empty();
        assert_eq!(self.device.population(), (0, 0, 0));
    }

    fn end_buffers(&mut self) {
        while !self.sim.unmade.is_empty() {
            self.buffer(0, true);
        }
    }

    fn end_jobs(&mut self) {
        while let Some(nth) = pick(&self.rules.open_jobs(&self.sim), 0) {
            self.job(nth, true);
        }
    }
}

fn name(resource: Small, by_uuid: bool) -> ResourceName {
    if by_uuid {
        ResourceName::Uuid([resource.0 as u8; 16])
    } else {
        ResourceName::Id(resource.0)
    }
}

fn pick<T: Copy>(from: &[T], nth: u8) -> Option<T> {
    let nth = usize::from(nth).checked_rem(from.len())?;
    from.get(nth).copied()
}

fn encode(command: &Command, ctx: u32) -> GuestCommand {
    match command {
        Command::CtxCreate { capset } => GuestCommand::ctx_create(
            ctx,
            match capset {
                Capset::StileSync => 30,
                Capset::None => 0,
                Capset::Other(id) => (*id).into(),
            },
        ),
        Command::CtxDestroy => GuestCommand::ctx_destroy(ctx),
        Command::Attach { resource } => GuestCommand::attach(ctx, resource.0),
        Command::Detach { resource } => GuestCommand::detach(ctx, resource.0),
        Command::Blob {
            resource,
            mem,
            flags,
            pages,
            bytes_less,
        } => {
            let size = (u64::from(pages.0) * PAGE).saturating_sub((bytes_less % 3).into());
            let backed = if mem.0 == 2 { 0 } else { size as u32 };
            GuestCommand::create_blob(resource.0, mem.0, flags.0, size, backed)
        }
        Command::Unref { resource } => GuestCommand::unref(resource.0),
        Command::AssignUuid { resource } => GuestCommand::assign_uuid(resource.0).of(ctx),
        Command::Map { resource, page } => {
            // The first page is 1.
            let offset = u64::from(page.0).wrapping_sub(1).wrapping_mul(PAGE);
            GuestCommand::map(resource.0, offset).of(ctx)
        }
        Command::Unmap { resource } => GuestCommand::unmap(resource.0).of(ctx),
        Command::Other { kind, body } => GuestCommand {
            kind: if *kind < 0x400 {
                *kind
            } else {
                types::CMD_GET_DISPLAY_INFO + kind % 0x10
            },
            ctx_id: ctx,
            body: body.clone(),
        },
    }
}
