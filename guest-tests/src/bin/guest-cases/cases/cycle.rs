//! Loops: the host's fence waits for the guest, and the guest for that fence. No kernel sees one, since
//! a point that nobody has submitted is no fence; so deadlines end them. One whose point has
//! materialised takes a daemon with a short deadline: `across.rs`.

use std::time::Duration;

use guest_tests::gpu::{Gpu, Point, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, PointEvent, TimelineFlags};

use crate::stage::Guest;

pub(super) const CASES: &[Case] = &[Case {
    name: "a host's fence that waits for a guest's point, and a guest that waits for that fence \
           first, are parted by the guest's time-out",
    run: a_time_out_breaks_a_loop,
}];

fn a_time_out_breaks_a_loop() -> Outcome {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (buffer, other) = (guest.buffer()?, guest.buffer()?);
    let [host, host_other] = [
        gpu.take(buffer.resource_id())?,
        gpu.take(other.resource_id())?,
    ];
    let points = guest.session.create_timeline(TimelineFlags::empty())?;
    let answers = guest.session.create_timeline(TimelineFlags::empty())?;
    guest.session.share_timeline(points, *b"cycle of points.")?;
    guest
        .session
        .share_timeline(answers, *b"cycle of answers")?;
    let host_points = gpu.take_timeline(*b"cycle of points.")?;
    let host_answers = gpu.take_timeline(*b"cycle of answers")?;

    // The host's GPU waits for the guest's point 1; its fence is on a buffer and at a point of its own.
    let fence = gpu.begin()?;
    host.share(&fence, Use::Write)?;
    host_answers.put(1, &fence)?;
    let job = host_points.then_signal(1, &fence)?;
    // The guest would signal point 1 when it has the host's answer.
    let exported = guest.session.export(&buffer, Access::READ)?;
    let watch = |guest: &mut Guest, timeout| {
        let session = &mut guest.session;
        session.watch_point(answers, 1, PointEvent::Signalled, timeout)
    };
    let impatient = watch(&mut guest, Some(TIMEOUT))?;
    let patient = watch(&mut guest, None)?;

    let event = guest.event()?;
    assert!(event.timed_out(), "{event:?}");
    assert_eq!(event.number, impatient.get());
    guest.pending(&exported)?;
    assert_eq!(host_points.point()?, Point::default());
    assert!(!host.idle(Use::Read)?);
    // Both sides are alive meanwhile, and know of each other.
    let alive = host_other.begin(Use::Write)?;
    let meanwhile = guest.session.export(&other, Access::READ)?;
    guest.pending(&meanwhile)?;
    let signalled = alive.signal()?;
    guest.signals(&meanwhile, &signalled)?;
    guest.no_event()?;

    // The guest gives its work up, and says so: that is the end of the loop for everybody.
    let submitted = guest.session.signal_point(points, 1)?;
    assert!(job.woken_ns()? >= submitted.taken_ns);
    let signalled = fence.signalled()?;
    guest.signals(&exported, &signalled)?;
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!(event.number, patient.get());
    assert!(event.time_ns >= signalled.before_ns, "{event:?}");
    assert!(host.idle(Use::Write)?);
    guest.no_event()
}
