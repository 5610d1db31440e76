//! More than a guest may have.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, BlobOptions, Error, FenceOptions, Pending, Submission};

use super::bad_input::{Bystander, Prober};
use crate::stage::{Guest, PAGE, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a thousand cookies over the quota are refused one by one",
        run: cookies_over_the_quota,
    },
    Case {
        name: "pending fences over the quota are refused, and those below it come right",
        run: pending_fences_over_the_quota,
    },
    Case {
        name: "host memory over the quota is refused, and given up it is there again",
        run: host_memory_over_the_quota,
    },
];

const EDQUOT: u32 = 122;

fn cookies_over_the_quota() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let mut prober = Prober::new()?;
    let quota = u64::from(prober.context.capset().max_cookies.get());
    let batch = u64::from(prober.context.capset().max_operations.get());
    let all = quota.saturating_add(1000);
    let mut next = 1;
    while next <= all {
        let mut submission = Submission::on_ring(1);
        for (cookie, tag) in (next..=all).zip(1..).take(usize::try_from(batch)?) {
            submission = submission.export(&prober.buffer, Access::READ, cookie, tag);
        }
        let records = prober.submit(submission)?;
        for record in records {
            assert_eq!(record.cookie, next, "{record:?}");
            let errno = if next <= quota { 0 } else { EDQUOT };
            assert_eq!(record.errno, errno, "{record:?}");
            next = next.saturating_add(1);
        }
    }
    // A merge is one more, too. One that is dropped makes room for one.
    let ring = || Submission::on_ring(1);
    assert_eq!(prober.errnos(ring().merge(1_u64, 2_u64, all, 0))?, [EDQUOT]);
    assert_eq!(prober.errnos(ring().drop_cookie(1_u64, 0))?, [0]);
    assert_eq!(prober.errnos(ring().merge(2_u64, 3_u64, all, 0))?, [0]);
    assert_eq!(prober.errnos(ring().wait(all, 0))?, [0]);
    // It is this context's quota.
    let mut other = Prober::new()?;
    let export = ring().export(&other.buffer, Access::READ, 1_u64, 0);
    assert_eq!(other.errnos(export)?, [0]);
    bystander.unharmed()
}

fn pending_fences_over_the_quota() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let mut guests = vec![Guest::new(&gpu)?, Guest::new(&gpu)?, Guest::new(&gpu)?];
    let quota = guests
        .first()
        .map(|guest| guest.session.context().capset().max_pending_fences.get())
        .ok_or("no guest")?;
    let quota = usize::try_from(quota)?;
    assert!(quota < 3 * 63, "three contexts have too few rings for this");

    // One fence of the host, and a ring for each of the guest's fences that wait for it.
    let mut fences: Vec<(usize, Pending)> = Vec::new();
    let mut host = None;
    let mut buffers = Vec::new();
    for guest in &guests {
        let buffer = guest.buffer()?;
        let taken = gpu.take(buffer.resource_id())?;
        match &host {
            None => host = Some(taken.begin(Use::Write)?),
            Some(fence) => {
                taken.share(fence, Use::Write)?;
            }
        }
        buffers.push(buffer);
    }
    let host = host.ok_or("no fence")?;
    for (number, (guest, buffer)) in guests.iter_mut().zip(&buffers).enumerate() {
        for ring in 1..64 {
            let options = FenceOptions {
                ring: Some(ring),
                ..FenceOptions::default()
            };
            let exported = guest.session.export_with(buffer, Access::READ, options)?;
            fences.push((number, exported));
        }
    }
    for guest in &guests {
        guest.settle()?;
    }
    // The bystander's is one of them.
    let admitted = quota.saturating_sub(1);
    let (below, over) = fences.split_at(admitted);
    for (_, fence) in below {
        assert!(
            !fence.fence.signalled()?,
            "a fence below the quota is early"
        );
    }
    for (number, fence) in over {
        let guest = guests.get_mut(*number).ok_or("no such guest")?;
        let refused = guest.session.finish(fence, Some(PATIENCE));
        assert!(
            matches!(refused, Err(Error::Refused { errno: EDQUOT, .. })),
            "{refused:?}"
        );
    }
    let signalled = host.signal()?;
    for (number, fence) in below {
        let guest = guests.get_mut(*number).ok_or("no such guest")?;
        guest.signals(fence, &signalled)?;
    }
    // There is room again.
    for (guest, buffer) in guests.iter_mut().zip(&buffers) {
        let exported = guest.session.export(buffer, Access::READ)?;
        guest.at_once(&exported)?;
    }
    bystander.unharmed()
}

fn host_memory_over_the_quota() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let guest = Guest::new(&gpu)?;
    let most = guest.session.context().capset().max_host_bytes.get();
    // The kernel's driver does not say that the device refused: the mapping fails.
    let far_too_large = guest.blob(&BlobOptions::host(most));
    if let Ok(blob) = far_too_large {
        assert!(blob.map().is_err(), "there is room for {most} bytes more");
    }
    let small = guest.blob(&BlobOptions::host(PAGE))?;
    small.map()?;
    bystander.unharmed()
}
