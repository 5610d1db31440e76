//! The allocator: makes the memory of blobs, which takes as long as pages take to be found and
//! zeroed. That goes for a dma-buf over the guest's pages as well: those that the guest has never
//! touched are made then.
//!
//! A thread of its own makes one after the other; the data path hears of each through an eventfd.
//! It lasts as long as its connection. A request that hangs in the kernel outlives it, and what comes
//! of that is dropped.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use stile_core::{BufferId, Errno};
use stile_host::Udmabuf;
use tracing::warn;
use vm_memory::GuestMemoryMmap;

use crate::buffer::{Buffer, Pieces};
use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::seldom::warn_seldom;
use crate::shell::to_errno;

/// What a blob is to be made of.
pub(crate) enum Material {
    /// So many bytes of host memory.
    Host(u64),
    /// Guest pages, and the memory that they are of.
    Guest(Arc<GuestMemoryMmap>, Pieces),
}

type Made = (BufferId, std::result::Result<Buffer, Errno>);

/// The data path's end.
pub(crate) struct Allocations {
    requests: Sender<(BufferId, Material)>,
    made: Mailbox<Made>,
}

impl Allocations {
    /// Starts the thread. It ends when this is dropped and its last request is done.
    pub(crate) fn start(sources: Sources) -> Result<Self> {
        let (requests, queue) = channel();
        let made = Mailbox::new()?;
        let results = made.clone();
        std::thread::Builder::new()
            .name("allocator".to_owned())
            .spawn(move || sources.serve(&queue, &results))
            .map_err(Error::system("clone"))?;
        Ok(Self { requests, made })
    }

    /// Readable when there are results.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.made.wake_fd()
    }

    pub(crate) fn make(&self, id: BufferId, material: Material) {
        if self.requests.send((id, material)).is_err() {
            warn!("The allocator's thread has ended");
        }
    }

    /// What is made or has failed, in the order of the requests.
    pub(crate) fn results(&self) -> impl Iterator<Item = Made> + use<> {
        self.made.take().into_iter()
    }
}

/// Where memory comes from.
#[derive(Clone)]
pub(crate) struct Sources {
    /// Host memory; the start of the daemon has said why there is none.
    pub(crate) host: Option<Arc<stile_host::Allocator>>,
    pub(crate) udmabuf: Option<Arc<Udmabuf>>,
}

impl Sources {
    fn serve(&self, requests: &Receiver<(BufferId, Material)>, made: &Mailbox<Made>) {
        while let Ok((id, material)) = requests.recv() {
            made.put((id, self.make(material)));
        }
    }

    fn make(&self, material: Material) -> std::result::Result<Buffer, Errno> {
        match material {
            Material::Host(size) => {
                let host = self.host.as_ref();
                let dma_buf = host
                    .ok_or(stile_core::errno::EOPNOTSUPP)?
                    .allocate(size)
                    .map_err(|error| {
                        warn_seldom!(size, "A host blob cannot be allocated: {error}");
                        to_errno(&error)
                    })?;
                Ok(Buffer::Host(Arc::new(dma_buf)))
            }
            Material::Guest(memory, pieces) => {
                Ok(Buffer::from_guest(&memory, self.udmabuf.as_deref(), pieces))
            }
        }
    }
}
