//! What a guest's driver puts into a chain.

use stile_wire::gpu::types;
use stile_wire::sync::{CAPSET_ID, Op};

/// How a command's header is about fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// No fence, no ring.
    No,
    /// A ring and no fence.
    RingOnly(u8),
    /// A fence on the device's timeline.
    Global(u64),
    /// A fence on a ring of the command's context.
    Ring(u8, u64),
}

/// A command without its fence.
#[derive(Clone, Debug)]
pub(crate) struct GuestCommand {
    pub(crate) kind: u32,
    pub(crate) ctx_id: u32,
    pub(crate) body: Vec<u8>,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn about(kind: u32, ctx_id: u32, resource_id: u32) -> GuestCommand {
    GuestCommand {
        kind,
        ctx_id,
        body: words(&[resource_id, 0]),
    }
}

impl GuestCommand {
    /// The bytes of the chain.
    pub(crate) fn bytes(&self, fenced: Fenced) -> Vec<u8> {
        let (flags, fence_id, ring_idx) = match fenced {
            Fenced::No => (0_u32, 0, 0),
            Fenced::RingOnly(ring) => (2, 0, ring),
            Fenced::Global(id) => (1, id, 0),
            Fenced::Ring(ring, id) => (3, id, ring),
        };
        let mut bytes = words(&[self.kind, flags]);
        bytes.extend(fence_id.to_le_bytes());
        bytes.extend(self.ctx_id.to_le_bytes());
        bytes.extend([ring_idx, 0, 0, 0]);
        bytes.extend(&self.body);
        bytes
    }

    pub(crate) fn display_info() -> Self {
        Self {
            kind: types::CMD_GET_DISPLAY_INFO,
            ctx_id: 0,
            body: Vec::new(),
        }
    }

    pub(crate) fn ctx_create(ctx_id: u32, capset_id: u32) -> Self {
        let mut body = words(&[0, capset_id]);
        body.extend([0; 64]);
        Self {
            kind: types::CMD_CTX_CREATE,
            ctx_id,
            body,
        }
    }

    /// A context for stile-sync.
    pub(crate) fn context(ctx_id: u32) -> Self {
        Self::ctx_create(ctx_id, CAPSET_ID)
    }

    pub(crate) fn ctx_destroy(ctx_id: u32) -> Self {
        Self {
            kind: types::CMD_CTX_DESTROY,
            ctx_id,
            body: Vec::new(),
        }
    }

    pub(crate) fn attach(ctx_id: u32, resource_id: u32) -> Self {
        about(types::CMD_CTX_ATTACH_RESOURCE, ctx_id, resource_id)
    }

    pub(crate) fn detach(ctx_id: u32, resource_id: u32) -> Self {
        about(types::CMD_CTX_DETACH_RESOURCE, ctx_id, resource_id)
    }

    /// `mem` and `flags` as on the wire; `backed` bytes of guest pages in one entry, or none for 0.
    pub(crate) fn create_blob(
        resource_id: u32,
        mem: u32,
        flags: u32,
        size: u64,
        backed: u32,
    ) -> Self {
        let entry = [(0x10_0000, backed)];
        let entries = if backed > 0 { &entry[..] } else { &[] };
        Self::create_blob_of(resource_id, mem, flags, size, entries)
    }

    /// Of guest pages at these addresses, so many bytes each.
    pub(crate) fn create_blob_of(
        resource_id: u32,
        mem: u32,
        flags: u32,
        size: u64,
        entries: &[(u64, u32)],
    ) -> Self {
        let mut body = words(&[resource_id, mem, flags, entries.len() as u32]);
        body.extend(0_u64.to_le_bytes());
        body.extend(size.to_le_bytes());
        for (address, bytes) in entries {
            body.extend(address.to_le_bytes());
            body.extend(words(&[*bytes, 0]));
        }
        Self {
            kind: types::CMD_RESOURCE_CREATE_BLOB,
            ctx_id: 0,
            body,
        }
    }

    /// A host blob that can be mapped.
    pub(crate) fn blob(resource_id: u32, size: u64) -> Self {
        Self::create_blob(resource_id, 2, 1, size, 0)
    }

    pub(crate) fn unref(resource_id: u32) -> Self {
        about(types::CMD_RESOURCE_UNREF, 0, resource_id)
    }

    pub(crate) fn assign_uuid(resource_id: u32) -> Self {
        about(types::CMD_RESOURCE_ASSIGN_UUID, 0, resource_id)
    }

    pub(crate) fn map(resource_id: u32, offset: u64) -> Self {
        let mut command = about(types::CMD_RESOURCE_MAP_BLOB, 0, resource_id);
        command.body.extend(offset.to_le_bytes());
        command
    }

    pub(crate) fn unmap(resource_id: u32) -> Self {
        about(types::CMD_RESOURCE_UNMAP_BLOB, 0, resource_id)
    }

    pub(crate) fn submit(ctx_id: u32, operations: &[Vec<u8>]) -> Self {
        let payload = operations.concat();
        Self::submit_bytes(ctx_id, payload.len() as u32, &payload)
    }

    /// A submission that says that it has `size` bytes.
    pub(crate) fn submit_bytes(ctx_id: u32, size: u32, payload: &[u8]) -> Self {
        let mut body = words(&[size, 0]);
        body.extend(payload);
        Self {
            kind: types::CMD_SUBMIT_3D,
            ctx_id,
            body,
        }
    }

    /// In the name of a context.
    pub(crate) fn of(self, ctx_id: u32) -> Self {
        Self { ctx_id, ..self }
    }
}

/// An operation for ring 0.
pub(crate) fn operation(tag: u32, op: Op) -> Vec<u8> {
    op.encode(0, tag).to_vec()
}
