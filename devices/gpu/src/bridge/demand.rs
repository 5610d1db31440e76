//! What a request asks for, as the device takes it.

use stile_core::{Errno, Request, ResourceName, errno};

use super::wire::{self, CANCEL, MEM_SIGNAL, MEM_WAIT};

/// A request that makes sense.
pub(crate) enum Demand {
    /// For the device.
    Ask(Request),
    /// Give up the one with this tag.
    Cancel,
}

/// # Errors
/// `EINVAL` for a kind that does not exist, a resource that has no name or two, and what is not
/// zero although the kind has no use for it.
pub(crate) fn demand(request: &wire::Request) -> Result<Demand, Errno> {
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
    let name = || match (resource_id.get(), uuid == [0; 16]) {
        (0, false) => Ok(ResourceName::Uuid(uuid)),
        (id, true) if id != 0 => Ok(ResourceName::Id(id)),
        _ => Err(errno::EINVAL),
    };
    match kind.get() {
        MEM_SIGNAL if timeout_ns == 0 => Ok(Demand::Ask(Request::Signal {
            resource: name()?,
            offset,
            value,
        })),
        MEM_WAIT => Ok(Demand::Ask(Request::Wait {
            resource: name()?,
            offset,
            value,
            timeout_ns,
        })),
        CANCEL if (resource_id.get(), uuid) == (0, [0; 16]) && (offset, value) == (0, 0) => {
            if timeout_ns == 0 {
                Ok(Demand::Cancel)
            } else {
                Err(errno::EINVAL)
            }
        }
        _ => Err(errno::EINVAL),
    }
}
