//! A device on a host that costs nothing, without quotas.

use stile_core::{Chain, Device, Limits};
use stile_frontend::gpu::{Command, HOST3D, MAPPABLE, attach, create_blob, create_context, submit};
use stile_wire::sync::{CAPSET_ID, OpCode};

use super::host::Nothing;

/// The resource that everything is about.
pub(crate) const RESOURCE: u32 = 1;

/// Nanoseconds: it stands still, and no deadline passes.
const NOW: u64 = 1_000_000_000;

pub(crate) struct Core {
    pub(crate) device: Device<Nothing>,
    pub(crate) host: Nothing,
    chain: u32,
}

impl Core {
    /// With contexts 1 to `contexts`, which have [`RESOURCE`], of `counters` counters.
    pub(crate) fn new(contexts: u32, counters: usize) -> Self {
        let limits = Limits {
            contexts,
            cookies: u32::MAX,
            pending_fences: u32::MAX,
            events: u32::MAX,
            fds: u32::MAX,
            ..Limits::default()
        };
        let mut core = Self {
            device: Device::new(limits, OpCode::mask()),
            host: Nothing {
                words: vec![0; counters],
                ..Nothing::default()
            },
            chain: 0,
        };
        let bytes = 8 * counters.max(8192) as u64;
        core.send(&create_blob(RESOURCE, HOST3D, MAPPABLE, bytes, &[]).bytes());
        let wanted = core.host.wanted.take().expect("a blob's buffer");
        core.device.buffer_created(&mut core.host, wanted, Ok(()));
        for ctx_id in 1..=contexts {
            core.send(&create_context(ctx_id, CAPSET_ID).bytes());
            core.send(&attach(ctx_id, RESOURCE).bytes());
        }
        core
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.chain = self.chain.wrapping_add(1);
        let chain = Chain(self.chain);
        self.device.submit(&mut self.host, NOW, chain, bytes);
    }

    /// Submits without a fence.
    pub(crate) fn run(&mut self, ctx_id: u32, payload: &[u8]) {
        self.send(&unfenced(ctx_id, payload));
    }

    pub(crate) fn signal(&mut self, wait: stile_core::WaitId) {
        self.device.signalled(&mut self.host, NOW, wait, false);
    }

    pub(crate) fn ask(&mut self, id: u64, request: stile_core::Request) {
        let id = stile_core::RequestId(id);
        self.device.ask(&mut self.host, NOW, id, request);
    }
}

/// A submission without a fence, as it stands in the queue.
pub(crate) fn unfenced(ctx_id: u32, payload: &[u8]) -> Vec<u8> {
    submit(ctx_id, payload).bytes()
}

/// One with a fence.
pub(crate) fn fenced(ctx_id: u32, ring: u8, id: u64, payload: &[u8]) -> Vec<u8> {
    let command: Command = submit(ctx_id, payload);
    command.ring_fence(ring, id).bytes()
}
