//! Host fences, sync_files and reservation objects, as far as the ioctls go.

use std::collections::BTreeSet;

use stile_core::{Errno, Outcome};
use stile_wire::sync::Access;

/// A fence of a host GPU.
pub(crate) type Source = usize;

/// A sync_file: it has signalled when all of these have.
pub(crate) type SyncFile = BTreeSet<Source>;

/// The fences of the host, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    ended: Vec<Option<Outcome>>,
}

impl Kernel {
    pub(crate) fn new_source(&mut self) -> Source {
        self.ended.push(None);
        self.ended.len() - 1
    }

    /// The host GPU has done the work, or failed.
    pub(crate) fn signal(&mut self, source: Source, now_ns: u64, error: Option<Errno>) {
        assert!(self.ended[source].is_none(), "a fence signals once");
        self.ended[source] = Some(Outcome {
            error,
            signalled_ns: now_ns,
        });
    }

    pub(crate) fn pending(&self) -> Vec<Source> {
        let sources = self.ended.iter().enumerate();
        sources
            .filter(|(_, ended)| ended.is_none())
            .map(|(source, _)| source)
            .collect()
    }

    pub(crate) fn is_signalled(&self, file: &SyncFile) -> bool {
        file.iter().all(|source| self.ended[*source].is_some())
    }

    /// How a signalled sync_file ended: with its first error, at its last signal.
    pub(crate) fn outcome(&self, file: &SyncFile) -> Outcome {
        let ended = || {
            file.iter()
                .map(|source| self.ended[*source].expect("it has signalled"))
        };
        Outcome {
            error: ended().find_map(|outcome| outcome.error),
            signalled_ns: ended()
                .map(|outcome| outcome.signalled_ns)
                .max()
                .unwrap_or(0),
        }
    }

    fn unsignalled(&self, file: &SyncFile) -> SyncFile {
        file.iter()
            .copied()
            .filter(|source| self.ended[*source].is_none())
            .collect()
    }
}

/// The fences on a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reservation {
    readers: BTreeSet<Source>,
    writers: BTreeSet<Source>,
}

impl Reservation {
    /// `DMA_BUF_IOCTL_EXPORT_SYNC_FILE`: a snapshot of what has not signalled.
    pub(crate) fn export(&self, kernel: &Kernel, access: Access) -> SyncFile {
        let mut file = kernel.unsignalled(&self.writers);
        if access.contains(Access::WRITE) {
            file.extend(kernel.unsignalled(&self.readers));
        }
        file
    }

    /// `DMA_BUF_IOCTL_IMPORT_SYNC_FILE`, and what a host driver does with its own work.
    pub(crate) fn import(&mut self, kernel: &Kernel, access: Access, file: &SyncFile) {
        let fences = kernel.unsignalled(file);
        if access.contains(Access::WRITE) {
            self.writers.extend(fences);
        } else {
            self.readers.extend(fences);
        }
    }
}
