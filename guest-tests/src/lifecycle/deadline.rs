//! A daemon with a short deadline: vgem's own fences never last longer than ten seconds.

use std::time::Duration;

use super::scene::{Scene, runs};
use crate::outcome::Outcome;
use crate::part;
use crate::vm::{DaemonOptions, Lab};

pub(super) fn the_deadline_answers(lab: &Lab) -> Outcome {
    let options = DaemonOptions {
        fence_deadline: Some(Duration::from_secs(2)),
        ..DaemonOptions::default()
    };
    let scene = Scene::begin(lab, &options)?;
    let mut guest = scene.guest().start()?;
    let parts = [part::DEADLINE, part::DEADLINE_ORDER, part::LOOP];
    runs(&mut guest, &parts)?;
    scene.nothing_is_left()
}
