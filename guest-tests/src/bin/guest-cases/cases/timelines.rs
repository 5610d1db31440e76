//! Timelines: drm_syncobjs of the host, which its processes and the guest's contexts share.

use std::time::Duration;

use guest_tests::gpu::{Gpu, HostTimeline, Point, Until, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Cookie, Errno, OpCode, PointEvent, Timeline, TimelineFlags};

use crate::stage::{Guest, PATIENCE, Result, not_told_before, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a cookie's fence makes a point materialise, and the point signals with it",
        run: a_cookie_becomes_a_point,
    },
    Case {
        name: "a point's fence becomes a cookie, which waits and is imported like any",
        run: a_point_becomes_a_cookie,
    },
    Case {
        name: "a point that has not materialised gives no cookie, and nothing waits for it",
        run: no_cookie_of_a_point_without_a_fence,
    },
    Case {
        name: "a point that the guest signals wakes who sleeps for it on the host",
        run: a_signalled_point,
    },
    Case {
        name: "a reset takes all points away, and a timeline begins anew",
        run: a_reset,
    },
    Case {
        name: "a timeline is shared until it is destroyed, and who has it keeps it",
        run: shared_until_it_is_destroyed,
    },
    Case {
        name: "a timeline that the host offers is adopted once",
        run: adopted_once,
    },
    Case {
        name: "a watch tells when a point has a fence, and another when that has signalled",
        run: watches_tell_both,
    },
    Case {
        name: "a point does not signal before the one below it",
        run: points_come_in_order,
    },
    Case {
        name: "a binary syncobj is a timeline of one point",
        run: a_binary_one,
    },
    Case {
        name: "a watch that is too late is told so, and one of a timeline that goes as well",
        run: watches_that_end_otherwise,
    },
];

const NONE: TimelineFlags = TimelineFlags::empty();

/// A new timeline, which the host has, too.
fn shared<'a>(
    gpu: &'a Gpu,
    guest: &mut Guest,
    uuid: [u8; 16],
) -> Result<(Timeline, HostTimeline<'a>)> {
    let timeline = guest.session.create_timeline(NONE)?;
    guest.session.share_timeline(timeline, uuid)?;
    Ok((timeline, gpu.take_timeline(uuid)?))
}

fn at(available: u64, signalled: u64) -> Point {
    Point {
        available,
        signalled,
    }
}

fn a_cookie_becomes_a_point() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [1; 16])?;
    let work = guest.work(&gpu)?;
    let available = host.sleeper(5, Until::Available, PATIENCE)?;
    let signalled = host.sleeper(5, Until::Signalled, PATIENCE)?;
    assert_eq!(host.point()?, at(0, 0));

    guest.session.cookie_to_point(work.cookie, timeline, 5)?;
    available.woken_ns()?;
    assert_eq!(host.point()?, at(5, 0));
    guest.pending(&work.pending)?;
    let done = work.fence.signal()?;
    let woken = signalled.woken_ns()?;
    assert!(woken >= done.before_ns, "{woken} is before {done:?}");
    assert_eq!(host.point()?, at(5, 5));
    // The cookie is still the guest's.
    let waiting = guest.session.wait_on(work.cookie, 1)?;
    guest.at_once(&waiting)?;
    Ok(())
}

fn a_point_becomes_a_cookie() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let host = gpu.offer_timeline([2; 16])?;
    let timeline = guest.session.adopt_timeline([2; 16])?;
    let fence = gpu.begin()?;
    host.put(3, &fence)?;

    let cookie = guest.session.point_to_cookie(timeline, 3)?;
    let waiting = guest.session.wait_on(cookie, 1)?;
    let buffer = guest.buffer()?;
    let host_buffer = gpu.take(buffer.resource_id())?;
    guest.session.import(&buffer, Access::WRITE, cookie)?;
    guest.pending(&waiting)?;
    assert!(!host_buffer.idle(Use::Read)?);
    // What it holds it keeps, whatever becomes of the timeline.
    guest.session.reset_timeline(timeline)?;
    guest.pending(&waiting)?;
    let signalled = fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    assert!(host_buffer.idle(Use::Write)?);
    Ok(())
}

fn no_cookie_of_a_point_without_a_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let timeline = guest.session.create_timeline(NONE)?;
    for point in [1, 7, u64::MAX] {
        refused(guest.session.point_to_cookie(timeline, point), Errno::INVAL);
    }
    guest.session.signal_point(timeline, 7)?;
    refused(guest.session.point_to_cookie(timeline, 8), Errno::INVAL);
    // What was refused has left no names behind: the session's next cookie is its fifth.
    for name in 1..=4 {
        let name = Cookie::new(name).ok_or("it is not 0")?;
        refused(guest.session.drop_cookie(name), Errno::NOENT);
    }
    let cookie = guest.session.point_to_cookie(timeline, 7)?;
    let waiting = guest.session.wait_on(cookie, 1)?;
    guest.at_once(&waiting)?;
    Ok(())
}

