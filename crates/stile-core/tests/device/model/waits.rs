//! What the model's operations wait for.

use std::rc::Rc;

use stile_core::{CpuPhase, Errno, WaitId, errno};
use stile_wire::sync::Access;

use super::{Ended, Model};
use crate::sim::{Sim, SyncFile};

/// What ends a wait, its deadline aside.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// A watched sync_file.
    Fence(SyncFile),
    /// A POLL whose turn has not come, of the blob with this life.
    Poll { blob: u64, access: Access },
    /// An access of the CPU: its index in `Model::accesses`.
    Cpu(usize),
    /// An event in the context's ring.
    Event,
}

/// An access of the CPU.
#[derive(Debug)]
pub(super) struct ModelAccess {
    begins: bool,
    resource: u32,
    access: Access,
    done: bool,
}

impl Model {
    /// Whether a timeline has no fence that is not answered.
    pub(super) fn is_idle(&self, line: usize) -> bool {
        self.lines[line].fences.iter().all(|fence| fence.answered)
    }

    /// What a POLL finds on its buffer when it starts, which the device watches.
    pub(super) fn start_poll(&mut self, blob: u64, access: Access) -> Result<SyncFile, Errno> {
        let found = self.blobs.values().find(|found| found.life == blob);
        let file = found
            .ok_or(errno::ENOENT)?
            .reservation
            .export(&self.kernel, access);
        self.host_call()?;
        self.host_call()?;
        Ok(file)
    }

    /// The fence is the head of its timeline: its POLLs start, or are over.
    pub(super) fn start_polls(&mut self, line: usize, nth: usize) {
        for wait in self.lines[line].fences[nth].waits.clone() {
            if let Cause::Poll { blob, access } = self.waits[wait].cause
                && self.waits[wait].ended.is_none()
            {
                match self.start_poll(blob, access) {
                    Ok(file) => {
                        self.waits[wait].cause = Cause::Fence(file);
                        self.watched.push(wait);
                    }
                    Err(error) => self.end_wait(wait, Ended::Refused, Some(error), 0),
                }
            }
        }
    }

    /// The host is asked for an access, if it can do one more.
    pub(super) fn access_begins(
        &mut self,
        begins: bool,
        resource: u32,
        access: Access,
    ) -> Result<usize, Errno> {
        if self.open_accesses().len() == self.limits.cpu_accesses as usize {
            return Err(errno::EBUSY);
        }
        self.accesses.push(ModelAccess {
            begins,
            resource,
            access,
            done: false,
        });
        Ok(self.accesses.len() - 1)
    }

    /// The host has done with the access `nth`.
    pub(crate) fn accessed(&mut self, nth: usize, error: Option<Errno>) {
        self.accesses[nth].done = true;
        let mut waits = self.waits.iter();
        let wait = waits.position(|wait| matches!(wait.cause, Cause::Cpu(of) if of == nth));
        let wait = wait.expect("the wait of an access");
        if self.waits[wait].ended.is_some() {
            self.late += 1;
        } else {
            self.end_wait(wait, Ended::Accessed, error, 0);
            self.flush_all();
        }
    }

    pub(super) fn is_accessed(&self, nth: usize) -> bool {
        self.accesses[nth].done
    }

    /// The accesses that the host has not done with.
    pub(crate) fn open_accesses(&self) -> Vec<usize> {
        let accesses = self.accesses.iter().enumerate();
        accesses
            .filter(|(_, access)| !access.done)
            .map(|(nth, _)| nth)
            .collect()
    }

    /// The host was asked for the accesses that it had to be asked for, and for no others.
    fn adopt_accesses(&mut self, sim: &Sim) {
        assert_eq!(sim.accesses.len(), self.accesses.len(), "accesses");
        for wait in &mut self.waits {
            let Cause::Cpu(nth) = wait.cause else {
                continue;
            };
            let (asked, expected) = (&sim.accesses[nth], &self.accesses[nth]);
            if wait.id.is_none() {
                let storage = &sim.published[&expected.resource].1;
                assert!(Rc::ptr_eq(storage, &asked.storage), "another buffer");
                assert_eq!(asked.phase == CpuPhase::Begin, expected.begins);
                assert_eq!(asked.access, expected.access);
                wait.id = Some(asked.wait);
            }
            assert_eq!(wait.id, Some(asked.wait));
        }
    }

    /// The waits that are watched.
    pub(super) fn watches(&self) -> usize {
        let open = self.waits.iter().filter(|wait| wait.ended.is_none());
        open.filter(|wait| matches!(wait.cause, Cause::Fence(_)))
            .count()
    }

    /// The device has watched what its new waits wait for, in their order and nothing else.
    pub(crate) fn adopt_watches(&mut self, sim: &mut Sim) {
        self.adopt_accesses(sim);
        let new = std::mem::take(&mut sim.new_watches);
        let waits = std::mem::take(&mut self.watched);
        assert_eq!(
            new.len(),
            waits.len(),
            "{new:?} are the watches of {waits:?}"
        );
        for (wait, (id, file)) in waits.into_iter().zip(new) {
            let wait = &mut self.waits[wait];
            assert_eq!(wait.id, None, "{wait:?} is watched twice");
            wait.id = Some(id);
            let Cause::Fence(expected) = &wait.cause else {
                panic!("{wait:?} waits for no sync_file");
            };
            assert_eq!(*expected, file, "the fences of {wait:?}");
        }
    }

    pub(super) fn wait_of(&self, id: WaitId) -> usize {
        let found = self.waits.iter().position(|wait| wait.id == Some(id));
        found.expect("a wait for every watch")
    }

    /// The watches that are over, oldest first.
    pub(crate) fn ended_waits(&self) -> Vec<WaitId> {
        let waits = self.waits.iter().filter(|wait| wait.ended.is_some());
        waits.filter_map(|wait| wait.id).collect()
    }

    pub(crate) fn open_waits(&self) -> Vec<WaitId> {
        let waits = self.waits.iter().filter(|wait| wait.ended.is_none());
        waits.filter_map(|wait| wait.id).collect()
    }
}
