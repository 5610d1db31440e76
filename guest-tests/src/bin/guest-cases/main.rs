//! The cases that run in a guest.
//!
//! `guest-cases` holds those that one life of a guest is enough for. `guest-cases --across` has the
//! parts of cases across lives, too.

mod across;
mod cases;
#[cfg(all(test, feature = "host"))]
mod document;
mod stage;

use std::process::ExitCode;

use guest_tests::gpu::Gpu;
use guest_tests::{part, payload};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("--across") {
        return payload::main(cases::ALL);
    }
    // Whoever has this guest rebooted has to know that its next life has begun.
    if let Err(error) = Gpu::at_port().and_then(|gpu| gpu.mark(part::UP)) {
        eprintln!("The host side does not hear this guest: {error}");
        return ExitCode::FAILURE;
    }
    let mut all = vec![across::CASES];
    all.extend(cases::ALL);
    payload::main(&all)
}
