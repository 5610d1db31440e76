//! FROM_RING and SNAPSHOT: what is pending as one host fence, which goes on before it signals.

use guest_tests::gpu::{Gpu, Kept, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Errno, Submission};

use crate::stage::{Guest, PATIENCE, on_ring, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "what was queued last on a ring goes onto a buffer while it is pending",
        run: a_rings_last_fence,
    },
    Case {
        name: "a ring on which nothing is pending, and a buffer without users, give a signalled cookie",
        run: nothing_is_pending,
    },
    Case {
        name: "a SNAPSHOT joins the fences of those who hold the buffer, and of nobody else",
        run: those_who_hold_the_buffer,
    },
    Case {
        name: "what is queued after a SNAPSHOT or a FROM_RING does not count",
        run: later_ones_do_not_count,
    },
    Case {
        name: "a SNAPSHOT has what its contexts queued on the device's own timeline",
        run: the_global_timeline,
    },
    Case {
        name: "what no host fence stands for is in no SNAPSHOT and no FROM_RING",
        run: what_no_host_fence_stands_for,
    },
    Case {
        name: "who listens for events can have a SNAPSHOT, and no cookie of the events' ring",
        run: who_listens_for_events,
    },
];

fn a_rings_last_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (first, second) = (guest.work_on(&gpu, 7)?, guest.work_on(&gpu, 7)?);
    let elsewhere = guest.work_on(&gpu, 8)?;
    let target = guest.buffer()?;
    let host = gpu.take(target.resource_id())?;

    let cookie = guest.session.from_ring(7)?;
    guest.session.import(&target, Access::WRITE, cookie)?;
    guest.pending(&first.pending)?;
    let pending = Kept {
        fences: 2,
        signalled_ns: None,
    };
    assert_eq!(host.export(Use::Read)?.look()?, pending);
    let sleeper = host.sleeper(Use::Read)?;
    // It signals when both have, like the ring's last fence.
    second.fence.signal()?;
    guest.pending(&second.pending)?;
    assert!(!host.idle(Use::Read)?);
    let waiting = guest.session.wait_on(cookie, 9)?;
    guest.pending(&waiting)?;
    let done = first.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= done.before_ns, "{woken} is before {done:?}");
    guest.signals(&waiting, &done)?;
    guest.not_before(&second.pending.fence, &done)?;
    assert!(host.idle(Use::Write)?);
    guest.pending(&elsewhere.pending)?;
    elsewhere.fence.signal()?;
    Ok(())
}

fn nothing_is_pending() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let work = guest.work_on(&gpu, 5)?;
    work.fence.signal()?;
    guest.session.finish(&work.pending, Some(PATIENCE))?;
    let cookies = [
        // One that was never used, and one whose fences have signalled.
        guest.session.from_ring(40)?,
        guest.session.from_ring(5)?,
        guest.session.snapshot(&buffer)?,
    ];
    for cookie in cookies {
        let waiting = guest.session.wait_on(cookie, 1)?;
        guest.at_once(&waiting)?;
        guest.session.import(&buffer, Access::WRITE, cookie)?;
    }
    assert!(gpu.take(buffer.resource_id())?.idle(Use::Write)?);
    Ok(())
}

fn those_who_hold_the_buffer() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let mut stranger = Guest::new(&gpu)?;
    let buffer = one.buffer()?;
    let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
    let host = gpu.take(buffer.resource_id())?;
    let works = [one.work_on(&gpu, 3)?, two.work_on(&gpu, 3)?];
    let strange = stranger.work_on(&gpu, 3)?;

    let cookie = two.session.snapshot(&shared)?;
    let waiting = two.session.wait_on(cookie, 9)?;
    two.session.import(&shared, Access::READ, cookie)?;
    let joined = host.export(Use::Write)?;
    assert_eq!(joined.look()?.fences, 2);
    let [first, second] = works;
    first.fence.signal()?;
    two.pending(&waiting)?;
    assert!(!host.idle(Use::Write)?);
    let done = second.fence.signal()?;
    two.signals(&waiting, &done)?;
    assert!(host.idle(Use::Write)?);
    stranger.pending(&strange.pending)?;
    strange.fence.signal()?;

    // Whoever has let go of the buffer does not count any more.
    drop(buffer);
    let own = one.work_on(&gpu, 3)?;
    let cookie = two.session.snapshot(&shared)?;
    let waiting = two.session.wait_on(cookie, 9)?;
    two.at_once(&waiting)?;
    one.pending(&own.pending)?;
    own.fence.signal()?;
    Ok(())
}

