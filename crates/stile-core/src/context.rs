//! A context: what belongs to one user of the device in the guest. And the commands about contexts.

use alloc::collections::{BTreeMap, BTreeSet};

use stile_wire::gpu::{Command, Request, Response, ResponseError, Timeline};
use stile_wire::sync::{CAPSET_ID, MAX_RINGS};

use crate::device::{Device, to_usize};
use crate::events::Inbox;
use crate::fence::{Fences, TimelineKey};
use crate::host::Host;
use crate::slab::Key;
use crate::status::Status;
use crate::waiters::Through;

/// A host sync_file under a number of the guest's.
#[derive(Debug)]
pub(crate) struct Cookie<F> {
    pub(crate) fence: F,
    /// The wait of the EXPORT that made it: if it cannot be kept up, the EXPORT is refused after
    /// all. The key of one that has ended names nothing.
    pub(crate) wait: Option<Key>,
}

/// A guest's context.
#[derive(Debug)]
pub(crate) struct Context<F, R> {
    /// Never the same for two contexts of a device: ids come back, serials do not.
    pub(crate) serial: u64,
    /// Whether the stile-sync operations may be used in it.
    pub(crate) operations: bool,
    pub(crate) cookies: BTreeMap<u64, Cookie<F>>,
    pub(crate) resources: BTreeSet<u32>,
    pub(crate) status: Option<Status<R>>,
    pub(crate) inbox: Inbox<R>,
    /// The timelines by their names.
    pub(crate) timelines: BTreeMap<u64, Key>,
    rings: BTreeMap<u8, TimelineKey>,
}

impl<F, R> Context<F, R> {
    pub(crate) const fn new(serial: u64, operations: bool) -> Self {
        Self {
            serial,
            operations,
            cookies: BTreeMap::new(),
            resources: BTreeSet::new(),
            status: None,
            inbox: Inbox::new(),
            timelines: BTreeMap::new(),
            rings: BTreeMap::new(),
        }
    }

    /// The sync_file of a cookie.
    pub(crate) fn fence(&self, cookie: u64) -> Option<&F> {
        self.cookies.get(&cookie).map(|cookie| &cookie.fence)
    }

    /// The timeline of a ring below 64; a ring costs nothing before its first fence.
    pub(crate) fn ring<A>(&mut self, ring_idx: u8, fences: &mut Fences<A>) -> TimelineKey {
        *self.rings.entry(ring_idx).or_insert_with(|| fences.open())
    }

    /// The timeline of a ring, if it has had a fence.
    pub(crate) fn ring_if_used(&self, ring_idx: u8) -> Option<TimelineKey> {
        self.rings.get(&ring_idx).copied()
    }

    /// The timelines of the rings that have had a fence.
    pub(crate) fn rings(&self) -> impl Iterator<Item = TimelineKey> {
        self.rings.values().copied()
    }

    /// The context is destroyed: its rings take no more fences.
    pub(crate) fn close<A>(&mut self, fences: &mut Fences<A>) {
        for timeline in core::mem::take(&mut self.rings).into_values() {
            fences.close(timeline);
        }
    }

    /// The resource is not the context's any more.
    pub(crate) fn detach(&mut self, resource_id: u32) {
        self.resources.remove(&resource_id);
        if self
            .status
            .as_ref()
            .is_some_and(|status| status.resource_id == resource_id)
        {
            self.status = None;
        }
    }
}

impl<H: Host> Device<H> {
    pub(crate) fn known_context(&self, ctx_id: u32) -> Response {
        if self.contexts.contains_key(&ctx_id) {
            Response::Ok
        } else {
            Response::Err(ResponseError::InvalidContextId)
        }
    }

    pub(crate) fn create_context(&mut self, ctx_id: u32, capset_id: u32) -> Response {
        if ctx_id == 0 || self.contexts.contains_key(&ctx_id) {
            return Response::Err(ResponseError::InvalidContextId);
        }
        // Id 0 is a context from before CONTEXT_INIT: it holds buffers and nothing else.
        if capset_id != CAPSET_ID && capset_id != 0 {
            return Response::Err(ResponseError::InvalidParameter);
        }
        if self.contexts.len() >= to_usize(self.limits.contexts) {
            return self.over_quota();
        }
        let serial = self.next_serial();
        self.contexts
            .insert(ctx_id, Context::new(serial, capset_id == CAPSET_ID));
        Response::Ok
    }

    pub(crate) fn destroy_context(&mut self, host: &mut H, ctx_id: u32) {
        let Some(mut context) = self.contexts.remove(&ctx_id) else {
            return;
        };
        context.close(&mut self.fences);
        for awaited in self.events.close(context.inbox) {
            self.disarm(host, awaited);
        }
        self.drop_timelines(host, context.timelines.into_values());
        let cookies = u32::try_from(context.cookies.len()).unwrap_or(u32::MAX);
        self.cookies = self.cookies.saturating_sub(cookies);
        for resource_id in context.resources {
            if let Some(blob) = self.blobs.get_mut(&resource_id) {
                blob.contexts.remove(&ctx_id);
            }
        }
    }

    /// Why a command is not taken up: its ring is no ring, or its fence is of a context that does
    /// not exist. Such a fence is answered at once, so nothing may be waited for.
    pub(crate) fn misplaced(&self, request: &Request<'_>) -> Option<ResponseError> {
        if request.ring_idx >= MAX_RINGS {
            return Some(ResponseError::InvalidParameter);
        }
        match (request.fence, request.command) {
            (_, Ok(Command::CtxCreate { .. })) => None,
            (Some((Timeline::Ring { ctx_id, .. }, _)), _)
                if !self.contexts.contains_key(&ctx_id) =>
            {
                Some(ResponseError::InvalidContextId)
            }
            _ => None,
        }
    }

    /// The timeline that a fence names; `None` where there can be none on it.
    pub(crate) fn timeline(&mut self, timeline: Timeline) -> Option<TimelineKey> {
        match timeline {
            Timeline::Global => Some(self.global),
            Timeline::Ring { ctx_id, ring_idx } if ring_idx < MAX_RINGS => Some(
                self.contexts
                    .get_mut(&ctx_id)?
                    .ring(ring_idx, &mut self.fences),
            ),
            Timeline::Ring { .. } => None,
        }
    }

    pub(crate) fn attach(&mut self, ctx_id: u32, resource_id: u32) -> Response {
        let Some(context) = self.contexts.get_mut(&ctx_id) else {
            return Response::Err(ResponseError::InvalidContextId);
        };
        let Some(blob) = self.blobs.get_mut(&resource_id) else {
            return Response::Err(ResponseError::InvalidResourceId);
        };
        context.resources.insert(resource_id);
        blob.contexts.insert(ctx_id);
        Response::Ok
    }

    pub(crate) fn detach(
        &mut self,
        host: &mut H,
        now_ns: u64,
        ctx_id: u32,
        resource_id: u32,
    ) -> Response {
        let Some(context) = self.contexts.get_mut(&ctx_id) else {
            return Response::Err(ResponseError::InvalidContextId);
        };
        if !context.resources.contains(&resource_id) {
            return Response::Err(ResponseError::InvalidResourceId);
        }
        context.detach(resource_id);
        self.events.detach(&mut context.inbox, resource_id);
        let through = Through::Context(context.serial);
        if let Some(blob) = self.blobs.get_mut(&resource_id) {
            blob.contexts.remove(&ctx_id);
            let serial = blob.serial;
            self.cancel_waiters_through(host, now_ns, serial, through);
        }
        Response::Ok
    }
}
