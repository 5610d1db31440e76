//! Buffers of the host's own, and the moving of a guest's resource to one of them.

use std::os::fd::AsFd;

use guest_tests::gpu::Taken;
use stile_gpu::bridge::Client;
use stile_host::AllocatorChoice;

use crate::player::{Error, Player};

/// How long the daemon may take to move a buffer, in nanoseconds.
const PATIENCE_NS: u64 = 30_000_000_000;

impl Player {
    /// Makes a buffer that no resource has.
    pub(crate) fn make(&self, size: u64, memory: &str) -> Result<Taken, Error> {
        let choice: AllocatorChoice = memory.parse()?;
        self.hold(choice.open()?.allocate(size)?, None)
    }

    /// Moves the resource of a buffer to another one: 0, or the errno of the daemon's reply.
    pub(crate) fn replace(&self, buffer: u32, by: u32) -> Result<u32, Error> {
        let (resource, by) = (self.resource(buffer)?, self.buffer(by)?);
        let reply = self.with_client(|client: &Client| {
            client.replace(1, resource, by.as_fd(), PATIENCE_NS)?;
            client.reply()
        })?;
        Ok(reply.answer.err().unwrap_or(0))
    }
}
