//! The rules, from what the guest sent, what the host was asked, and what was answered.
//!
//! - **never early**: an answer with a fence comes when what that fence and all before it on their
//!   timeline wait for has ended, or their deadlines have passed; one that is answered without its
//!   fence (displaced) has ended too, but for those before it, and another one stands for it.
//! - **never lost**: what is not answered is what the device counts as pending, and where the first
//!   of a timeline has nothing left to wait for, it is answered.
//! - **never out of order**: no answer with a fence overtakes another of its timeline.
//! - **never twice**: the simulated host sees to that for each chain, and no fence is told again.

use std::collections::{BTreeMap, BTreeSet};

use stile_core::{Chain, Device, WaitId};
use stile_wire::gpu::{Command, Request, Timeline};
use stile_wire::sync::{OpCode, Steps};

use crate::sim::{Sim, SyncFile};

/// A timeline, and how many contexts had its number before.
type Line = (Timeline, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Answered without its fence; a later one stands for it.
    Displaced,
    Told,
}

#[derive(Debug)]
struct Fence {
    chain: Chain,
    line: Line,
    id: u64,
    deadline_ns: u64,
    /// The watches that began with it.
    waits: Vec<WaitId>,
    /// The jobs that began with it and are its own.
    jobs: Vec<usize>,
    /// The accesses of the CPU that began with it.
    accesses: Vec<usize>,
    /// Whether it may wait for what is not seen here.
    also: bool,
    state: State,
}

/// A command that is about to be sent.
#[derive(Debug)]
pub(crate) struct Sent {
    chain: Chain,
    fence: Option<(Line, u64)>,
    /// Whether the watches that begin with it are surely its own.
    has_waits: bool,
    /// Whether jobs that it starts are what its fence waits for.
    has_jobs: bool,
    also: bool,
    creates: Option<u32>,
    destroys: Option<u32>,
    contexts: usize,
    jobs: usize,
    accesses: usize,
}

#[derive(Debug)]
pub(crate) struct Rules {
    deadline_ns: u64,
    fences: Vec<Fence>,
    /// Every watch that began, with what it is for.
    watched: BTreeMap<u64, SyncFile>,
    /// Those that the device was told of, or that were said to have failed.
    told: BTreeSet<u64>,
    ended_jobs: BTreeSet<usize>,
    contexts: BTreeSet<u32>,
    lives: BTreeMap<u32, u64>,
    last_ids: BTreeMap<Line, u64>,
}

impl Rules {
    /// `deadline_ns` is how long a fence may wait.
    pub(crate) fn new(deadline_ns: u64) -> Self {
        Self {
            deadline_ns,
            fences: Vec::new(),
            watched: BTreeMap::new(),
            told: BTreeSet::new(),
            ended_jobs: BTreeSet::new(),
            contexts: BTreeSet::new(),
            lives: BTreeMap::new(),
            last_ids: BTreeMap::new(),
        }
    }

    /// The device has been reset: nobody is there to be answered.
    pub(crate) fn reset(&mut self) {
        self.fences.clear();
        self.contexts.clear();
        self.last_ids.clear();
    }

    /// A command is about to be sent.
    pub(crate) fn before(
        &self,
        chain: Chain,
        bytes: &[u8],
        device: &Device<Sim>,
        sim: &Sim,
    ) -> Sent {
        let request = Request::decode(bytes).ok();
        let fence = request.and_then(|request| {
            let (timeline, id) = request.fence?;
            Some((self.line(timeline)?, id))
        });
        // A POLL that waits for its turn.
        let polls = self.fences.iter().any(|fence| fence.also);
        let (mut has_waits, mut has_jobs, mut also) = (false, false, false);
        let (mut creates, mut destroys) = (None, None);
        if let Some(request) = request {
            match request.command {
                Ok(
                    Command::ResourceMapBlob { .. }
                    | Command::ResourceUnmapBlob { .. }
                    | Command::ResourceAssignUuid { .. },
                ) => has_jobs = true,
                Ok(Command::CtxCreate { .. }) => creates = Some(request.ctx_id),
                Ok(Command::CtxDestroy) => destroys = Some(request.ctx_id),
                Ok(Command::Submit3d { payload }) => {
                    has_waits = !(polls && has_any(payload, &OF_EVENTS));
                    also = !has_waits || has_any(payload, &UNSEEN);
                }
                _ => {}
            }
        }
        Sent {
            chain,
            fence,
            has_waits,
            has_jobs,
            also,
            creates,
            destroys,
            contexts: device.population().0,
            jobs: sim.jobs.len(),
            accesses: sim.accesses.len(),
        }
    }

