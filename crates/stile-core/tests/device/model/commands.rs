//! What the model answers to commands.

use std::collections::{BTreeMap, BTreeSet};

use stile_core::{Chain, Errno, errno};
use stile_wire::gpu::{MAP_CACHE_CACHED, Response, ResponseError};

use super::steps::Command;
use super::{
    Errand, Expected, Mapping, Model, ModelBlob, ModelContext, ModelFence, ModelJob, Promise, Turn,
    Unfenced,
};
use crate::sim::{Fenced, GuestCommand, Task};

const PAGE: u64 = 4096;
const NO_CONTEXT: Response = Response::Err(ResponseError::InvalidContextId);
pub(super) const NO_RESOURCE: Response = Response::Err(ResponseError::InvalidResourceId);
pub(super) const INVALID: Response = Response::Err(ResponseError::InvalidParameter);
const UNSPECIFIED: Response = Response::Err(ResponseError::Unspec);
pub(super) const MEMORY: Response = Response::Err(ResponseError::OutOfMemory);

/// What becomes of a command.
pub(super) enum Fate {
    Now(Response),
    /// The front end is asked.
    Job(Task, Errand),
    /// The host makes the memory of this blob.
    Make(ModelBlob),
}

use Fate::{Job, Make, Now};

pub(super) fn host_error(errno: Errno) -> Response {
    match errno.0 {
        12 | 24 | 28 | 122 => MEMORY,
        22 => INVALID,
        _ => UNSPECIFIED,
    }
}

/// Whole pages.
fn mapped_bytes(size: u64) -> u64 {
    size.div_ceil(PAGE) * PAGE
}

impl Model {
    /// The device takes up a command.
    pub(crate) fn command(
        &mut self,
        chain: Chain,
        what: &Command,
        command: &GuestCommand,
        fenced: Fenced,
    ) {
        let mut turn = Turn {
            chain,
            command,
            fenced,
            line: None,
        };
        turn.line = match fenced {
            Fenced::No | Fenced::RingOnly(_) => None,
            Fenced::Global(_) => Some(self.global),
            Fenced::Ring(ring, _) => self.line(command.ctx_id, ring),
        };
        if let (Some(line), Fenced::Global(id) | Fenced::Ring(_, id)) = (turn.line, fenced)
            && self.lines[line].last.is_some_and(|last| id <= last)
        {
            self.stale += 1;
            let answer = turn.answer(INVALID);
            return self.expect(
                chain,
                Expected {
                    fence: None,
                    ..answer
                },
            );
        }
        let creates = matches!(what, Command::CtxCreate { .. });
        let no_timeline = matches!(fenced, Fenced::Ring(..)) && turn.line.is_none();
        if turn.ring() > 63 {
            return self.finish(&turn, INVALID, Vec::new());
        }
        if no_timeline && !creates {
            return self.finish(&turn, NO_CONTEXT, Vec::new());
        }
        if let Command::Submit {
            pieces, cut_short, ..
        } = what
        {
            let (response, waits) = self.submit(&turn, pieces, *cut_short);
            return self.finish(&turn, response, waits);
        }
        match self.fate(what, turn.line.is_some() && self.full()) {
            Now(response) => self.finish(&turn, response, Vec::new()),
            Job(task, errand) => self.wait_for_job(&turn, task, errand),
            Make(blob) => self.wait_for_buffer(&turn, what, blob),
        }
        if let Command::CtxDestroy { ctx } = what {
            self.contexts.remove(ctx);
        }
    }

    /// The timeline of a ring, if there can be one.
    fn line(&mut self, ctx_id: u32, ring: u8) -> Option<usize> {
        let context = self.contexts.get(&ctx_id).filter(|_| ring < 64)?;
        if let Some(line) = context.rings.get(&ring) {
            return Some(*line);
        }
        let line = self.new_line();
        self.contexts.get_mut(&ctx_id)?.rings.insert(ring, line);
        Some(line)
    }

    /// Answers a command when `waits` are over, in the order of its timeline.
    fn finish(&mut self, turn: &Turn<'_>, response: Response, waits: Vec<usize>) {
        let answer = turn.answer(response);
        match turn.line {
            Some(line) if !waits.is_empty() => {
                self.push_fence(turn.chain, line, answer, waits, None);
                self.flush(line);
            }
            line => self.end_command(turn.chain, line, answer),
        }
    }

    /// Answers a command that waits for nothing more, in the order of its timeline.
    pub(super) fn end_command(&mut self, chain: Chain, line: Option<usize>, answer: Expected) {
        let Some(line) = line else {
            return self.expect(chain, answer);
        };
        if self.full() {
            self.displace(line);
        }
        self.push_fence(chain, line, answer, Vec::new(), None);
        self.flush(line);
    }

