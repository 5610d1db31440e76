//! A life: a device and its model go through the same steps, and are compared after every one.
//!
//! The properties live lives that are drawn at random.

mod points;

use std::collections::{BTreeSet, VecDeque};

use stile_core::{Device, Errno, Limits, Replacement, errno};
use stile_wire::gpu::types;
use stile_wire::sync::Access;

use crate::model::{
    Command, Ending, FenceId, Fencing, Model, PointStep, Step, blob_again, blob_slowly, boot,
    context_again,
};
use crate::sim::{Fenced, GuestCommand, HostFails, Sim};

use points::HostSyncobj;

const MS: u64 = 1_000_000;
const START_NS: u64 = 5_000 * MS;

/// Small, so that every quota is reached.
pub(crate) fn small() -> Limits {
    Limits {
        contexts: 2,
        resources: 3,
        host_bytes: 40_000,
        guest_bytes: 12_500,
        maps: 1,
        hostmem_bytes: 6 * 4096,
        cookies: 4,
        timelines: 2,
        events: 4,
        cpu_accesses: 2,
        timeout_ms: 2_000,
        pending_fences: 4,
        fds: 18,
        submit_bytes: 128,
        operations: 4,
        looks: 5,
        fence_deadline_ms: 1_000,
    }
}

pub(crate) struct Life {
    device: Device<Sim>,
    sim: Sim,
    model: Model,
    last_id: u64,
    /// Syncobjs that host processes have offered, with their numbers.
    offered: Vec<HostSyncobj>,
    /// Whether the host takes its time for buffers.
    slow: bool,
    /// Commands that lie in the ring while the device is paused.
    ring: VecDeque<(Command, Fencing)>,
}

impl Life {
    pub(crate) fn new(limits: Limits, queue_size: u16) -> Self {
        let mut life = Self {
            device: Device::new(limits, stile_wire::sync::OpCode::mask()),
            sim: Sim::with_accesses(limits.cpu_accesses),
            model: Model::new(limits, START_NS),
            last_id: 0,
            offered: Vec::new(),
            slow: false,
            ring: VecDeque::new(),
        };
        life.device.set_queue_size(queue_size);
        life.model.set_queue_size(queue_size);
        life
    }

    fn id(&mut self, id: FenceId) -> u64 {
        match id {
            FenceId::Next => self.last_id += 1,
            FenceId::Skip => self.last_id += 10,
            FenceId::Same => {}
            FenceId::Back(by) => return self.last_id.saturating_sub(by),
        }
        self.last_id
    }

    /// The device takes up what is in the ring, as far as it does.
    fn drain(&mut self) {
        while !self.device.is_paused()
            && let Some((command, fencing)) = self.ring.pop_front()
        {
            self.take_up(&command, fencing);
            self.compare();
            if !self.slow && self.device.is_paused() {
                self.buffer(self.model.unmade().len() - 1, None);
                self.compare();
            }
        }
    }

    fn buffer(&mut self, nth: usize, error: Option<Errno>) {
        self.model.buffer_created(nth, error);
        let (id, buffer) = self.sim.make_buffer(nth);
        let result = error.map_or(Ok(buffer), Err);
        self.device.buffer_created(&mut self.sim, id, result);
    }

    fn take_up(&mut self, command: &Command, fencing: Fencing) {
        let fenced = match fencing {
            Fencing::No => Fenced::No,
            Fencing::RingOnly(ring) => Fenced::RingOnly(ring),
            Fencing::Global(id) => Fenced::Global(self.id(id)),
            Fencing::Ring(ring, id) => Fenced::Ring(ring, self.id(id)),
        };
        let ring = match fenced {
            Fenced::No | Fenced::Global(_) => 0,
            Fenced::RingOnly(ring) | Fenced::Ring(ring, _) => ring,
        };
        let encoded = encode(command, ring);
        let chain = self.sim.open_chain();
        self.model.command(chain, command, &encoded, fenced);
        self.model.end_due();
        let now_ns = self.model.now_ns();
        self.device
            .submit(&mut self.sim, now_ns, chain, &encoded.bytes(fenced));
    }

    fn deliver(&mut self, id: stile_core::WaitId, fresh: bool) {
        self.model.signalled(id, fresh);
        self.device
            .signalled(&mut self.sim, self.model.now_ns(), id, fresh);
    }

    fn deliver_all(&mut self) {
        for id in self.sim.signalled_watches() {
            self.deliver(id, false);
        }
    }

    fn job(&mut self, nth: usize, done: bool) {
        let (job, _) = self.sim.jobs[nth];
        self.model.job_done(nth, done);
        if !done {
            self.sim.job_failed(job);
        }
        let result = if done { Ok(()) } else { Err(Errno(5)) };
        self.device
            .job_done(&mut self.sim, self.model.now_ns(), job, result);
    }

