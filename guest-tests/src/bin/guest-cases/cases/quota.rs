//! More than a guest may have.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{
    Access, BlobOptions, Error, FenceOptions, Pending, PointEvent, Submission, TimelineFlags,
};

use super::bad_input::{Bystander, Prober};
use crate::stage::{Guest, PAGE, PATIENCE, Result};

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
    Case {
        name: "timelines over the quota are refused, and so are watches over one timeline's",
        run: timelines_over_the_quota,
    },
    Case {
        name: "a submission that would look at too much that is pending is refused a part of it",
        run: looks_over_the_quota,
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

/// Submits one operation for each of these numbers, and gives the errnos in their order.
fn each(
    prober: &mut Prober,
    numbers: std::ops::RangeInclusive<u64>,
    op: impl Fn(Submission<'static>, u64, u32) -> Submission<'static>,
) -> Result<Vec<u32>> {
    let batch = usize::try_from(prober.context.capset().max_operations.get())?;
    let mut numbers = numbers.peekable();
    let mut errnos = Vec::new();
    while numbers.peek().is_some() {
        let mut submission = Submission::on_ring(1);
        for (number, tag) in numbers.by_ref().take(batch).zip(1..) {
            submission = op(submission, number, tag);
        }
        errnos.extend(prober.errnos(submission)?);
    }
    Ok(errnos)
}

/// The first `most` are taken, and the others refused.
fn only(errnos: &[u32], most: u64) -> Result {
    let (below, over) = errnos
        .split_at_checked(usize::try_from(most)?)
        .ok_or("there are fewer than the quota")?;
    assert!(below.iter().all(|errno| *errno == 0), "{below:?}");
    assert!(over.iter().all(|errno| *errno == EDQUOT), "{over:?}");
    Ok(())
}

fn timelines_over_the_quota() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let mut prober = Prober::new()?;
    let ring = || Submission::on_ring(1);
    let quota = u64::from(prober.context.capset().max_timelines.get());
    let none = TimelineFlags::empty();
    let all = 1..=quota.saturating_add(10);
    let errnos = each(&mut prober, all, |submission, name, tag| {
        submission.create_timeline(name, none, tag)
    })?;
    only(&errnos, quota)?;
    prober.refused(EDQUOT, ring().adopt_timeline(quota + 1, [0x55; 16], 0))?;
    prober.refused(0, ring().destroy_timeline(1_u64, 0))?;
    prober.refused(0, ring().create_timeline(quota + 1, none, 0))?;
    // It is this context's quota.
    let mut other = Prober::new()?;
    other.refused(0, ring().create_timeline(1_u64, none, 0))?;

    let events = prober.context.create_blob(&BlobOptions::host(PAGE))?;
    prober.refused(0, ring().events(&events, 0, PAGE, 0))?;
    let watch = |submission: Submission<'static>, event, tag| {
        submission.watch_point(2_u64, 1, PointEvent::Signalled, event, None, tag)
    };
    let errnos = each(&mut prober, 1..=300, watch)?;
    only(&errnos, 256)?;
    // The host's kernel does not take one back before its point has come.
    prober.refused(0, ring().cancel(1_u64, 0))?;
    prober.refused(EDQUOT, watch(ring(), 300, 0))?;
    let of_another = ring().watch_point(3_u64, 1, PointEvent::Signalled, 300_u64, None, 0);
    prober.refused(0, of_another)?;
    prober.refused(0, ring().signal_point(2_u64, 1, 0))?;
    prober.refused(0, ring().event_wait(0, 0))?;
    prober.refused(0, watch(ring(), 301, 0))?;
    bystander.unharmed()
}

fn looks_over_the_quota() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let bystander = Bystander::begin(&gpu)?;
    let mut prober = Prober::new()?;
    // The host knows the buffer when the device has answered for it.
    prober.refused(0, Submission::on_ring(1).clock(0))?;
    let fence = gpu.take(prober.buffer.resource_id())?.begin(Use::Write)?;
    // Twenty fences with a wait each: with the ring they are 41 looks.
    for _ in 0..20 {
        let submission = Submission::on_ring(2).export(&prober.buffer, Access::READ, 0_u64, 0);
        prober.context.submit(&submission.out_fence())?;
    }
    let looks = |submission: Submission<'static>, cookie, tag| submission.from_ring(2, cookie, tag);
    let errnos = each(&mut prober, 1..=120, looks)?;
    only(&errnos, 4096 / 41)?;
    // Each submission has a share of its own.
    let errnos = each(&mut prober, 200..=210, looks)?;
    only(&errnos, 11)?;
    fence.signal()?;
    bystander.unharmed()
}
