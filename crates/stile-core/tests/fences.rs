//! `Fences` by itself, against a model that looks at everything each time.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use proptest::collection::vec;
use proptest::prelude::*;
use stile_core::fence::{FenceKey, Fences, Submitted, TimelineKey};

#[derive(Clone, Copy, Debug)]
enum Step {
    Open,
    Close {
        timeline: usize,
    },
    Submit {
        timeline: usize,
        up: i64,
        waits: u32,
        after: u64,
    },
    /// A fence without waits, which may take the place of the one before it.
    Displace {
        timeline: usize,
        up: i64,
    },
    /// One wait of a fence, which may be gone.
    WaitEnds {
        fence: usize,
    },
    Pop {
        timeline: usize,
    },
    /// Time passes; what is overdue ends.
    Pass {
        time: u64,
    },
    Clear,
}

#[derive(Debug)]
struct NaiveFence {
    answer: u32,
    open_waits: u32,
    deadline: u64,
    left: bool,
}

#[derive(Debug, Default)]
struct NaiveTimeline {
    last: Option<u64>,
    closed: bool,
    /// Indices of `Life::naive`.
    queue: Vec<usize>,
}

#[derive(Default)]
struct Life {
    fences: Fences<u32>,
    now: u64,
    next_id: u64,
    keys: Vec<TimelineKey>,
    timelines: Vec<NaiveTimeline>,
    fence_keys: Vec<FenceKey>,
    naive: Vec<NaiveFence>,
    answers: u32,
}

fn step() -> impl Strategy<Value = Step> {
    let timeline = 0_usize..6;
    let up = prop_oneof![8 => 1_i64..3, 1 => -3_i64..1];
    prop_oneof![
        2 => Just(Step::Open),
        1 => timeline.clone().prop_map(|timeline| Step::Close { timeline }),
        12 => (timeline.clone(), up.clone(), 0_u32..4, 0_u64..5)
            .prop_map(|(timeline, up, waits, after)| Step::Submit { timeline, up, waits, after }),
        6 => (timeline.clone(), up).prop_map(|(timeline, up)| Step::Displace { timeline, up }),
        16 => (0_usize..40).prop_map(|fence| Step::WaitEnds { fence }),
        8 => timeline.prop_map(|timeline| Step::Pop { timeline }),
        2 => (0_u64..12).prop_map(|time| Step::Pass { time }),
        1 => prop::bool::weighted(0.2)
            .prop_map(|clear| if clear { Step::Clear } else { Step::Open }),
    ]
}

impl Life {
    fn run(&mut self, step: Step) {
        match step {
            Step::Open => {
                self.keys.push(self.fences.open());
                self.timelines.push(NaiveTimeline::default());
            }
            Step::Close { timeline } => {
                if let Some(key) = self.keys.get(timeline) {
                    self.fences.close(*key);
                    self.timelines[timeline].closed = true;
                }
            }
            Step::Submit {
                timeline,
                up,
                waits,
                after,
            } => {
                if timeline < self.keys.len() {
                    self.submit(timeline, up, waits, after);
                }
            }
            Step::Displace { timeline, up } => {
                if timeline < self.keys.len() {
                    self.displace(timeline, up);
                }
            }
            Step::WaitEnds { fence } => {
                if fence < self.naive.len() {
                    self.wait_ends(fence);
                }
            }
            Step::Pop { timeline } => {
                if timeline < self.keys.len() {
                    self.pop(timeline);
                }
            }
            Step::Pass { time } => self.pass(time),
            Step::Clear => {
                self.fences.clear();
                for fence in &mut self.naive {
                    fence.left = true;
                }
                for timeline in &mut self.timelines {
                    timeline.queue.clear();
                    timeline.closed = true;
                }
            }
        }
        self.verify_invariants();
    }

    fn submit(&mut self, timeline: usize, up: i64, waits: u32, after: u64) {
        let id = self.next_id.saturating_add_signed(up);
        self.next_id = self.next_id.max(id);
        let deadline = self.now + after;
        self.answers += 1;
        let key = self.keys[timeline];
        let stale = self.fences.is_stale(key, id);
        let submitted = self.fences.submit(key, id, waits, deadline, self.answers);
        let naive = &mut self.timelines[timeline];
        if naive.closed || naive.last.is_some_and(|last| id <= last) {
            assert!(stale);
            assert_eq!(submitted, Submitted::Stale(self.answers));
            return;
        }
        assert!(!stale);
        naive.last = Some(id);
        if waits == 0 && naive.queue.is_empty() {
            assert_eq!(submitted, Submitted::Now(self.answers));
            return;
        }
        let Submitted::Parked(fence) = submitted else {
            panic!("{submitted:?}");
        };
        // A deadline before one that is there already is that one.
        let waiting = self
            .naive
            .iter()
            .filter(|fence| !fence.left && fence.open_waits > 0);
        let deadline = waiting
            .map(|fence| fence.deadline)
            .max()
            .unwrap_or(0)
            .max(deadline);
        naive.queue.push(self.naive.len());
        let (answer, open_waits, left) = (self.answers, waits, false);
        self.naive.push(NaiveFence {
            answer,
            open_waits,
            deadline,
            left,
        });
        self.fence_keys.push(fence);
    }

