//! Rings: order on one, independence of several.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Blob, FenceOptions, Pending, Submission};

use crate::stage::{Guest, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "on one ring fences come in their order, whatever the host's order is",
        run: on_one_ring_fences_come_in_order,
    },
    Case {
        name: "on two rings fences come independently",
        run: on_two_rings_fences_come_independently,
    },
    Case {
        name: "an idle export comes after the fences before it on its ring",
        run: an_idle_export_comes_after_those_before_it,
    },
    Case {
        name: "the same ring of two contexts is two timelines",
        run: the_same_ring_of_two_contexts,
    },
    Case {
        name: "the global timeline keeps the order of all contexts",
        run: the_global_timeline_keeps_order,
    },
    Case {
        name: "the first, the last and all rings between have fences of their own",
        run: all_rings_have_fences_of_their_own,
    },
];

fn export_on(guest: &mut Guest, buffer: &Blob, ring: u8) -> Result<Pending> {
    let options = FenceOptions {
        ring: Some(ring),
        ..FenceOptions::default()
    };
    Ok(guest.session.export_with(buffer, Access::READ, options)?)
}

fn on_one_ring_fences_come_in_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (a, b) = (guest.buffer()?, guest.buffer()?);
    let fence_a = gpu.take(a.resource_id())?.begin(Use::Write)?;
    let fence_b = gpu.take(b.resource_id())?.begin(Use::Write)?;
    let exported_a = export_on(&mut guest, &a, 5)?;
    let exported_b = export_on(&mut guest, &b, 5)?;
    guest.settle()?;

    let signalled_b = fence_b.signal()?;
    guest.pending(&exported_a)?;
    guest.pending(&exported_b)?;

    let signalled_a = fence_a.signal()?;
    guest.signals(&exported_a, &signalled_a)?;
    // Held back until the one before it was done; its record has its own time all the same.
    guest.not_before(&exported_b.fence, &signalled_a)?;
    let record = guest.signals(&exported_b, &signalled_b)?;
    assert!(record.done_ns <= signalled_a.before_ns, "{record:?}");
    Ok(())
}

fn on_two_rings_fences_come_independently() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (a, b) = (guest.buffer()?, guest.buffer()?);
    let fence_a = gpu.take(a.resource_id())?.begin(Use::Write)?;
    let fence_b = gpu.take(b.resource_id())?.begin(Use::Write)?;
    let exported_a = export_on(&mut guest, &a, 5)?;
    let exported_b = export_on(&mut guest, &b, 6)?;
    guest.settle()?;

    let signalled = fence_b.signal()?;
    guest.signals(&exported_b, &signalled)?;
    guest.pending(&exported_a)?;
    let signalled = fence_a.signal()?;
    guest.signals(&exported_a, &signalled)?;
    Ok(())
}

fn an_idle_export_comes_after_those_before_it() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (busy, idle) = (guest.buffer()?, guest.buffer()?);
    let fence = gpu.take(busy.resource_id())?.begin(Use::Write)?;
    let first = export_on(&mut guest, &busy, 9)?;
    let second = export_on(&mut guest, &idle, 9)?;
    guest.pending(&first)?;
    guest.pending(&second)?;
    let signalled = fence.signal()?;
    guest.signals(&first, &signalled)?;
    guest.not_before(&second.fence, &signalled)?;
    Ok(())
}

fn the_same_ring_of_two_contexts() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (a, b) = (one.buffer()?, other.buffer()?);
    let fence_a = gpu.take(a.resource_id())?.begin(Use::Write)?;
    let fence_b = gpu.take(b.resource_id())?.begin(Use::Write)?;
    let exported_a = export_on(&mut one, &a, 3)?;
    let exported_b = export_on(&mut other, &b, 3)?;
    other.settle()?;
    let signalled = fence_b.signal()?;
    other.signals(&exported_b, &signalled)?;
    one.pending(&exported_a)?;
    let signalled = fence_a.signal()?;
    one.signals(&exported_a, &signalled)?;
    Ok(())
}

fn the_global_timeline_keeps_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (one, other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (a, b) = (one.buffer()?, other.buffer()?);
    let fence_a = gpu.take(a.resource_id())?.begin(Use::Write)?;
    let fence_b = gpu.take(b.resource_id())?.begin(Use::Write)?;
    let export = |guest: &Guest, buffer: &Blob| -> Result<_> {
        let submission = Submission::global().export(buffer, Access::READ, 0_u64, 0);
        let fence = guest.session.submit(&submission.out_fence())?.fence;
        Ok(fence.ok_or("The kernel gave no fence")?)
    };
    let exported_a = export(&one, &a)?;
    let exported_b = export(&other, &b)?;
    other.settle()?;
    fence_b.signal()?;
    one.fence_pending(&exported_a)?;
    other.fence_pending(&exported_b)?;
    let signalled = fence_a.signal()?;
    one.not_before(&exported_a, &signalled)?;
    other.not_before(&exported_b, &signalled)?;
    Ok(())
}

fn all_rings_have_fences_of_their_own() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    // Ring 0 is where `Guest::settle` and the session do what must not wait.
    let rings = [63_u8, 1, 62, 2, 31, 32, 33, 17];
    let mut fences = Vec::new();
    for ring in rings {
        let buffer = guest.buffer()?;
        let fence = gpu.take(buffer.resource_id())?.begin(Use::Write)?;
        let exported = export_on(&mut guest, &buffer, ring)?;
        assert_eq!(exported.ring(), ring);
        guest.pending(&exported)?;
        fences.push((exported, fence, buffer));
    }
    while let Some((exported, fence, _buffer)) = fences.pop() {
        guest.pending(&exported)?;
        let signalled = fence.signal()?;
        guest.signals(&exported, &signalled)?;
        for (other, ..) in &fences {
            assert!(!other.fence.signalled()?, "ring {} came, too", other.ring());
        }
    }
    Ok(())
}
