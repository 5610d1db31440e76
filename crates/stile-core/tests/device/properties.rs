//! Properties over lives that are drawn at random.

use proptest::collection::vec;
use proptest::prelude::*;
use stile_core::Limits;

use crate::life::{Life, small};
use crate::model::{Ending, Step, event_step, step};

/// What happens in a life.
fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    (prop::bool::weighted(0.9), vec(step(), 1..most)).prop_map(|(booted, steps)| {
        let boot = booted.then_some(Step::Boot);
        boot.into_iter().chain(steps).collect()
    })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![Just(Ending::Signals), Just(Ending::Deadlines)]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn never_early_never_lost_never_out_of_order_never_twice(
        steps in steps(50),
        queue_size in prop::sample::select(vec![256, 8, 4]),
        ending in ending(),
    ) {
        let mut life = Life::new(small(), queue_size);
        life.run_all(&steps);
        life.end(ending);
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn nor_in_a_long_life_with_room_for_everything(steps in steps(400), ending in ending()) {
        let limits = Limits { fence_deadline_ms: 1_000, ..Limits::default() };
        let mut life = Life::new(limits, 1024);
        life.run_all(&steps);
        life.end(ending);
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn no_event_is_lost_or_told_twice_or_out_of_order(
        steps in vec(event_step(), 1..80),
        ending in ending(),
    ) {
        let limits = Limits { events: 8, fds: 40, ..small() };
        let mut life = Life::new(limits, 256);
        life.run_all(&[Step::Boot]);
        life.run_all(&steps);
        life.end(ending);
    }
}
