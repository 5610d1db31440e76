//! Requests, whose replies come when there is something to say.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use stile_core::ResourceName;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Client, ClientError};
use crate::bridge::wire::{self, CANCEL, MEM_SIGNAL, MEM_WAIT, REPLACE, Request};

/// What a reply is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// [`Client::mem_signal`].
    MemSignal,
    /// [`Client::mem_wait`].
    MemWait,
    /// [`Client::cancel`].
    Cancel,
    /// [`Client::replace`].
    Replace,
    /// Of a later version of the bridge.
    Unknown(u32),
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was asked.
    pub kind: ReplyTo,
    /// The request's tag.
    pub tag: u64,
    /// What the counter holds, 0 where there is none; or a Linux errno.
    pub answer: Result<u64, u32>,
}

/// Requests, whose replies come when there is something to say: read them with [`Client::reply`].
/// Each has a tag, which the client chooses, and which no other of its open requests has.
impl Client {
    /// Raises the counter at `offset`, a multiple of 8, to `value` if it is below, and wakes who
    /// waits for it; 0 says that this process has stored itself. The reply has what it holds.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn mem_signal(
        &self,
        tag: u64,
        resource: ResourceName,
        offset: u64,
        value: u64,
    ) -> Result<(), ClientError> {
        let mut request = request(MEM_SIGNAL, tag, Some(resource));
        request.offset.set(offset);
        request.value.set(value);
        self.send(request.as_bytes())
    }

    /// Asks for a reply when the counter at `offset`, a multiple of 8, is at least `value`, or with
    /// `ETIMEDOUT` after `timeout_ns` nanoseconds.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn mem_wait(
        &self,
        tag: u64,
        resource: ResourceName,
        offset: u64,
        value: u64,
        timeout_ns: u64,
    ) -> Result<(), ClientError> {
        let mut request = request(MEM_WAIT, tag, Some(resource));
        request.offset.set(offset);
        request.value.set(value);
        request.timeout_ns.set(timeout_ns);
        self.send(request.as_bytes())
    }

    /// Gives a resource another buffer, of the same size, with the fences of the old one. The reply
    /// comes when the guest sees it; after `timeout_ns` nanoseconds it comes with `ETIMEDOUT`, and
    /// the buffer moves all the same.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn replace(
        &self,
        tag: u64,
        resource: ResourceName,
        buffer: BorrowedFd<'_>,
        timeout_ns: u64,
    ) -> Result<(), ClientError> {
        let mut request = request(REPLACE, tag, Some(resource));
        request.timeout_ns.set(timeout_ns);
        self.send_with(request.as_bytes(), Some(buffer))
    }

    /// Ends the request `tag`: its reply comes now, with `ECANCELED`, and then one to this, unless
    /// its reply is on the way already, and this one's is `ENOENT`.
    ///
    /// # Errors
    /// [`ClientError::Socket`].
    pub fn cancel(&self, tag: u64) -> Result<(), ClientError> {
        self.send(request(CANCEL, tag, None).as_bytes())
    }

    /// The next reply. Blocks until there is one.
    ///
    /// # Errors
    /// [`ClientError::Socket`], also when the bridge has hung up; [`ClientError::BadAnswer`].
    pub fn reply(&self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.replies().pop_front() {
                return Ok(reply);
            }
            let (packet, _) = self.receive(RecvFlags::empty())?;
            self.keep(&packet)?;
        }
    }

    /// The next reply, if there is one. Whoever polls the client's descriptor takes replies until
    /// there is none.
    ///
    /// # Errors
    /// As [`Client::reply`].
    pub fn try_reply(&self) -> Result<Option<Reply>, ClientError> {
        if let Some(reply) = self.replies().pop_front() {
            return Ok(Some(reply));
        }
        match self.receive(RecvFlags::DONTWAIT) {
            Ok((packet, _)) => self.keep(&packet)?,
            Err(ClientError::Socket(Errno::AGAIN)) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(self.replies().pop_front())
    }

    fn send(&self, packet: &[u8]) -> Result<(), ClientError> {
        self.send_with(packet, None)
    }

    /// Keeps the replies of a packet.
    pub(super) fn keep(&self, packet: &[u8]) -> Result<(), ClientError> {
        let replies = <[wire::Reply]>::ref_from_bytes(packet);
        let replies = replies.map_err(|_| ClientError::BadAnswer)?;
        self.replies().extend(replies.iter().map(|reply| Reply {
            kind: match reply.kind.get() {
                MEM_SIGNAL => ReplyTo::MemSignal,
                MEM_WAIT => ReplyTo::MemWait,
                CANCEL => ReplyTo::Cancel,
                REPLACE => ReplyTo::Replace,
                other => ReplyTo::Unknown(other),
            },
            tag: reply.tag.get(),
            answer: match reply.errno.get() {
                0 => Ok(reply.value.get()),
                errno => Err(errno),
            },
        }));
        Ok(())
    }

    fn replies(&self) -> MutexGuard<'_, VecDeque<Reply>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn request(kind: u32, tag: u64, resource: Option<ResourceName>) -> Request {
    let mut request = Request::new_zeroed();
    request.kind.set(kind);
    request.tag.set(tag);
    match resource {
        None => {}
        Some(ResourceName::Id(id)) => request.resource_id.set(id),
        Some(ResourceName::Uuid(uuid)) => request.uuid = uuid,
    }
    request
}
