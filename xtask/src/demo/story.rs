//! What the demo saw: each fence's moments, and what they say together.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One fence that crossed. Moments are nanoseconds of the host's `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fence {
    /// The scene that it belongs to, in a few words.
    pub(crate) scene: String,
    /// What it is, in a few words.
    pub(crate) name: String,
    /// The ring of the guest's context.
    pub(crate) ring: u8,
    /// When the host's fence was put on the buffer; `None` for an idle buffer.
    pub(crate) made_ns: Option<u64>,
    /// When the device took up the guest's operation.
    pub(crate) taken_ns: u64,
    /// When the host's kernel signalled; `None` where it had nothing to signal, or never did.
    pub(crate) signalled_ns: Option<u64>,
    /// When the device was done with the operation.
    pub(crate) done_ns: u64,
    /// When the guest's program saw its own kernel's fence signalled; `None` if it never did.
    pub(crate) seen_ns: Option<u64>,
    /// When the guest's kernel signalled its fence, as it says itself; `None` if it never did.
    pub(crate) fence_ns: Option<u64>,
    /// What the status blob says; 0 for success.
    pub(crate) errno: u32,
}

/// All that was seen.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Story {
    /// In the order in which the guest submitted them.
    pub(crate) fences: Vec<Fence>,
    /// The guest's clock is known this well, in nanoseconds.
    pub(crate) clock_error_ns: u64,
    /// The guest's kernel, as `uname` has it.
    pub(crate) guest_kernel: String,
    /// The host's.
    pub(crate) host_kernel: String,
    /// Both machines are emulated, and slow.
    pub(crate) emulated: bool,
}

/// A fence and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing<'a> {
    /// The fence.
    pub(crate) fence: &'a Fence,
    /// When the device could let the guest know: the work of this fence and of all before it on
    /// its ring was done.
    pub(crate) due_ns: u64,
    /// The guest's kernel signalled it before the host's work was done, by more than the clocks'
    /// error.
    pub(crate) early: bool,
    /// The guest's kernel signalled it before one that came earlier on its ring.
    pub(crate) out_of_order: bool,
}

impl Crossing<'_> {
    /// It never came.
    pub(crate) fn lost(&self) -> bool {
        self.fence.seen_ns.is_none()
    }

    /// From the end of the work to the guest's program, in nanoseconds.
    pub(crate) fn latency_ns(&self) -> Option<u64> {
        self.fence
            .seen_ns
            .map(|seen| seen.saturating_sub(self.due_ns))
    }
}

/// The verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) crossed: usize,
    pub(crate) waited: usize,
    pub(crate) early: usize,
    pub(crate) lost: usize,
    pub(crate) out_of_order: usize,
    pub(crate) by_deadline: usize,
    /// Median and largest latency of those whose work the host signalled, in nanoseconds.
    pub(crate) latency_p50_ns: u64,
    pub(crate) latency_max_ns: u64,
}

impl Summary {
    /// Whether the four rules held.
    pub(crate) fn holds(&self) -> bool {
        self.crossed > 0 && self.early == 0 && self.lost == 0 && self.out_of_order == 0
    }
}

impl Story {
    /// Each fence with what became of it, in the order of submission.
    pub(crate) fn crossings(&self) -> Vec<Crossing<'_>> {
        let mut crossings = Vec::new();
        // Of each ring: when all its work so far was done, and when the guest's last fence for it
        // signalled.
        let mut rings: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for fence in &self.fences {
            let (due, last) = rings.entry(fence.ring).or_default();
            *due = (*due).max(
                fence
                    .signalled_ns
                    .unwrap_or(fence.done_ns)
                    .max(fence.taken_ns),
            );
            let early = fence
                .signalled_ns
                .zip(fence.fence_ns)
                .is_some_and(|(signalled, fence)| fence + self.clock_error_ns < signalled);
            let out_of_order = fence.fence_ns.is_some_and(|now| now < *last);
            *last = (*last).max(fence.fence_ns.unwrap_or(0));
            crossings.push(Crossing {
                fence,
                due_ns: *due,
                early,
                out_of_order,
            });
        }
        crossings
    }

    /// The verdict on all of them.
    pub(crate) fn summary(&self) -> Summary {
        let crossings = self.crossings();
        let count = |is: &dyn Fn(&Crossing<'_>) -> bool| crossings.iter().filter(|c| is(c)).count();
        let mut latencies: Vec<u64> = crossings
            .iter()
            .filter(|crossing| crossing.fence.signalled_ns.is_some())
            .filter_map(Crossing::latency_ns)
            .collect();
        latencies.sort_unstable();
        Summary {
            crossed: count(&|crossing| !crossing.lost()),
            waited: count(&|crossing| crossing.fence.made_ns.is_some()),
            early: count(&|crossing| crossing.early),
            lost: count(&|crossing| crossing.lost()),
            out_of_order: count(&|crossing| crossing.out_of_order),
            by_deadline: count(&|crossing| crossing.fence.errno == 110),
            latency_p50_ns: latencies.get(latencies.len() / 2).copied().unwrap_or(0),
            latency_max_ns: latencies.last().copied().unwrap_or(0),
        }
    }
}

/// Nanoseconds for a person.
pub(crate) fn human(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{} ms", ns / 1_000_000),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A fence of `ring` whose work takes from `made` to `signalled`, seen at `seen`, all in ms.
    pub(crate) fn fence(ring: u8, made: u64, signalled: u64, seen: u64) -> Fence {
        Fence {
            scene: "A scene".into(),
            name: format!("frame {made}"),
            ring,
            made_ns: Some(made * MS),
            taken_ns: (made + 2) * MS,
            signalled_ns: Some(signalled * MS),
            done_ns: signalled * MS + 50_000,
            seen_ns: Some(seen * MS),
            fence_ns: Some(seen * MS),
            errno: 0,
        }
    }

    pub(crate) fn story(fences: Vec<Fence>) -> Story {
        Story {
            fences,
            clock_error_ns: 400_000,
            guest_kernel: "6.12.0".into(),
            host_kernel: "6.12.0".into(),
            emulated: true,
        }
    }

    #[test]
    fn a_fence_that_is_held_for_its_predecessor_is_neither_early_nor_slow() {
        let story = story(vec![fence(1, 0, 400, 401), fence(1, 10, 150, 402)]);
        let summary = story.summary();
        assert!(summary.holds(), "{summary:?}");
        assert_eq!(story.crossings()[1].due_ns, 400 * MS);
        assert_eq!(summary.latency_max_ns, 2 * MS);
    }

    #[test]
    fn a_fence_that_is_seen_before_its_work_is_done_is_early() {
        let summary = story(vec![fence(1, 0, 400, 390)]).summary();
        assert_eq!((summary.early, summary.holds()), (1, false));
    }

    #[test]
    fn a_fence_that_is_never_seen_is_lost() {
        let lost = Fence {
            seen_ns: None,
            fence_ns: None,
            ..fence(1, 0, 400, 0)
        };
        let summary = story(vec![lost, fence(2, 0, 1, 2)]).summary();
        assert_eq!((summary.lost, summary.holds()), (1, false));
    }

    #[test]
    fn a_later_fence_that_is_seen_first_is_out_of_order_only_on_its_own_ring() {
        let one = story(vec![fence(1, 0, 400, 401), fence(1, 0, 150, 151)]).summary();
        assert_eq!((one.out_of_order, one.holds()), (1, false));
        let two = story(vec![fence(1, 0, 400, 401), fence(2, 0, 150, 151)]).summary();
        assert!(two.holds(), "{two:?}");
    }
}