    /// The last fence of a timeline, if it only waits for those before it, is answered without
    /// the fence: another one is there to stand for both.
    fn displace(&mut self, line: usize) {
        let Some(fence) = self.lines[line].fences.last() else {
            return;
        };
        if fence.answered || !self.is_done(fence) {
            return;
        }
        let answer = Expected {
            fence: None,
            ..fence.answer.clone()
        };
        let chain = fence.chain;
        let nth = self.lines[line].fences.len() - 1;
        self.lines[line].fences[nth].answered = true;
        self.expect(chain, answer);
    }

    fn push_fence(
        &mut self,
        chain: Chain,
        line: usize,
        answer: Expected,
        waits: Vec<usize>,
        job: Option<usize>,
    ) {
        let (_, id) = answer.fence.expect("a fence on a timeline");
        self.lines[line].last = Some(id);
        let deadline_ns = self.deadline_ns();
        let (answered, signalled) = (false, false);
        let fence = ModelFence {
            chain,
            id,
            answer,
            deadline_ns,
            waits,
            job,
            answered,
            signalled,
        };
        self.lines[line].fences.push(fence);
    }

    fn wait_for_job(&mut self, turn: &Turn<'_>, task: Task, errand: Errand) {
        let job = self.jobs.len();
        let answer = turn.answer(Response::Ok);
        let promise = match turn.line {
            Some(line) => {
                self.push_fence(turn.chain, line, answer, Vec::new(), Some(job));
                Promise::Fence {
                    line,
                    nth: self.lines[line].fences.len() - 1,
                }
            }
            None => {
                let deadline_ns = self.deadline_ns();
                let command = Unfenced {
                    answer,
                    deadline_ns,
                    job,
                };
                self.unfenced.insert(turn.chain, command);
                Promise::Command(turn.chain)
            }
        };
        self.jobs.push(ModelJob {
            task,
            errand,
            promise,
            ended: false,
        });
    }

    /// `full` says that a fence may not wait for a job.
    fn fate(&mut self, what: &Command, full: bool) -> Fate {
        match *what {
            Command::DisplayInfo { .. } => Now(Response::NoDisplays),
            Command::Unknown { .. } => Now(UNSPECIFIED),
            Command::CtxCreate { ctx, capset } => Now(self.create_context(ctx, capset)),
            Command::CtxDestroy { ctx } => {
                let known = self.contexts.contains_key(&ctx);
                Now(if known { Response::Ok } else { NO_CONTEXT })
            }
            Command::Attach { ctx, resource } => Now(match self.contexts.get_mut(&ctx) {
                None => NO_CONTEXT,
                Some(_) if !self.blobs.contains_key(&resource) => NO_RESOURCE,
                Some(context) => {
                    context.resources.insert(resource);
                    Response::Ok
                }
            }),
            Command::Detach { ctx, resource } => Now(match self.contexts.get_mut(&ctx) {
                None => NO_CONTEXT,
                Some(context) if !context.resources.contains(&resource) => NO_RESOURCE,
                Some(context) => {
                    detach(context, resource);
                    Response::Ok
                }
            }),
            Command::Blob {
                resource,
                mem,
                mappable,
                size,
            } => self.create_blob(resource, mem, mappable, size),
            Command::Unref { resource } => Now(self.unref(resource)),
            Command::AssignUuid { resource, .. } => self.assign_uuid(resource, full),
            Command::Map {
                resource, offset, ..
            } => self.map(resource, offset, full),
            Command::Unmap { resource, .. } => self.unmap(resource, full),
            Command::Submit { .. } => unreachable!("handled before"),
        }
    }

    fn create_context(&mut self, ctx: u32, capset: u32) -> Response {
        if ctx == 0 || self.contexts.contains_key(&ctx) {
            return NO_CONTEXT;
        }
        if ![0, 30].contains(&capset) {
            return INVALID;
        }
        if self.contexts.len() == self.limits.contexts as usize {
            return MEMORY;
        }
        let life = self.new_life();
        let context = ModelContext {
            life,
            operations: capset == 30,
            resources: BTreeSet::new(),
            cookies: BTreeMap::new(),
            status: None,
            rings: BTreeMap::new(),
            ring: None,
            kept: Vec::new(),
            timelines: BTreeMap::new(),
        };
        self.contexts.insert(ctx, context);
        Response::Ok
    }

    fn unref(&mut self, resource: u32) -> Response {
        let Some(blob) = self.blobs.remove(&resource) else {
            return NO_RESOURCE;
        };
        for context in self.contexts.values_mut() {
            detach(context, resource);
        }
        self.cancel_requests_of(blob.life);
        if let Some(request) = blob.moving {
            self.end_request(request, Err(errno::ECANCELED));
        }
        if let Mapping::At(offset) | Mapping::Moving(offset, _) = blob.mapping {
            self.unmap_for_nobody(blob.life, offset);
        }
        Response::Ok
    }

    fn assign_uuid(&mut self, resource: u32, full: bool) -> Fate {
        let Some(blob) = self.blobs.get_mut(&resource) else {
            return Now(NO_RESOURCE);
        };
        if let Some(uuid) = blob.uuid {
            return Now(Response::Uuid(uuid));
        }
        if full {
            return Now(MEMORY);
        }
        self.uuids += 1;
        let uuid = [self.uuids; 16];
        blob.uuid = Some(uuid);
        Job(Task::Share { uuid }, Errand::Share { uuid })
    }

