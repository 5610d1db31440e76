//! The daemon's clients are killed: a VMM, and the program that plays the GPU.

use super::scene::{Scene, order, passes, runs};
use crate::outcome::Outcome;
use crate::part;
use crate::vm::{DaemonOptions, Lab};

/// Cases of one life that show that a guest works.
const WORKS: [&str; 3] = [
    "a writer on the host holds the guest's reader until it signals",
    "a mapping stays what it is while others come and go",
    "host and guest see each other's bytes in a buffer of the guest's pages",
];

pub(super) fn a_vmm_is_killed(lab: &Lab) -> Outcome {
    // With the other allocator that every kernel has: cases of one life have the usual one. The
    // buffers that the guest maps are small: KVM of Linux 6.12 cannot map the heap's larger ones
    // (the VM ends with EFAULT), later ones can.
    let options = DaemonOptions {
        allocator: Some("heap".to_owned()),
        ..DaemonOptions::default()
    };
    let mut scene = Scene::begin(lab, &options)?;
    let mut guest = scene.guest().start()?;
    order(&mut guest, &[part::HOLD])?;
    scene.gpu.await_mark(part::HELD, 1)?;
    let busy = scene.gpu.descriptors()?;
    assert!(
        busy.kinds.get("anon_inode:sync_file") >= Some(&63),
        "fences were to be pending: {busy:?}"
    );
    guest.kill();
    scene.nothing_is_left()?;
    // Too late, for nobody. It may have signalled by itself.
    let _late = scene.gpu.fence(part::HELD).signal();
    scene.gpu.reset()?;

    let mut next = scene.guest().start()?;
    let mut cases = WORKS.to_vec();
    cases.push(part::KILLED_GPU);
    order(&mut next, &cases)?;
    // The guest's cases come one after the other; the last one says when the GPU may go.
    scene.gpu.await_mark(part::HELD, 1)?;
    scene.host_gpu.child.kill();
    passes(&mut next, &cases)?;
    scene.next_gpu()?;
    scene.nothing_is_left()?;

    let mut last = scene.guest().start()?;
    runs(&mut last, &WORKS[..1])?;
    scene.nothing_is_left()
}
