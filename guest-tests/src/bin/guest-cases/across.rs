//! Parts of cases across lives: what a guest does before it ends or after another one has, and what
//! needs a daemon of its own. The
//! runner's cases across lives tell which is run when.

use std::process::Command;
use std::time::Duration;

use guest_tests::control::ControlError;
use guest_tests::gpu::{Fence, Gpu, How, Point, Use};
use guest_tests::outcome::Outcome;
use guest_tests::part;
use guest_tests::payload::Case;
use stile_guest::{
    Access, Blob, BlobOptions, BlobUse, FenceOptions, Pending, PointEvent, RecordFlags,
    StatusOptions, TimelineFlags,
};

use crate::stage::{Guest, PAGE, PATIENCE, Result, cookie_of};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: part::HOLD,
        run: hold_for_ever,
    },
    Case {
        name: part::REBOOT,
        run: hold_and_reboot,
    },
    Case {
        name: part::NEXT_LIFE,
        run: an_earlier_lifes_fences_are_nothing,
    },
    Case {
        name: part::KILLED_GPU,
        run: the_fences_of_a_killed_gpu_signal,
    },
    Case {
        name: part::DEADLINE,
        run: the_deadline_answers,
    },
    Case {
        name: part::DEADLINE_ORDER,
        run: the_deadline_keeps_order,
    },
    Case {
        name: part::LOOP,
        run: a_loop_is_parted,
    },
];

const ETIMEDOUT: u32 = 110;
/// Host buffers take their place in the hostmem region when they are made.
const MAPPED: BlobUse = BlobUse::MAPPABLE.union(BlobUse::SHAREABLE);

/// A guest with as much as possible under way: pending fences on all rings, a mapped buffer, pages
/// of its own that the host has, cookies, an import.
struct Busy {
    guest: Guest,
    buffers: Vec<Blob>,
    exports: Vec<Pending>,
}

impl Busy {
    fn begin(gpu: &Gpu, mut guest: Guest, fence: &str, usage: BlobUse) -> Result<Self> {
        let buffers = vec![
            guest.blob(&BlobOptions::host(4 * PAGE).used(usage))?,
            guest.blob(&BlobOptions::guest(4 * PAGE))?,
        ];
        let mut exports = Vec::new();
        let mut made: Option<Fence<'_>> = None;
        for buffer in &buffers {
            let host = gpu.take(buffer.resource_id())?;
            match &made {
                Some(made) => {
                    host.share(made, Use::Write)?;
                }
                None => made = Some(host.begin_as(fence, Use::Write, How::Import)?),
            }
        }
        for (ring, buffer) in (1..64).zip(buffers.iter().cycle()) {
            let options = FenceOptions {
                ring: Some(ring),
                ..FenceOptions::default()
            };
            exports.push(guest.session.export_with(buffer, Access::READ, options)?);
        }
        let idle = guest.blob(&BlobOptions::host(PAGE).used(usage))?;
        if let Some(cookie) = exports.first().and_then(Pending::cookie) {
            let merged = guest.session.merge(cookie, cookie)?;
            guest.session.import(&idle, Access::WRITE, merged)?;
        }
        let busy = Self {
            guest,
            buffers,
            exports,
        };
        busy.pending()?;
        Ok(busy)
    }

    fn pending(&self) -> Result {
        self.guest.settle()?;
        for exported in &self.exports {
            let ring = exported.ring();
            assert!(!exported.fence.signalled()?, "ring {ring} is early");
        }
        Ok(())
    }
}

fn hold_for_ever() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let busy = Busy::begin(&gpu, Guest::new(&gpu)?, part::HELD, MAPPED)?;
    let _mapped = busy.buffers.first().map(Blob::map).transpose()?;
    gpu.mark(part::HELD)?;
    loop {
        std::thread::park();
    }
}

