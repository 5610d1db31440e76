//! What must be true after every operation.

use stile_core::{Chain, Device};
use stile_wire::sync::{StatusHeader, StatusRecord};
use zerocopy::IntoBytes;

use super::waits::Cause;
use super::{Ended, Fortune, Mapping, Model, ModelFence, Unmade};
use crate::sim::Sim;

/// Writes the header of a status blob over its zeroed memory, and says how many records it has.
pub(super) fn write_header(bytes: &mut [u8]) -> u64 {
    bytes.fill(0);
    let capacity = (bytes.len() as u64 - 64) / 64;
    let header = StatusHeader {
        magic: 0x4c49_5453.into(),
        version: 1.into(),
        capacity: (capacity as u32).into(),
        record_bytes: 64.into(),
        head: 0.into(),
        reserved: [0.into(); 5],
    };
    bytes[..64].copy_from_slice(header.as_bytes());
    capacity
}

/// Writes a record at its place, and the head.
pub(super) fn write_record(bytes: &mut [u8], capacity: u64, record: &StatusRecord) {
    let seq = record.seq.get();
    let at = 64 + ((seq - 1) % capacity) as usize * 64;
    bytes[at..at + 64].copy_from_slice(record.as_bytes());
    bytes[16..24].copy_from_slice(&seq.to_le_bytes());
}

impl Model {
    /// Compares the device and its host with the model. To be called after every operation.
    pub(crate) fn verify_invariants(&mut self, device: &Device<Sim>, sim: &mut Sim) {
        device.check().expect("the device is whole");
        self.never_early(sim);
        self.never_late();
        self.never_out_of_order(sim);
        self.answers_are_those_expected(sim);
        self.never_lost(device, sim);
        self.requests_are_told(sim);
        self.deadlines(device);
        self.memory(sim);
        self.front_end(sim);
        let told = std::mem::take(&mut sim.deadlines);
        assert_eq!(told, std::mem::take(&mut self.host_deadlines), "deadlines");
        self.counts(device, sim);
    }