    /// The timeline, if there can be one.
    fn line(&self, timeline: Timeline) -> Option<Line> {
        match timeline {
            Timeline::Global => Some((timeline, 0)),
            Timeline::Ring { ctx_id, ring_idx } => {
                let there = ring_idx < 64 && self.contexts.contains(&ctx_id);
                there.then(|| (timeline, self.lives.get(&ctx_id).copied().unwrap_or(0)))
            }
        }
    }

    /// It has been sent.
    pub(crate) fn after(&mut self, sent: Sent, now_ns: u64, device: &Device<Sim>, sim: &mut Sim) {
        let contexts = device.population().0;
        if let Some(ctx_id) = sent.creates.filter(|_| contexts > sent.contexts) {
            self.contexts.insert(ctx_id);
        }
        if let Some(ctx_id) = sent.destroys.filter(|_| contexts < sent.contexts) {
            self.contexts.remove(&ctx_id);
            *self.lives.entry(ctx_id).or_default() += 1;
        }
        let Some((line, id)) = sent.fence else {
            let open = !sent.has_jobs && sim.outstanding.contains(&sent.chain);
            assert!(!open, "{:?} has no fence and waits", sent.chain);
            return;
        };
        // Its id is not above the last: it is no fence, and was told so at once.
        let refused =
            |answer: &stile_core::Answer| answer.chain == sent.chain && answer.fence.is_none();
        let stale = sim.answers.iter().any(|(answer, _)| refused(answer));
        assert_eq!(
            stale,
            self.last_ids.get(&line).is_some_and(|last| id <= *last),
            "the id {id} on {line:?}"
        );
        if stale {
            return;
        }
        self.last_ids.insert(line, id);
        let waits = sim.new_watches.iter().filter(|_| sent.has_waits);
        let jobs = if sent.has_jobs {
            sent.jobs..sim.jobs.len()
        } else {
            0..0
        };
        self.fences.push(Fence {
            chain: sent.chain,
            line,
            id,
            deadline_ns: now_ns + self.deadline_ns,
            waits: waits.map(|(wait, _)| *wait).collect(),
            jobs: jobs.collect(),
            accesses: (sent.accesses..sim.accesses.len()).collect(),
            also: sent.also,
            state: State::Open,
        });
    }

    /// The device hears of a watch.
    pub(crate) fn told(&mut self, wait: WaitId) {
        self.told.insert(wait.to_bits());
    }

    /// The front end has done a job, or not.
    pub(crate) fn job_ended(&mut self, nth: usize) {
        self.ended_jobs.insert(nth);
    }

    /// Jobs that go on.
    pub(crate) fn open_jobs(&self, sim: &Sim) -> Vec<usize> {
        let all = 0..sim.jobs.len();
        all.filter(|nth| !self.ended_jobs.contains(nth)).collect()
    }

    /// Watches of fences that are not answered and of which the device has not heard.
    pub(crate) fn watches(&self) -> Vec<WaitId> {
        let open = self
            .fences
            .iter()
            .filter(|fence| fence.state == State::Open);
        open.flat_map(|fence| fence.waits.iter().copied())
            .filter(|wait| !self.told.contains(&wait.to_bits()))
            .collect()
    }

    /// Watches of which the device has heard.
    pub(crate) fn over(&self) -> Vec<WaitId> {
        let told = self.told.iter();
        told.filter_map(|bits| WaitId::from_bits(*bits)).collect()
    }

    /// After every act.
    pub(crate) fn check(&mut self, now_ns: u64, device: &Device<Sim>, sim: &mut Sim) {
        for (wait, file) in sim.new_watches.drain(..) {
            self.watched.insert(wait.to_bits(), file);
        }
        for (answer, _) in std::mem::take(&mut sim.answers) {
            let found = self
                .fences
                .iter()
                .position(|fence| fence.chain == answer.chain);
            let Some(nth) = found else { continue };
            match answer.fence {
                None => self.displaced(nth, now_ns, sim),
                Some((timeline, id)) => {
                    let fence = &self.fences[nth];
                    assert_eq!((timeline, id), (fence.line.0, fence.id), "{answer:?}");
                    self.signals(nth, now_ns, sim);
                }
            }
        }
        self.nothing_is_late_or_lost(now_ns, device, sim);
        self.fences.retain(|fence| fence.state != State::Told);
    }

