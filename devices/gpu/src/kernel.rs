//! What the host's kernel can do, asked once when the daemon starts.

use stile_host::{Allocator, AllocatorChoice, SyncFile};
use stile_wire::sync::OpCode;
use tracing::info;

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// The operations that the device may offer.
    pub(crate) operations: u64,
}

impl Kernel {
    /// Asks the kernel, over a buffer of one page from the allocator, or from udmabuf where that
    /// cannot be. `syncobjs` says whether there is a node for timelines.
    pub(crate) fn ask(allocator: Option<&Allocator>, syncobjs: bool) -> Self {
        let takes_deadlines =
            idle_fence(allocator).is_some_and(|fence| fence.takes_deadlines().unwrap_or(false));
        let mut operations = OpCode::mask();
        if !takes_deadlines {
            info!(
                "DEADLINE is not offered: the kernel has no SYNC_IOC_SET_DEADLINE, or no dma-buf"
            );
            operations &= !OpCode::Deadline.bit();
        }
        if !syncobjs {
            operations &= !crate::timeline::operations();
        }
        Self { operations }
    }
}

/// What EXPORT gives on a buffer that nobody uses.
fn idle_fence(allocator: Option<&Allocator>) -> Option<SyncFile> {
    let of = |allocator: &Allocator| {
        let buffer = allocator.allocate(1).ok()?;
        buffer.export_sync_file(stile_host::Access::WRITE).ok()
    };
    allocator
        .and_then(of)
        .or_else(|| of(&AllocatorChoice::Udmabuf.open().ok()?))
}
