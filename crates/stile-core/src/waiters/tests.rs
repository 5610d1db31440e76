//! Against a naive model: a vector, gone through each time.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Through, WaiterKey, Waiters};

#[derive(Clone, Copy, Debug)]
enum Step {
    Add {
        blob: u64,
        offset: u64,
        value: u64,
        through: Through,
    },
    Reached {
        blob: u64,
        offset: u64,
        value: u64,
    },
    Remove {
        nth: usize,
    },
    OfBlob(u64),
    Through(u64, Through),
    Clear,
}

fn blob() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_u64..=3, 1 => Just(0), 1 => Just(u64::MAX)]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![4 => (0_u64..4).prop_map(|word| word * 8), 1 => Just(u64::MAX - 7)]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..6, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)]
}

fn through() -> impl Strategy<Value = Through> {
    prop_oneof![
        1 => Just(Through::Bridge),
        2 => (0_u64..3).prop_map(Through::Context),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (blob(), offset(), value(), through()).prop_map(|(blob, offset, value, through)| {
            Step::Add { blob, offset, value, through }
        }),
        20 => (blob(), offset(), value())
            .prop_map(|(blob, offset, value)| Step::Reached { blob, offset, value }),
        8 => (0_usize..64).prop_map(|nth| Step::Remove { nth }),
        2 => blob().prop_map(Step::OfBlob),
        4 => (blob(), through()).prop_map(|(blob, through)| Step::Through(blob, through)),
        1 => Just(Step::Clear),
    ]
}

#[derive(Debug)]
struct Naive {
    blob: u64,
    offset: u64,
    value: u64,
    through: Through,
    name: u32,
    key: WaiterKey,
}

/// The names of those that leave, in the order of their values and then of their coming.
fn leave(model: &mut Vec<Naive>, goes: impl Fn(&Naive) -> bool) -> Vec<u32> {
    let mut gone: Vec<Naive> = model.extract_if(.., |waiter| goes(waiter)).collect();
    gone.sort_by_key(|waiter| waiter.value);
    gone.iter().map(|waiter| waiter.name).collect()
}

fn taken(pop: impl FnMut() -> Option<u32>) -> Vec<u32> {
    core::iter::from_fn(pop).collect()
}

fn sorted(mut names: Vec<u32>) -> Vec<u32> {
    names.sort_unstable();
    names
}

fn check(waiters: &Waiters<u32>, model: &[Naive]) {
    let found = waiters.check().unwrap();
    assert_eq!(found.len(), model.len());
    for waiter in model {
        let named = Some(&(waiter.through, waiter.name));
        assert_eq!(found.get(&waiter.key), named, "{waiter:?} is lost");
        let place = (waiter.key.blob(), waiter.key.offset());
        assert_eq!(place, (waiter.blob, waiter.offset));
    }
    for blob in [0, 1, 2, 3, u64::MAX] {
        let mut offsets: Vec<u64> = model
            .iter()
            .filter(|waiter| waiter.blob == blob)
            .map(|waiter| waiter.offset)
            .collect();
        offsets.sort_unstable();
        offsets.dedup();
        let mut next = waiters.next_counter(blob, 0);
        for offset in offsets {
            assert_eq!(next, Some(offset), "the counters of {blob}");
            next = offset
                .checked_add(8)
                .and_then(|from| waiters.next_counter(blob, from));
        }
        assert_eq!(next, None, "the counters of {blob}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn exactly_those_leave_that_are_due(steps in vec(step(), 1..120)) {
        let mut waiters = Waiters::default();
        let mut model: Vec<Naive> = Vec::new();
        let mut gone: Vec<WaiterKey> = Vec::new();
        let mut name = 0;
        for step in steps {
            let before: Vec<WaiterKey> = model.iter().map(|waiter| waiter.key).collect();
            match step {
                Step::Add { blob, offset, value, through } => {
                    name += 1;
                    let key = waiters.name(blob, offset, value);
                    waiters.add(key, through, name);
                    model.push(Naive { blob, offset, value, through, name, key });
                }
                Step::Reached { blob, offset, value } => {
                    let due = leave(&mut model, |waiter| {
                        (waiter.blob, waiter.offset) == (blob, offset) && waiter.value <= value
                    });
                    prop_assert_eq!(taken(|| waiters.pop_reached(blob, offset, value)), due);
                }
                Step::Remove { nth } => match nth.checked_rem(model.len()) {
                    Some(nth) => {
                        let waiter = model.remove(nth);
                        prop_assert_eq!(waiters.remove(waiter.key), Some(waiter.name));
                    }
                    None => prop_assert!(waiters.check().unwrap().is_empty()),
                },
                Step::OfBlob(blob) => {
                    let all = leave(&mut model, |waiter| waiter.blob == blob);
                    prop_assert_eq!(sorted(taken(|| waiters.pop_of_blob(blob))), sorted(all));
                }
                Step::Through(blob, through) => {
                    let all = leave(&mut model, |waiter| {
                        (waiter.blob, waiter.through) == (blob, through)
                    });
                    let found = taken(|| waiters.pop_through(blob, through));
                    prop_assert_eq!(sorted(found), sorted(all));
                }
                Step::Clear => {
                    waiters.clear();
                    model.clear();
                }
            }
            gone.extend(before.iter().filter(|key| model.iter().all(|waiter| waiter.key != **key)));
            for key in &gone {
                prop_assert_eq!(waiters.remove(*key), None);
            }
            check(&waiters, &model);
        }
    }
}

/// As many as a device has: each leaves at its value, by its own, and nobody else with it.
#[test]
fn ten_thousand_waiters_of_four_thousand_counters_leave_one_by_one() {
    const COUNTERS: u64 = 4_096;
    const WAITERS: u64 = 10_000;
    let mut waiters = Waiters::default();
    for nth in 0..WAITERS {
        let offset = nth % COUNTERS * 8;
        let key = waiters.name(7, offset, nth / COUNTERS + 1);
        waiters.add(key, Through::Bridge, nth);
    }
    for value in 1..=WAITERS / COUNTERS + 1 {
        for counter in 0..COUNTERS {
            let nth = (value - 1) * COUNTERS + counter;
            let due = (nth < WAITERS).then_some(nth);
            assert_eq!(waiters.pop_reached(7, counter * 8, value), due);
            assert_eq!(waiters.pop_reached(7, counter * 8, value), None);
        }
    }
    assert!(waiters.check().unwrap().is_empty());
}