fn hold_and_reboot() -> Outcome {
    let gpu = Gpu::in_guest()?;
    // QEMU 11.1 ends with SIGSEGV where the device is reset while a blob is mapped into the hostmem
    // region: it drops the mapping while the back end is stopped, and asks for its file when it tells
    // the back end of the memory again. So nothing of this guest is mapped there.
    let status = StatusOptions {
        blob: BlobOptions::guest(16 * PAGE),
        ..StatusOptions::default()
    };
    let guest = Guest::with_status(&gpu, status)?;
    let _busy = Busy::begin(&gpu, guest, part::HELD, BlobUse::SHAREABLE)?;
    gpu.mark(part::HELD)?;
    // At once, with everything as it is.
    let status = Command::new("reboot").arg("-f").status()?;
    Err(format!("the guest still runs: {status}").into())
}

fn an_earlier_lifes_fences_are_nothing() -> Outcome {
    // Without a reset: the earlier life's fence is still there.
    let gpu = Gpu::at_port()?;
    let mut busy = Busy::begin(&gpu, Guest::new(&gpu)?, "new", MAPPED)?;
    // It may have signalled by itself while the guest booted: ten seconds are all that vgem gives.
    let _late = gpu.fence(part::HELD).signal();
    busy.pending()?;
    let signalled = gpu.fence("new").signal()?;
    for exported in &busy.exports {
        busy.guest.signals(exported, &signalled)?;
    }
    Ok(())
}

fn the_fences_of_a_killed_gpu_signal() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let _fence = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    // From here on nobody answers, perhaps not even to this. The kernel signals the fences of a GPU
    // that is gone.
    let _answer = gpu.mark(part::HELD);
    let record = guest.session.finish(&exported, Some(PATIENCE))?;
    assert!(record.signalled_ns.is_some(), "{record:?}");
    let again = guest.session.export(&buffer, Access::WRITE)?;
    guest.at_once(&again)?;
    Ok(())
}

/// The daemon's deadline, which has to be shorter than vgem's own.
fn deadline(guest: &Guest) -> Duration {
    let ms = guest.session.context().capset().fence_deadline_ms.get();
    assert!(
        ms <= 5000,
        "the daemon was to be started with a short deadline"
    );
    Duration::from_millis(ms.into())
}

/// The deadline has ended it, and not before it was over.
fn ended_by_deadline(guest: &mut Guest, exported: &Pending) -> Result {
    assert!(exported.fence.wait(Some(PATIENCE))?, "no deadline came");
    let record = guest.session.result(exported.tag())?;
    assert_eq!(record.errno, ETIMEDOUT, "{record:?}");
    assert_eq!(record.flags, RecordFlags::DEADLINE, "{record:?}");
    assert_eq!(record.signalled_ns, None, "{record:?}");
    let took = Duration::from_nanos(record.done_ns.saturating_sub(record.taken_ns));
    assert!(took >= deadline(guest), "after {took:?}: {record:?}");
    Ok(())
}

fn the_deadline_answers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (stuck, other) = (guest.buffer()?, guest.buffer()?);
    let host = gpu.take(stuck.resource_id())?;
    let fence = host.begin_by_driver(Use::Write)?;
    let exported = guest.session.export(&stuck, Access::READ)?;
    let cookie = cookie_of(&exported)?;
    guest.pending(&exported)?;
    ended_by_deadline(&mut guest, &exported)?;
    assert!(!host.idle(Use::Read)?, "the host's fence has signalled");

    // The device goes on, on the same ring, too; and the cookie is still what it was.
    let options = FenceOptions {
        ring: Some(exported.ring()),
        ..FenceOptions::default()
    };
    let idle = guest.session.export_with(&other, Access::WRITE, options)?;
    guest.at_once(&idle)?;
    let waiting = guest.session.wait(cookie)?;
    let host_other = gpu.take(other.resource_id())?;
    let other_fence = host_other.begin_by_driver(Use::Write)?;
    let next = guest.session.export_with(&other, Access::READ, options)?;
    guest.pending(&waiting)?;
    guest.pending(&next)?;
    // The late signal ends what waits for it now, and nothing else.
    let signalled = fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    guest.pending(&next)?;
    let signalled = other_fence.signal()?;
    guest.signals(&next, &signalled)?;
    Ok(())
}

