//! What a request asks for, as the device takes it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use stile_core::{Errno, Replacement, Request, ResourceName, errno};
use stile_host::DmaBuf;

use super::wire::{self, CANCEL, MEM_SIGNAL, MEM_WAIT, REPLACE};
use crate::buffer::Buffer;
use crate::shell::to_errno;

/// `EBADF`: what came is no dma-buf, or nothing.
pub(super) const NO_BUFFER: Errno = Errno(9);

/// What the device is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    /// About a counter.
    Request(Request),
    /// To move a buffer.
    Replace(Replacement<Buffer>),
}

/// A request that makes sense.
pub(super) enum Demand {
    /// For the device.
    Ask(Asked),
    /// Give up the one with this tag.
    Cancel,
}

/// A descriptor that nobody wants is closed.
///
/// # Errors
/// `EINVAL` for a kind that does not exist, a resource that has no name or two, and what is not
/// zero although the kind has no use for it; for a buffer see [`buffer`].
pub(super) fn demand(
    request: &wire::Request,
    descriptor: Option<OwnedFd>,
) -> Result<Demand, Errno> {
    let wire::Request {
        kind,
        resource_id,
        uuid,
        tag: _,
        offset,
        value,
        timeout_ns,
    } = *request;
    let (offset, value, timeout_ns) = (offset.get(), value.get(), timeout_ns.get());
    let name = match (resource_id.get(), uuid == [0; 16]) {
        (0, true) => None,
        (0, false) => Some(ResourceName::Uuid(uuid)),
        (id, true) => Some(ResourceName::Id(id)),
        (_, false) => return Err(errno::EINVAL),
    };
    let asked = match (kind.get(), name, (offset, value, timeout_ns)) {
        (MEM_SIGNAL, Some(resource), (_, _, 0)) => Asked::Request(Request::Signal {
            resource,
            offset,
            value,
        }),
        (MEM_WAIT, Some(resource), _) => Asked::Request(Request::Wait {
            resource,
            offset,
            value,
            timeout_ns,
        }),
        (REPLACE, Some(resource), (0, 0, _)) => Asked::Replace(Replacement {
            resource,
            buffer: buffer(descriptor)?,
            timeout_ns,
        }),
        (CANCEL, None, (0, 0, 0)) => return Ok(Demand::Cancel),
        _ => return Err(errno::EINVAL),
    };
    Ok(Demand::Ask(asked))
}

/// A buffer that came with a request: one that can be mapped, and whose fences can be exchanged.
///
/// # Errors
/// `EBADF` where it is no dma-buf; `EOPNOTSUPP` where the kernel cannot exchange its fences; what
/// mmap(2) says where it cannot be mapped for reading and writing.
fn buffer(descriptor: Option<OwnedFd>) -> Result<Buffer, Errno> {
    let told = |error| to_errno(&error);
    let buffer = DmaBuf::from_fd(descriptor.ok_or(NO_BUFFER)?).map_err(told)?;
    buffer.check_sync_files().map_err(told)?;
    buffer.map(0..buffer.size()).map_err(told)?;
    Ok(Buffer::Host(Arc::new(buffer)))
}
