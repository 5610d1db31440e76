//! What the model makes of signals, deadlines and resets.

use stile_core::{Errno, WaitId, errno};
use stile_wire::gpu::{Response, ResponseError};

use super::waits::Cause;
use super::{Ended, Errand, Expected, Fortune, Line, Model, ModelJob, Promise};
use crate::sim::{HostFails, Source, SyncFile, Task};

impl Model {
    /// A host GPU begins to work on a resource. `false` if there is none.
    pub(crate) fn host_work(&mut self, resource: u32, access: stile_wire::sync::Access) -> bool {
        let Some(blob) = self.blobs.get_mut(&resource) else {
            return false;
        };
        let source = self.kernel.new_source();
        blob.reservation
            .import(&self.kernel, access, &SyncFile::from([source]));
        true
    }

    pub(crate) fn signal(&mut self, source: Source, error: Option<Errno>) {
        self.kernel.signal(source, self.now_ns, error);
    }

    /// The device hears that a watch has signalled.
    pub(crate) fn signalled(&mut self, id: WaitId, fresh: bool) {
        let nth = self.wait_of(id);
        let wait = &self.waits[nth];
        // An access of the CPU is no watch: such a signal means nothing.
        let file = match &wait.cause {
            Cause::Fence(file) if wait.ended.is_none() => file,
            _ => {
                self.late += 1;
                return;
            }
        };
        // An idle buffer has nothing to tell.
        if fresh && [0x80, 0x86].contains(&wait.record.cmd) {
            self.end_wait(nth, Ended::Signalled, None, 0);
        } else {
            let outcome = self.kernel.outcome(file);
            self.end_wait(nth, Ended::Signalled, outcome.error, outcome.signalled_ns);
        }
        self.flush_all();
    }

    /// The device hears that a watch cannot be kept up.
    pub(crate) fn watch_failed(&mut self, id: WaitId, error: Errno) {
        let nth = self.wait_of(id);
        let watched = matches!(self.waits[nth].cause, Cause::Fence(_));
        if watched && self.waits[nth].ended.is_none() {
            for context in self.contexts.values_mut() {
                context.cookies.retain(|_, (_, by)| *by != Some(nth));
            }
            self.end_wait(nth, Ended::Refused, Some(error), 0);
            self.flush_all();
        }
    }

    pub(super) fn flush_all(&mut self) {
        for line in 0..self.lines.len() {
            self.flush(line);
        }
    }

    /// Time passes. The deadlines end what they end in their order, which is that of submission.
    pub(crate) fn pass(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.pass_events();
        let mut due = Vec::new();
        for (line, fences) in self.lines.iter().enumerate() {
            for (nth, fence) in fences.fences.iter().enumerate() {
                if !fence.answered && fence.deadline_ns <= now_ns && !self.is_done(fence) {
                    due.push((fence.chain, line, nth));
                }
            }
        }
        due.sort_unstable();
        for (_, line, nth) in due {
            // The end of one before it may have let its POLLs start, and none of them could.
            if self.is_done(&self.lines[line].fences[nth]) {
                continue;
            }
            self.overdue += 1;
            let fence = &mut self.lines[line].fences[nth];
            if let Some(job) = fence.job.take() {
                fence.answer.response = Response::Err(ResponseError::Unspec);
                self.jobs[job].promise = Promise::Nobody;
            }
            for wait in self.lines[line].fences[nth].waits.clone() {
                if self.waits[wait].ended.is_none() {
                    self.end_wait(wait, Ended::Deadline, Some(errno::ETIMEDOUT), 0);
                }
            }
            self.flush(line);
        }
        self.pass_unfenced();
        self.pass_unmade();
        self.end_overdue_requests();
    }

    /// The front end has taken too long for commands without a fence.
    fn pass_unfenced(&mut self) {
        let now_ns = self.now_ns;
        let (due, left) = std::mem::take(&mut self.unfenced)
            .into_iter()
            .partition(|(_, command)| command.deadline_ns <= now_ns);
        self.unfenced = left;
        let due: std::collections::BTreeMap<_, _> = due;
        for (chain, command) in due {
            self.commands_overdue += 1;
            self.jobs[command.job].promise = Promise::Nobody;
            let response = Response::Err(ResponseError::Unspec);
            self.expect(
                chain,
                Expected {
                    response,
                    ..command.answer
                },
            );
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// One of the host's next calls that can fail does.
    pub(crate) fn host_fails(&mut self, fails: HostFails) {
        self.host_fails = fails;
    }

    /// Jobs that have not ended.
    pub(crate) fn open_jobs(&self) -> Vec<usize> {
        let jobs = self.jobs.iter().enumerate();
        jobs.filter(|(_, job)| !job.ended)
            .map(|(nth, _)| nth)
            .collect()
    }

    pub(crate) fn ended_jobs(&self) -> Vec<usize> {
        let jobs = self.jobs.iter().enumerate();
        jobs.filter(|(_, job)| job.ended)
            .map(|(nth, _)| nth)
            .collect()
    }

    /// The device is reset: nobody is answered, and what is mapped is unmapped.
    pub(crate) fn reset(&mut self) {
        self.contexts.clear();
        self.blobs.clear();
        self.lines = vec![Line::default()];
        self.global = 0;
        for wait in &mut self.waits {
            wait.ended.get_or_insert(Ended::Refused);
        }
        for job in &mut self.jobs {
            job.errand = Errand::OfAnotherLife;
            job.promise = Promise::Nobody;
        }
        for (offset, size) in std::mem::take(&mut self.region) {
            let (task, errand) = (Task::Unmap { offset, size }, Errand::OfAnotherLife);
            self.jobs.push(ModelJob {
                task,
                errand,
                promise: Promise::Nobody,
                ended: false,
            });
        }
        for unmade in &mut self.unmade {
            if unmade.fortune == Fortune::Awaited {
                unmade.fortune = Fortune::OfAnotherLife;
            }
        }
        self.unfenced.clear();
        self.cancel_all_requests();
        self.end_due();
    }

    /// Buffers that are being made.
    pub(crate) fn unmade(&self) -> Vec<usize> {
        (0..self.unmade.len()).collect()
    }

    /// What exists, to be taken down: contexts and resources.
    pub(crate) fn population(&self) -> (Vec<u32>, Vec<u32>) {
        let contexts = self.contexts.keys().copied().collect();
        (contexts, self.blobs.keys().copied().collect())
    }
}
