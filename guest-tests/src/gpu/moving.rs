//! Buffers that the host moves, seen from a case.

use super::call::Call;
use super::client::{Gpu, HostBuffer};
use crate::control::ControlError;

impl Gpu {
    /// A buffer of the host's own, of which nobody knows yet: of `udmabuf`s, of a `heap` or of `vgem`.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn make(&self, size: u64, memory: &str) -> Result<HostBuffer<'_>, ControlError> {
        let memory = memory.to_owned();
        self.taken(&Call::Make { size, memory })
    }
}

impl HostBuffer<'_> {
    /// Moves the resource that has this buffer to another one: 0 when the guest sees it there, or
    /// the errno that the daemon refuses with.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the bridge cannot be asked.
    pub fn replace(&self, by: &HostBuffer<'_>) -> Result<u32, ControlError> {
        self.gpu.call(&Call::Replace {
            buffer: self.taken.buffer,
            by: by.taken.buffer,
        })
    }
}
