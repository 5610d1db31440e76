//! The bridge: which of the guest's resources the host finds.

use std::time::Instant;

use guest_tests::control::ControlError;
use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, BlobOptions, BlobUse};

use crate::stage::{Guest, PAGE, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a buffer for other devices is found by its UUID",
        run: a_buffer_is_found_by_its_uuid,
    },
    Case {
        name: "a resource that is gone is not found, and its buffer lives while the host has it",
        run: a_resource_that_is_gone_is_not_found,
    },
    Case {
        name: "a client that leaves the bridge and comes back changes nothing for its fences",
        run: a_client_leaves_and_comes_back,
    },
];

fn a_buffer_is_found_by_its_uuid() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    let options = BlobOptions::host(PAGE).used(BlobUse::all());
    let buffer = guest.blob(&options)?;
    // The kernel asks for the UUID when it makes a dma-buf.
    let _dma_buf = buffer.dma_buf()?;
    guest.settle()?;
    let by_id = gpu.take(buffer.resource_id())?;
    let uuid = by_id.taken.uuid.ok_or("it has no UUID")?;
    let by_uuid = gpu.take_uuid(uuid)?;
    assert_eq!(by_uuid.taken.resource, buffer.resource_id());
    assert_eq!(by_uuid.taken.inode, by_id.taken.inode);

    let other = guest.blob(&options)?;
    let _dma_buf = other.dma_buf()?;
    guest.settle()?;
    let other = gpu.take(other.resource_id())?;
    assert_ne!(other.taken.uuid, Some(uuid));
    assert_ne!(other.taken.inode, by_id.taken.inode);
    Ok(())
}

fn a_resource_that_is_gone_is_not_found() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let resource = buffer.resource_id();
    let host = gpu.take(resource)?;
    drop(buffer);
    // The kernel gives the resource up when the device has answered that it is detached.
    let begin = Instant::now();
    while gpu.take(resource).is_ok() {
        assert!(begin.elapsed() < PATIENCE, "the bridge still knows it");
        guest.settle()?;
    }
    for unknown in [resource, 0, u32::MAX] {
        let answer = gpu.take(unknown);
        assert!(
            matches!(answer, Err(ControlError::Refused(_))),
            "{unknown}: {answer:?}"
        );
    }
    host.fill(3)?;
    assert_eq!(host.difference(3)?, None);
    Ok(())
}

fn a_client_leaves_and_comes_back() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fence = host.begin(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    let before = gpu.descriptors()?;
    for _ in 0..3 {
        gpu.reconnect()?;
        // The daemon closes the old connection when it comes to it.
        gpu.await_descriptors(&before)?;
    }
    assert_eq!(
        gpu.take(buffer.resource_id())?.taken.inode,
        host.taken.inode
    );
    guest.pending(&exported)?;
    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}
