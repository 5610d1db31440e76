//! POLL: what is on a buffer when its wait starts.

use std::time::Duration;

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, DmaBufAccess, Errno, FenceOptions};

use crate::stage::{Guest, PATIENCE, cookie_of, on_ring, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a fence that comes before a POLL's wait starts counts for it, and not for an EXPORT",
        run: what_comes_before_its_turn_counts,
    },
    Case {
        name: "a fence that has signalled before a POLL's wait starts does not count for it",
        run: what_has_gone_before_its_turn_does_not_count,
    },
    Case {
        name: "a POLL with nothing before it waits for what is there, and not for what comes later",
        run: with_nothing_before_it,
    },
    Case {
        name: "a POLL for reading does not wait for readers, and one for writing does",
        run: readers_and_writers,
    },
    Case {
        name: "a POLL whose buffer is gone when its wait starts is told so, and its ring goes on",
        run: a_buffer_that_is_gone,
    },
];

/// A ring for what has to wait for its turn.
const RING: u8 = 7;

fn what_comes_before_its_turn_counts() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let before = guest.work_on(&gpu, RING)?;
    let exported = guest
        .session
        .export_with(&buffer, Access::READ, on_ring(RING))?;
    let polled = guest
        .session
        .poll_with(&buffer, Access::READ, on_ring(RING))?;
    guest.pending(&exported)?;
    guest.pending(&polled)?;

    // The device has taken both up, and their turn has not come.
    let fence = host.begin_by_driver(Use::Write)?;
    let turn = before.fence.signal()?;
    guest.signals(&before.pending, &turn)?;
    guest.not_before(&exported.fence, &turn)?;
    let record = guest.session.finish(&exported, Some(Duration::ZERO))?;
    assert_eq!(record.signalled_ns, None, "it has waited: {record:?}");
    let again = guest.session.wait_on(cookie_of(&exported)?, 8)?;
    guest.at_once(&again)?;
    guest.pending(&polled)?;

    let signalled = fence.signal()?;
    guest.signals(&polled, &signalled)?;
    Ok(())
}

fn what_has_gone_before_its_turn_does_not_count() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let fence = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let before = guest.work_on(&gpu, RING)?;
    let exported = guest
        .session
        .export_with(&buffer, Access::READ, on_ring(RING))?;
    let polled = guest
        .session
        .poll_with(&buffer, Access::READ, on_ring(RING))?;
    guest.pending(&polled)?;
    let signalled = fence.signal()?;
    guest.pending(&polled)?;
    let turn = before.fence.signal()?;
    guest.not_before(&polled.fence, &turn)?;
    let record = guest.session.finish(&polled, Some(Duration::ZERO))?;
    assert_eq!(record.signalled_ns, None, "it has waited: {record:?}");
    assert!(record.done_ns >= turn.before_ns, "{record:?}, {turn:?}");
    // What was there when it was taken up is the EXPORT's.
    guest.signals(&exported, &signalled)?;
    Ok(())
}

fn with_nothing_before_it() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let idle = guest.session.poll(&buffer, Access::WRITE)?;
    let record = guest.at_once(&idle)?;
    assert_eq!(record.signalled_ns, None, "{record:?}");

    let fence = host.begin(Use::Write)?;
    let options = FenceOptions {
        onto_buffer: true,
        ..FenceOptions::default()
    };
    let polled = guest.session.poll_with(&buffer, Access::READ, options)?;
    guest.pending(&polled)?;
    assert!(!buffer.dma_buf()?.poll(DmaBufAccess::READ)?);
    let later = host.begin(Use::Write)?;
    let signalled = fence.signal()?;
    guest.signals(&polled, &signalled)?;
    assert!(buffer.dma_buf()?.poll(DmaBufAccess::WRITE)?);
    assert!(!host.idle(Use::Read)?, "the later fence has signalled");
    later.signal()?;
    Ok(())
}

fn readers_and_writers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let reading = gpu.take(buffer.resource_id())?.begin_by_driver(Use::Read)?;
    let reader = guest.session.poll_with(&buffer, Access::READ, on_ring(1))?;
    let writer = guest
        .session
        .poll_with(&buffer, Access::WRITE, on_ring(2))?;
    let both = guest
        .session
        .poll_with(&buffer, Access::all(), on_ring(3))?;
    guest.at_once(&reader)?;
    guest.pending(&writer)?;
    guest.pending(&both)?;
    let read = reading.signal()?;
    guest.signals(&writer, &read)?;
    guest.signals(&both, &read)?;
    Ok(())
}

fn a_buffer_that_is_gone() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (gone, other) = (guest.buffer()?, guest.buffer()?);
    let host = gpu.take(gone.resource_id())?;
    let before = guest.work_on(&gpu, RING)?;
    let polled = guest
        .session
        .poll_with(&gone, Access::READ, on_ring(RING))?;
    let behind = guest
        .session
        .poll_with(&other, Access::READ, on_ring(RING))?;
    guest.pending(&polled)?;
    drop(gone);
    guest.pending(&polled)?;
    // The host's buffer is there, and busy: only the resource is not.
    let fence = host.begin_by_driver(Use::Write)?;
    let turn = before.fence.signal()?;
    guest.not_before(&polled.fence, &turn)?;
    let ended = guest.session.finish(&polled, Some(Duration::ZERO));
    refused(ended, Errno::NOENT);
    guest.session.finish(&behind, Some(PATIENCE))?;
    fence.signal()?;
    Ok(())
}
