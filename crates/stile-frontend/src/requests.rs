//! The back-end channel, from its front end's end: a thread that takes requests and answers them as
//! the test says, or not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use vhost::vhost_user::message::{VhostUserMMap, VhostUserMMapFlags, VhostUserSharedMsg};
use vhost::vhost_user::{Error, FrontendReqHandler, HandlerResult, VhostUserFrontendReqHandlerMut};

use crate::HANG;

/// What the device has asked for.
#[derive(Debug)]
pub enum Request {
    /// `SHMEM_MAP`.
    Map {
        /// The region.
        shmid: u8,
        /// Where in the region, in bytes.
        offset: u64,
        /// Bytes.
        size: u64,
        /// Where in the file, in bytes.
        file_offset: u64,
        /// Whether the guest may write.
        writable: bool,
        /// What is mapped.
        file: File,
    },
    /// `SHMEM_UNMAP`.
    Unmap {
        /// The region.
        shmid: u8,
        /// Where, in bytes.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// `SHARED_OBJECT_ADD`.
    Share([u8; 16]),
    /// `SHARED_OBJECT_REMOVE`.
    Unshare([u8; 16]),
    /// `SHARED_OBJECT_REMOVE` of an object that nobody has added: with it, a device finds out when the
    /// request before it is through.
    Through,
}

/// Who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Every request is acknowledged at once.
    #[default]
    Accept,
    /// Each waits for a [`Reply`] of the test. A test that gives none is a front end that hangs.
    Ask,
    /// As `Ask`, and the test says of each mapping when it is there, too ([`Request::Through`]), as
    /// QEMU does, which acknowledges a mapping before it maps.
    AskTwice,
}

/// The test's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Accept,
    /// An error.
    Refuse,
}

/// The channel's end in the front end.
#[derive(Debug)]
pub(crate) struct Requests {
    requests: Receiver<Request>,
    replies: Sender<Reply>,
    /// What the device gets of the socket. The server holds it too, so that it is shut down where
    /// it would be closed.
    pub(crate) socket: UnixStream,
}

impl Requests {
    /// The channel, and what is to be served until it ends.
    pub(crate) fn start(manner: Manner) -> (Self, FrontendReqHandler<Mutex<Handler>>) {
        let (sender, requests) = channel();
        let (replies, receiver) = channel();
        let handler = Arc::new(Mutex::new(Handler {
            manner,
            requests: sender,
            replies: receiver,
            shared: BTreeSet::new(),
        }));
        let mut server = FrontendReqHandler::new(handler).expect("a socket pair");
        server.set_reply_ack_flag(true);
        // SAFETY: the server keeps the descriptor open during this call.
        let socket = unsafe { BorrowedFd::borrow_raw(server.get_tx_raw_fd()) };
        let this = Self {
            requests,
            replies,
            socket: socket.try_clone_to_owned().expect("a descriptor").into(),
        };
        (this, server)
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn next(&self) -> Request {
        self.requests
            .recv_timeout(HANG)
            .expect("the device asks its front end for something")
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.replies.send(reply).expect("the channel's thread");
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let _closed = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// What the thread calls.
#[derive(Debug)]
pub(crate) struct Handler {
    manner: Manner,
    requests: Sender<Request>,
    replies: Receiver<Reply>,
    /// The objects that the device has added.
    shared: BTreeSet<[u8; 16]>,
}

impl Handler {
    fn take(&self, request: Request) -> HandlerResult<u64> {
        // A test that does not look at them is no fault.
        let _nobody = self.requests.send(request);
        match self.manner {
            Manner::Accept => Ok(0),
            // An error means that the test has ended.
            Manner::Ask | Manner::AskTwice => match self.replies.recv() {
                Ok(Reply::Accept) => Ok(0),
                Ok(Reply::Refuse) | Err(_) => Err(io::Error::from_raw_os_error(22)),
            },
        }
    }
}

impl VhostUserFrontendReqHandlerMut for Handler {
    fn shared_object_add(&mut self, uuid: &VhostUserSharedMsg) -> HandlerResult<u64> {
        let uuid = *uuid.uuid.as_bytes();
        self.shared.insert(uuid);
        self.take(Request::Share(uuid))
    }

    fn shared_object_remove(&mut self, uuid: &VhostUserSharedMsg) -> HandlerResult<u64> {
        let uuid = *uuid.uuid.as_bytes();
        if self.shared.remove(&uuid) {
            return self.take(Request::Unshare(uuid));
        }
        // Front ends refuse it. Few tests have to know.
        if self.manner == Manner::AskTwice {
            return self.take(Request::Through);
        }
        Err(io::Error::from_raw_os_error(22))
    }

    fn shmem_map(&mut self, map: &VhostUserMMap, fd: &dyn AsRawFd) -> HandlerResult<u64> {
        // SAFETY: the caller keeps the descriptor open during this call, and the borrow ends here.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let file = File::from(fd.try_clone_to_owned()?);
        self.take(Request::Map {
            shmid: map.shmid,
            offset: map.shm_offset,
            size: map.len,
            file_offset: map.fd_offset,
            writable: map.flags & VhostUserMMapFlags::WRITABLE.bits() != 0,
            file,
        })
    }

    fn shmem_unmap(&mut self, map: &VhostUserMMap) -> HandlerResult<u64> {
        self.take(Request::Unmap {
            shmid: map.shmid,
            offset: map.shm_offset,
            size: map.len,
        })
    }
}

/// Serves the channel until it is closed.
pub(crate) fn serve(mut server: FrontendReqHandler<Mutex<Handler>>) {
    std::thread::Builder::new()
        .name("front end".to_owned())
        .spawn(move || {
            // A request that was refused is no end.
            while matches!(
                server.handle_request(),
                Ok(_) | Err(Error::ReqHandlerError(_))
            ) {}
        })
        .map(drop)
        .unwrap_or_else(|error| panic!("no thread: {error}"));
}
