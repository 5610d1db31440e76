//! The vhost-user virtio-gpu daemon.
