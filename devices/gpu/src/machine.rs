//! The data path: rings in, device, rings out.

use std::sync::Arc;

use rustix::io::Errno;
use stile_core::{Device, Limits, PointId, WaitId};
use tracing::{debug, info};
use virtio_queue::QueueT;
use vm_memory::GuestMemoryMmap;

use crate::bridge::{Asked, Desk, Registry};
use crate::chain::{Open, Which};
use crate::clock::now_ns;
use crate::error::Result;
use crate::memory::Memory;
use crate::reactor::{Source, Wake};
use crate::ring::{Next, Ring};
use crate::seldom::warn_seldom;
use crate::shell::Shell;

/// The longest list of guest pages that a command may carry: 16384 entries of 16 bytes, as many as
/// Linux sends.
const MAX_ENTRIES_BYTES: usize = 16384 * 16;
/// How long commands of one ring are taken up before others have their turn, in nanoseconds.
const TURN_NS: u64 = 2_000_000;
/// Bytes of a command before its payload or entries, at most.
const MAX_COMMAND_BYTES: usize = 256;

/// Everything that belongs to one connection of a front end.
pub(crate) struct Machine {
    pub(crate) device: Device<Shell>,
    pub(crate) shell: Shell,
    pub(crate) memory: Memory,
    pub(crate) control: Ring,
    pub(crate) cursor: Ring,
    pub(crate) registry: Arc<Registry>,
    desk: Arc<Desk>,
    /// Acknowledged by the front end.
    pub(crate) features: u64,
    pub(crate) protocol_features: u64,
    /// Bytes of a command that are copied in at most.
    command_limit: usize,
    /// The command being read. Its memory is used again and again.
    command: Vec<u8>,
    signalled: Vec<WaitId>,
    failed: Vec<(WaitId, Errno)>,
    /// Rings that have more commands than were taken up.
    again: Vec<Which>,
    /// The device has paused since the rings were looked at.
    left: bool,
    /// Fences that signalled while the control ring was stopped.
    held: Vec<WaitId>,
    /// Points that have come so far and that the device does not know of yet.
    points: Vec<PointId>,
}

impl Machine {
    /// `operations` are those that the host can do.
    pub(crate) fn new(
        limits: Limits,
        operations: u64,
        shell: Shell,
        registry: Arc<Registry>,
        desk: Arc<Desk>,
    ) -> Result<Self> {
        let payload = usize::try_from(limits.submit_bytes).unwrap_or(usize::MAX);
        Ok(Self {
            device: Device::new(limits, operations),
            shell,
            memory: Memory::default(),
            control: Ring::new()?,
            cursor: Ring::new()?,
            registry,
            desk,
            features: 0,
            protocol_features: 0,
            // One more than is allowed, so that a payload that is too long is seen to be.
            command_limit: payload
                .max(MAX_ENTRIES_BYTES)
                .saturating_add(MAX_COMMAND_BYTES),
            command: Vec::new(),
            signalled: Vec::new(),
            failed: Vec::new(),
            again: Vec::new(),
            left: false,
            held: Vec::new(),
            points: Vec::new(),
        })
    }

    pub(crate) fn ring(&self, which: Which) -> &Ring {
        match which {
            Which::Control => &self.control,
            Which::Cursor => &self.cursor,
        }
    }

    pub(crate) fn ring_mut(&mut self, which: Which) -> &mut Ring {
        match which {
            Which::Control => &mut self.control,
            Which::Cursor => &mut self.cursor,
        }
    }

    /// Handles everything that one wake-up has brought, but messages of the front end.
    ///
    /// While the control ring is stopped, the guest's memory is not the device's to write: it may
    /// be another guest's already. What would end a command is then kept for [`Machine::start`].
    ///
    /// # Errors
    /// A system call that always works has failed.
    pub(crate) fn handle(&mut self, wakes: &[Wake]) -> Result<()> {
        self.shell.memory = self.memory.snapshot();
        let live = self.control.runs();
        for wake in wakes {
            match *wake {
                Wake::Source(Source::Socket) => {}
                Wake::Source(Source::ControlKick) => self.drain(Which::Control),
                Wake::Source(Source::CursorKick) => self.drain(Which::Cursor),
                Wake::Fence(wait) if !live => {
                    self.shell.reactor.postpone(wait);
                    self.held.push(wait);
                }
                Wake::Point(point) => self.points.push(point),
                Wake::Source(
                    Source::Timer
                    | Source::Channel
                    | Source::Allocations
                    | Source::Cpu
                    | Source::Bridge,
                ) if !live => {}
                Wake::Source(Source::Timer) => self.tick(),
                Wake::Source(Source::Channel) => self.finish_jobs(),
                Wake::Source(Source::Allocations) => self.take_buffers(),
                Wake::Source(Source::Cpu) => self.finish_accesses(),
                Wake::Source(Source::Bridge) => self.take_requests(),
                Wake::Fence(wait) => {
                    self.device
                        .signalled(&mut self.shell, now_ns(), wait, false);
                }
            }
        }
        if live {
            self.tell_points();
            // What has ended may have let a POLL start.
            self.settle();
        }
        if self.left && !self.device.is_paused() {
            self.left = false;
            self.look_again();
        }
        self.publish();
        self.shell.reactor.bury();
        if let Some(deadline) = self.device.next_deadline_ns().filter(|_| live) {
            self.shell.reactor.set_timer(deadline)?;
        }
        Ok(())
    }

