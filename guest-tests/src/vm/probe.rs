//! Whether this machine can be the lab's host: not whether device nodes are there, but whether what
//! the cases need works. A /dev/kvm that opens proves nothing, so a guest is booted.

use std::time::Duration;

use stile_host::{Access, AllocatorChoice, SyncobjNode, VgemGpu};
use thiserror::Error;

use super::guest::Guest;
use super::{Error, Lab};

/// Longer than a guest takes to boot on a processor that helps.
const BOOT: Duration = Duration::from_secs(20);

/// What the machine lacks.
#[derive(Debug, Error)]
pub enum Lack {
    /// A buffer or a fence could not be had.
    #[error("{what} cannot be had here ({source})")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: stile_host::Error,
    },
    /// No guest boots, or not in reasonable time.
    #[error("KVM does not boot a guest here")]
    Kvm(#[from] Error),
}

/// Tries all that the cases need.
///
/// # Errors
/// The first thing that the machine lacks.
pub fn probe(lab: &Lab) -> Result<(), Lack> {
    let lacking = |what| move |source| Lack::Kernel { what, source };

    let allocator = AllocatorChoice::Udmabuf
        .open()
        .map_err(lacking("an udmabuf"))?;
    let buffer = allocator.allocate(4096).map_err(lacking("an udmabuf"))?;
    buffer
        .export_sync_file(Access::READ)
        .map_err(lacking("a sync_file from a dma-buf (Linux 6.0)"))?;
    VgemGpu::find()
        .and_then(|gpu| gpu.attach(&buffer, Access::WRITE))
        .map_err(lacking("a vgem fence (`modprobe vgem`)"))?;
    SyncobjNode::find()
        .and_then(|node| node.create(false))
        .map_err(lacking("a drm_syncobj"))?;

    let lab = lab.life("probe")?;
    let mut guest = Guest::new(&lab).start()?;
    guest.wait(BOOT)?;
    Ok(())
}
