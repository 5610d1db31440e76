//! The guest's own dma-buf of a buffer, as a program uses it that knows nothing of the device.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, DmaBufAccess};

use crate::stage::Guest;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the guest's own export of its dma-buf sees the host's fence",
        run: the_guests_own_export_sees_the_hosts_fence,
    },
    Case {
        name: "poll on the guest's own dma-buf sees the host's fence",
        run: poll_sees_the_hosts_fence,
    },
    Case {
        name: "without a fence on it, the guest's own dma-buf stays idle",
        run: without_a_fence_it_stays_idle,
    },
];

fn the_guests_own_export_sees_the_hosts_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let fence = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let exported = guest.session.export_onto(&buffer, Access::READ)?;
    guest.pending(&exported)?;

    let dma_buf = buffer.dma_buf()?;
    let reader = dma_buf.export_sync_file(DmaBufAccess::READ)?;
    let writer = dma_buf.export_sync_file(DmaBufAccess::WRITE)?;
    guest.fence_pending(&reader)?;
    guest.fence_pending(&writer)?;

    let signalled = fence.signal()?;
    guest.not_before(&reader, &signalled)?;
    guest.not_before(&writer, &signalled)?;
    guest.signals(&exported, &signalled)?;
    assert!(dma_buf.export_sync_file(DmaBufAccess::WRITE)?.signalled()?);
    Ok(())
}

fn poll_sees_the_hosts_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let dma_buf = buffer.dma_buf()?;
    assert!(dma_buf.poll(DmaBufAccess::WRITE)?);
    let fence = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let exported = guest.session.export_onto(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    assert!(!dma_buf.poll(DmaBufAccess::READ)?, "a reader need not wait");
    assert!(
        !dma_buf.poll(DmaBufAccess::WRITE)?,
        "a writer need not wait"
    );
    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    assert!(dma_buf.poll(DmaBufAccess::READ)?);
    assert!(dma_buf.poll(DmaBufAccess::WRITE)?);
    Ok(())
}

fn without_a_fence_it_stays_idle() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let fence = gpu.take(buffer.resource_id())?.begin(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    assert!(buffer.dma_buf()?.poll(DmaBufAccess::WRITE)?);
    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}
