//! A device between a guest that sends anything and a host that does anything. After every act the
//! device is whole, and the four rules of a fence hold: see [`rules`].
//!
//! There is no model here that says what the answers are (the target `life` has one), so the
//! operations may have any values, and bytes may be bent.
#![no_main]

mod host;
mod input;
mod operation;
mod rules;
#[allow(
    dead_code,
    unused_imports,
    reason = "the examples' part is not used here"
)]
#[path = "../../../crates/stile-core/tests/device/sim/mod.rs"]
mod sim;

use libfuzzer_sys::fuzz_target;

use host::Scene;
use input::Input;

fuzz_target!(|input: Input| {
    let mut scene = Scene::new(&input);
    for act in &input.acts {
        scene.act(act);
    }
    scene.end(input.host_signals_all);
});
