//! Memory fences: counters in buffers, which the bridge raises and waits for.

use std::time::Duration;

use guest_tests::gpu::{Times, now_ns};
use stile_gpu::bridge::{Client, ResourceName};
use stile_host::Mapping;

use crate::consumer::Waiter;
use crate::player::{Error, Player};

impl Player {
    /// Stores a counter, and tells nobody.
    pub(crate) fn store(&self, buffer: u32, offset: u64, value: u64) -> Result<Times, Error> {
        let memory = self.memory(buffer)?;
        let before_ns = now_ns();
        memory.store_u64(usize::try_from(offset)?, value)?;
        let after_ns = now_ns();
        Ok(Times {
            before_ns,
            after_ns,
        })
    }

    /// What a counter holds.
    pub(crate) fn load(&self, buffer: u32, offset: u64) -> Result<u64, Error> {
        Ok(self.memory(buffer)?.load_u64(usize::try_from(offset)?)?)
    }

    /// Raises a counter, and tells who waits for it.
    pub(crate) fn signal_memory(
        &self,
        buffer: u32,
        offset: u64,
        value: u64,
    ) -> Result<Times, Error> {
        let resource = self.resource(buffer)?;
        let reply = |client: &Client| {
            let before_ns = now_ns();
            client.mem_signal(1, resource, offset, value)?;
            let reply = client.reply()?;
            let after_ns = now_ns();
            Ok((
                reply,
                Times {
                    before_ns,
                    after_ns,
                },
            ))
        };
        let (reply, times) = self.with_client(reply)?;
        match reply.answer {
            Ok(_) => Ok(times),
            Err(errno) => Err(format!("MEM_SIGNAL has failed with errno {errno}").into()),
        }
    }

    /// Somebody waits for a counter.
    pub(crate) fn await_memory(
        &self,
        waiter: &str,
        buffer: u32,
        (offset, value): (u64, u64),
        timeout: Duration,
    ) -> Result<(), Error> {
        // A connection for each: it is what they sleep on.
        let client = self.new_client()?;
        let resource = self.resource(buffer)?;
        let timeout_ns = u64::try_from(timeout.as_nanos())?;
        client.mem_wait(1, resource, offset, value, timeout_ns)?;
        let watch = rustix::io::dup(&client)?;
        self.fall_asleep(waiter, watch, None, move |_, woken| match client.reply() {
            Ok(reply) if reply.answer.is_ok() => woken,
            Ok(_) => Waiter::GaveUp,
            Err(error) => {
                eprintln!("A wait for a counter has failed: {error}");
                Waiter::GaveUp
            }
        })
    }

    fn memory(&self, buffer: u32) -> Result<Mapping, Error> {
        let buffer = self.buffer(buffer)?;
        Ok(buffer.map(0..buffer.size())?)
    }

    pub(crate) fn resource(&self, buffer: u32) -> Result<ResourceName, Error> {
        let props = self.scene.lock();
        let resource = props.resources.get(&buffer).copied();
        let resource = resource.ok_or_else(|| format!("There is no buffer {buffer}"))?;
        Ok(ResourceName::Id(resource))
    }
}