    fn map(&mut self, resource: u32, offset: u64, full: bool) -> Fate {
        let Some(blob) = self.blobs.get_mut(&resource) else {
            return Now(NO_RESOURCE);
        };
        if !blob.mappable || blob.mapping != Mapping::None {
            return Now(INVALID);
        }
        if full || self.region.len() == self.limits.maps as usize {
            return Now(MEMORY);
        }
        let size = mapped_bytes(blob.size);
        let free = self
            .region
            .iter()
            .all(|(start, taken)| offset + size <= *start || start + taken <= offset);
        if !free || !offset.is_multiple_of(PAGE) || offset + size > self.limits.hostmem_bytes {
            return Now(INVALID);
        }
        let life = blob.life;
        if let Err(errno) = self.host_call() {
            return Now(host_error(errno));
        }
        self.region.insert(offset, size);
        let blob = self.blob_of(life).expect("it was there");
        blob.mapping = Mapping::Changing;
        Job(
            Task::Map { offset, size },
            Errand::Map {
                blob: blob.life,
                offset,
            },
        )
    }

    fn unmap(&mut self, resource: u32, full: bool) -> Fate {
        let Some(blob) = self.blobs.get_mut(&resource) else {
            return Now(NO_RESOURCE);
        };
        let (Mapping::At(offset) | Mapping::Moving(offset, _)) = blob.mapping else {
            return Now(INVALID);
        };
        if full {
            return Now(MEMORY);
        }
        blob.mapping = Mapping::Changing;
        let size = self.region.remove(&offset).expect("a mapping's place");
        Job(
            Task::Unmap { offset, size },
            Errand::Unmap { blob: blob.life },
        )
    }

    fn unmap_for_nobody(&mut self, blob: u64, offset: u64) {
        let size = self.region.remove(&offset).expect("a mapping's place");
        let (task, errand) = (Task::Unmap { offset, size }, Errand::Unmap { blob });
        self.jobs.push(ModelJob {
            task,
            errand,
            promise: Promise::Nobody,
            ended: false,
        });
    }

    /// The front end has done the job `nth`, or could not.
    pub(crate) fn job_done(&mut self, nth: usize, done: bool) {
        let job = &mut self.jobs[nth];
        if job.ended {
            return;
        }
        job.ended = true;
        let (errand, promise) = (job.errand, job.promise);
        let failed = host_error(Errno(5));
        let outcome = if done { Response::Ok } else { failed };
        let response = match errand {
            Errand::Map { blob: life, offset } => self.mapped(life, offset, done, promise),
            Errand::Unmap { blob: life } => {
                if let Some(blob) = self.blob_of(life) {
                    blob.mapping = Mapping::None;
                }
                outcome
            }
            Errand::Move {
                blob,
                offset,
                request,
            } => return self.moved(blob, offset, request, done),
            Errand::Share { uuid } => Response::Uuid(uuid),
            Errand::OfAnotherLife => return,
        };
        match promise {
            Promise::Nobody => {}
            Promise::Command(chain) => {
                let command = self.unfenced.remove(&chain).expect("a command that waits");
                self.expect(
                    chain,
                    Expected {
                        response,
                        ..command.answer
                    },
                );
            }
            Promise::Fence { line, nth } => {
                let fence = &mut self.lines[line].fences[nth];
                fence.answer.response = response;
                fence.job = None;
                self.flush(line);
            }
        }
        if let Errand::Map { blob, .. } | Errand::Unmap { blob } = errand {
            self.go_on_moving(blob);
        }
    }

    pub(super) fn blob_of(&mut self, life: u64) -> Option<&mut ModelBlob> {
        self.blobs.values_mut().find(|blob| blob.life == life)
    }

    fn mapped(&mut self, life: u64, offset: u64, done: bool, promise: Promise) -> Response {
        // The guest was told that it failed.
        let overdue = matches!(promise, Promise::Nobody);
        let Some(blob) = self.blob_of(life) else {
            if done {
                self.unmap_for_nobody(life, offset);
            } else {
                self.region.remove(&offset);
            }
            return NO_RESOURCE;
        };
        match (done, overdue) {
            (true, false) => {
                blob.mapping = Mapping::At(offset);
                Response::MapInfo(MAP_CACHE_CACHED)
            }
            (true, true) => {
                self.unmap_for_nobody(life, offset);
                UNSPECIFIED
            }
            (false, _) => {
                blob.mapping = Mapping::None;
                self.region.remove(&offset);
                host_error(Errno(5))
            }
        }
    }
}

fn detach(context: &mut ModelContext, resource: u32) {
    context.resources.remove(&resource);
    let status = context.status.take();
    context.status = status.filter(|status| status.resource_id != resource);
}