fn later_ones_do_not_count() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let before = guest.work_on(&gpu, 3)?;
    let buffer = &before.target;
    let snapshot = guest.session.snapshot(buffer)?;
    let ring = guest.session.from_ring(3)?;
    let after = guest.work_on(&gpu, 3)?;
    // Nor does the submission that it is in.
    let own = guest.session.cookie();
    let both = Submission::on_ring(5)
        .export(&after.target, Access::READ, 0_u64, 0)
        .from_ring(5, own, 0);
    let both = guest.submit(both)?;
    let waiting = guest.session.wait_on(own, 6)?;
    guest.at_once(&waiting)?;
    guest.fence_pending(&both)?;

    let waiting = [
        guest.session.wait_on(snapshot, 7)?,
        guest.session.wait_on(ring, 8)?,
    ];
    for waiting in &waiting {
        guest.pending(waiting)?;
    }
    let done = before.fence.signal()?;
    for waiting in &waiting {
        guest.signals(waiting, &done)?;
    }
    guest.pending(&after.pending)?;
    after.fence.signal()?;
    Ok(())
}

fn the_global_timeline() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut guest, other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (buffer, target, later) = (guest.buffer()?, guest.buffer()?, other.buffer()?);
    let fence = gpu.take(target.resource_id())?.begin(Use::Write)?;
    let behind = gpu.take(later.resource_id())?.begin(Use::Write)?;
    let submission = Submission::global().export(&target, Access::READ, 0_u64, 0);
    let global = guest.submit(submission)?;
    let submission = Submission::global().export(&later, Access::READ, 0_u64, 0);
    let of_the_other = other.submit(submission)?;
    guest.fence_pending(&global)?;

    let cookie = guest.session.snapshot(&buffer)?;
    let waiting = guest.session.wait_on(cookie, 1)?;
    guest.pending(&waiting)?;
    let done = fence.signal()?;
    guest.signals(&waiting, &done)?;
    guest.not_before(&global, &done)?;
    // What another context has queued behind it does not count.
    other.fence_pending(&of_the_other)?;
    let done = behind.signal()?;
    other.not_before(&of_the_other, &done)?;
    Ok(())
}

fn what_no_host_fence_stands_for() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (buffer, idle) = (guest.buffer()?, guest.buffer()?);
    let fence = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    // A processor's access.
    let begun = guest
        .session
        .cpu_begin_with(&buffer, Access::READ, on_ring(3))?;
    guest.pending(&begun)?;
    refused(guest.session.from_ring(3), Errno::OPNOTSUPP);
    refused(guest.session.snapshot(&buffer), Errno::OPNOTSUPP);
    refused(guest.session.snapshot(&idle), Errno::OPNOTSUPP);
    guest.session.from_ring(4)?;
    fence.signal()?;
    guest.session.finish(&begun, Some(PATIENCE))?;
    guest.session.snapshot(&buffer)?;

    // A POLL, until its wait has started.
    let work = guest.work_on(&gpu, 3)?;
    let next = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let polled = guest.session.poll_with(&buffer, Access::READ, on_ring(3))?;
    guest.pending(&polled)?;
    refused(guest.session.from_ring(3), Errno::OPNOTSUPP);
    refused(guest.session.snapshot(&buffer), Errno::OPNOTSUPP);
    let turn = work.fence.signal()?;
    guest.signals(&work.pending, &turn)?;
    let cookie = guest.session.from_ring(3)?;
    let waiting = guest.session.wait_on(cookie, 5)?;
    guest.pending(&waiting)?;
    let done = next.signal()?;
    guest.signals(&waiting, &done)?;
    guest.signals(&polled, &done)?;
    Ok(())
}

fn who_listens_for_events() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let work = guest.work_on(&gpu, 3)?;
    let event = guest.session.wait_memory(&work.target, 0, 1, PATIENCE)?;
    guest.no_event()?;
    let cookie = guest.session.snapshot(&work.target)?;
    let waiting = guest.session.wait_on(cookie, 4)?;
    // The ring of a session's event ring, unless it was told otherwise.
    let events = stile_guest::EventOptions::default().ring;
    refused(guest.session.from_ring(events), Errno::OPNOTSUPP);
    guest.pending(&waiting)?;
    let done = work.fence.signal()?;
    guest.signals(&waiting, &done)?;
    guest.no_event()?;
    guest.session.signal_memory(&work.target, 0, 1)?;
    assert_eq!(guest.event()?.number, event.get());
    Ok(())
}
