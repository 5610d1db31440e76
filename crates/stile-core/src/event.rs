//! What happens to the device while no command is being taken up: a host fence signals, the front
//! end has done a job, a deadline passes. (A blob's memory is there: see `allocation.rs`.)

use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{OpCode, RecordFlags};

use crate::answer::Answer;
use crate::device::Device;
use crate::fence::{FenceKey, TimelineKey};
use crate::host::{Errno, Host, JobId, Outcome, WaitId, errno};
use crate::job::{Errand, Promise};
use crate::status::Ending;
use crate::wait::{Kind, Wait};

impl<H: Host> Device<H> {
    /// A watched host fence has signalled. `fresh` says that it was found signalled when the watch
    /// began: then an EXPORT or POLL has nothing to learn from it.
    pub fn signalled(&mut self, host: &mut H, now_ns: u64, id: WaitId, fresh: bool) {
        let Some(wait) = self.watched(id) else {
            self.counters.late_signals = self.counters.late_signals.saturating_add(1);
            return;
        };
        let told = self
            .contexts
            .get(&wait.subject.ctx_id)
            .is_some_and(|context| context.serial == wait.ctx_serial && context.status.is_some());
        let of_buffer = [OpCode::Export.code(), OpCode::Poll.code()].contains(&wait.subject.cmd);
        let idle = fresh && of_buffer;
        let Outcome {
            error,
            signalled_ns,
        } = if told && !idle {
            host.outcome(id)
        } else {
            Outcome::default()
        };
        let flags = if error.is_some() {
            RecordFlags::HOST_ERROR
        } else {
            RecordFlags::empty()
        };
        let ending = Ending {
            error,
            flags,
            signalled_ns,
            done_ns: now_ns,
        };
        self.end_wait(host, id, &ending);
    }

    /// A watch could not be kept up: its operation is refused after all, and leaves nothing behind.
    pub fn watch_failed(&mut self, host: &mut H, now_ns: u64, id: WaitId, error: Errno) {
        let Some(wait) = self.watched(id) else {
            return;
        };
        let subject = wait.subject;
        if let Some(context) = self.contexts.get_mut(&subject.ctx_id)
            // Its cookie may be gone by now, and another one have the number.
            && let Some(cookie) = context.cookies.get(&subject.cookie)
            && cookie.wait == Some(id.0)
        {
            context.cookies.remove(&subject.cookie);
            self.cookies = self.cookies.saturating_sub(1);
        }
        let flags = RecordFlags::empty();
        let ending = Ending {
            error: Some(error),
            flags,
            signalled_ns: 0,
            done_ns: now_ns,
        };
        self.end_wait(host, id, &ending);
    }

    /// A wait for a watched host fence, if there is one of that name.
    fn watched(&self, id: WaitId) -> Option<&Wait> {
        self.waits.get(id.0).filter(|wait| wait.kind == Kind::Fence)
    }

    /// An access of the CPU has begun or ended, or could not.
    pub fn cpu_done(&mut self, host: &mut H, now_ns: u64, id: WaitId, result: Result<(), Errno>) {
        let wait = self.waits.get(id.0).filter(|wait| wait.kind == Kind::Cpu);
        if wait.is_none() {
            self.counters.late_signals = self.counters.late_signals.saturating_add(1);
            return;
        }
        let ending = Ending {
            error: result.err(),
            flags: RecordFlags::empty(),
            signalled_ns: 0,
            done_ns: now_ns,
        };
        self.end_wait(host, id, &ending);
    }

    /// The front end has done a job, or could not.
    pub fn job_done(&mut self, host: &mut H, now_ns: u64, id: JobId, result: Result<(), Errno>) {
        if self
            .jobs
            .get(id.0)
            .is_some_and(|job| job.deadline_ns().is_some())
        {
            self.due_jobs.remove(&mut self.jobs, id.0);
        }
        let Some(job) = self.jobs.remove(id.0) else {
            return;
        };
        let response = self.settle(host, &job, result);
        match job.promise {
            Promise::Nobody => {}
            Promise::Command { answer, .. } => self.reply(host, Answer { response, ..answer }),
            Promise::Fence(key) => {
                if let Some(parked) = self.fences.answer_mut(key) {
                    parked.answer.say(response);
                    parked.job = None;
                }
                self.end_job(host, now_ns, key);
            }
        }
        if let Errand::Map { resource_id, .. } | Errand::Unmap { resource_id, .. } = job.errand {
            self.go_on_moving(host, now_ns, resource_id);
        }
    }

