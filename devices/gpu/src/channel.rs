//! The back-end channel: requests to the front end, which may take their time.
//!
//! A thread of its own sends them one by one and waits for each acknowledgement; the data path
//! hears of the results through an eventfd. QEMU sends `ADD_MEM_REG` before it acknowledges a
//! mapping, which the data path's thread answers meanwhile: no lock is shared between the two.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use stile_core::{Errno, JobId};
use stile_host::DmaBuf;
use stile_wire::gpu::SHM_ID_HOST_VISIBLE;
use tracing::warn;
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags, VhostUserSharedMsg};
use vhost::vhost_user::{Backend, VhostUserFrontendReqHandler};

use crate::error::{Error, Result};
use crate::mailbox::Mailbox;
use crate::seldom::warn_seldom;

/// `ENOTSUP`: the front end has no such channel.
const NOT_NEGOTIATED: Errno = Errno(95);
/// `EIO`: the front end refused, or went away.
const REFUSED: Errno = Errno(5);

/// One request.
pub(crate) enum Request {
    /// `SHMEM_MAP` of a whole buffer.
    Map {
        job: JobId,
        buffer: Arc<DmaBuf>,
        offset: u64,
        size: u64,
    },
    /// `SHMEM_UNMAP`.
    Unmap { job: JobId, offset: u64, size: u64 },
    /// `SHARED_OBJECT_ADD`.
    Share { job: JobId, uuid: [u8; 16] },
    /// `SHARED_OBJECT_REMOVE`, of which nobody hears.
    Unshare { uuid: [u8; 16] },
}

type Ended = (JobId, std::result::Result<(), Errno>);

/// The data path's end.
pub(crate) struct Channel {
    requests: Sender<Request>,
    results: Mailbox<Ended>,
    backend: Arc<Mutex<Option<Backend>>>,
}

impl Channel {
    /// Starts the thread. It ends when the channel is dropped and the front end has answered or
    /// closed its socket.
    pub(crate) fn start() -> Result<Self> {
        let (requests, queue) = channel();
        let results = Mailbox::new()?;
        let backend = Arc::new(Mutex::new(None));
        let worker = Worker {
            queue,
            results: results.clone(),
            backend: backend.clone(),
        };
        std::thread::Builder::new()
            .name("channel".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::system("clone"))?;
        Ok(Self {
            requests,
            results,
            backend,
        })
    }

    /// `SET_BACKEND_REQ_FD`.
    pub(crate) fn connect(&self, backend: Backend) {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = Some(backend);
    }

    /// Readable when there are results.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.results.wake_fd()
    }

    pub(crate) fn send(&self, request: Request) {
        if self.requests.send(request).is_err() {
            warn!("The channel's thread has ended");
        }
    }

    /// The jobs that have ended, in their order.
    pub(crate) fn results(&self) -> impl Iterator<Item = Ended> + use<> {
        self.results.take().into_iter()
    }
}

struct Worker {
    queue: Receiver<Request>,
    results: Mailbox<Ended>,
    backend: Arc<Mutex<Option<Backend>>>,
}

impl Worker {
    fn run(self) {
        while let Ok(request) = self.queue.recv() {
            let backend = self
                .backend
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let job = request.job();
            let result = match backend {
                Some(backend) => request.send(&backend),
                None => Err(NOT_NEGOTIATED),
            };
            let Some(job) = job else { continue };
            self.results.put((job, result));
        }
    }
}

impl Request {
    const fn job(&self) -> Option<JobId> {
        match self {
            Self::Map { job, .. } | Self::Unmap { job, .. } | Self::Share { job, .. } => Some(*job),
            Self::Unshare { .. } => None,
        }
    }

    /// Sends the request and waits for its acknowledgement.
    fn send(self, backend: &Backend) -> std::result::Result<(), Errno> {
        let answer = match self {
            Self::Map {
                buffer,
                offset,
                size,
                ..
            } => {
                let map = mmap(offset, size, VhostUserMMapFlags::WRITABLE);
                backend.shmem_map(&map, &buffer.as_fd().as_raw_fd())
            }
            Self::Unmap { offset, size, .. } => {
                backend.shmem_unmap(&mmap(offset, size, VhostUserMMapFlags::empty()))
            }
            Self::Share { uuid, .. } => backend.shared_object_add(&shared(uuid)),
            Self::Unshare { uuid } => backend.shared_object_remove(&shared(uuid)),
        };
        match answer {
            Ok(0) => Ok(()),
            Ok(code) => {
                warn!(
                    code,
                    "The front end refused a request of the back-end channel"
                );
                Err(REFUSED)
            }
            Err(error) => {
                warn_seldom!(%error, "A request of the back-end channel failed");
                Err(REFUSED)
            }
        }
    }
}

fn mmap(offset: u64, size: u64, flags: VhostUserMMapFlags) -> VhostUserMMap {
    VhostUserMMap {
        shmid: SHM_ID_HOST_VISIBLE,
        padding: [0; 7],
        fd_offset: 0,
        shm_offset: offset,
        len: size,
        flags: flags.bits(),
    }
}

fn shared(uuid: [u8; 16]) -> VhostUserSharedMsg {
    VhostUserSharedMsg {
        uuid: uuid::Uuid::from_bytes(uuid),
    }
}
