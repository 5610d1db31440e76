//! CPU_BEGIN and CPU_END: the guest's processor in the host's buffer.

use guest_tests::gpu::{Gpu, Times, Use, pattern};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Errno, Pending, Submission, TimelineFlags};

use super::readers::contents;
use crate::stage::{Guest, PATIENCE, Result, on_ring, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "CPU_BEGIN waits for writers, and for readers only in order to write",
        run: begin_waits_for_those_before,
    },
    Case {
        name: "between CPU_BEGIN and CPU_END the guest's processor and the host see one content",
        run: one_content,
    },
    Case {
        name: "a CPU_BEGIN that hangs delays no other operation",
        run: one_that_hangs_delays_nobody,
    },
    Case {
        name: "one access too many is refused, and when they end there is room, with no new threads",
        run: too_many_accesses,
    },
    Case {
        name: "a context that goes while its CPU_BEGIN hangs leaves nothing behind",
        run: a_context_goes,
    },
];

/// The access has ended after the host's fence, not before. It is done on a thread of its own, so
/// this says more than that it was pending.
fn ends_with(guest: &mut Guest, begun: &Pending, host: &Times) -> Result {
    guest.not_before(&begun.fence, host)?;
    let record = guest.session.finish(begun, Some(PATIENCE))?;
    assert!(record.done_ns >= host.before_ns, "{record:?}, {host:?}");
    Ok(())
}

fn begin_waits_for_those_before() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    for (on_it, access, waits) in [
        (Use::Write, Access::READ, true),
        (Use::Write, Access::WRITE, true),
        (Use::Read, Access::READ, false),
        (Use::Read, Access::WRITE, true),
        (Use::Read, Access::all(), true),
    ] {
        let buffer = guest.buffer()?;
        let fence = gpu.take(buffer.resource_id())?.begin_by_driver(on_it)?;
        let begun = guest.session.cpu_begin(&buffer, access)?;
        if waits {
            guest.pending(&begun)?;
            let signalled = fence.signal()?;
            ends_with(&mut guest, &begun, &signalled)?;
        } else {
            guest.session.finish(&begun, Some(PATIENCE))?;
            // It is refused where the fence has signalled by itself.
            fence.signal()?;
        }
        let ended = guest.session.cpu_end(&buffer, access)?;
        guest.session.finish(&ended, Some(PATIENCE))?;
    }
    Ok(())
}

fn one_content() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let memory = buffer.map()?;
    let host = gpu.take(buffer.resource_id())?;
    for seed in [1, 2] {
        let begun = guest.session.cpu_begin(&buffer, Access::WRITE)?;
        guest.session.finish(&begun, Some(PATIENCE))?;
        memory.write(0, &pattern::bytes(seed, memory.len()))?;
        let ended = guest.session.cpu_end(&buffer, Access::WRITE)?;
        guest.session.finish(&ended, Some(PATIENCE))?;
        assert_eq!(host.difference(seed)?, None);

        host.fill(seed.wrapping_add(10))?;
        let begun = guest.session.cpu_begin(&buffer, Access::READ)?;
        guest.session.finish(&begun, Some(PATIENCE))?;
        assert_eq!(contents(&memory, seed.wrapping_add(10))?, None);
        let ended = guest.session.cpu_end(&buffer, Access::READ)?;
        guest.session.finish(&ended, Some(PATIENCE))?;
    }
    Ok(())
}