    /// Tells the device which points have come so far, all at once.
    fn tell_points(&mut self) {
        if !self.points.is_empty() {
            let points = self.points.drain(..);
            self.device
                .points_reached(&mut self.shell, now_ns(), points);
        }
    }

    /// Tells the device which of its jobs the front end has done.
    fn finish_jobs(&mut self) {
        for (job, result) in self.shell.channel.results() {
            self.device.job_done(&mut self.shell, now_ns(), job, result);
        }
    }

    /// Tells the device which accesses of the CPU are done.
    fn finish_accesses(&mut self) {
        for (wait, result) in self.shell.cpu.results() {
            self.device
                .cpu_done(&mut self.shell, now_ns(), wait, result);
        }
    }

    /// Gives the device the memory of the blobs that it asked for.
    fn take_buffers(&mut self) {
        let late = self.device.counters().allocations_late;
        for (id, result) in self.shell.allocations.results() {
            self.device.buffer_created(&mut self.shell, id, result);
        }
        if self.device.counters().allocations_late != late {
            warn_seldom!("An allocation has ended that nobody waited for any more");
        }
    }

    fn tick(&mut self) {
        let overdue = self.device.counters().allocations_overdue;
        self.device.tick(&mut self.shell, now_ns());
        if self.device.counters().allocations_overdue != overdue {
            warn_seldom!("The memory of a blob takes longer than a fence may: the guest gets none");
        }
    }

    /// Takes up what host processes ask for.
    fn take_requests(&mut self) {
        let errands = self.desk.take();
        for id in errands.withdrawn {
            self.device.withdraw(id);
        }
        for (id, asked) in errands.asked {
            match asked {
                Asked::Request(request) => {
                    self.device.ask(&mut self.shell, now_ns(), id, request);
                }
                Asked::Replace(replacement) => {
                    debug!(resource = ?replacement.resource, "A host process moves a buffer");
                    self.device
                        .replace(&mut self.shell, now_ns(), id, replacement);
                }
            }
        }
    }

    /// What happened while the control ring was stopped happens now.
    fn replay(&mut self) {
        for wait in std::mem::take(&mut self.held) {
            self.device
                .signalled(&mut self.shell, now_ns(), wait, false);
        }
        self.tell_points();
        self.finish_jobs();
        self.take_buffers();
        self.finish_accesses();
        self.tick();
        self.take_requests();
    }

    /// Waits for the next wake-up. A ring that has more to take up is one.
    ///
    /// # Errors
    /// A system call that always works has failed.
    pub(crate) fn wait(&mut self, wakes: &mut Vec<Wake>) -> Result<()> {
        let busy = !self.again.is_empty();
        self.shell.reactor.wait(wakes, busy)?;
        for which in self.again.drain(..) {
            let wake = Wake::Source(kick_of(which));
            if !wakes.contains(&wake) {
                wakes.push(wake);
            }
        }
        Ok(())
    }

    /// A kick had no effect: the ring was not in the guest's memory, which has changed, or the
    /// device was paused.
    pub(crate) fn look_again(&mut self) {
        self.again.extend([Which::Control, Which::Cursor]);
    }

    /// Takes up the commands of a ring: all of them, but no more than a ring's length and not for
    /// longer than [`TURN_NS`], so that nobody else has to wait for a driver that puts them there as
    /// fast as they are taken, or makes each as long as it can. A device that pauses finds the rest
    /// afterwards; kicks are not asked for meanwhile.
    fn drain(&mut self, which: Which) {
        if !self.ring(which).runs() {
            return;
        }
        let memory = Arc::clone(&self.shell.memory);
        let mut left = self.ring(which).queue.size();
        let (mut end, mut over) = (None, false);
        // None of the calls fails while the ring lies in the guest's memory; if it does not, there
        // is nothing to drain.
        let _quiet = self.ring_mut(which).queue.disable_notification(&*memory);
        let mut promised = false;
        loop {
            let before = left;
            let broken = loop {
                if self.device.is_paused() {
                    self.settle();
                    self.left = true;
                    return;
                }
                if left == 0 || over {
                    self.settle();
                    self.again.push(which);
                    return;
                }
                match self.take_command(which, &memory) {
                    Next::Some(now) => {
                        left = left.saturating_sub(1);
                        over = now > *end.get_or_insert(now.saturating_add(TURN_NS));
                    }
                    Next::None => break false,
                    Next::Broken => break true,
                }
            };
            self.settle();
            // The driver is told before kicks are asked for: what it puts there because of that is
            // taken up without one.
            self.publish();
            let more = self.ring_mut(which).queue.enable_notification(&*memory);
            // A ring that promised more and has none is broken, too.
            if broken || (promised && left == before) || !more.unwrap_or(false) {
                return;
            }
            promised = true;
        }
    }