    fn accessed(&mut self, nth: usize, error: Option<Errno>) {
        self.model.accessed(nth, error);
        let access = &mut self.sim.accesses[nth];
        access.done = true;
        let wait = access.wait;
        let result = error.map_or(Ok(()), Err);
        self.device
            .cpu_done(&mut self.sim, self.model.now_ns(), wait, result);
    }

    fn signal(&mut self, source: usize, error: Option<Errno>) {
        self.model.signal(source, error);
        self.sim.kernel.signal(source, self.model.now_ns(), error);
    }

    fn pass(&mut self, ms: u64) {
        let now_ns = self.model.now_ns() + ms * MS;
        self.model.pass(now_ns);
        self.device.tick(&mut self.sim, now_ns);
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Guest(ref command, fencing) => self.ring.push_back((command.clone(), fencing)),
            Step::HostWork { resource, access } => {
                let access = Access::from_bits_truncate(access);
                if self.model.host_work(resource, access) {
                    self.sim.host_work(resource, access);
                }
            }
            Step::Signal { nth, error } => {
                if let Some(source) = pick(&self.sim.kernel.pending(), nth) {
                    self.signal(source, error.then_some(Errno(125)));
                }
            }
            Step::Deliver { nth, fresh } => {
                if let Some(id) = pick(&self.sim.signalled_watches(), nth) {
                    self.deliver(id, fresh);
                }
            }
            Step::DeliverAll => self.deliver_all(),
            Step::DeliverAgain { nth } => {
                if let Some(id) = pick(&self.model.ended_waits(), nth) {
                    self.deliver(id, false);
                }
            }
            Step::WatchFails { nth } => {
                if let Some(id) = pick(&self.model.open_waits(), nth) {
                    self.model.watch_failed(id, errno::EMFILE);
                    let now_ns = self.model.now_ns();
                    self.device
                        .watch_failed(&mut self.sim, now_ns, id, errno::EMFILE);
                }
            }
            Step::Job { nth, done } => {
                if let Some(nth) = pick(&self.model.open_jobs(), nth) {
                    self.job(nth, done);
                }
            }
            Step::JobAgain { nth } => {
                if let Some(nth) = pick(&self.model.ended_jobs(), nth) {
                    let (job, _) = self.sim.jobs[nth];
                    self.device
                        .job_done(&mut self.sim, self.model.now_ns(), job, Ok(()));
                }
            }
            Step::Slow(slow) => self.slow = slow,
            Step::Buffer { nth, errno } => {
                if let Some(nth) = pick(&self.model.unmade(), nth) {
                    self.buffer(nth, errno.map(Errno));
                }
            }
            Step::Accessed { nth, errno } => {
                if let Some(nth) = pick(&self.model.open_accesses(), nth) {
                    self.accessed(nth, errno.map(Errno));
                }
            }
            Step::Ask(request) => {
                let id = self.sim.open_request();
                self.model.ask(id, request);
                let now_ns = self.model.now_ns();
                self.device.ask(&mut self.sim, now_ns, id, request);
            }
            Step::Replace(ref new) => {
                let id = self.sim.open_request();
                self.model.replace(id, new);
                let replacement = Replacement {
                    resource: new.resource,
                    buffer: self.sim.new_buffer_with(new.size, new.work, &new.words),
                    timeout_ns: new.timeout_ns,
                };
                let now_ns = self.model.now_ns();
                self.device.replace(&mut self.sim, now_ns, id, replacement);
            }
            Step::Withdraw { nth } => {
                if let Some(id) = pick(&self.model.open_requests(), nth) {
                    self.model.withdraw(id);
                    self.device.withdraw(id);
                    self.sim.withdrawn(id);
                }
            }
            Step::Store {
                resource,
                offset,
                value,
            } => {
                if self.model.store(resource, offset, value) {
                    self.sim.storage(resource).store(offset, value);
                }
            }
            Step::Point(step) => self.run_point(step),
            Step::Pass { ms } => self.pass(ms),
            Step::HostFails { errno, after } => {
                let error = Some(Errno(errno));
                let fails = HostFails { after, error };
                self.model.host_fails(fails);
                self.sim.fails = fails;
            }
            Step::Reset => {
                self.model.reset();
                self.device.reset(&mut self.sim);
                self.sim.forget_chains();
                self.ring.clear();
                self.model.verify_invariants(&self.device, &mut self.sim);
                self.run(&Step::Boot);
            }
            Step::Boot => self.run_all(&boot()),
            Step::ContextAgain { ctx } => self.run_all(&context_again(ctx)),
            Step::BlobAgain { resource } => self.run_all(&blob_again(resource)),
            Step::BlobSlowly { mem, fencing } => self.run_all(&blob_slowly(mem, fencing)),
        }
        self.compare();
        self.drain();
    }

    fn compare(&mut self) {
        self.model.adopt_watches(&mut self.sim);
        self.model.adopt_points(&mut self.sim);
        self.model.verify_invariants(&self.device, &mut self.sim);
    }

    pub(crate) fn run_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.run(step);
        }
    }

    /// Ends everything in one way or the other, takes it all down, and sees that nothing is left.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.slow = false;
        while self.device.is_paused() {
            self.run(&match ending {
                Ending::Signals => Step::Buffer {
                    nth: 0,
                    errno: None,
                },
                Ending::Deadlines => Step::Pass { ms: 1_000 },
            });
        }
        assert!(self.ring.is_empty());
        match ending {
            Ending::Signals => {
                for source in self.sim.kernel.pending() {
                    self.run_signal(source);
                }
                self.end_jobs();
                // What ends lets POLLs start, which find their buffers idle.
                while !self.sim.signalled_watches().is_empty() {
                    self.run(&Step::DeliverAll);
                }
                self.run(&Step::Point(PointStep::ReachAll));
                // What may never happen is left to its deadline, and nothing else is.
                self.model.assert_only_event_waits();
                self.run(&Step::Pass { ms: 1_000 });
            }
            Ending::Deadlines => self.run(&Step::Pass { ms: 1_000 }),
        }
        self.end_jobs();
        while !self.model.unmade().is_empty() {
            self.run(&Step::Buffer {
                nth: 0,
                errno: None,
            });
        }
        assert!(
            self.sim.outstanding.is_empty(),
            "lost: {:?}",
            self.sim.outstanding
        );
        assert_eq!(self.device.pending_fences(), 0);
        let (contexts, blobs) = self.model.population();
        for ctx in contexts {
            self.run(&Step::Guest(Command::CtxDestroy { ctx }, Fencing::No));
        }
        for resource in blobs {
            self.run(&Step::Guest(Command::Unref { resource }, Fencing::No));
        }
        self.end_jobs();
        self.sim.assert_empty();
        assert_eq!(self.device.population(), (0, 0, 0));
        assert_eq!(self.device.next_deadline_ns(), None);
    }

    /// What operations and events have ended with: whether it is an event, the code, the errno.
    pub(crate) fn outcomes(&self) -> BTreeSet<(bool, u8, u32)> {
        self.sim.outcomes.clone()
    }

    fn run_signal(&mut self, source: usize) {
        self.signal(source, None);
        self.model.verify_invariants(&self.device, &mut self.sim);
    }

    fn end_jobs(&mut self) {
        while !self.model.open_accesses().is_empty() {
            let errno = None;
            self.run(&Step::Accessed { nth: 0, errno });
        }
        while !self.model.open_jobs().is_empty() {
            self.run(&Step::Job { nth: 0, done: true });
        }
    }
}

