//! A guest reboots, and its VMM goes on.

use super::scene::{Scene, order, passes};
use crate::outcome::Outcome;
use crate::part;
use crate::vm::{DaemonOptions, Lab};

pub(super) fn a_guest_reboots(lab: &Lab) -> Outcome {
    let options = DaemonOptions {
        allocator: Some("vgem".to_owned()),
        ..DaemonOptions::default()
    };
    let scene = Scene::begin(lab, &options)?;
    let mut guest = scene.guest().reboots().start()?;
    order(&mut guest, &[part::REBOOT])?;
    scene.gpu.await_mark(part::HELD, 1)?;
    // The part has forgotten the mark of the first life's begin.
    scene.gpu.await_mark(part::UP, 1)?;
    order(&mut guest, &[part::NEXT_LIFE])?;
    passes(&mut guest, &[part::NEXT_LIFE])?;
    scene.nothing_is_left()
}
