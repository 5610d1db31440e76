//! What stands on the virtqueue, byte for byte.
//!
//! - [`gpu`]: the virtio-gpu commands and responses (virtio specification, "GPU Device").
//! - [`sync`]: the operations of capset `stile-sync`, carried in `SUBMIT_3D`, and their status blob
//!   (this project's `docs/spec/stile-sync.md`; a test holds the two together).
//!
//! Decoding copies nothing and allocates nothing; it never panics whatever a guest has written.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod gpu;
pub mod sync;
