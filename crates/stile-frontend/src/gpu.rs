//! virtio-gpu commands and responses as bytes.

use stile_wire::gpu::layout::{
    CreateBlob, CtxCreate, GetCapset, GetCapsetInfo, Header, MapBlob, MemEntry, ResourceCommand,
    Submit3d,
};
use stile_wire::gpu::{HeaderFlags, types};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Piece;

/// A command that is being written.
#[derive(Clone, Debug)]
pub struct Command {
    header: Header,
    body: Vec<u8>,
}

impl Command {
    /// A command of this type without a body.
    pub fn new(kind: u32) -> Self {
        let mut header = Header::new_zeroed();
        header.kind.set(kind);
        Self {
            header,
            body: Vec::new(),
        }
    }

    /// In this context.
    #[must_use]
    pub fn context(mut self, ctx_id: u32) -> Self {
        self.header.ctx_id.set(ctx_id);
        self
    }

    /// With a fence on the device's own timeline.
    #[must_use]
    pub fn fence(mut self, id: u64) -> Self {
        self.header.fence_id.set(id);
        self.flag(HeaderFlags::FENCE)
    }

    /// With a fence on a ring of the context.
    #[must_use]
    pub fn ring_fence(self, ring_idx: u8, id: u64) -> Self {
        self.ring(ring_idx).fence(id)
    }

    /// On a ring of the context, without a fence.
    #[must_use]
    pub fn ring(mut self, ring_idx: u8) -> Self {
        self.header.ring_idx = ring_idx;
        self.flag(HeaderFlags::INFO_RING_IDX)
    }

    /// With these bytes behind what is there already.
    #[must_use]
    pub fn body<T: IntoBytes + Immutable + ?Sized>(mut self, body: &T) -> Self {
        self.body.extend_from_slice(body.as_bytes());
        self
    }

    /// As it stands in the queue.
    pub fn bytes(&self) -> Vec<u8> {
        [self.header.as_bytes(), &self.body].concat()
    }

    fn flag(mut self, flag: HeaderFlags) -> Self {
        self.header.flags.set(self.header.flags.get() | flag.bits());
        self
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the device has written.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Its header.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn header(&self) -> Header {
        Header::read_from_prefix(&self.bytes)
            .expect("a response has a header")
            .0
    }

    /// Its type.
    #[track_caller]
    pub fn kind(&self) -> u32 {
        self.header().kind.get()
    }

    /// The fence that it signals, with the ring if it names one.
    #[track_caller]
    pub fn fence(&self) -> Option<(Option<u8>, u64)> {
        let header = self.header();
        let flags = HeaderFlags::from_bits_retain(header.flags.get());
        let ring = flags
            .contains(HeaderFlags::INFO_RING_IDX)
            .then_some(header.ring_idx);
        flags
            .contains(HeaderFlags::FENCE)
            .then_some((ring, header.fence_id.get()))
    }

    /// What stands behind the header.
    ///
    /// # Panics
    /// If it is not as long as `T`.
    #[track_caller]
    pub fn body<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self) -> T {
        let bytes = &self.bytes[size_of::<Header>()..];
        T::read_from_bytes(bytes).expect("a response of the right length")
    }
}

/// `CTX_CREATE` with a capset.
pub fn create_context(ctx_id: u32, capset_id: u32) -> Command {
    let mut create = CtxCreate::new_zeroed();
    create.context_init.set(capset_id);
    Command::new(types::CMD_CTX_CREATE)
        .context(ctx_id)
        .body(&create)
}

/// `CTX_DESTROY`.
pub fn destroy_context(ctx_id: u32) -> Command {
    Command::new(types::CMD_CTX_DESTROY).context(ctx_id)
}

/// A command that names a resource and nothing else.
pub fn resource(kind: u32, resource_id: u32) -> Command {
    let mut body = ResourceCommand::new_zeroed();
    body.resource_id.set(resource_id);
    Command::new(kind).body(&body)
}

/// `CTX_ATTACH_RESOURCE`.
pub fn attach(ctx_id: u32, resource_id: u32) -> Command {
    resource(types::CMD_CTX_ATTACH_RESOURCE, resource_id).context(ctx_id)
}

/// `CTX_DETACH_RESOURCE`.
pub fn detach(ctx_id: u32, resource_id: u32) -> Command {
    resource(types::CMD_CTX_DETACH_RESOURCE, resource_id).context(ctx_id)
}

/// `RESOURCE_UNREF`.
pub fn unref(resource_id: u32) -> Command {
    resource(types::CMD_RESOURCE_UNREF, resource_id)
}

/// `RESOURCE_ASSIGN_UUID`.
pub fn assign_uuid(resource_id: u32) -> Command {
    resource(types::CMD_RESOURCE_ASSIGN_UUID, resource_id)
}

/// `RESOURCE_CREATE_BLOB`. `mem` and `flags` as the specification has them.
pub fn create_blob(resource_id: u32, mem: u32, flags: u32, size: u64, pages: &[Piece]) -> Command {
    let mut create = CreateBlob::new_zeroed();
    create.resource_id.set(resource_id);
    create.blob_mem.set(mem);
    create.blob_flags.set(flags);
    create.nr_entries.set(pages.len() as u32);
    create.size.set(size);
    let mut command = Command::new(types::CMD_RESOURCE_CREATE_BLOB).body(&create);
    for page in pages {
        let mut entry = MemEntry::new_zeroed();
        entry.addr.set(page.address);
        entry.length.set(page.bytes);
        command = command.body(&entry);
    }
    command
}

/// `blob_mem` of guest pages.
pub const GUEST: u32 = 1;
/// `blob_mem` of host memory.
pub const HOST3D: u32 = 2;
/// `blob_mem` of host memory with guest pages.
pub const HOST3D_GUEST: u32 = 3;
/// `blob_flags`: the guest may map it.
pub const MAPPABLE: u32 = 1;
/// `blob_flags`: other devices may have it.
pub const CROSS_DEVICE: u32 = 4;

/// `RESOURCE_MAP_BLOB` at an offset of the hostmem region.
pub fn map_blob(resource_id: u32, offset: u64) -> Command {
    let mut map = MapBlob::new_zeroed();
    map.resource_id.set(resource_id);
    map.offset.set(offset);
    Command::new(types::CMD_RESOURCE_MAP_BLOB).body(&map)
}

/// `RESOURCE_UNMAP_BLOB`.
pub fn unmap_blob(resource_id: u32) -> Command {
    resource(types::CMD_RESOURCE_UNMAP_BLOB, resource_id)
}

/// `SUBMIT_3D` with this payload.
pub fn submit(ctx_id: u32, payload: &[u8]) -> Command {
    let mut submit = Submit3d::new_zeroed();
    submit.size.set(payload.len() as u32);
    Command::new(types::CMD_SUBMIT_3D)
        .context(ctx_id)
        .body(&submit)
        .body(payload)
}

/// `GET_CAPSET_INFO`.
pub fn capset_info(index: u32) -> Command {
    let mut body = GetCapsetInfo::new_zeroed();
    body.capset_index.set(index);
    Command::new(types::CMD_GET_CAPSET_INFO).body(&body)
}

/// `GET_CAPSET`.
pub fn capset(id: u32, version: u32) -> Command {
    let mut body = GetCapset::new_zeroed();
    body.capset_id.set(id);
    body.capset_version.set(version);
    Command::new(types::CMD_GET_CAPSET).body(&body)
}