fn pick<T: Copy>(from: &[T], nth: usize) -> Option<T> {
    from.get(nth.checked_rem(from.len())?).copied()
}

fn encode(command: &Command, ring: u8) -> GuestCommand {
    match *command {
        Command::CtxCreate { ctx, capset } => GuestCommand::ctx_create(ctx, capset),
        Command::CtxDestroy { ctx } => GuestCommand::ctx_destroy(ctx),
        Command::Attach { ctx, resource } => GuestCommand::attach(ctx, resource),
        Command::Detach { ctx, resource } => GuestCommand::detach(ctx, resource),
        Command::Blob {
            resource,
            mem,
            mappable,
            size,
        } => {
            let backed = if mem == 2 { 0 } else { size.max(1) as u32 };
            GuestCommand::create_blob(resource, mem, mappable.into(), size, backed)
        }
        Command::Unref { resource } => GuestCommand::unref(resource),
        Command::AssignUuid { resource, ctx } => GuestCommand::assign_uuid(resource).of(ctx),
        Command::Map {
            resource,
            ctx,
            offset,
        } => GuestCommand::map(resource, offset).of(ctx),
        Command::Unmap { resource, ctx } => GuestCommand::unmap(resource).of(ctx),
        Command::Submit {
            ctx,
            ref pieces,
            cut_short,
        } => {
            let tagged = (0..).zip(pieces);
            let payload: Vec<_> = tagged.map(|(tag, piece)| piece.encode(ring, tag)).collect();
            let payload = payload.concat();
            let claimed = payload.len() + if cut_short { 8 } else { 0 };
            GuestCommand::submit_bytes(ctx, claimed as u32, &payload)
        }
        Command::DisplayInfo { ctx } => GuestCommand::display_info().of(ctx),
        Command::Unknown { ctx } => GuestCommand {
            kind: types::CMD_GET_EDID + 0x1000,
            ..GuestCommand::display_info()
        }
        .of(ctx),
    }
}
