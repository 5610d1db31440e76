//! From the bytes of a descriptor chain to a command.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::layout::{
    AttachBacking, CreateBlob, CtxCreate, GetCapset, GetCapsetInfo, GetEdid, Header, MapBlob,
    MemEntry, ResourceCommand, ResourceCreate2d, ResourceCreate3d, ResourceFlush, SetScanout,
    SetScanoutBlob, Submit3d, Transfer3d, TransferToHost2d, UpdateCursor,
};
use super::{BlobFlags, HeaderFlags, types};

/// The fence timeline that a command names: completions are in order within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timeline {
    /// The device's own, used without `INFO_RING_IDX`.
    Global,
    /// A ring of a context. The ring is the guest's and unchecked.
    Ring {
        /// The context.
        ctx_id: u32,
        /// 0 to 63 if the guest keeps to the rules.
        ring_idx: u8,
    },
}

/// Where a blob's memory is, `VIRTIO_GPU_BLOB_MEM_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobMem {
    /// Guest pages.
    Guest,
    /// Host memory.
    Host3d,
    /// Host memory, with guest pages as its shadow.
    Host3dGuest,
}

impl BlobMem {
    fn from_wire(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Guest),
            2 => Some(Self::Host3d),
            3 => Some(Self::Host3dGuest),
            _ => None,
        }
    }
}

/// Guest memory ranges, as the command lists them; unchecked.
pub type MemEntries<'a> = &'a [MemEntry];

/// A command with its arguments. Those of which this device offers nothing carry only what their
/// answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's")]
pub enum Command<'a> {
    GetDisplayInfo,
    GetEdid {
        scanout: u32,
    },
    GetCapsetInfo {
        index: u32,
    },
    GetCapset {
        id: u32,
        version: u32,
    },
    CtxCreate {
        capset_id: u32,
    },
    CtxDestroy,
    CtxAttachResource {
        resource_id: u32,
    },
    CtxDetachResource {
        resource_id: u32,
    },
    ResourceCreateBlob {
        resource_id: u32,
        mem: BlobMem,
        flags: BlobFlags,
        blob_id: u64,
        size: u64,
        entries: MemEntries<'a>,
    },
    ResourceUnref {
        resource_id: u32,
    },
    ResourceAssignUuid {
        resource_id: u32,
    },
    ResourceMapBlob {
        resource_id: u32,
        offset: u64,
    },
    ResourceUnmapBlob {
        resource_id: u32,
    },
    AttachBacking {
        resource_id: u32,
        entries: MemEntries<'a>,
    },
    DetachBacking {
        resource_id: u32,
    },
    Submit3d {
        payload: &'a [u8],
    },
    SetScanout {
        scanout_id: u32,
    },
    SetScanoutBlob {
        scanout_id: u32,
    },
    ResourceFlush {
        resource_id: u32,
    },
    TransferToHost2d {
        resource_id: u32,
    },
    TransferToHost3d {
        resource_id: u32,
    },
    TransferFromHost3d {
        resource_id: u32,
    },
    ResourceCreate2d {
        resource_id: u32,
    },
    ResourceCreate3d {
        resource_id: u32,
    },
    UpdateCursor {
        scanout_id: u32,
    },
    MoveCursor {
        scanout_id: u32,
    },
}

/// Why a command cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The chain is shorter than the command.
    #[error("The command is cut short")]
    Short,
    /// A `SUBMIT_3D` whose payload is shorter than the bytes that it says.
    #[error("The payload is shorter than its {0} bytes")]
    ShortPayload(u32),
    /// The type is none of the specification's.
    #[error("Unknown command type {0:#x}")]
    UnknownType(u32),
    /// A field has a value that the specification does not know.
    #[error("A field has no meaning")]
    BadField,
}

/// A control header and the command behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The header's `type`.
    pub kind: u32,
    /// The context.
    pub ctx_id: u32,
    /// The header's ring, which operations of the submission must name; 0 where its flags lack
    /// `INFO_RING_IDX`. The guest's and unchecked.
    pub ring_idx: u8,
    /// The fence that the response stands for.
    pub fence: Option<(Timeline, u64)>,
    /// What to do, or why that cannot be read.
    pub command: Result<Command<'a>, Malformed>,
}

impl<'a> Request<'a> {
    /// Reads a request from the device-readable bytes of a chain.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there is not even a header: such a chain has no fence either.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        let flags = HeaderFlags::from_bits_truncate(header.flags.get());
        let ctx_id = header.ctx_id.get();
        let (timeline, ring_idx) = if flags.contains(HeaderFlags::INFO_RING_IDX) {
            let ring_idx = header.ring_idx;
            (Timeline::Ring { ctx_id, ring_idx }, ring_idx)
        } else {
            (Timeline::Global, 0)
        };
        let fence = flags
            .contains(HeaderFlags::FENCE)
            .then(|| (timeline, header.fence_id.get()));
        let kind = header.kind.get();
        Ok(Self {
            kind,
            ctx_id,
            ring_idx,
            fence,
            command: Command::decode(kind, rest),
        })
    }
}

