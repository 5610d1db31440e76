//! A drm_syncobj, as far as the ioctls go: `drivers/gpu/drm/drm_syncobj.c` and
//! `drivers/dma-buf/dma-fence-chain.c`, Linux 6.12.

use stile_wire::sync::PointEvent;

use super::kernel::{Kernel, SyncFile};

/// A link of a `dma_fence_chain`.
#[derive(Clone, Debug)]
struct Node {
    seqno: u64,
    /// Numbers of the chain's parts that are in order.
    context: usize,
    previous: u64,
    file: SyncFile,
}

/// A watch, which may have found its fence.
#[derive(Clone, Debug)]
struct Watch {
    id: u64,
    point: u64,
    until: PointEvent,
    bound: Option<SyncFile>,
}

/// A drm_syncobj with its fences and the watches on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    binary: Option<SyncFile>,
    chain: Vec<Node>,
    watches: Vec<Watch>,
}

impl Points {
    /// With a fence that has signalled.
    pub(crate) fn signalled() -> Self {
        Self {
            binary: Some(SyncFile::new()),
            ..Self::default()
        }
    }

    /// The fences of a point, if it has materialised: its own, and those of all before it.
    pub(crate) fn find(&self, point: u64) -> Option<SyncFile> {
        if point == 0 {
            assert!(self.chain.is_empty(), "a binary syncobj has a chain");
            return self.binary.clone();
        }
        assert!(self.binary.is_none(), "a timeline has a bare fence");
        let head = self.chain.last().filter(|head| head.seqno >= point)?;
        let mut found = self.chain.len() - 1;
        while found > 0 {
            let node = &self.chain[found];
            if node.context != head.context || node.previous < point {
                break;
            }
            found -= 1;
        }
        let files = self.chain[..=found].iter().flat_map(|node| &node.file);
        Some(files.copied().collect())
    }

    /// Puts a fence at a point.
    pub(crate) fn put(&mut self, point: u64, file: SyncFile) {
        if point == 0 {
            self.binary = Some(file);
        } else {
            let last = self.chain.last();
            let (seqno, context, previous) = match last {
                Some(last) if point > last.seqno => (point, last.context, last.seqno),
                Some(last) => (last.seqno, last.context + 1, 0),
                None => (point, 0, 0),
            };
            self.chain.push(Node {
                seqno,
                context,
                previous,
                file,
            });
        }
        self.bind();
    }

    /// `DRM_IOCTL_SYNCOBJ_RESET`. A watch that has found its fence keeps it.
    pub(crate) fn reset(&mut self) {
        self.binary = None;
        self.chain.clear();
    }

    pub(crate) fn watch(&mut self, id: u64, point: u64, until: PointEvent) {
        self.watches.push(Watch {
            id,
            point,
            until,
            bound: None,
        });
        self.bind();
    }

    /// `false` if there was none.
    pub(crate) fn unwatch(&mut self, id: u64) -> bool {
        let before = self.watches.len();
        self.watches.retain(|watch| watch.id != id);
        self.watches.len() < before
    }

    /// Watches find fences that are there now.
    fn bind(&mut self) {
        let mut watches = std::mem::take(&mut self.watches);
        for watch in &mut watches {
            if watch.bound.is_none() {
                watch.bound = self.find(watch.point);
            }
        }
        self.watches = watches;
    }

    /// The watches that have come so far, in their order.
    pub(crate) fn reached(&self, kernel: &Kernel) -> Vec<u64> {
        let watches = self.watches.iter().filter(|watch| match &watch.bound {
            None => false,
            Some(file) => watch.until == PointEvent::Available || kernel.is_signalled(file),
        });
        watches.map(|watch| watch.id).collect()
    }
}
