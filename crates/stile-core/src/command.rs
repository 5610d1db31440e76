//! Which command does what.

use alloc::boxed::Box;

use stile_wire::gpu::{Command, Malformed, Request, Response, ResponseError, types};
use stile_wire::sync::{CAPSET_ID, CAPSET_VERSION, Capset, MAX_RINGS};

use crate::answer::{Answer, Asker, Chain, to_malformed};
use crate::device::{Device, Turn};
use crate::host::{Host, errno};

impl<H: Host> Device<H> {
    /// Takes up one command: the device-readable bytes of a chain. It is answered now or later,
    /// by exactly one [`Host::reply`].
    ///
    /// Not to be called while the device [is paused](Device::is_paused): the command would overtake
    /// one before it, so it is refused, and the fence that it has does not signal.
    pub fn submit(&mut self, host: &mut H, now_ns: u64, chain: Chain, bytes: &[u8]) {
        self.take_up(host, now_ns, chain, bytes);
        self.end_event_waits(host, now_ns);
    }

    fn take_up(&mut self, host: &mut H, now_ns: u64, chain: Chain, bytes: &[u8]) {
        let Ok(request) = Request::decode(bytes) else {
            let response = Response::Err(to_malformed(Malformed::Short));
            return self.reply(
                host,
                Answer {
                    chain,
                    ctx_id: 0,
                    fence: None,
                    response,
                },
            );
        };
        if self.is_paused() {
            let nobody = Asker {
                chain,
                ctx_id: request.ctx_id,
                fence: None,
                timeline: None,
            };
            let response = Response::Err(ResponseError::Unspec);
            return self.reply(host, nobody.answer(response));
        }
        let timeline = request
            .fence
            .and_then(|(timeline, _)| self.timeline(timeline));
        if let (Some(key), Some((_, id))) = (timeline, request.fence)
            && self.fences.is_stale(key, id)
        {
            self.counters.fences_stale = self.counters.fences_stale.saturating_add(1);
            let response = Response::Err(ResponseError::InvalidParameter);
            let answer = Answer {
                chain,
                ctx_id: request.ctx_id,
                fence: None,
                response,
            };
            return self.reply(host, answer);
        }
        let turn = Turn {
            now_ns,
            chain,
            request,
            timeline,
        };
        if let Some(error) = self.misplaced(&request) {
            return self.finish(host, &turn, Response::Err(error));
        }
        match request.command {
            Ok(Command::Submit3d { payload }) => self.run(host, &turn, Ok(payload)),
            Err(Malformed::ShortPayload(size)) if size > self.limits.submit_bytes => {
                self.run(host, &turn, Err(errno::E2BIG));
            }
            Err(Malformed::Short | Malformed::ShortPayload(_))
                if request.kind == types::CMD_SUBMIT_3D =>
            {
                self.run(host, &turn, Err(errno::EBADMSG));
            }
            Ok(Command::CtxDestroy) => {
                // The answer is queued before its own ring is closed.
                let response = self.known_context(request.ctx_id);
                self.finish(host, &turn, response);
                self.destroy_context(host, request.ctx_id);
            }
            Ok(command) => {
                if let Some(response) = self.dispatch(host, &turn, command) {
                    self.finish(host, &turn, response);
                }
            }
            Err(fault) => self.finish(host, &turn, Response::Err(to_malformed(fault))),
        }
    }

    /// Everything but SUBMIT_3D and CTX_DESTROY. `None` where a job will answer.
    fn dispatch(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        command: Command<'_>,
    ) -> Option<Response> {
        let ctx_id = turn.request.ctx_id;
        Some(match command {
            Command::GetDisplayInfo => Response::NoDisplays,
            Command::GetEdid { .. }
            | Command::SetScanout { .. }
            | Command::SetScanoutBlob { .. } => Response::Err(ResponseError::InvalidScanoutId),
            Command::UpdateCursor { .. } | Command::MoveCursor { .. } => {
                Response::Err(ResponseError::InvalidScanoutId)
            }
            Command::GetCapsetInfo { index: 0 } => Response::CapsetInfo {
                id: CAPSET_ID,
                max_version: CAPSET_VERSION,
                max_size: u32::try_from(size_of::<Capset>()).unwrap_or(0),
            },
            Command::GetCapset {
                id: CAPSET_ID,
                version: ..=CAPSET_VERSION,
            } => Response::Capset(Box::new(self.capset())),
            Command::GetCapsetInfo { .. } | Command::GetCapset { .. } => {
                Response::Err(ResponseError::InvalidParameter)
            }
            Command::CtxCreate { capset_id } => self.create_context(ctx_id, capset_id),
            Command::CtxAttachResource { resource_id } => self.attach(ctx_id, resource_id),
            Command::CtxDetachResource { resource_id } => {
                self.detach(host, turn.now_ns, ctx_id, resource_id)
            }
            Command::ResourceCreateBlob {
                resource_id,
                mem,
                flags,
                size,
                entries,
                ..
            } => {
                let what = (resource_id, mem, flags);
                return self.create_blob(host, turn, what, size, entries);
            }
            Command::ResourceUnref { resource_id } => self.unref(host, turn.now_ns, resource_id),
            Command::ResourceAssignUuid { resource_id } => {
                return self.assign_uuid(host, turn, resource_id);
            }
            Command::ResourceMapBlob {
                resource_id,
                offset,
            } => {
                return self.map(host, turn, resource_id, offset);
            }
            Command::ResourceUnmapBlob { resource_id } => {
                return self.unmap(host, turn, resource_id);
            }
            // Not offered: 2D and 3D resources, backing of anything but blobs, transfers, flushes.
            Command::ResourceCreate2d { .. } | Command::ResourceCreate3d { .. } => {
                Response::Err(ResponseError::Unspec)
            }
            Command::AttachBacking { resource_id, .. }
            | Command::DetachBacking { resource_id }
            | Command::ResourceFlush { resource_id }
            | Command::TransferToHost2d { resource_id }
            | Command::TransferToHost3d { resource_id }
            | Command::TransferFromHost3d { resource_id } => {
                Response::Err(if self.blobs.contains_key(&resource_id) {
                    ResponseError::Unspec
                } else {
                    ResponseError::InvalidResourceId
                })
            }
            Command::Submit3d { .. } | Command::CtxDestroy => Response::Err(ResponseError::Unspec),
        })
    }

    fn capset(&self) -> Capset {
        Capset {
            version: CAPSET_VERSION.into(),
            size: u32::try_from(size_of::<Capset>()).unwrap_or(0).into(),
            operations: self.offered.into(),
            max_submit_bytes: self.limits.submit_bytes.into(),
            max_operations: self.limits.operations.into(),
            max_pending_fences: self.pending_limit.into(),
            max_cookies: self.limits.cookies.into(),
            max_rings: u32::from(MAX_RINGS).into(),
            fence_deadline_ms: self.limits.fence_deadline_ms.into(),
            status_record_bytes: 64.into(),
            max_timelines: self.limits.timelines.into(),
            max_host_bytes: self.limits.host_bytes.into(),
            max_events: self.limits.events.into(),
            max_cpu_accesses: self.limits.cpu_accesses.into(),
            max_timeout_ms: self.limits.timeout_ms.into(),
            reserved: 0.into(),
            reserved_tail: 0.into(),
        }
    }
}