impl<'a> Command<'a> {
    fn decode(kind: u32, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let resource = || Ok(body::<ResourceCommand>(bytes)?.0.resource_id.get());
        Ok(match kind {
            types::CMD_GET_DISPLAY_INFO => Self::GetDisplayInfo,
            types::CMD_GET_EDID => Self::GetEdid {
                scanout: body::<GetEdid>(bytes)?.0.scanout.get(),
            },
            types::CMD_GET_CAPSET_INFO => Self::GetCapsetInfo {
                index: body::<GetCapsetInfo>(bytes)?.0.capset_index.get(),
            },
            types::CMD_GET_CAPSET => {
                let (get, _) = body::<GetCapset>(bytes)?;
                Self::GetCapset {
                    id: get.capset_id.get(),
                    version: get.capset_version.get(),
                }
            }
            types::CMD_CTX_CREATE => {
                let (create, _) = body::<CtxCreate>(bytes)?;
                Self::CtxCreate {
                    capset_id: create.context_init.get() & super::CONTEXT_INIT_CAPSET_ID_MASK,
                }
            }
            types::CMD_CTX_DESTROY => Self::CtxDestroy,
            types::CMD_CTX_ATTACH_RESOURCE => Self::CtxAttachResource {
                resource_id: resource()?,
            },
            types::CMD_CTX_DETACH_RESOURCE => Self::CtxDetachResource {
                resource_id: resource()?,
            },
            types::CMD_RESOURCE_CREATE_BLOB => create_blob(bytes)?,
            types::CMD_RESOURCE_UNREF => Self::ResourceUnref {
                resource_id: resource()?,
            },
            types::CMD_RESOURCE_ASSIGN_UUID => Self::ResourceAssignUuid {
                resource_id: resource()?,
            },
            types::CMD_RESOURCE_MAP_BLOB => {
                let (map, _) = body::<MapBlob>(bytes)?;
                Self::ResourceMapBlob {
                    resource_id: map.resource_id.get(),
                    offset: map.offset.get(),
                }
            }
            types::CMD_RESOURCE_UNMAP_BLOB => Self::ResourceUnmapBlob {
                resource_id: resource()?,
            },
            types::CMD_RESOURCE_ATTACH_BACKING => {
                let (attach, rest) = body::<AttachBacking>(bytes)?;
                Self::AttachBacking {
                    resource_id: attach.resource_id.get(),
                    entries: entries(rest, attach.nr_entries.get())?,
                }
            }
            types::CMD_RESOURCE_DETACH_BACKING => Self::DetachBacking {
                resource_id: resource()?,
            },
            types::CMD_SUBMIT_3D => {
                let (submit, rest) = body::<Submit3d>(bytes)?;
                let size = submit.size.get();
                let payload = usize::try_from(size).ok().and_then(|size| rest.get(..size));
                Self::Submit3d {
                    payload: payload.ok_or(Malformed::ShortPayload(size))?,
                }
            }
            types::CMD_SET_SCANOUT => Self::SetScanout {
                scanout_id: body::<SetScanout>(bytes)?.0.scanout_id.get(),
            },
            types::CMD_SET_SCANOUT_BLOB => Self::SetScanoutBlob {
                scanout_id: body::<SetScanoutBlob>(bytes)?.0.scanout_id.get(),
            },
            types::CMD_RESOURCE_FLUSH => Self::ResourceFlush {
                resource_id: body::<ResourceFlush>(bytes)?.0.resource_id.get(),
            },
            types::CMD_TRANSFER_TO_HOST_2D => Self::TransferToHost2d {
                resource_id: body::<TransferToHost2d>(bytes)?.0.resource_id.get(),
            },
            types::CMD_TRANSFER_TO_HOST_3D => Self::TransferToHost3d {
                resource_id: body::<Transfer3d>(bytes)?.0.resource_id.get(),
            },
            types::CMD_TRANSFER_FROM_HOST_3D => Self::TransferFromHost3d {
                resource_id: body::<Transfer3d>(bytes)?.0.resource_id.get(),
            },
            types::CMD_RESOURCE_CREATE_2D => Self::ResourceCreate2d {
                resource_id: body::<ResourceCreate2d>(bytes)?.0.resource_id.get(),
            },
            types::CMD_RESOURCE_CREATE_3D => Self::ResourceCreate3d {
                resource_id: body::<ResourceCreate3d>(bytes)?.0.resource_id.get(),
            },
            types::CMD_UPDATE_CURSOR => Self::UpdateCursor {
                scanout_id: body::<UpdateCursor>(bytes)?.0.pos.scanout_id.get(),
            },
            types::CMD_MOVE_CURSOR => Self::MoveCursor {
                scanout_id: body::<UpdateCursor>(bytes)?.0.pos.scanout_id.get(),
            },
            unknown => return Err(Malformed::UnknownType(unknown)),
        })
    }
}

fn create_blob(bytes: &[u8]) -> Result<Command<'_>, Malformed> {
    let (create, rest) = body::<CreateBlob>(bytes)?;
    Ok(Command::ResourceCreateBlob {
        resource_id: create.resource_id.get(),
        mem: BlobMem::from_wire(create.blob_mem.get()).ok_or(Malformed::BadField)?,
        flags: BlobFlags::from_bits(create.blob_flags.get()).ok_or(Malformed::BadField)?,
        blob_id: create.blob_id.get(),
        size: create.size.get(),
        entries: entries(rest, create.nr_entries.get())?,
    })
}

fn body<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
) -> Result<(&T, &[u8]), Malformed> {
    T::ref_from_prefix(bytes).map_err(|_| Malformed::Short)
}

fn entries(bytes: &[u8], count: u32) -> Result<MemEntries<'_>, Malformed> {
    let count = usize::try_from(count).map_err(|_| Malformed::Short)?;
    let (entries, _) =
        <[MemEntry]>::ref_from_prefix_with_elems(bytes, count).map_err(|_| Malformed::Short)?;
    Ok(entries)
}
