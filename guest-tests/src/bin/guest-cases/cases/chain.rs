//! A fence that goes from ring to buffer to cookie to buffer, and is the host's all the way.

use guest_tests::gpu::{Gpu, Kept, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, FenceOptions, Submission};

use crate::stage::{Guest, cookie_of};

pub(super) const CASES: &[Case] = &[Case {
    name: "a ring's fence crosses a buffer, an export and a merge, and another context waits for it",
    run: a_fence_goes_a_long_way,
}];

fn a_fence_goes_a_long_way() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (a, b, c) = (one.buffer()?, one.buffer()?, one.buffer()?);
    let [host_a, host_b, host_c] = [
        gpu.take(a.resource_id())?,
        gpu.take(b.resource_id())?,
        gpu.take(c.resource_id())?,
    ];
    let shared = two.session.context().import_blob(&c.dma_buf()?)?;
    let fence = host_a.begin_by_driver(Use::Write)?;
    let options = FenceOptions {
        ring: Some(3),
        ..FenceOptions::default()
    };
    let on_ring_3 = one.session.export_with(&a, Access::READ, options)?;
    one.pending(&on_ring_3)?;
    let other = one.work(&gpu)?;

    // All the way in one submission, without a fence of its own: the guest's processor is not
    // asked again until the end.
    let (exported, merged) = (one.session.cookie(), one.session.cookie());
    let tags = [(); 4].map(|()| one.session.tag());
    let submission = Submission::on_ring(1)
        .import(&b, Access::WRITE, cookie_of(&on_ring_3)?, tags[0])
        .export(&b, Access::READ, exported, tags[1])
        .merge(exported, other.cookie, merged, tags[2])
        .import(&c, Access::WRITE, merged, tags[3]);
    one.session.submit(&submission)?;
    let end = two.session.export(&shared, Access::READ)?;
    two.pending(&end)?;
    for tag in tags {
        assert_eq!(one.session.result(tag)?.errno, 0);
    }

    // The host's kernel has the two fences themselves, whatever way they went.
    let both = Kept {
        fences: 2,
        signalled_ns: None,
    };
    assert_eq!(host_c.export(Use::Read)?.look()?, both);
    let alone = host_b.export(Use::Read)?;
    assert_eq!(alone.look()?.fences, 1);

    other.fence.signal()?;
    two.pending(&end)?;
    one.pending(&on_ring_3)?;
    let signalled = fence.signal()?;
    let begin = one.signals(&on_ring_3, &signalled)?;
    let end = two.signals(&end, &signalled)?;
    // It is one fence: it has one time.
    assert_eq!(end.signalled_ns, begin.signalled_ns);
    assert_eq!(alone.look()?.signalled_ns, begin.signalled_ns);
    Ok(())
}
