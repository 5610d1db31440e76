//! What the device offers: features, protocol features, configuration space, shared memory.

use stile_core::Limits;
use stile_wire::gpu::SHM_ID_HOST_VISIBLE;
use stile_wire::gpu::layout::Config;
use vhost::vhost_user::message::{
    VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserVirtioFeatures,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_gpu::{
    VIRTIO_GPU_F_CONTEXT_INIT, VIRTIO_GPU_F_EDID, VIRTIO_GPU_F_RESOURCE_BLOB,
    VIRTIO_GPU_F_RESOURCE_UUID, VIRTIO_GPU_F_VIRGL,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use zerocopy::{FromZeros, IntoBytes};

/// The control queue and the cursor queue.
pub(crate) const QUEUES: u64 = 2;

/// The longest queue. crosvm sets this length whatever the device says.
pub(crate) const MAX_QUEUE_SIZE: u16 = 32768;

/// `VIRTIO_F_RING_RESET`. QEMU's vhost-user-gpu-pci acknowledges it without an offer; it is let
/// through and has no effect.
pub(crate) const RING_RESET: u64 = 1 << 40;

/// Virtio features, and vhost-user's bit for protocol features.
pub(crate) fn features() -> u64 {
    [
        VIRTIO_GPU_F_VIRGL,
        VIRTIO_GPU_F_EDID,
        VIRTIO_GPU_F_RESOURCE_UUID,
        VIRTIO_GPU_F_RESOURCE_BLOB,
        VIRTIO_GPU_F_CONTEXT_INIT,
        VIRTIO_RING_F_INDIRECT_DESC,
        VIRTIO_RING_F_EVENT_IDX,
        VIRTIO_F_VERSION_1,
    ]
    .into_iter()
    .fold(
        VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
        |all, bit| all | 1_u64.checked_shl(bit).unwrap_or(0),
    )
}

/// Whether `EVENT_IDX` is among acknowledged features.
pub(crate) fn has_event_idx(features: u64) -> bool {
    features
        .checked_shr(VIRTIO_RING_F_EVENT_IDX)
        .is_some_and(|bits| bits & 1 == 1)
}

pub(crate) fn protocol_features() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::RESET_DEVICE
        | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::BACKEND_SEND_FD
        | VhostUserProtocolFeatures::SHARED_OBJECT
        | VhostUserProtocolFeatures::SHMEM
}

/// `size` bytes of the configuration space from `offset`; zeros behind its end, since an error
/// would end some front ends.
pub(crate) fn config_space(offset: u32, size: u32) -> Vec<u8> {
    let mut config = Config::new_zeroed();
    config.num_capsets.set(1);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let size = usize::try_from(size).unwrap_or(0);
    config
        .as_bytes()
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .skip(offset)
        .take(size)
        .collect()
}

/// One region, the hostmem region, if it has any bytes.
pub(crate) fn shared_memory(limits: &Limits) -> VhostUserShMemConfig {
    let mut config = VhostUserShMemConfig::default();
    if limits.hostmem_bytes > 0
        && let Some(size) = config
            .memory_sizes
            .get_mut(usize::from(SHM_ID_HOST_VISIBLE))
    {
        *size = limits.hostmem_bytes;
        config.nregions = 1;
    }
    config
}