fn a_signalled_point() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [3; 16])?;
    let sleepers = [
        host.sleeper(2, Until::Available, PATIENCE)?,
        host.sleeper(2, Until::Signalled, PATIENCE)?,
    ];
    guest.session.signal_point(timeline, 1)?;
    assert_eq!(host.point()?, at(1, 1));
    let before = gpu.clock_ns()?;
    guest.session.signal_point(timeline, 2)?;
    for sleeper in sleepers {
        let woken = sleeper.woken_ns()?;
        assert!(woken >= before, "point 1 has woken who waits for point 2");
    }
    assert_eq!(host.point()?, at(2, 2));
    Ok(())
}

fn a_reset() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [4; 16])?;
    guest.session.signal_point(timeline, 9)?;
    assert_eq!(host.point()?, at(9, 9));
    guest.session.reset_timeline(timeline)?;
    assert_eq!(host.point()?, at(0, 0));
    refused(guest.session.point_to_cookie(timeline, 9), Errno::INVAL);
    let fence = gpu.begin()?;
    host.put(2, &fence)?;
    assert_eq!(host.point()?, at(2, 0));
    let cookie = guest.session.point_to_cookie(timeline, 2)?;
    let waiting = guest.session.wait_on(cookie, 1)?;
    guest.pending(&waiting)?;
    let signalled = fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    Ok(())
}

fn shared_until_it_is_destroyed() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut guest, mut other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (timeline, host) = shared(&gpu, &mut guest, [5; 16])?;
    // It has one name, and the name is for one timeline, in all contexts.
    let second = guest.session.create_timeline(NONE)?;
    let foreign = other.session.create_timeline(NONE)?;
    refused(
        guest.session.share_timeline(timeline, [6; 16]),
        Errno::EXIST,
    );
    refused(guest.session.share_timeline(second, [5; 16]), Errno::EXIST);
    refused(other.session.share_timeline(foreign, [5; 16]), Errno::EXIST);
    assert!(gpu.take_timeline([6; 16]).is_err());

    guest.session.destroy_timeline(timeline)?;
    assert!(gpu.take_timeline([5; 16]).is_err());
    refused(guest.session.signal_point(timeline, 1), Errno::NOENT);
    let fence = gpu.begin()?;
    host.put(1, &fence)?;
    assert_eq!(host.point()?, at(1, 0));
    // The name is free, and says another timeline.
    other.session.share_timeline(foreign, [5; 16])?;
    let new = gpu.take_timeline([5; 16])?;
    other.session.signal_point(foreign, 4)?;
    assert_eq!(new.point()?, at(4, 4));
    fence.signal()?;
    assert_eq!(host.point()?, at(1, 1));
    Ok(())
}

fn adopted_once() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut guest, mut other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    refused(guest.session.adopt_timeline([7; 16]), Errno::NOENT);
    let host = gpu.offer_timeline([7; 16])?;
    assert!(
        gpu.offer_timeline([7; 16]).is_err(),
        "the name was given twice"
    );
    let timeline = guest.session.adopt_timeline([7; 16])?;
    refused(guest.session.adopt_timeline([7; 16]), Errno::NOENT);
    refused(other.session.adopt_timeline([7; 16]), Errno::NOENT);
    guest.session.signal_point(timeline, 6)?;
    assert_eq!(host.point()?, at(6, 6));
    guest.session.destroy_timeline(timeline)?;
    assert_eq!(host.point()?, at(6, 6));
    Ok(())
}

fn watches_tell_both() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [8; 16])?;
    let [available, signalled] = [PointEvent::Available, PointEvent::Signalled];
    let signalled = guest.session.watch_point(timeline, 4, signalled, None)?;
    let available = guest.session.watch_point(timeline, 4, available, None)?;
    // A point below it says nothing of it.
    guest.session.signal_point(timeline, 3)?;
    guest.no_event()?;

    let fence = gpu.begin()?;
    let before_ns = gpu.clock_ns()?;
    host.put(4, &fence)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (available.get(), 4));
    assert_eq!((event.cmd, event.resource_id), (OpCode::TlWatch.code(), 0));
    assert!(event.happened() && event.time_ns >= before_ns, "{event:?}");
    guest.no_event()?;
    let done = fence.signal()?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (signalled.get(), 4));
    not_told_before(&event, &done);
    guest.no_event()?;

    // Of what has been, a watch tells at once.
    for until in [PointEvent::Available, PointEvent::Signalled] {
        let late = guest.session.watch_point(timeline, 2, until, None)?;
        assert_eq!(guest.event()?.number, late.get());
    }
    Ok(())
}

