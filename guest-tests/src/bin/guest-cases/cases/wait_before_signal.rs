//! Wait before signal: consumers who wait for a point of a timeline that the guest has not
//! submitted yet, as a compositor with explicit synchronisation is given one.

use std::time::Duration;

use guest_tests::gpu::{Gpu, HostTimeline, Point, Until};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Error, PointEvent, Timeline, TimelineFlags};

use crate::stage::{Guest, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "consumers on both sides wait for a point before the guest submits, and wake when it \
               materialises and when it signals",
        run: consumers_wait_before_the_guest_submits,
    },
    Case {
        name: "while somebody waits for a point that nobody has submitted, no kernel has a fence of it",
        run: no_fence_stands_for_what_is_not_submitted,
    },
    Case {
        name: "waits for a point that is not submitted in time are over, and its coming late is \
               told to those who still wait",
        run: waits_for_what_is_not_submitted_are_over,
    },
];

const EINVAL: u32 = 22;

/// A timeline that the guest has made and a compositor of the host has taken.
fn shared<'a>(
    gpu: &'a Gpu,
    guest: &mut Guest,
    uuid: [u8; 16],
) -> Result<(Timeline, HostTimeline<'a>)> {
    let timeline = guest.session.create_timeline(TimelineFlags::empty())?;
    guest.session.share_timeline(timeline, uuid)?;
    Ok((timeline, gpu.take_timeline(uuid)?))
}

fn consumers_wait_before_the_guest_submits() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, *b"wait-before-sig1")?;

    let host_available = host.sleeper(5, Until::Available, PATIENCE)?;
    let host_signalled = host.sleeper(5, Until::Signalled, PATIENCE)?;
    let signalled = guest
        .session
        .watch_point(timeline, 5, PointEvent::Signalled, None)?;
    let available = guest
        .session
        .watch_point(timeline, 5, PointEvent::Available, None)?;
    guest.no_event()?;
    assert_eq!(host.point()?, Point::default());

    // The guest submits: the point has a fence from now on, and waits for the work.
    let work = guest.work(&gpu)?;
    let submitted = guest.session.cookie_to_point(work.cookie, timeline, 5)?;
    let woken = host_available.woken_ns()?;
    assert!(woken >= submitted.taken_ns, "{woken}: {submitted:?}");
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!((event.number, event.value), (available.get(), 5));
    assert!(event.time_ns >= submitted.taken_ns, "{event:?}");
    guest.no_event()?;
    let materialised = Point {
        available: 5,
        signalled: 0,
    };
    assert_eq!(host.point()?, materialised);
    let cookie = guest.session.point_to_cookie(timeline, 5)?;
    let waiting = guest.session.wait(cookie)?;
    guest.pending(&waiting)?;

    // The work is done.
    let done = work.fence.signal()?;
    let woken = host_signalled.woken_ns()?;
    assert!(woken >= done.before_ns, "{woken} is before {done:?}");
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!((event.number, event.value), (signalled.get(), 5));
    assert!(event.time_ns >= done.before_ns, "{event:?}, {done:?}");
    guest.signals(&waiting, &done)?;
    guest.no_event()
}

fn no_fence_stands_for_what_is_not_submitted() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, *b"wait-before-sig2")?;
    let buffer = guest.buffer()?;
    let fences = || -> Result<usize> {
        let kinds = gpu.descriptors()?.kinds;
        Ok(kinds.get("anon_inode:sync_file").copied().unwrap_or(0))
    };
    let before = fences()?;

    let sleeper = host.sleeper(1, Until::Signalled, PATIENCE)?;
    let mut watches = Vec::new();
    for until in [PointEvent::Available, PointEvent::Signalled] {
        watches.push(guest.session.watch_point(timeline, 1, until, None)?);
    }
    // There is nothing to be handed on, as long as it may never be submitted.
    let refused = guest.session.point_to_cookie(timeline, 1);
    assert!(
        matches!(refused, Err(Error::Refused { errno: EINVAL, .. })),
        "{refused:?}"
    );
    assert_eq!(fences()?, before);
    // And nothing waits behind those who wait: not what is done at once, not what is done later.
    let idle = guest.session.export(&buffer, Access::WRITE)?;
    guest.at_once(&idle)?;
    let work = guest.work(&gpu)?;
    let done = work.fence.signal()?;
    guest.signals(&work.pending, &done)?;
    guest.no_event()?;

    // Submitted as something that is done already: it materialises and signals at once.
    let submitted = guest.session.signal_point(timeline, 1)?;
    for _ in 0..2 {
        let event = guest.event()?;
        assert!(event.happened(), "{event:?}");
        watches.retain(|watch| watch.get() != event.number);
    }
    assert_eq!(watches, [], "they were not told");
    assert!(sleeper.woken_ns()? >= submitted.taken_ns);
    let cookie = guest.session.point_to_cookie(timeline, 1)?;
    let waiting = guest.session.wait(cookie)?;
    guest.at_once(&waiting)?;
    Ok(())
}

fn waits_for_what_is_not_submitted_are_over() -> Outcome {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, *b"wait-before-sig3")?;

    let begin = gpu.clock_ns()?;
    let sleeper = host.sleeper(3, Until::Available, TIMEOUT)?;
    let mut watches = Vec::new();
    for until in [PointEvent::Available, PointEvent::Signalled] {
        let watch = guest
            .session
            .watch_point(timeline, 3, until, Some(TIMEOUT))?;
        watches.push(watch);
    }
    let patient = guest
        .session
        .watch_point(timeline, 3, PointEvent::Signalled, Some(PATIENCE))?;
    for watch in watches {
        let event = guest.event()?;
        assert!(event.timed_out(), "{event:?}");
        assert_eq!((event.number, event.value), (watch.get(), 3));
        let after = Duration::from_nanos(event.time_ns.saturating_sub(begin));
        assert!(after >= TIMEOUT, "after {after:?}: {event:?}");
    }
    assert_eq!(sleeper.ended()?, None);
    guest.no_event()?;

    guest.session.signal_point(timeline, 3)?;
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!(event.number, patient.get());
    // Nobody is told twice.
    guest.no_event()
}