    fn fence_of(&self, chain: Chain) -> Option<(usize, usize)> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter_map(|(line, fences)| {
                let nth = fences.fences.iter().position(|fence| fence.chain == chain);
                nth.map(|nth| (line, nth))
            })
            .next()
    }

    /// The guest reads the answers. A response with a fence signals that fence and all before it on
    /// its timeline: everything that they wait for must have signalled, or their own deadline must
    /// have passed, or the host could not watch it.
    ///
    /// A response without one, of a fence, signals nothing: that fence is done but for those before
    /// it, and the next one of its timeline has been parked behind it, so that it is not lost. (That
    /// one's command may have ended an EVENT_WAIT, and so itself.)
    fn never_early(&mut self, sim: &Sim) {
        for (at, (answer, _)) in sim.answers.iter().enumerate() {
            let Some((line, nth)) = self.fence_of(answer.chain) else {
                continue;
            };
            let fences = &self.lines[line].fences;
            if answer.fence.is_none() {
                let [fence, next] = &fences[nth..] else {
                    panic!("nothing but one fence stands for {:?}", &fences[nth..]);
                };
                let mut later = sim.answers[at..].iter();
                let waits = sim.outstanding.contains(&next.chain)
                    || later.any(|(later, _)| later.chain == next.chain);
                assert!(waits, "{next:?} does not wait and stands for {fence:?}");
                assert!(self.has_really_ended(fence), "{fence:?} has not ended");
                continue;
            }
            let overtaken = fences[nth].signalled;
            assert!(!overtaken, "{:?} comes after a later one", fences[nth]);
            for fence in &fences[..=nth] {
                let ended = self.has_really_ended(fence);
                assert!(
                    ended,
                    "{:?} is answered before {fence:?} has ended",
                    answer.chain
                );
            }
            for fence in &mut self.lines[line].fences[..=nth] {
                fence.signalled = true;
            }
        }
    }

    /// Where a fence and all before it on its timeline have ended, the guest has seen it signal.
    fn never_late(&self) {
        for (line, fences) in self.lines.iter().enumerate() {
            let ended = fences.fences.iter().take_while(|fence| self.is_done(fence));
            for fence in ended {
                assert!(fence.signalled, "{fence:?} of timeline {line} is late");
            }
        }
    }

    fn has_really_ended(&self, fence: &ModelFence) -> bool {
        let waits = fence.waits.iter().map(|wait| &self.waits[*wait]);
        let overdue = fence.deadline_ns <= self.now_ns;
        let mut open = waits.filter(|wait| {
            let given_up = wait.ended == Some(Ended::Refused);
            let signalled = match &wait.cause {
                Cause::Fence(file) => self.kernel.is_signalled(file),
                Cause::Poll { .. } => false,
                Cause::Cpu(nth) => self.is_accessed(*nth),
                Cause::Event => wait.ended == Some(Ended::Told),
            };
            !given_up && !signalled
        });
        let working = fence.job.is_some_and(|job| !self.jobs[job].ended);
        overdue || (open.next().is_none() && !working)
    }

    /// The ids of a timeline go up: those answered just now, and against those before.
    fn never_out_of_order(&self, sim: &Sim) {
        for (line, fences) in self.lines.iter().enumerate() {
            let just_now: Vec<_> = sim
                .answers
                .iter()
                .filter(|(answer, _)| answer.fence.is_some())
                .filter_map(|(answer, _)| self.fence_of(answer.chain))
                .filter(|(of, _)| *of == line)
                .map(|(_, nth)| nth)
                .collect();
            let ids: Vec<_> = just_now.iter().map(|nth| fences.fences[*nth].id).collect();
            assert!(ids.is_sorted(), "timeline {line} answers {ids:?}");
            let Some(first) = just_now.first() else {
                continue;
            };
            for before in &fences.fences[..*first] {
                let open = sim.outstanding.contains(&before.chain);
                assert!(!open, "{before:?} is overtaken");
            }
        }
    }

    /// Exactly what the model says, each once: never early, never late, never twice.
    fn answers_are_those_expected(&mut self, sim: &mut Sim) {
        for (answer, records) in std::mem::take(&mut sim.answers) {
            let expected = self.expected.remove(&answer.chain);
            let expected = expected.unwrap_or_else(|| panic!("{answer:?} is early or twice"));
            let found = super::Expected {
                ctx_id: answer.ctx_id,
                fence: answer.fence,
                response: answer.response,
                records,
            };
            assert_eq!(found, expected, "the answer to {:?}", answer.chain);
        }
        assert!(
            self.expected.is_empty(),
            "not answered: {:?}",
            self.expected
        );
    }

    /// What is not answered is what waits, and all of it will end.
    fn never_lost(&self, device: &Device<Sim>, sim: &Sim) {
        let fences = self.lines.iter().flat_map(|line| &line.fences);
        let mut waiting: Vec<_> = fences
            .filter(|fence| !fence.answered)
            .map(|fence| fence.chain)
            .collect();
        assert_eq!(device.pending_fences(), waiting.len());
        waiting.extend(self.unfenced.keys());
        let awaited = |unmade: &&Unmade| unmade.fortune == Fortune::Awaited;
        let unmade = self.unmade.iter().filter(awaited);
        waiting.extend(unmade.map(|unmade| unmade.chain));
        assert_eq!(device.is_paused(), self.is_paused(), "the pause");
        waiting.sort_unstable();
        assert!(
            sim.outstanding.iter().eq(&waiting),
            "{:?} / {waiting:?}",
            sim.outstanding
        );
        assert_eq!(sim.watches(), self.watches(), "watches");
    }

    /// Every fence that waits has its deadline, and every command that waits without one.
    fn deadlines(&self, device: &Device<Sim>) {
        let fences = self.lines.iter().flat_map(|line| &line.fences);
        let next = fences
            .filter(|fence| !fence.answered && !self.is_done(fence))
            .map(|fence| fence.deadline_ns);
        let commands = self.unfenced.values().map(|command| command.deadline_ns);
        let unmade = self.unmade.iter();
        let unmade = unmade.filter(|unmade| unmade.fortune == Fortune::Awaited);
        let unmade = unmade.map(|unmade| unmade.deadline_ns);
        let requests = self.requests.iter().map(|request| request.deadline_ns);
        let events = self.next_time_out_ns();
        let next = next.chain(commands).chain(unmade).chain(requests);
        let next = next.chain(events).min();
        assert_eq!(device.next_deadline_ns(), next, "the next deadline");
    }

    /// Host processes are told what the model says, in its order, each once; the others wait.
    fn requests_are_told(&mut self, sim: &mut Sim) {
        let told = std::mem::take(&mut sim.told);
        assert_eq!(told, std::mem::take(&mut self.told), "requests");
        let mut open = self.open_requests();
        open.sort_unstable();
        assert_eq!(sim.asking(), open, "requests that wait");
    }

    /// The buffers hold the records and the fences that they must hold.
    fn memory(&self, sim: &Sim) {
        let published: Vec<_> = sim.published.keys().collect();
        assert!(self.blobs.keys().eq(published), "blobs");
        for (resource, blob) in &self.blobs {
            let (uuid, storage) = &sim.published[resource];
            assert_eq!(*uuid, blob.uuid, "the UUID of {resource}");
            assert_eq!(
                *storage.reservation.borrow(),
                blob.reservation,
                "fences on {resource}"
            );
            let bytes = storage.bytes.borrow();
            if *bytes != blob.bytes {
                let at = bytes
                    .iter()
                    .zip(&blob.bytes)
                    .position(|(one, other)| one != other);
                let records = |bytes: &[u8]| {
                    let at = at.unwrap_or(0) / 64 * 64;
                    bytes.get(at..at + 64).map(<[u8]>::to_vec)
                };
                panic!(
                    "the memory of {resource} differs at {at:?}: {:?} / {:?}",
                    records(&bytes),
                    records(&blob.bytes)
                );
            }
        }
    }

    fn front_end(&self, sim: &Sim) {
        let asked = sim.jobs.iter().map(|(_, task)| task);
        assert!(
            asked.eq(self.jobs.iter().map(|job| &job.task)),
            "{:?}",
            sim.jobs
        );
        assert_eq!(sim.mapped(), self.region, "the hostmem region");
        for (resource, blob) in &self.blobs {
            if let Mapping::At(offset) | Mapping::Moving(offset, _) = blob.mapping {
                assert!(sim.shows(offset, *resource), "{resource} is not shown");
            }
        }
    }

    fn counts(&self, device: &Device<Sim>, sim: &Sim) {
        let cookies: usize = self
            .contexts
            .values()
            .map(|context| context.cookies.len())
            .sum();
        let population = (self.contexts.len(), self.blobs.len(), cookies);
        assert_eq!(device.population(), population);
        // One is kept free for each wait that is not watched yet.
        let open = self.waits.iter().filter(|wait| wait.ended.is_none());
        let free = open.count() - self.watches();
        assert_eq!(sim.fds() + free, self.fds(), "file descriptors");
        let counters = device.counters();
        assert_eq!(counters.fences_stale, self.stale);
        assert_eq!(counters.late_signals, self.late);
        assert_eq!(counters.fences_overdue, self.overdue);
        assert_eq!(counters.commands_overdue, self.commands_overdue);
        assert_eq!(counters.allocations_overdue, self.allocations_overdue);
        assert_eq!(counters.allocations_refused, self.allocations_refused);
        assert_eq!(counters.allocations_late, self.allocations_late);
        assert_eq!(counters.replies, self.replies);
    }
}
