//! The cases that run in a guest.

use std::process::ExitCode;

use guest_tests::outcome::Outcome;
use guest_tests::payload::{self, Case};

const CASES: &[Case] = &[Case {
    name: "the guest's program runs",
    run: the_guests_program_runs,
}];

fn main() -> ExitCode {
    payload::main(&[CASES])
}

fn the_guests_program_runs() -> Outcome {
    let first = std::fs::read_to_string("/proc/1/comm")?;
    assert_eq!(first.trim(), "init", "this is no guest of the lab");
    Ok(())
}
