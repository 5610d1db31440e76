//! Memory fences: counters that the host and the guest raise and wait for, seen from a case.

use std::time::Duration;

use super::call::{Call, Times};
use super::client::{Gpu, HostBuffer};
use super::consumer::Waiter;
use super::timeline::milliseconds;
use crate::control::ControlError;

impl Gpu {
    /// How many threads the daemon has.
    ///
    /// # Errors
    /// [`ControlError::Refused`] where the daemon is gone.
    pub fn threads(&self) -> Result<usize, ControlError> {
        self.call(&Call::Threads)
    }
}

impl<'a> HostBuffer<'a> {
    /// The host stores a counter, and tells nobody.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn store(&self, offset: u64, value: u64) -> Result<Times, ControlError> {
        let buffer = self.taken.buffer;
        self.gpu.call(&Call::Store {
            buffer,
            offset,
            value,
        })
    }

    /// What the host sees in a counter.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn load(&self, offset: u64) -> Result<u64, ControlError> {
        let buffer = self.taken.buffer;
        self.gpu.call(&Call::Load { buffer, offset })
    }

    /// The host raises a counter and tells who waits for it; with 0 it only tells. When this returns
    /// the daemon has replied.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn signal_memory(&self, offset: u64, value: u64) -> Result<Times, ControlError> {
        let buffer = self.taken.buffer;
        self.gpu.call(&Call::SignalMemory {
            buffer,
            offset,
            value,
        })
    }

    /// Somebody on the host sleeps until a counter is at least `value`, or the time is over.
    ///
    /// # Errors
    /// [`ControlError::Refused`].
    pub fn memory_sleeper(
        &self,
        offset: u64,
        value: u64,
        timeout: Duration,
    ) -> Result<Waiter<'a>, ControlError> {
        let waiter = Waiter {
            gpu: self.gpu,
            name: self.gpu.name("waiter"),
        };
        let _nothing: () = self.gpu.call(&Call::AwaitMemory {
            waiter: waiter.name.clone(),
            buffer: self.taken.buffer,
            offset,
            value,
            ms: milliseconds(timeout),
        })?;
        Ok(waiter)
    }
}
