//! vhost-user: what the front end says, and what that means for the machine.
//!
//! The messages are the `vhost` crate's; the specification is QEMU's `docs/interop/vhost-user.rst`.

use std::fs::File;
use std::io;

use tracing::{debug, warn};
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Backend, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use virtio_queue::QueueT;
use vm_memory::{Address, GuestAddress};

use crate::chain::Which;
use crate::machine::Machine;
use crate::offer;

/// Memory regions that a front end may add, the hostmem region's included. QEMU maps 511 at most.
const MAX_MEMORY_REGIONS: u64 = 509;

fn which(index: u32) -> Result<Which> {
    match index {
        0 => Ok(Which::Control),
        1 => Ok(Which::Cursor),
        _ => Err(Error::InvalidParam),
    }
}

fn failed(error: crate::Error) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

const fn unsupported() -> Error {
    Error::InvalidOperation("not offered")
}

impl Machine {
    /// Starts a ring that has become complete, or stops one that is not any more.
    fn update(&mut self, index: Which, ran: bool) -> Result<()> {
        match (ran, self.ring(index).runs()) {
            (false, true) => self.start(index).map_err(failed),
            (true, false) => {
                self.stop(index);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_enabled(&mut self, index: Which, enabled: bool) -> Result<()> {
        let ran = self.ring(index).runs();
        self.ring_mut(index).enabled = enabled;
        self.update(index, ran)
    }
}

impl VhostUserBackendReqHandlerMut for Machine {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        for index in [Which::Control, Which::Cursor] {
            let ran = self.ring(index).runs();
            let ring = self.ring_mut(index);
            ring.enabled = false;
            ring.queue.set_ready(false);
            self.update(index, ran)?;
        }
        self.reset();
        self.features = 0;
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(offer::features())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let unknown = features & !(offer::features() | offer::RING_RESET);
        if unknown != 0 {
            warn!(
                unknown,
                "The front end acknowledges features that were not offered"
            );
            return Err(Error::InvalidParam);
        }
        self.features = features;
        let event_idx = offer::has_event_idx(features);
        self.control.queue.set_event_idx(event_idx);
        self.cursor.queue.set_event_idx(event_idx);
        if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            // Then there is no SET_VRING_ENABLE, and rings are enabled from the start.
            self.set_enabled(Which::Control, true)?;
            self.set_enabled(Which::Cursor, true)?;
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if postcopy_listening.is_some() {
            return Err(unsupported());
        }
        self.memory.set(regions, files)?;
        self.look_again();
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| size.is_power_of_two());
        let size = size
            .filter(|size| *size <= offer::MAX_QUEUE_SIZE)
            .ok_or(Error::InvalidParam)?;
        self.ring_mut(which(index)?).queue.set_size(size);
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let index = which(index)?;
        let address = |user| self.memory.guest_address(user).ok_or(Error::InvalidParam);
        let (descriptor, used, available) =
            (address(descriptor)?, address(used)?, address(available)?);
        let memory = self.memory.snapshot();
        let queue = &mut self.ring_mut(index).queue;
        let (low, high) = halves(descriptor);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(available);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(used);
        queue.set_used_ring_address(low, high);
        // SET_VRING_BASE names only the available ring's index. The used ring's is in the ring: it
        // lags behind by the fences that are pending.
        let used = queue
            .used_idx(&*memory, std::sync::atomic::Ordering::Acquire)
            .map_err(|_| Error::InvalidParam)?;
        queue.set_next_used(used.0);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.ring_mut(which(index)?).queue.set_next_avail(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let ring = which(index)?;
        let ran = self.ring(ring).runs();
        self.ring_mut(ring).queue.set_ready(false);
        self.update(ring, ran)?;
        let stopped = self.ring_mut(ring);
        stopped.kick = None;
        stopped.call = None;
        Ok(VhostUserVringState::new(
            index,
            u32::from(stopped.queue.next_avail()),
        ))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let index = which(u32::from(index))?;
        let ran = self.ring(index).runs();
        if ran {
            self.stop(index);
        }
        let ring = self.ring_mut(index);
        ring.kick = fd;
        ring.queue.set_ready(ring.kick.is_some());
        self.update(index, false)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let ring = self.ring_mut(which(u32::from(index))?);
        ring.call = fd;
        // QEMU gives it after the ring has started: what was published until now called nobody. A
        // driver that is called for nothing looks and goes on.
        if ring.runs() {
            ring.call();
        }
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        which(u32::from(index)).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(offer::protocol_features())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.protocol_features = features;
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(offer::QUEUES)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.set_enabled(which(index)?, enable)
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        Ok(offer::config_space(offset, size))
    }

    fn set_config(
        &mut self,
        offset: u32,
        bytes: &[u8],
        _flags: VhostUserConfigFlags,
    ) -> Result<()> {
        // Only events_clear may be written, and there are no events.
        debug!(
            offset,
            length = bytes.len(),
            "The driver writes to the configuration space"
        );
        Ok(())
    }

    fn set_backend_req_fd(&mut self, backend: Backend) {
        let has = |feature: VhostUserProtocolFeatures| self.protocol_features & feature.bits() != 0;
        let acknowledges = has(VhostUserProtocolFeatures::REPLY_ACK);
        backend.set_reply_ack_flag(acknowledges);
        let shares = has(VhostUserProtocolFeatures::SHARED_OBJECT);
        backend.set_shared_object_flag(shares);
        // Without acknowledgements nobody knows when a mapping is there: then there are none.
        backend.set_shmem_flag(acknowledges && has(VhostUserProtocolFeatures::SHMEM));
        self.shell.channel.connect(backend, shares);
    }

    fn set_gpu_socket(&mut self, _backend: GpuBackend) -> Result<()> {
        // The device has no outputs: there is nothing to say on it. It is closed here.
        Ok(())
    }

    fn get_shared_object(&mut self, uuid: VhostUserSharedMsg) -> Result<File> {
        let entry = self
            .registry
            .by_uuid(*uuid.uuid.as_bytes())
            .ok_or(Error::InvalidParam)?;
        let buffer = entry.buffer.try_clone().map_err(|error| {
            Error::ReqHandlerError(io::Error::from_raw_os_error(error.errno().raw_os_error()))
        })?;
        Ok(File::from(std::os::fd::OwnedFd::from(buffer)))
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(unsupported())
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        Err(unsupported())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_MEMORY_REGIONS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if postcopy_listening.is_some() {
            return Err(unsupported());
        }
        self.memory.add(region, file)?;
        self.look_again();
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.memory.remove(region)
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        Err(unsupported())
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(unsupported())
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Ok(offer::shared_memory(self.device.limits()))
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        Err(unsupported())
    }
}

/// An address as virtio-queue takes it.
fn halves(address: GuestAddress) -> (Option<u32>, Option<u32>) {
    let [a, b, c, d, e, f, g, h] = address.raw_value().to_le_bytes();
    (
        Some(u32::from_le_bytes([a, b, c, d])),
        Some(u32::from_le_bytes([e, f, g, h])),
    )
}
