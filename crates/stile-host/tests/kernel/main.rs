//! What the host kernel does, tested on a real one.
//!
//! It takes udmabuf, the system dma-heap, vgem, and a DRM node with syncobj timelines; the lab's
//! host VM has them all. A device that is missing fails the test, because a pass that has tested
//! nothing would be a lie. Without the feature `lab` nothing of this is built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

mod allocators;
mod buffer_fences;
mod cpu_access;
mod descriptors;
mod futexes;
mod mappings;
mod sync_files;
mod syncobjs;
mod udmabufs;
mod vgem;

use std::time::Duration;

use stile_host::{AllocatorChoice, DmaBuf, Errno, Error, VgemGpu};

/// Longer than anything here takes, shorter than the ten seconds after which vgem gives up.
const LONG: Duration = Duration::from_secs(5);

/// One page or more, on every machine.
const SIZE: u64 = 64 << 10;

/// A buffer of every source there is.
fn buffers() -> Vec<(AllocatorChoice, DmaBuf)> {
    ["udmabuf", "heap", "vgem"]
        .map(|name| {
            let choice: AllocatorChoice = name.parse().unwrap();
            let buffer = choice.open().unwrap().allocate(SIZE).unwrap();
            (choice, buffer)
        })
        .into()
}

/// A buffer of the default source.
fn buffer() -> DmaBuf {
    AllocatorChoice::default()
        .open()
        .unwrap()
        .allocate(SIZE)
        .unwrap()
}

/// A GPU whose fences signal when they are told to.
fn gpu() -> VgemGpu {
    VgemGpu::find().unwrap()
}

/// Sees that an ioctl failed with this errno.
#[track_caller]
fn assert_errno<T: std::fmt::Debug>(result: Result<T, Error>, expected: Errno) {
    match result {
        Err(Error::Ioctl { errno, .. }) if errno == expected => {}
        other => panic!("{other:?} is not {expected:?}"),
    }
}
