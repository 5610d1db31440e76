//! Lives of a device, of the very steps that the properties of `stile-core` draw at random, compared
//! with the model after every one.
//!
//! Four bytes of the input are a step: the seed that it is drawn with. So the fuzzer keeps, cuts and
//! joins lists of steps, and a step that somebody adds to the properties is fuzzed without a word
//! here.
#![no_main]

use std::thread::LocalKey;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use stile_core::Limits;

#[allow(
    dead_code,
    reason = "what the specification's tests ask is not used here"
)]
#[path = "../../crates/stile-core/tests/device/life/mod.rs"]
mod life;
#[path = "../../crates/stile-core/tests/device/model/mod.rs"]
mod model;
#[allow(
    dead_code,
    unused_imports,
    reason = "the examples' part is not used here"
)]
#[path = "../../crates/stile-core/tests/device/sim/mod.rs"]
mod sim;

use life::{Life, small};
use model::{Ending, Step, event_step, step};

/// Longer ones show nothing that shorter ones do not, and take longer.
const MOST_STEPS: usize = 100;

#[derive(Debug)]
struct Input {
    limits: Limits,
    queue_size: u16,
    ending: Ending,
    steps: Vec<Step>,
}

impl Arbitrary<'_> for Input {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let roomy = Limits {
            fence_deadline_ms: 1_000,
            ..Limits::default()
        };
        let limits = if bytes.ratio(3, 4)? { small() } else { roomy };
        let queue_size = *bytes.choose(&[256, 8, 4])?;
        let ending = *bytes.choose(&[Ending::Signals, Ending::Deadlines])?;
        let kind = if bytes.ratio(1, 2)? {
            &STEP
        } else {
            &EVENT_STEP
        };
        let mut steps = vec![Step::Boot];
        while bytes.len() >= 4 && steps.len() < MOST_STEPS {
            steps.push(draw(kind, u32::arbitrary(bytes)?));
        }
        Ok(Self {
            limits,
            queue_size,
            ending,
            steps,
        })
    }
}

thread_local! {
    // Made once: it takes longer than a step.
    static STEP: BoxedStrategy<Step> = step().boxed();
    static EVENT_STEP: BoxedStrategy<Step> = event_step().boxed();
}

/// The step of a seed.
fn draw(kind: &'static LocalKey<BoxedStrategy<Step>>, seed: u32) -> Step {
    let mut long = [0; 16];
    long[..4].copy_from_slice(&seed.to_le_bytes());
    long[4] = 1;
    let random = TestRng::from_seed(RngAlgorithm::XorShift, &long);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    kind.with(|step| {
        let tree = step.new_tree(&mut runner);
        tree.expect("a step is always drawn").current()
    })
}

fuzz_target!(|input: Input| {
    let mut life = Life::new(input.limits, input.queue_size);
    life.run_all(&input.steps);
    life.end(input.ending);
});
