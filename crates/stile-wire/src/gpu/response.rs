//! From an answer to the bytes of its response.

use alloc::boxed::Box;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::layout::{CapsetInfo, Header, MapInfo};
use super::{HeaderFlags, Timeline, types};

/// Bytes of the longest response: `virtio_gpu_resp_edid`.
pub const MAX_RESPONSE_BYTES: usize = 1056;

/// Bytes of `virtio_gpu_resp_display_info` behind its header: 16 outputs of 24 bytes.
const DISPLAY_INFO_BYTES: usize = 16 * 24;

/// `VIRTIO_GPU_RESP_ERR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// `RESP_ERR_UNSPEC`: not offered, or none of the others.
    Unspec,
    /// `RESP_ERR_OUT_OF_MEMORY`: the host has none, or a quota is reached.
    OutOfMemory,
    /// `RESP_ERR_INVALID_SCANOUT_ID`.
    InvalidScanoutId,
    /// `RESP_ERR_INVALID_RESOURCE_ID`.
    InvalidResourceId,
    /// `RESP_ERR_INVALID_CONTEXT_ID`.
    InvalidContextId,
    /// `RESP_ERR_INVALID_PARAMETER`.
    InvalidParameter,
}

impl ResponseError {
    const fn kind(self) -> u32 {
        match self {
            Self::Unspec => types::RESP_ERR_UNSPEC,
            Self::OutOfMemory => types::RESP_ERR_OUT_OF_MEMORY,
            Self::InvalidScanoutId => types::RESP_ERR_INVALID_SCANOUT_ID,
            Self::InvalidResourceId => types::RESP_ERR_INVALID_RESOURCE_ID,
            Self::InvalidContextId => types::RESP_ERR_INVALID_CONTEXT_ID,
            Self::InvalidParameter => types::RESP_ERR_INVALID_PARAMETER,
        }
    }
}

/// What the device answers to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Done.
    Ok,
    /// `GET_DISPLAY_INFO` of a device without outputs: 16 disabled ones.
    NoDisplays,
    /// `GET_CAPSET_INFO`.
    CapsetInfo {
        /// The capset.
        id: u32,
        /// Its newest version.
        max_version: u32,
        /// Its length in bytes.
        max_size: u32,
    },
    /// `GET_CAPSET` of stile-sync.
    Capset(Box<crate::sync::Capset>),
    /// `RESOURCE_ASSIGN_UUID`.
    Uuid([u8; 16]),
    /// `RESOURCE_MAP_BLOB`; `VIRTIO_GPU_MAP_CACHE_*`.
    MapInfo(u32),
    /// Not done.
    Err(ResponseError),
}

impl Response {
    /// Writes the response into `out` and says how many bytes it takes.
    ///
    /// With `fence`, the header carries `FLAG_FENCE` and so signals that fence in the guest.
    pub fn encode(
        &self,
        ctx_id: u32,
        fence: Option<(Timeline, u64)>,
        out: &mut [u8; MAX_RESPONSE_BYTES],
    ) -> usize {
        let header = self.header(ctx_id, fence);
        match self {
            Self::Ok | Self::Err(_) => put(out, header.as_bytes(), &[]),
            Self::NoDisplays => put(out, header.as_bytes(), &[0; DISPLAY_INFO_BYTES]),
            Self::CapsetInfo {
                id,
                max_version,
                max_size,
            } => {
                let info = CapsetInfo {
                    capset_id: U32::new(*id),
                    capset_max_version: U32::new(*max_version),
                    capset_max_size: U32::new(*max_size),
                    padding: U32::ZERO,
                };
                put(out, header.as_bytes(), info.as_bytes())
            }
            Self::Capset(capset) => put(out, header.as_bytes(), capset.as_bytes()),
            Self::Uuid(uuid) => put(out, header.as_bytes(), uuid),
            Self::MapInfo(map_info) => {
                let info = MapInfo {
                    map_info: U32::new(*map_info),
                    padding: U32::ZERO,
                };
                put(out, header.as_bytes(), info.as_bytes())
            }
        }
    }

    fn header(&self, ctx_id: u32, fence: Option<(Timeline, u64)>) -> Header {
        let mut header = Header::new_zeroed();
        header.kind = U32::new(self.kind());
        header.ctx_id = U32::new(ctx_id);
        if let Some((timeline, fence_id)) = fence {
            let mut flags = HeaderFlags::FENCE;
            header.fence_id = U64::new(fence_id);
            if let Timeline::Ring { ctx_id, ring_idx } = timeline {
                flags |= HeaderFlags::INFO_RING_IDX;
                header.ctx_id = U32::new(ctx_id);
                header.ring_idx = ring_idx;
            }
            header.flags = U32::new(flags.bits());
        }
        header
    }

    const fn kind(&self) -> u32 {
        match self {
            Self::Ok => types::RESP_OK_NODATA,
            Self::NoDisplays => types::RESP_OK_DISPLAY_INFO,
            Self::CapsetInfo { .. } => types::RESP_OK_CAPSET_INFO,
            Self::Capset(_) => types::RESP_OK_CAPSET,
            Self::Uuid(_) => types::RESP_OK_RESOURCE_UUID,
            Self::MapInfo(_) => types::RESP_OK_MAP_INFO,
            Self::Err(error) => error.kind(),
        }
    }
}

fn put(out: &mut [u8; MAX_RESPONSE_BYTES], header: &[u8], body: &[u8]) -> usize {
    let Some((to, rest)) = out.split_at_mut_checked(header.len()) else {
        return 0;
    };
    to.copy_from_slice(header);
    let Some((to, _)) = rest.split_at_mut_checked(body.len()) else {
        return header.len();
    };
    to.copy_from_slice(body);
    header.len().saturating_add(body.len())
}
