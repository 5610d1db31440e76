//! virtio-gpu.