    /// Answered without its fence.
    fn displaced(&mut self, nth: usize, now_ns: u64, sim: &Sim) {
        let fence = &self.fences[nth];
        assert_eq!(fence.state, State::Open, "{fence:?} is answered twice");
        assert!(self.has_ended(fence, now_ns, sim), "{fence:?} is early");
        let mut later = self.fences[nth + 1..].iter();
        let stands = later.any(|other| other.line == fence.line && other.state == State::Open);
        assert!(stands, "nothing stands for {fence:?}");
        self.fences[nth].state = State::Displaced;
    }

    /// Answered with its fence, which signals all before it.
    fn signals(&mut self, nth: usize, now_ns: u64, sim: &Sim) {
        let line = self.fences[nth].line;
        let state = self.fences[nth].state;
        assert_eq!(state, State::Open, "{:?} is told twice", self.fences[nth]);
        for (before, fence) in self.fences[..=nth].iter().enumerate() {
            if fence.line != line || fence.state == State::Told {
                continue;
            }
            let overtaken = before < nth && fence.state == State::Open;
            assert!(
                !overtaken,
                "{fence:?} is overtaken by {:?}",
                self.fences[nth]
            );
            assert!(
                self.has_ended(fence, now_ns, sim),
                "{fence:?} is early, told by {:?}",
                self.fences[nth]
            );
        }
        for fence in &mut self.fences[..=nth] {
            if fence.line == line {
                fence.state = State::Told;
            }
        }
    }

    /// Whether everything that is seen here of what a fence waits for has really ended.
    fn has_ended(&self, fence: &Fence, now_ns: u64, sim: &Sim) -> bool {
        let signalled = |wait: &WaitId| {
            let file = self.watched.get(&wait.to_bits());
            self.told.contains(&wait.to_bits())
                || file.is_some_and(|file| sim.kernel.is_signalled(file))
        };
        fence.deadline_ns <= now_ns
            || (fence.waits.iter().all(signalled) && self.others_have_ended(fence, sim))
    }

    /// Whether the device knows that a fence has nothing left to wait for.
    fn is_known_to_have_ended(&self, fence: &Fence, now_ns: u64, sim: &Sim) -> bool {
        let told = |wait: &WaitId| self.told.contains(&wait.to_bits());
        fence.deadline_ns <= now_ns
            || (!fence.also && fence.waits.iter().all(told) && self.others_have_ended(fence, sim))
    }

    /// Whether its jobs and accesses have ended. The device hears of each at once.
    fn others_have_ended(&self, fence: &Fence, sim: &Sim) -> bool {
        let mut jobs = fence.jobs.iter();
        let mut accesses = fence.accesses.iter();
        jobs.all(|job| self.ended_jobs.contains(job)) && accesses.all(|nth| sim.accesses[*nth].done)
    }

    fn nothing_is_late_or_lost(&self, now_ns: u64, device: &Device<Sim>, sim: &Sim) {
        let open = || {
            self.fences
                .iter()
                .filter(|fence| fence.state == State::Open)
        };
        assert_eq!(device.pending_fences(), open().count(), "pending fences");
        let mut blocked = BTreeSet::new();
        for fence in open() {
            assert!(sim.outstanding.contains(&fence.chain), "{fence:?}");
            let first = blocked.insert(fence.line);
            let late = first && self.is_known_to_have_ended(fence, now_ns, sim);
            assert!(!late, "{fence:?} is late");
            let deadline = device.next_deadline_ns();
            let due = deadline.is_some_and(|deadline| deadline <= fence.deadline_ns);
            assert!(due, "{fence:?} has no deadline but {deadline:?}");
        }
        let standing = |fence: &&Fence| fence.state == State::Displaced;
        for fence in self.fences.iter().filter(standing) {
            let another = open().any(|other| other.line == fence.line && other.id > fence.id);
            assert!(another, "nothing stands for {fence:?}");
        }
    }
}

/// What a fence waits for without a watch or an access that begins with it.
const UNSEEN: [OpCode; 2] = [OpCode::Poll, OpCode::EventWait];
/// What may end an EVENT_WAIT, and so let the POLL of another fence begin.
const OF_EVENTS: [OpCode; 7] = [
    OpCode::Events,
    OpCode::EventWait,
    OpCode::Cancel,
    OpCode::TlDestroy,
    OpCode::TlWatch,
    OpCode::MemWait,
    OpCode::MemSignal,
];

/// Whether a submission has one of these operations.
fn has_any(payload: &[u8], codes: &[OpCode]) -> bool {
    Steps::new(payload).any(|step| {
        let code = step.ok().and_then(|step| OpCode::from_code(step.cmd));
        code.is_some_and(|code| codes.contains(&code))
    })
}