fn points_come_in_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [9; 16])?;
    let (first, second) = (gpu.begin()?, guest.work(&gpu)?);
    host.put(1, &first)?;
    guest.session.cookie_to_point(second.cookie, timeline, 2)?;
    let until = PointEvent::Signalled;
    let watch = guest.session.watch_point(timeline, 2, until, None)?;
    let cookie = guest.session.point_to_cookie(timeline, 2)?;
    let ring = if second.pending.ring() == 1 { 2 } else { 1 };
    let waiting = guest.session.wait_on(cookie, ring)?;

    let done = second.fence.signal()?;
    guest.signals(&second.pending, &done)?;
    guest.no_event()?;
    guest.pending(&waiting)?;
    assert_eq!(host.point()?, at(2, 0));
    let done = first.signal()?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (watch.get(), 2));
    not_told_before(&event, &done);
    // Of a point the kernel tells no time but that of the point's own fence, so only the guest's
    // fence says that it was not early.
    guest.not_before(&waiting.fence, &done)?;
    guest.session.finish(&waiting, Some(PATIENCE))?;
    assert_eq!(host.point()?, at(2, 2));
    Ok(())
}

fn a_binary_one() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let binary = TimelineFlags::BINARY;
    let syncobj = guest.session.create_timeline(binary)?;
    for point in [1, u64::MAX] {
        refused(guest.session.signal_point(syncobj, point), Errno::INVAL);
    }
    refused(guest.session.point_to_cookie(syncobj, 0), Errno::INVAL);
    let [available, signalled] = [PointEvent::Available, PointEvent::Signalled];
    let available = guest.session.watch_point(syncobj, 0, available, None)?;
    let signalled = guest.session.watch_point(syncobj, 0, signalled, None)?;
    guest.no_event()?;

    let work = guest.work_on(&gpu, 1)?;
    guest.session.cookie_to_point(work.cookie, syncobj, 0)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (available.get(), 0));
    guest.no_event()?;
    let cookie = guest.session.point_to_cookie(syncobj, 0)?;
    let waiting = guest.session.wait_on(cookie, 2)?;
    guest.pending(&waiting)?;
    let done = work.fence.signal()?;
    let event = guest.event()?;
    assert_eq!(event.number, signalled.get());
    not_told_before(&event, &done);
    guest.signals(&waiting, &done)?;

    // It has one fence: another takes its place, and a reset leaves none.
    let next = guest.work_on(&gpu, 3)?;
    guest.session.cookie_to_point(next.cookie, syncobj, 0)?;
    let cookie = guest.session.point_to_cookie(syncobj, 0)?;
    let waiting = guest.session.wait_on(cookie, 4)?;
    guest.pending(&waiting)?;
    guest.session.reset_timeline(syncobj)?;
    refused(guest.session.point_to_cookie(syncobj, 0), Errno::INVAL);
    guest.session.signal_point(syncobj, 0)?;
    guest.pending(&waiting)?;
    let done = next.fence.signal()?;
    guest.signals(&waiting, &done)?;

    let begun = guest
        .session
        .create_timeline(binary | TimelineFlags::SIGNALLED)?;
    let cookie = guest.session.point_to_cookie(begun, 0)?;
    let waiting = guest.session.wait_on(cookie, 5)?;
    guest.at_once(&waiting)?;
    Ok(())
}

fn watches_that_end_otherwise() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (timeline, host) = shared(&gpu, &mut guest, [10; 16])?;
    let (until, timeout) = (PointEvent::Available, Duration::from_millis(40));
    let before = gpu.clock_ns()?;
    let late = guest
        .session
        .watch_point(timeline, 1, until, Some(timeout))?;
    let patient = guest
        .session
        .watch_point(timeline, 1, until, Some(PATIENCE))?;
    let event = guest.event()?;
    assert_eq!((event.number, event.timed_out()), (late.get(), true));
    let took = Duration::from_nanos(event.time_ns.saturating_sub(before));
    assert!(took >= timeout, "after {took:?}");

    // The point comes all the same, and wakes who still waits.
    let fence = gpu.begin()?;
    host.put(1, &fence)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.happened()), (patient.get(), true));
    guest.no_event()?;

    let until = PointEvent::Signalled;
    let never = guest.session.watch_point(timeline, 1, until, None)?;
    guest.session.destroy_timeline(timeline)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.cancelled()), (never.get(), true));
    fence.signal()?;
    guest.no_event()
}