    /// Takes up one command, and says when it did.
    fn take_command(&mut self, which: Which, memory: &GuestMemoryMmap) -> Next<u64> {
        let ring = match which {
            Which::Control => &mut self.control,
            Which::Cursor => &mut self.cursor,
        };
        let chain = match ring.take(memory) {
            Next::Some(chain) => chain,
            Next::None => return Next::None,
            Next::Broken => return Next::Broken,
        };
        // No driver has more commands under way than its ring has descriptors.
        if self.shell.chains.open(which) >= usize::from(self.ring(which).queue.size()) {
            return Next::Broken;
        }
        let open = Open::read(which, chain, memory, self.command_limit, &mut self.command);
        let chain = self.shell.chains.add(open);
        if self.device.crowded() {
            self.settle();
        }
        let now = now_ns();
        self.device
            .submit(&mut self.shell, now, chain, &self.command);
        Next::Some(now)
    }

    /// Finds out which of the new watches are signalled already, and tells the device, which may
    /// watch more because of that: the POLLs of the fences behind.
    fn settle(&mut self) {
        loop {
            self.shell
                .reactor
                .settle(&mut self.signalled, &mut self.failed);
            if self.signalled.is_empty() && self.failed.is_empty() {
                return;
            }
            let now = now_ns();
            for wait in self.signalled.drain(..) {
                self.device.signalled(&mut self.shell, now, wait, true);
            }
            for (wait, error) in self.failed.drain(..) {
                let error = crate::shell::to_wire(error);
                self.device.watch_failed(&mut self.shell, now, wait, error);
            }
        }
    }

    /// Publishes all answers, with one call for each ring, and tells host processes what they have
    /// asked for.
    pub(crate) fn publish(&mut self) {
        for (which, head, written) in self.shell.answered.drain(..) {
            match which {
                Which::Control => self.control.answer(head, written),
                Which::Cursor => self.cursor.answer(head, written),
            }
        }
        self.control.publish(&self.shell.memory);
        self.cursor.publish(&self.shell.memory);
        self.tell();
    }

    fn tell(&mut self) {
        if !self.shell.told.is_empty() {
            self.desk.answer(self.shell.told.drain(..));
        }
    }

    /// A ring has everything it needs. What the driver put there before is taken up now.
    ///
    /// # Errors
    /// The kick cannot be watched.
    pub(crate) fn start(&mut self, which: Which) -> Result<()> {
        self.shell.memory = self.memory.snapshot();
        if which == Which::Control && self.control.is_new(&self.shell.memory) {
            // A driver that begins anew finds a device that nobody has used.
            self.reset();
        }
        if which == Which::Control {
            self.device.set_queue_size(self.control.queue.size());
            self.replay();
        }
        let (source, ring) = (kick_of(which), self.ring(which));
        if let Some(kick) = &ring.kick {
            self.shell.reactor.add(kick, source)?;
        }
        debug!(
            ?which,
            size = ring.queue.size(),
            base = ring.queue.next_avail(),
            "A ring starts"
        );
        self.handle(&[Wake::Source(source)])
    }

    /// The device may not touch the ring any more. Fences that signal meanwhile are answered when
    /// it starts again; a driver that begins anew forgets them.
    pub(crate) fn stop(&mut self, which: Which) {
        if let Some(kick) = &self.ring(which).kick {
            self.shell.reactor.remove(kick);
        }
        debug!(
            ?which,
            pending = self.device.pending_fences(),
            "A ring stops"
        );
    }

    /// Back to a device that nobody has used.
    pub(crate) fn reset(&mut self) {
        let (contexts, blobs, _) = self.device.population();
        if contexts > 0 || blobs > 0 || self.device.pending_fences() > 0 {
            info!(
                contexts,
                blobs,
                pending = self.device.pending_fences(),
                "The device is reset"
            );
        }
        self.device.reset(&mut self.shell);
        self.tell();
        self.shell.reactor.bury();
        self.held.clear();
        self.points.clear();
        self.shell.chains.clear();
        self.shell.answered.clear();
        self.control.forget();
        self.cursor.forget();
        self.registry.clear();
    }
}

const fn kick_of(which: Which) -> Source {
    match which {
        Which::Control => Source::ControlKick,
        Which::Cursor => Source::CursorKick,
    }
}