fn one_that_hangs_delays_nobody() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut guest, mut neighbour) = (Guest::with_events(&gpu)?, Guest::new(&gpu)?);
    let (stuck, other) = (guest.buffer()?, guest.buffer()?);
    let fence = gpu.take(stuck.resource_id())?.begin_by_driver(Use::Write)?;
    let hung = [
        guest
            .session
            .cpu_begin_with(&stuck, Access::READ, on_ring(1))?,
        guest
            .session
            .cpu_begin_with(&stuck, Access::all(), on_ring(2))?,
    ];
    guest.pending(&hung[0])?;

    // All the others in the same context, and in another one.
    let export = guest
        .session
        .export_with(&other, Access::WRITE, on_ring(3))?;
    guest.at_once(&export)?;
    let poll = guest.session.poll_with(&other, Access::READ, on_ring(3))?;
    guest.at_once(&poll)?;
    let busy = guest
        .session
        .export_with(&stuck, Access::READ, on_ring(4))?;
    guest.pending(&busy)?;
    let cookie = busy.cookie().ok_or("an EXPORT has a cookie")?;
    guest.session.import(&other, Access::READ, cookie)?;
    guest.session.merge(cookie, cookie)?;
    guest.session.clock(1)?;
    guest.session.from_ring(4)?;
    let timeline = guest.session.create_timeline(TimelineFlags::empty())?;
    guest.session.signal_point(timeline, 1)?;
    let event = guest.session.wait_memory(&other, 0, 1, PATIENCE)?;
    guest.session.signal_memory(&other, 0, 1)?;
    assert_eq!(guest.event()?.number, event.get());
    let buffer = neighbour.buffer()?;
    for access in [Access::READ, Access::all()] {
        let begun = neighbour.session.cpu_begin(&buffer, access)?;
        neighbour.session.finish(&begun, Some(PATIENCE))?;
        let ended = neighbour.session.cpu_end(&buffer, access)?;
        neighbour.session.finish(&ended, Some(PATIENCE))?;
    }
    // A reader of the other buffer does not wait for the reader that was imported.
    let begun = guest
        .session
        .cpu_begin_with(&other, Access::READ, on_ring(5))?;
    guest.session.finish(&begun, Some(PATIENCE))?;

    for hung in &hung {
        guest.pending(hung)?;
    }
    let signalled = fence.signal()?;
    for hung in &hung {
        ends_with(&mut guest, hung, &signalled)?;
    }
    guest.signals(&busy, &signalled)?;
    Ok(())
}

fn too_many_accesses() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (stuck, other) = (guest.buffer()?, guest.buffer()?);
    let host = gpu.take(stuck.resource_id())?;
    let most = guest.session.context().capset().max_cpu_accesses.get();
    let most = u8::try_from(most)?;
    assert!(most < 60, "there are too few rings for this");
    let mut threads = None;
    for _ in 0..2 {
        let fence = host.begin_by_driver(Use::Write)?;
        let mut hung = Vec::new();
        for ring in 1..=most {
            let access = Access::READ;
            hung.push(
                guest
                    .session
                    .cpu_begin_with(&stuck, access, on_ring(ring))?,
            );
        }
        for begun in &hung {
            guest.pending(begun)?;
        }
        let one_more = guest
            .session
            .cpu_begin_with(&other, Access::READ, on_ring(61))?;
        refused(guest.session.finish(&one_more, Some(PATIENCE)), Errno::BUSY);
        let tag = guest.session.tag();
        let end = Submission::on_ring(62).cpu_end(&other, Access::READ, tag);
        guest.fence_at_once(&guest.submit(end)?)?;
        let errno = guest.session.result(tag)?.errno;
        assert_eq!(i32::try_from(errno)?, Errno::BUSY.raw_os_error());
        // Nothing else is refused.
        let export = guest
            .session
            .export_with(&other, Access::WRITE, on_ring(62))?;
        guest.at_once(&export)?;

        let now = gpu.threads()?;
        assert_eq!(threads.unwrap_or(now), now, "threads of the daemon");
        threads = Some(now);
        let signalled = fence.signal()?;
        for begun in &hung {
            ends_with(&mut guest, begun, &signalled)?;
        }
    }
    let begun = guest.session.cpu_begin(&other, Access::all())?;
    guest.session.finish(&begun, Some(PATIENCE))?;
    Ok(())
}

fn a_context_goes() -> Outcome {
    let gpu = Gpu::in_guest()?;
    gpu.reconnect()?;
    let mut witness = Guest::new(&gpu)?;
    let own = witness.buffer()?;
    let begun = witness.session.cpu_begin(&own, Access::READ)?;
    witness.session.finish(&begun, Some(PATIENCE))?;
    let before = gpu.descriptors()?;

    let mut guest = Guest::new(&gpu)?;
    let stuck = guest.buffer()?;
    let fence = gpu.take(stuck.resource_id())?.begin_by_driver(Use::Write)?;
    let hung = guest.session.cpu_begin(&stuck, Access::READ)?;
    guest.pending(&hung)?;
    drop((stuck, guest));
    witness.pending(&hung)?;
    let begun = witness.session.cpu_begin(&own, Access::all())?;
    witness.session.finish(&begun, Some(PATIENCE))?;

    let signalled = fence.signal()?;
    witness.not_before(&hung.fence, &signalled)?;
    gpu.await_descriptors(&before)?;
    Ok(())
}
