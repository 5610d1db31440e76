//! The back-end channel: requests to the front end, which may take their time.
//!
//! A thread of its own sends them one by one and waits for each acknowledgement; the data path
//! hears of the results through an eventfd. QEMU sends `ADD_MEM_REG` before it acknowledges a
//! mapping, which the data path's thread answers meanwhile: no lock is shared between the two.
//!
//! **When a mapping is there.** QEMU (11.1) acknowledges `SHMEM_MAP` first and maps then, and a guest
//! that is told in between finds a hole where it looks for its blob. But it takes up one request
//! after the other. So each mapping is followed by a request that changes nothing, and what the front
//! end says to that comes when the mapping is there ([`Line::map`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use stile_core::{Errno, JobId};
use stile_host::DmaBuf;
use stile_wire::gpu::SHM_ID_HOST_VISIBLE;
use tracing::warn;
use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags, VhostUserSharedMsg};
use vhost::vhost_user::{Backend, Error as ProtocolError, VhostUserFrontendReqHandler};

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
    line: Arc<Mutex<Option<Line>>>,
}

/// The way to the front end.
#[derive(Clone)]
struct Line {
    backend: Backend,
    /// Whether it knows of shared objects.
    shares: bool,
}

impl Channel {
    /// Starts the thread. It ends when the channel is dropped and the front end has answered or
    /// closed its socket.
    pub(crate) fn start() -> Result<Self> {
        let (requests, queue) = channel();
        let results = Mailbox::new()?;
        let line = Arc::default();
        let worker = Worker {
            queue,
            results: results.clone(),
            line: Arc::clone(&line),
        };
        std::thread::Builder::new()
            .name("channel".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::system("clone"))?;
        Ok(Self {
            requests,
            results,
            line,
        })
    }

    /// `SET_BACKEND_REQ_FD`, from a front end that knows of shared objects, or does not.
    pub(crate) fn connect(&self, backend: Backend, shares: bool) {
        let line = Line { backend, shares };
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
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
    line: Arc<Mutex<Option<Line>>>,
}

impl Worker {
    fn run(self) {
        while let Ok(request) = self.queue.recv() {
            let line = self
                .line
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let job = request.job();
            let result = match line {
                Some(line) => request.send(&line),
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
    fn send(self, line: &Line) -> std::result::Result<(), Errno> {
        let backend = &line.backend;
        let answer = match self {
            Self::Map {
                buffer,
                offset,
                size,
                ..
            } => {
                let map = mmap(offset, size, VhostUserMMapFlags::WRITABLE);
                line.map(&map, &buffer)
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

/// The name of no object: those of resources are random UUIDs (version 4), which this is not.
const NOBODY: [u8; 16] = *b"stile no object.";

impl Line {
    /// Returns when the front end has mapped the buffer, not when it has heard of it.
    fn map(&self, map: &VhostUserMMap, buffer: &DmaBuf) -> io::Result<u64> {
        let code = self.backend.shmem_map(map, &buffer.as_fd().as_raw_fd())?;
        if code != 0 || !self.shares {
            return Ok(code);
        }
        // A back end that removes what it does not own is ignored or told so (vhost-user's
        // `VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE`).
        match self.backend.shared_object_remove(&shared(NOBODY)) {
            Err(error) if !is_refusal(&error) => Err(error),
            _ => Ok(code),
        }
    }
}

/// Whether the front end has answered, with an error.
fn is_refusal(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(ProtocolError::FrontendInternalError))
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
