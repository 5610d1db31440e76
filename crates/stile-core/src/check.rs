//! What must be true of a device between any two calls. For tests.

use alloc::collections::BTreeMap;

use crate::blob::Mapping;
use crate::device::{Device, to_usize};
use crate::host::Host;
use crate::job::{Errand, Job, Promise};
use crate::wait::Kind;

/// What is wrong with a device.
type Checked = Result<(), &'static str>;

fn hold(what: bool, fault: &'static str) -> Checked {
    if what { Ok(()) } else { Err(fault) }
}

impl<H: Host> Device<H> {
    /// Whether everything that the device counts, lists and names twice agrees.
    ///
    /// # Errors
    /// What is wrong.
    #[doc(hidden)]
    pub fn check(&self) -> Checked {
        self.check_fences()?;
        self.check_timelines()?;
        self.check_contexts()?;
        self.check_events()?;
        self.check_blobs()?;
        self.check_allocations()?;
        self.check_waiters()?;
        self.check_quotas()
    }

    /// Each open wait belongs to one fence, which counts it; each job that a fence waits for, too.
    fn check_fences(&self) -> Checked {
        let waits = self.waits.check()?;
        let jobs = self.jobs.check()?;
        let mut open: usize = 0;
        let mut promised: usize = 0;
        for fence in self.fences.seen()? {
            let of_fence = fence.answer.waits.check(&self.waits)?;
            let timeline = self
                .fences
                .timeline(fence.key)
                .ok_or("A fence is on no timeline")?;
            let is_head = self.fences.head(timeline) == Some(fence.key);
            for wait in &of_fence {
                let wait = self.waits.get(*wait).ok_or("A fence's wait is gone")?;
                hold(
                    wait.fence == Some(fence.key),
                    "A wait is another fence's as well",
                )?;
                let polls = matches!(wait.kind, Kind::Poll { .. });
                hold(!(is_head && polls), "A POLL could start and does not")?;
            }
            let mut expected = of_fence.len();
            if let Some(job) = fence.answer.job {
                let job = self.jobs.get(job).ok_or("A fence's job is gone")?;
                let its = matches!(job.promise, Promise::Fence(key) if key == fence.key);
                hold(its, "A job is another fence's as well")?;
                expected = expected.saturating_add(1);
                promised = promised.saturating_add(1);
            }
            let counted = usize::try_from(fence.open_waits).unwrap_or(usize::MAX);
            hold(counted == expected, "A fence miscounts its waits")?;
            hold(
                fence.answer.answer.fence.is_some(),
                "What has no fence waits like one",
            )?;
            open = open.saturating_add(of_fence.len());
        }
        hold(open == waits.len(), "A wait is no fence's")?;
        let to_fences = jobs
            .iter()
            .filter(|(_, job)| matches!(job.promise, Promise::Fence(_)));
        hold(
            to_fences.count() == promised,
            "A job promises a fence that does not wait for it",
        )?;
        hold(self.fences.is_settled(), "A fence could leave and does not")?;
        self.check_due_jobs()
    }

    /// The jobs that commands without a fence wait for are listed, soonest deadline first.
    fn check_due_jobs(&self) -> Checked {
        let mut last_ns = 0;
        let listed = self.due_jobs.check(&self.jobs)?;
        for key in &listed {
            let job = self.jobs.get(*key).ok_or("A listed job is gone")?;
            let deadline_ns = job.deadline_ns().ok_or("A listed job has no deadline")?;
            hold(last_ns <= deadline_ns, "A deadline comes after a later one")?;
            last_ns = deadline_ns;
        }
        let jobs = self.jobs.check()?;
        let due = jobs.iter().filter(|(_, job)| job.deadline_ns().is_some());
        hold(due.count() == listed.len(), "A command has no deadline")
    }

    /// The timelines are the global one, those of the contexts' rings, and closed ones with fences.
    fn check_timelines(&self) -> Checked {
        let mut open: usize = 1;
        hold(
            self.fences.is_open(self.global),
            "The global timeline is closed",
        )?;
        for context in self.contexts.values() {
            for timeline in context.rings() {
                hold(
                    self.fences.is_open(timeline),
                    "The timeline of a ring is closed",
                )?;
                open = open.saturating_add(1);
            }
        }
        let pending = self.fences.pending();
        let timelines = self.fences.timelines();
        hold(timelines >= open, "A timeline is lost")?;
        hold(
            timelines <= open.saturating_add(pending),
            "A timeline without fences stays",
        )
    }

    fn check_contexts(&self) -> Checked {
        let mut cookies: usize = 0;
        for (ctx_id, context) in &self.contexts {
            cookies = cookies.saturating_add(context.cookies.len());
            hold(
                context.cookies.len() <= to_usize(self.limits.cookies),
                "A context has too many cookies",
            )?;
            hold(!context.cookies.contains_key(&0), "A cookie is called 0")?;
            for resource_id in &context.resources {
                let blob = self
                    .blobs
                    .get(resource_id)
                    .ok_or("A context holds a blob that is gone")?;
                hold(
                    blob.contexts.contains(ctx_id),
                    "A blob does not know a context that holds it",
                )?;
            }
            if let Some(status) = &context.status {
                hold(
                    context.resources.contains(&status.resource_id),
                    "A status blob outlives its blob",
                )?;
            }
        }
        hold(
            cookies == to_usize(self.cookies),
            "The cookies are miscounted",
        )
    }

