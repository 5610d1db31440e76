//! What a consumer on the host does with a buffer, be it a compositor or a media pipeline: it waits
//! for the buffer as the kernel lets it, asleep or with a sync_file.

use super::call::{Call, Kept, Use};
use super::client::{Gpu, HostBuffer};
use crate::control::ControlError;

impl<'a> HostBuffer<'a> {
    /// Somebody on the host sleeps until such a use may begin: poll(2) on the dma-buf. When this
    /// returns, the wait has begun.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn sleeper(&self, r#use: Use) -> Result<Waiter<'a>, ControlError> {
        let waiter = self.gpu.name("waiter");
        let _nothing: () = self.gpu.call(&Call::Await {
            waiter: waiter.clone(),
            buffer: self.taken.buffer,
            r#use,
        })?;
        Ok(Waiter {
            gpu: self.gpu,
            name: waiter,
        })
    }

    /// The kernel's own export for such a use, which stays as it is now.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn export(&self, r#use: Use) -> Result<HostExport<'a>, ControlError> {
        let export = self.gpu.name("export");
        let _nothing: () = self.gpu.call(&Call::Keep {
            export: export.clone(),
            buffer: self.taken.buffer,
            r#use,
        })?;
        Ok(HostExport {
            gpu: self.gpu,
            name: export,
        })
    }
}

/// Somebody on the host who sleeps.
#[derive(Debug)]
pub struct Waiter<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) name: String,
}

impl Waiter<'_> {
    /// Waits until they have been woken, and says when that was, in nanoseconds of the host's
    /// `CLOCK_MONOTONIC`: not before the kernel woke them.
    ///
    /// # Errors
    /// [`ControlError::Refused`], also where they gave up.
    pub fn woken_ns(&self) -> Result<u64, ControlError> {
        let gave_up = || ControlError::Refused("the waiter has given up".to_owned());
        self.ended()?.ok_or_else(gave_up)
    }

    /// The same; `None` where they gave up, or their time was over first.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn ended(&self) -> Result<Option<u64>, ControlError> {
        let waiter = self.name.clone();
        self.gpu.call(&Call::Woken { waiter })
    }

    /// They give up now. When this returns they may not have woken yet; [`Self::ended`] says.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where they have ended already.
    pub fn give_up(&self) -> Result<(), ControlError> {
        let waiter = self.name.clone();
        self.gpu.call(&Call::GiveUp { waiter })
    }
}

/// A sync_file that the host has of a buffer.
#[derive(Debug)]
pub struct HostExport<'a> {
    gpu: &'a Gpu,
    name: String,
}

impl HostExport<'_> {
    /// How it stands.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn look(&self) -> Result<Kept, ControlError> {
        let export = self.name.clone();
        self.gpu.call(&Call::Look { export })
    }
}
