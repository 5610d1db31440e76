//! Cases that need more than one life of a guest, a VMM or the daemon, or a daemon of their own: they
//! run on the host side and start and end the parts themselves.

mod deadline;
mod kill;
mod reboot;
mod scene;

use std::time::Duration;

use crate::outcome::Outcome;
use crate::vm::Lab;

/// One thing that must hold across lives.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    /// A plain sentence.
    pub name: &'static str,
    /// Tries it, in a lab whose directories are its own.
    pub run: fn(&Lab) -> Outcome,
}

/// All of them, in the order they run in.
pub const CASES: &[Lifecycle] = &[
    Lifecycle {
        name: "a VMM that is killed in the middle of its fences leaves nothing, and the next guest \
               works",
        run: kill::a_vmm_is_killed,
    },
    Lifecycle {
        name: "a guest that reboots in the middle of its fences sees none of them in its next life",
        run: reboot::a_guest_reboots,
    },
    Lifecycle {
        name: "a fence that never signals is answered at its deadline, also one that waits for the \
               point that it is put at, and both sides go on",
        run: deadline::the_deadline_answers,
    },
];

/// Longer than a guest takes to boot, even emulated twice.
const BOOT: Duration = Duration::from_secs(120);