    fn check_blobs(&self) -> Checked {
        let (mut host_bytes, mut guest_bytes) = self.allocations.bytes();
        let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
        for (resource_id, blob) in &self.blobs {
            host_bytes = host_bytes.saturating_add(blob.host_bytes());
            guest_bytes = guest_bytes.saturating_add(blob.guest_bytes());
            for ctx_id in &blob.contexts {
                let holds = self
                    .contexts
                    .get(ctx_id)
                    .is_some_and(|context| context.resources.contains(resource_id));
                hold(holds, "A blob names a context that does not hold it")?;
            }
            if let Mapping::At(offset) | Mapping::Moving { offset, .. } = blob.mapping {
                taken.insert(offset, blob.mapped_bytes());
            }
            let changes = self
                .jobs
                .check()?
                .iter()
                .filter(|(_, job)| match job.errand {
                    Errand::Map { serial, .. } | Errand::Unmap { serial, .. } => {
                        serial == blob.serial
                    }
                    _ => false,
                })
                .count();
            let expected = usize::from(blob.mapping == Mapping::Changing);
            hold(changes == expected, "A blob changes its mapping by itself")?;
            if let Mapping::Moving { request, .. } = blob.mapping {
                let its = |job: &Job| matches!(job.errand, Errand::Move { request: of, .. } if of == request);
                let jobs = self.jobs.check()?;
                hold(
                    jobs.iter().any(|(_, job)| its(job)),
                    "A blob moves by itself",
                )?;
                hold(blob.moving == Some(request), "A blob moves for another")?;
            }
            let waits = matches!(blob.mapping, Mapping::None | Mapping::At(_));
            hold(
                blob.moving.is_none() || !waits,
                "A blob could move and does not",
            )?;
        }
        for (_, job) in self.jobs.check()? {
            if let Errand::Map { offset, .. } = job.errand {
                // Its blob may be gone, with the size.
                let size = self.region.parts().find(|(at, _)| *at == offset);
                let (_, size) = size.ok_or("A mapping under way has no place")?;
                hold(
                    taken.insert(offset, size).is_none(),
                    "Two blobs have one place",
                )?;
            }
        }
        hold(
            self.region.parts().eq(taken),
            "The hostmem region is not as the blobs say",
        )?;
        hold(
            host_bytes == self.host_bytes,
            "The host's memory is miscounted",
        )?;
        hold(
            guest_bytes == self.guest_bytes,
            "The guest's pages are miscounted",
        )
    }

    /// What is awaited or given up is under way, and nothing is begun behind one that is given up.
    fn check_allocations(&self) -> Checked {
        self.allocations.open.check()?;
        let open = |key| self.allocations.open.get(key).is_some();
        let given_up = self.allocations.given_up;
        hold(
            given_up.is_none_or(open),
            "An allocation that was given up has ended",
        )?;
        if let Some(awaited) = &self.allocations.awaited {
            hold(open(awaited.key), "The device waits for nothing")?;
            hold(
                given_up.is_none(),
                "The device waits behind an allocator that hangs",
            )?;
            hold(
                !self.blobs.contains_key(&awaited.resource_id),
                "A blob that is being made exists",
            )?;
        }
        Ok(())
    }

    fn check_quotas(&self) -> Checked {
        let limits = &self.limits;
        let blobs = self.blobs.len().saturating_add(self.allocations.open.len());
        // Of a queue that has become shorter more may be left over.
        let pending = to_usize(limits.pending_fences.max(1)).saturating_mul(2);
        hold(
            self.fences.pending() <= pending,
            "There are too many pending fences",
        )?;
        hold(
            self.contexts.len() <= to_usize(limits.contexts),
            "There are too many contexts",
        )?;
        hold(
            blobs <= to_usize(limits.resources),
            "There are too many blobs",
        )?;
        hold(
            self.host_bytes <= limits.host_bytes,
            "There is too much host memory",
        )?;
        hold(
            self.guest_bytes <= limits.guest_bytes,
            "There are too many guest pages",
        )?;
        hold(
            self.region.len() <= to_usize(limits.maps),
            "There are too many mappings",
        )?;
        hold(
            self.fds() <= limits.fds,
            "There are too many file descriptors",
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::device::Parked;
    use crate::fence::Fences;
    use crate::slab::Slab;
    use crate::wait::Wait;

    #[test]
    fn a_pending_fence_and_its_wait_take_at_most_168_bytes() {
        let fence = Fences::<Parked>::FENCE_BYTES;
        let wait = Slab::<Wait>::ENTRY_BYTES;
        let bytes = fence.checked_add(wait);
        assert!(
            bytes.is_some_and(|bytes| bytes <= 168),
            "a fence of {fence} bytes and its wait of {wait}"
        );
    }
}
