//! The host's fences in the guest's syncobjs.

use std::time::Duration;

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, FenceOptions, PointEvent, SyncobjNode};

use crate::stage::{Guest, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a point of a timeline materialises with the export and signals with the host",
        run: a_point_of_a_timeline,
    },
    Case {
        name: "a binary syncobj holds the host's fence",
        run: a_binary_syncobj,
    },
];

fn a_point_of_a_timeline() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let node = SyncobjNode::open(guest.session.context().node().path())?;
    let timeline = node.create(false)?;
    let target = guest.session.context().use_syncobj(&timeline)?;

    let fence = host.begin(Use::Write)?;
    let options = FenceOptions {
        syncobj: Some((&target, 7)),
        ..FenceOptions::default()
    };
    let exported = guest.session.export_with(&buffer, Access::READ, options)?;
    assert_eq!(timeline.available_point()?, 7);
    guest.pending(&exported)?;
    assert!(timeline.signalled_point()? < 7);
    assert!(!timeline.wait(7, PointEvent::Signalled, Duration::ZERO)?);
    let point = timeline.export_sync_file(7)?;

    let signalled = fence.signal()?;
    assert!(timeline.wait(7, PointEvent::Signalled, PATIENCE)?);
    assert_eq!(timeline.signalled_point()?, 7);
    guest.not_before(&point, &signalled)?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}

fn a_binary_syncobj() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let fence = gpu.take(buffer.resource_id())?.begin(Use::Write)?;
    let node = SyncobjNode::open(guest.session.context().node().path())?;
    let syncobj = node.create(false)?;
    let target = guest.session.context().use_syncobj(&syncobj)?;
    let options = FenceOptions {
        syncobj: Some((&target, 0)),
        ..FenceOptions::default()
    };
    let exported = guest.session.export_with(&buffer, Access::READ, options)?;
    let held = syncobj.export_sync_file(0)?;
    guest.fence_pending(&held)?;
    let signalled = fence.signal()?;
    guest.not_before(&held, &signalled)?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}
