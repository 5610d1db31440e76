//! What the host's kernel can do, asked once when the daemon starts.

use std::sync::Arc;

use stile_host::{Allocator, AllocatorChoice, SyncFile};
use stile_wire::sync::OpCode;
use tracing::info;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The operations that the device may offer.
    pub(crate) operations: u64,
    /// A fence that has signalled; `None` on a host that makes no dma-bufs, where nobody can do
    /// anything with one.
    pub(crate) signalled: Option<Arc<SyncFile>>,
}

impl Kernel {
    /// Asks the kernel, over a buffer of one page from the allocator, or from udmabuf where that
    /// cannot be. `syncobjs` says whether there is a node for timelines.
    pub(crate) fn ask(allocator: Option<&Allocator>, syncobjs: bool) -> Self {
        let signalled = idle_fence(allocator).map(Arc::new);
        let takes_deadlines = signalled
            .as_ref()
            .is_some_and(|fence| fence.takes_deadlines().unwrap_or(false));
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
        Self {
            operations,
            signalled,
        }
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
