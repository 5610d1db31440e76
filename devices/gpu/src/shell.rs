//! What the device asks of the world: the one implementation of [`Host`].

use std::sync::Arc;

use stile_core::{
    Answer, BlobSource, BufferId, CpuPhase, Errno, Host, JobId, Outcome, RequestId, WaitId,
};
use stile_host::{Status, SyncFile, SyncobjNode};
use stile_wire::gpu::MAX_RESPONSE_BYTES;
use stile_wire::sync::{Access, Block};
use tracing::{debug, warn};
use vm_memory::GuestMemoryMmap;

use crate::allocation::{Allocations, Material};
use crate::bridge::Registry;
use crate::buffer::{Buffer, Pieces};
use crate::chain::{Chains, Which};
use crate::channel::{Channel, Request};
use crate::cpu_access::CpuAccesses;
use crate::reactor::Reactor;
use crate::records::Records;
use crate::seldom::warn_seldom;
use crate::words::Words;

/// The host around one device.
pub(crate) struct Shell {
    /// The guest's memory as it was when the reactor woke.
    pub(crate) memory: Arc<GuestMemoryMmap>,
    pub(crate) reactor: Reactor,
    pub(crate) channel: Channel,
    pub(crate) allocations: Allocations,
    pub(crate) cpu: CpuAccesses,
    pub(crate) chains: Chains,
    /// Answered chains: ring, head, bytes written.
    pub(crate) answered: Vec<(Which, u16, u32)>,
    /// Answers to requests of host processes.
    pub(crate) told: Vec<(RequestId, Result<u64, Errno>)>,
    pub(crate) registry: Arc<Registry>,
    /// Where the host's syncobjs are.
    pub(crate) syncobjs: Option<SyncobjNode>,
    /// A fence that has signalled.
    signalled: Option<Arc<SyncFile>>,
    response: [u8; MAX_RESPONSE_BYTES],
}

impl Shell {
    pub(crate) fn new(
        reactor: Reactor,
        channel: Channel,
        allocations: Allocations,
        cpu: CpuAccesses,
        registry: Arc<Registry>,
        syncobjs: Option<SyncobjNode>,
        signalled: Option<Arc<SyncFile>>,
    ) -> Self {
        Self {
            memory: Arc::default(),
            reactor,
            channel,
            allocations,
            cpu,
            chains: Chains::default(),
            answered: Vec::new(),
            told: Vec::new(),
            registry,
            syncobjs,
            signalled,
            response: [0; MAX_RESPONSE_BYTES],
        }
    }
}

impl Host for Shell {
    type Buffer = Buffer;
    type Records = Records;
    type Words = Words;

    fn create_buffer(&mut self, id: BufferId, source: BlobSource<'_>) -> Result<(), Errno> {
        let material = match source {
            BlobSource::Host { size } => Material::Host(size),
            BlobSource::Guest { size, entries } => {
                let pieces = Pieces::new(&self.memory, size, entries)?;
                Material::Guest(Arc::clone(&self.memory), pieces)
            }
        };
        self.allocations.make(id, material);
        Ok(())
    }

    fn export(&mut self, buffer: &Buffer, access: Access) -> Result<Arc<SyncFile>, Errno> {
        let fence = buffer.dma_buf()?.export_sync_file(to_host(access));
        fence.map(Arc::new).map_err(|error| to_errno(&error))
    }

    fn import(
        &mut self,
        buffer: &Buffer,
        access: Access,
        fence: &Arc<SyncFile>,
    ) -> Result<(), Errno> {
        let answer = buffer.dma_buf()?.import_sync_file(to_host(access), fence);
        answer.map_err(|error| to_errno(&error))
    }

    fn merge(
        &mut self,
        first: &Arc<SyncFile>,
        second: &Arc<SyncFile>,
    ) -> Result<Arc<SyncFile>, Errno> {
        first
            .merge(second, "stile")
            .map(Arc::new)
            .map_err(|error| to_errno(&error))
    }

    fn set_deadline(&mut self, fence: &Arc<SyncFile>, deadline_ns: u64) -> Result<(), Errno> {
        let answer = fence.set_deadline(deadline_ns);
        answer.map_err(|error| to_errno(&error))
    }

    fn watch(&mut self, wait: WaitId, fence: &Arc<SyncFile>) -> Result<(), Errno> {
        self.reactor.watch(wait, Arc::clone(fence));
        Ok(())
    }

    fn access(
        &mut self,
        wait: WaitId,
        buffer: &Buffer,
        phase: CpuPhase,
        access: Access,
    ) -> Result<(), Errno> {
        let (buffer, access) = (Arc::clone(buffer.dma_buf()?), to_host(access));
        self.cpu.start(wait, move || {
            let answer = match phase {
                CpuPhase::Begin => buffer.sync_begin(access),
                CpuPhase::End => buffer.sync_end(access),
            };
            answer.map_err(|error| to_errno(&error))
        })
    }