fn the_deadline_keeps_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (stuck, done) = (guest.buffer()?, guest.buffer()?);
    let on_ring = FenceOptions {
        ring: Some(7),
        ..FenceOptions::default()
    };
    let _stuck = gpu.take(stuck.resource_id())?.begin_by_driver(Use::Write)?;
    let fence = gpu.take(done.resource_id())?.begin_by_driver(Use::Write)?;
    let first = guest.session.export_with(&stuck, Access::READ, on_ring)?;
    let second = guest.session.export_with(&done, Access::READ, on_ring)?;
    guest.settle()?;
    let signalled = fence.signal()?;
    // Done, but behind one that never will be.
    guest.pending(&second)?;
    ended_by_deadline(&mut guest, &first)?;
    guest.signals(&second, &signalled)?;
    Ok(())
}

/// The host's fence waits for a point of the guest, and the guest has put that very fence at the point:
/// neither can signal, whatever the two programs do.
fn a_loop_is_parted() -> Outcome {
    const UUID: [u8; 16] = *b"a loop of fences";
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let (buffer, other) = (guest.buffer()?, guest.buffer()?);
    let host = gpu.take(buffer.resource_id())?;
    let timeline = guest.session.create_timeline(TimelineFlags::empty())?;
    guest.session.share_timeline(timeline, UUID)?;
    let host_timeline = gpu.take_timeline(UUID)?;
    let fence = gpu.begin()?;
    host.share(&fence, Use::Write)?;
    let job = host_timeline.then_signal(1, &fence)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    let cookie = cookie_of(&exported)?;
    guest.session.cookie_to_point(cookie, timeline, 1)?;
    let stuck = Point {
        available: 1,
        signalled: 0,
    };
    assert_eq!(host_timeline.point()?, stuck);
    let watch = |guest: &mut Guest, timeout| {
        let session = &mut guest.session;
        session.watch_point(timeline, 1, PointEvent::Signalled, timeout)
    };
    let impatient = watch(&mut guest, Some(Duration::from_millis(500)))?;
    let patient = watch(&mut guest, None)?;
    guest.pending(&exported)?;

    // The guest is told: by the time-out of its watch, and by the deadline of its fence.
    let event = guest.event()?;
    assert!(event.timed_out(), "{event:?}");
    assert_eq!(event.number, impatient.get());
    ended_by_deadline(&mut guest, &exported)?;
    // That parts nothing on the host, whose fence is what it was; and both sides go on.
    assert_eq!(host_timeline.point()?, stuck);
    assert!(!host.idle(Use::Read)?);
    let alive = gpu.take(other.resource_id())?.begin(Use::Write)?;
    let meanwhile = guest.session.export(&other, Access::READ)?;
    guest.pending(&meanwhile)?;
    let signalled = alive.signal()?;
    guest.signals(&meanwhile, &signalled)?;
    guest.no_event()?;

    // The host's driver has a deadline, too, and signals its fence. With it the point has, and the
    // GPU that waited for the point comes too late with its own signal.
    let woken = job.woken_ns()?;
    let late = fence.signalled();
    assert!(matches!(late, Err(ControlError::Refused(_))), "{late:?}");
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!(event.number, patient.get());
    let released = guest.session.export(&buffer, Access::WRITE)?;
    guest.at_once(&released)?;
    let again = guest.session.wait(cookie)?;
    let record = guest.session.finish(&again, Some(PATIENCE))?;
    let signalled = record.signalled_ns.ok_or("the cookie has no time")?;
    assert!(signalled <= woken, "{record:?}: woken at {woken}");
    guest.no_event()
}
