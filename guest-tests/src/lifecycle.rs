//! Cases that need more than one life of a guest, a VMM or the daemon: they run on the host side and
//! start and end the parts themselves.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::vm::{Guest, Lab};

/// One thing that must hold across lives.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    /// A plain sentence.
    pub name: &'static str,
    /// Tries it, in a lab whose directories are its own.
    pub run: fn(&Lab) -> Outcome,
}

/// All of them, in the order they run in.
pub const CASES: &[Lifecycle] = &[Lifecycle {
    name: "a guest boots and powers off",
    run: a_guest_boots_and_powers_off,
}];

/// Longer than a guest takes to boot, even emulated twice.
const BOOT: Duration = Duration::from_secs(120);

fn a_guest_boots_and_powers_off(lab: &Lab) -> Outcome {
    let mut guest = Guest::new(lab).program(&["true"]).start()?;
    let last = guest.next_line(BOOT)?;
    assert_eq!(last.as_deref(), Some(r#"{"event":"exit","code":0}"#));
    let status = guest.wait(BOOT)?;
    assert!(status.success(), "QEMU ended with {status}");
    Ok(())
}