    fn displace(&mut self, timeline: usize, up: i64) {
        let id = self.next_id.saturating_add_signed(up);
        self.next_id = self.next_id.max(id);
        self.answers += 1;
        let (submitted, displaced) = self.fences.displace(self.keys[timeline], id, self.answers);
        let naive = &mut self.timelines[timeline];
        if naive.closed || naive.last.is_some_and(|last| id <= last) {
            assert_eq!(
                (submitted, displaced),
                (Submitted::Stale(self.answers), None)
            );
            return;
        }
        naive.last = Some(id);
        let Some(tail) = naive.queue.last().copied() else {
            assert_eq!((submitted, displaced), (Submitted::Now(self.answers), None));
            return;
        };
        let held = naive.queue.len() > 1 && self.naive[tail].open_waits == 0;
        assert_eq!(displaced, held.then_some(self.naive[tail].answer));
        if held {
            naive.queue.pop();
            self.naive[tail].left = true;
        }
        let Submitted::Parked(fence) = submitted else {
            panic!("{submitted:?}");
        };
        naive.queue.push(self.naive.len());
        self.naive.push(NaiveFence {
            answer: self.answers,
            open_waits: 0,
            deadline: 0,
            left: false,
        });
        self.fence_keys.push(fence);
    }

    fn wait_ends(&mut self, nth: usize) {
        let last = self.fences.wait_ended(self.fence_keys[nth]);
        let fence = &mut self.naive[nth];
        let open = !fence.left && fence.open_waits > 0;
        if open {
            fence.open_waits -= 1;
        }
        assert_eq!(last, open && fence.open_waits == 0);
    }

    fn pop(&mut self, timeline: usize) {
        let popped = self.fences.pop_replied(self.keys[timeline]);
        let queue = &mut self.timelines[timeline].queue;
        let head = queue.first().copied();
        let expected = head.filter(|head| self.naive[*head].open_waits == 0);
        assert_eq!(popped, expected.map(|head| self.naive[head].answer));
        if let Some(head) = expected {
            queue.remove(0);
            self.naive[head].left = true;
        }
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        while let Some(key) = self.fences.next_overdue(self.now) {
            let nth = self
                .fence_keys
                .iter()
                .position(|other| *other == key)
                .unwrap();
            let fence = &self.naive[nth];
            assert!(!fence.left && fence.open_waits > 0 && fence.deadline <= self.now);
            for _ in 0..fence.open_waits {
                self.wait_ends(nth);
            }
            self.verify_invariants();
        }
        let waiting = self
            .naive
            .iter()
            .filter(|fence| !fence.left && fence.open_waits > 0);
        assert!(waiting.into_iter().all(|fence| fence.deadline > self.now));
    }

    fn verify_invariants(&mut self) {
        self.fences.check().unwrap();
        let pending = self.naive.iter().filter(|fence| !fence.left).count();
        assert_eq!(self.fences.pending(), pending);
        let timelines = self.timelines.iter();
        let there = timelines
            .filter(|line| !line.closed || !line.queue.is_empty())
            .count();
        assert_eq!(self.fences.timelines(), there);
        let waiting = self
            .naive
            .iter()
            .filter(|fence| !fence.left && fence.open_waits > 0);
        let next = waiting.map(|fence| fence.deadline).min();
        assert_eq!(self.fences.next_deadline_ns(), next);
        for (key, naive) in self.keys.iter().zip(&self.timelines) {
            let head = naive.queue.first().map(|nth| self.fence_keys[*nth]);
            assert_eq!(self.fences.head(*key), head);
            let queue = naive.queue.iter().map(|nth| &self.naive[*nth].answer);
            assert!(self.fences.queue(*key).eq(queue));
        }
        for (key, fence) in self.fence_keys.iter().zip(&mut self.naive) {
            let mut answer = fence.answer;
            let there = (!fence.left).then_some(&mut answer);
            assert_eq!(self.fences.answer_mut(*key), there);
            assert_eq!(self.fences.timeline(*key).is_some(), !fence.left);
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_000)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_fences_are_as_the_naive_model_has_them(steps in vec(step(), 1..80)) {
        let mut life = Life::default();
        for step in steps {
            life.run(step);
        }
        // Never lost: what is left ends with its deadline.
        life.pass(1_000);
        for timeline in 0..life.keys.len() {
            while !life.timelines[timeline].queue.is_empty() {
                life.pop(timeline);
            }
            life.verify_invariants();
        }
        assert_eq!(life.fences.pending(), 0);
    }
}