    fn watched(&mut self, wait: WaitId) -> Option<Arc<SyncFile>> {
        self.reactor.fence(wait).cloned()
    }

    fn signalled_fence(&mut self) -> Result<Arc<SyncFile>, Errno> {
        self.signalled.clone().ok_or(stile_core::errno::EOPNOTSUPP)
    }

    fn outcome(&mut self, wait: WaitId) -> Outcome {
        let Some(fence) = self.reactor.fence(wait) else {
            return Outcome::default();
        };
        match fence.outcome() {
            Ok(outcome) => Outcome {
                error: match outcome.status {
                    Status::Error(errno) => Some(to_wire(errno)),
                    Status::Active | Status::Signalled => None,
                },
                signalled_ns: outcome.timestamp_ns.unwrap_or(0),
            },
            Err(error) => {
                warn_seldom!(%error, "A fence does not say how it ended");
                Outcome::default()
            }
        }
    }

    fn unwatch(&mut self, wait: WaitId) {
        self.reactor.unwatch(wait);
    }

    fn records(&mut self, buffer: &Buffer, offset: u64, size: u64) -> Result<Records, Errno> {
        Records::new(buffer, offset, size)
    }

    fn write_header(&mut self, records: &mut Records, header: &Block) {
        records.write_header(&self.memory, header);
    }

    fn write_record(&mut self, records: &mut Records, offset: u64, record: &Block) {
        records.write_record(&self.memory, offset, record);
    }

    fn write_overflow(&mut self, records: &mut Records, overflow: u64) {
        records.write_overflow(&self.memory, overflow);
    }

    fn can_replace(&mut self, old: &Buffer, new: &Buffer) -> Result<(), Errno> {
        if old.dma_buf()?.size() == new.dma_buf()?.size() {
            Ok(())
        } else {
            Err(stile_core::errno::EINVAL)
        }
    }

    fn words(&mut self, buffer: &Buffer) -> Result<Words, Errno> {
        Words::new(buffer)
    }

    fn raise(&mut self, words: &Words, offset: u64, value: u64) -> Result<u64, Errno> {
        words.raise(&self.memory, offset, value)
    }

    fn map(&mut self, job: JobId, buffer: &Buffer, offset: u64, size: u64) -> Result<(), Errno> {
        let buffer = Arc::clone(buffer.dma_buf()?);
        self.channel.send(Request::Map {
            job,
            buffer,
            offset,
            size,
        });
        Ok(())
    }

    fn unmap(&mut self, job: JobId, offset: u64, size: u64) {
        self.channel.send(Request::Unmap { job, offset, size });
    }

    fn new_uuid(&mut self) -> [u8; 16] {
        uuid::Uuid::new_v4().into_bytes()
    }

    fn share(&mut self, job: JobId, uuid: [u8; 16], _buffer: &Buffer) {
        self.channel.send(Request::Share { job, uuid });
    }

    fn unshare(&mut self, uuid: [u8; 16]) {
        self.channel.send(Request::Unshare { uuid });
    }

    fn publish(&mut self, resource_id: u32, uuid: Option<[u8; 16]>, buffer: &Buffer) {
        if let Ok(dma_buf) = buffer.dma_buf() {
            self.registry.publish(resource_id, uuid, dma_buf);
        }
    }

    fn unpublish(&mut self, resource_id: u32) {
        self.registry.unpublish(resource_id);
    }

    fn tell(&mut self, request: RequestId, answer: Result<u64, Errno>) {
        self.told.push((request, answer));
    }

    fn reply(&mut self, answer: &Answer) {
        let Some(chain) = self.chains.take(answer.chain) else {
            warn!(?answer, "An answer has no chain");
            return;
        };
        let length = answer.encode(&mut self.response);
        let response = self.response.get(..length).unwrap_or_default();
        let written = chain.write(&self.memory, response);
        if let stile_wire::gpu::Response::Err(error) = answer.response {
            debug!(?error, ctx_id = answer.ctx_id, "A command failed");
        }
        self.answered.push((chain.ring, chain.head, written));
    }
}

fn to_host(access: Access) -> stile_host::Access {
    stile_host::Access::from_bits_truncate(access.bits())
}

/// The errno of a host error, for the guest.
pub(crate) fn to_errno(error: &stile_host::Error) -> Errno {
    to_wire(error.errno())
}

/// An errno as the guest reads it.
pub(crate) fn to_wire(errno: stile_host::Errno) -> Errno {
    Errno(u32::try_from(errno.raw_os_error()).unwrap_or(5))
}
