//! A fence that goes from ring to buffer to cookie to buffer, and is the host's all the way.

use guest_tests::gpu::{Gpu, Kept, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, FenceOptions, Submission};

use crate::stage::Guest;

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
    let other = one.work(&gpu)?;

    // The guest submits all of it without waiting for anything, an answer included. What is queued
    // on ring 3 has no name until FROM_RING gives it one.
    let on_ring_3 = FenceOptions {
        ring: Some(3),
        ..FenceOptions::default()
    };
    let begin = one.session.export_with(&a, Access::READ, on_ring_3)?;
    let last_on_ring_3 = one.submit(Submission::on_ring(3))?;
    let from_ring = one.session.cookie();
    let (exported, merged) = (one.session.cookie(), one.session.cookie());
    let tags = [(); 5].map(|()| one.session.tag());
    let way = Submission::on_ring(1)
        .from_ring(3, from_ring, tags[0])
        .import(&b, Access::WRITE, from_ring, tags[1])
        .export(&b, Access::READ, exported, tags[2])
        .merge(exported, other.cookie, merged, tags[3])
        .import(&c, Access::WRITE, merged, tags[4]);
    one.session.submit(&way)?;
    let end = two.session.export(&shared, Access::READ)?;

    // Now all of it is there, and waits.
    two.pending(&end)?;
    one.pending(&begin)?;
    one.fence_pending(&last_on_ring_3)?;
    for tag in tags {
        let record = one.session.result(tag)?;
        assert_eq!(record.errno, 0, "{record:?}");
    }
    // The host's kernel has the two fences themselves, whatever way they went.
    let both = Kept {
        fences: 2,
        signalled_ns: None,
    };
    assert_eq!(host_c.export(Use::Read)?.look()?, both);
    let alone = host_b.export(Use::Read)?;
    assert_eq!(alone.look()?.fences, 1);
    let sleeper = host_c.sleeper(Use::Read)?;

    other.fence.signal()?;
    two.pending(&end)?;
    one.pending(&begin)?;
    assert!(!host_c.idle(Use::Read)?);
    let signalled = fence.signal()?;
    // With the one fence all are done, in the host's kernel and for both contexts.
    assert!(host_c.idle(Use::Write)?);
    assert!(sleeper.woken_ns()? >= signalled.before_ns);
    let begin = one.signals(&begin, &signalled)?;
    one.not_before(&last_on_ring_3, &signalled)?;
    let end = two.signals(&end, &signalled)?;
    // It is one fence: it has one time.
    assert_eq!(end.signalled_ns, begin.signalled_ns);
    assert_eq!(alone.look()?.signalled_ns, begin.signalled_ns);
    Ok(())
}
