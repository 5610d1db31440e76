//! Contexts come and go.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, BlobOptions, Errno, Error};

use crate::stage::{Guest, PAGE, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a fence outlives the context that asked for it, and is not early for that",
        run: a_fence_outlives_its_context,
    },
    Case {
        name: "cookies and buffers of one context are nothing to another",
        run: contexts_do_not_see_each_other,
    },
    Case {
        name: "contexts that end leave no descriptor behind",
        run: contexts_leave_no_descriptor_behind,
    },
];

fn a_fence_outlives_its_context() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let witness = Guest::new(&gpu)?;
    let (fence, kept) = {
        let mut guest = Guest::new(&gpu)?;
        let buffer = guest.buffer()?;
        let fence = gpu.take(buffer.resource_id())?.begin(Use::Write)?;
        let exported = guest.session.export(&buffer, Access::READ)?;
        guest.pending(&exported)?;
        (fence, exported.fence.try_clone()?)
    };
    witness.fence_pending(&kept)?;
    let signalled = fence.signal()?;
    witness.not_before(&kept, &signalled)
}

fn contexts_do_not_see_each_other() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (a, b) = (one.buffer()?, other.buffer()?);
    let fence = gpu.take(a.resource_id())?.begin(Use::Write)?;
    let exported = one.session.export(&a, Access::READ)?;
    let cookie = exported.cookie().ok_or("an EXPORT has a cookie")?;
    one.pending(&exported)?;

    let unknown =
        |error: Option<Error>| error.and_then(|error| error.errno()) == Some(Errno::NOENT);
    // The other context has no such cookie, and not this buffer.
    let answer = other.session.import(&b, Access::WRITE, cookie);
    assert!(unknown(answer.err()));
    let waiting = other.session.wait(cookie)?;
    assert!(unknown(
        other.session.finish(&waiting, Some(PATIENCE)).err()
    ));
    let stranger = other.session.export(&a, Access::READ)?;
    assert!(unknown(
        other.session.finish(&stranger, Some(PATIENCE)).err()
    ));

    one.pending(&exported)?;
    let signalled = fence.signal()?;
    one.signals(&exported, &signalled)?;
    Ok(())
}

/// Everything that makes the device open something; some of it is pending when it ends.
fn a_busy_life(gpu: &Gpu, seed: u64) -> Result {
    let mut guest = Guest::new(gpu)?;
    let buffers = [
        guest.blob(&BlobOptions::host(2 * PAGE))?,
        guest.blob(&BlobOptions::guest(2 * PAGE))?,
    ];
    for buffer in &buffers {
        let host = gpu.take(buffer.resource_id())?;
        let _mapped = buffer.map()?;
        host.fill(seed)?;
        let done = host.begin(Use::Write)?;
        let exported = guest.session.export(buffer, Access::READ)?;
        let cookie = exported.cookie().ok_or("an EXPORT has a cookie")?;
        let merged = guest.session.merge(cookie, cookie)?;
        guest.session.import(buffer, Access::READ, merged)?;
        let signalled = done.signal()?;
        guest.signals(&exported, &signalled)?;
        let _pending = host.begin(Use::Write)?;
        let left = guest.session.export(buffer, Access::WRITE)?;
        guest.pending(&left)?;
    }
    Ok(())
}

fn contexts_leave_no_descriptor_behind() -> Outcome {
    let gpu = Gpu::in_guest()?;
    // The connection to the bridge is a descriptor of the daemon, too.
    gpu.reconnect()?;
    let witness = Guest::new(&gpu)?;
    let before = gpu.descriptors()?;
    for seed in 0..5 {
        a_busy_life(&gpu, seed)?;
        assert_ne!(gpu.descriptors()?, before, "nothing was pending");
        // All fences signal, and the host gives its buffers up.
        gpu.reset()?;
    }
    witness.settle()?;
    gpu.await_descriptors(&before)?;
    Ok(())
}