    /// Ends what has a deadline that has passed: watches for events, fences, commands without one
    /// that wait for the front end, the pause for a blob's memory, and requests of host processes.
    pub fn tick(&mut self, host: &mut H, now_ns: u64) {
        self.end_overdue_watches(host, now_ns);
        self.end_event_waits(host, now_ns);
        self.end_overdue_fences(host, now_ns);
        self.end_overdue_commands(host, now_ns);
        // The last that was taken up.
        self.give_up_allocation(host, now_ns);
        self.end_overdue_requests(host, now_ns);
    }

    fn end_overdue_fences(&mut self, host: &mut H, now_ns: u64) {
        while let Some(key) = self.fences.next_overdue(now_ns) {
            self.counters.fences_overdue = self.counters.fences_overdue.saturating_add(1);
            while let Some(wait) = self
                .fences
                .answer_mut(key)
                .and_then(|parked| parked.waits.first(&self.waits))
            {
                let ending = Ending {
                    error: Some(errno::ETIMEDOUT),
                    flags: RecordFlags::DEADLINE,
                    signalled_ns: 0,
                    done_ns: now_ns,
                };
                self.end_wait(host, WaitId(wait), &ending);
            }
            if let Some(parked) = self.fences.answer_mut(key)
                && let Some(job) = parked.job.take()
            {
                parked.answer.say(Response::Err(ResponseError::Unspec));
                if let Some(job) = self.jobs.get_mut(job) {
                    job.promise = Promise::Nobody;
                }
                self.end_job(host, now_ns, key);
            }
        }
    }

    fn end_overdue_commands(&mut self, host: &mut H, now_ns: u64) {
        while let Some(key) = self.due_jobs.first(&self.jobs)
            && let Some(job) = self.jobs.get_mut(key)
            && job
                .deadline_ns()
                .is_some_and(|deadline_ns| deadline_ns <= now_ns)
        {
            let promise = core::mem::replace(&mut job.promise, Promise::Nobody);
            self.due_jobs.remove(&mut self.jobs, key);
            if let Promise::Command { answer, .. } = promise {
                self.counters.commands_overdue = self.counters.commands_overdue.saturating_add(1);
                let response = Response::Err(ResponseError::Unspec);
                self.reply(host, Answer { response, ..answer });
            }
        }
    }

    /// Ends one wait, and what that ends.
    pub(crate) fn end_wait(&mut self, host: &mut H, id: WaitId, ending: &Ending) {
        if let Some(timeline) = self.close_wait(host, id, ending) {
            self.advance(host, ending.done_ns, timeline);
        }
    }

    /// Ends one wait: its record, and what the host does for it. If it was the last of its fence,
    /// the fence's timeline is to be advanced.
    pub(crate) fn close_wait(
        &mut self,
        host: &mut H,
        id: WaitId,
        ending: &Ending,
    ) -> Option<TimelineKey> {
        let fence = self.waits.get(id.0)?.fence;
        if let Some(parked) = fence.and_then(|fence| self.fences.answer_mut(fence)) {
            parked.waits.remove(&mut self.waits, id.0);
        }
        let wait = self.waits.remove(id.0)?;
        wait.kind.stop(host, id);
        if ending.error.is_some() {
            self.counters.operations_failed = self.counters.operations_failed.saturating_add(1);
        }
        if let Some(context) = self.contexts.get_mut(&wait.subject.ctx_id)
            && context.serial == wait.ctx_serial
        {
            if wait.kind == Kind::Event {
                context.inbox.wait_ended(id.0);
            }
            if let Some(status) = &mut context.status {
                status.write(host, &wait.subject, ending);
            }
        }
        self.wait_ended(fence?)
    }

    /// A fence's job has ended.
    fn end_job(&mut self, host: &mut H, now_ns: u64, key: FenceKey) {
        if let Some(timeline) = self.wait_ended(key) {
            self.advance(host, now_ns, timeline);
        }
    }

    /// One thing that a fence waits for has ended. If it was the last, the timeline is given that
    /// is to be advanced.
    fn wait_ended(&mut self, key: FenceKey) -> Option<TimelineKey> {
        let timeline = self.fences.timeline(key)?;
        self.fences.wait_ended(key).then_some(timeline)
    }

    /// Answers what can leave a timeline, and starts what has waited for its turn.
    fn advance(&mut self, host: &mut H, now_ns: u64, timeline: TimelineKey) {
        loop {
            let mut left = false;
            while let Some(parked) = self.fences.pop_replied(timeline) {
                self.reply(host, parked.answer.into_answer());
                left = true;
            }
            if !left || !self.start_polls(host, now_ns, timeline) {
                return;
            }
        }
    }
}
