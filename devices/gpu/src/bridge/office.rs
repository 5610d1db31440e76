//! What the bridge answers to a question.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use stile_core::errno;
use stile_host::{DmaBuf, SyncobjNode};

use super::desk::Desk;
use super::registry::{Entry, Registry};
use super::wire::{Answer, BINARY, BY_ID, BY_UUID, OFFER_TIMELINE, Question, TIMELINE};
use crate::shell::to_errno;

/// What the bridge's thread answers from.
pub(crate) struct Office {
    pub(crate) registry: Arc<Registry>,
    /// For what takes longer than an answer may.
    pub(crate) desk: Arc<Desk>,
    /// Where the host's syncobjs are.
    pub(crate) syncobjs: Option<SyncobjNode>,
}

/// The descriptor of an answer, until it is sent.
pub(super) enum Descriptor {
    None,
    Buffer(Arc<DmaBuf>),
    Timeline(OwnedFd),
}

impl Descriptor {
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Buffer(buffer) => Some(buffer.as_fd()),
            Self::Timeline(syncobj) => Some(syncobj.as_fd()),
        }
    }
}

/// An answer and its descriptor.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) descriptor: Descriptor,
}

impl Answered {
    /// With nothing but an errno, or its absence.
    fn bare(errno: u32) -> Self {
        Self {
            answer: Answer {
                errno: errno.into(),
                resource_id: 0.into(),
                size: 0.into(),
                uuid: [0; 16],
            },
            descriptor: Descriptor::None,
        }
    }

    fn buffer(entry: Entry) -> Self {
        Self {
            answer: Answer {
                errno: 0.into(),
                resource_id: entry.resource_id.into(),
                size: entry.buffer.size().into(),
                uuid: entry.uuid.unwrap_or_default(),
            },
            descriptor: Descriptor::Buffer(entry.buffer),
        }
    }
}

impl Office {
    /// Answers a question; `None` is a packet that is none.
    pub(super) fn answer(
        &self,
        client: u64,
        question: Option<&Question>,
        descriptor: Option<OwnedFd>,
    ) -> Answered {
        let Some(question) = question else {
            return Answered::bare(errno::EINVAL.0);
        };
        let (detail, uuid) = (question.detail.get(), question.uuid);
        let answer = match (question.kind.get(), detail) {
            (BY_ID, _) if uuid == [0; 16] => self
                .registry
                .by_id(detail)
                .map(Answered::buffer)
                .ok_or(errno::ENOENT),
            (BY_UUID, 0) => self
                .registry
                .by_uuid(uuid)
                .map(Answered::buffer)
                .ok_or(errno::ENOENT),
            (TIMELINE, 0) => self.timeline(uuid),
            (OFFER_TIMELINE, 0 | BINARY) => self.offer(client, uuid, detail == BINARY, descriptor),
            _ => Err(errno::EINVAL),
        };
        answer.unwrap_or_else(|error| Answered::bare(error.0))
    }

    /// A client has gone.
    pub(super) fn forget_client(&self, client: u64) {
        self.registry.timelines.forget_client(client);
    }

    fn timeline(&self, uuid: [u8; 16]) -> Result<Answered, stile_core::Errno> {
        let syncobj = self.registry.timelines.shared(uuid).ok_or(errno::ENOENT)?;
        let fd = syncobj.export_fd().map_err(|error| to_errno(&error))?;
        let mut reply = Answered::bare(0);
        reply.answer.uuid = uuid;
        reply.descriptor = Descriptor::Timeline(fd);
        Ok(reply)
    }

    fn offer(
        &self,
        client: u64,
        uuid: [u8; 16],
        binary: bool,
        descriptor: Option<OwnedFd>,
    ) -> Result<Answered, stile_core::Errno> {
        let fd = descriptor.ok_or(errno::EINVAL)?;
        let node = self.syncobjs.as_ref().ok_or(errno::EOPNOTSUPP)?;
        let syncobj = node
            .import_fd(fd.as_fd())
            .map_err(|error| to_errno(&error))?;
        self.registry
            .timelines
            .offer(uuid, syncobj, binary, client)?;
        let mut reply = Answered::bare(0);
        reply.answer.uuid = uuid;
        Ok(reply)
    }
}
