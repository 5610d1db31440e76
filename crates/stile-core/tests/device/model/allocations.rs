//! What the model makes of a blob's memory: asked for, there, given up, forgotten.

use stile_core::Errno;
use stile_wire::gpu::Response;

use super::commands::Fate::{self, Make, Now};
use super::commands::{INVALID, MEMORY, NO_RESOURCE, host_error};
use super::steps::Command;
use super::{Expected, Fortune, Mapping, Model, ModelBlob, Turn, Unmade};
use crate::sim::Reservation;

impl Model {
    pub(super) fn create_blob(
        &mut self,
        resource: u32,
        mem: u32,
        mappable: bool,
        size: u64,
    ) -> Fate {
        if resource == 0 || self.blobs.contains_key(&resource) {
            return Now(NO_RESOURCE);
        }
        if size == 0 {
            return Now(INVALID);
        }
        let (host_memory, guest_pages) = (mem != 1, mem != 2);
        let more = |counts: bool| if counts { size } else { 0 };
        if self.all_blobs().count() == self.limits.resources as usize
            || self.host_bytes() + more(host_memory) > self.limits.host_bytes
            || self.guest_bytes() + more(guest_pages) > self.limits.guest_bytes
            || self.fds() >= self.limits.fds as usize
        {
            return Now(MEMORY);
        }
        let hangs = |unmade: &Unmade| unmade.fortune == Fortune::GivenUp;
        if self.unmade.iter().any(hangs) {
            self.allocations_refused += 1;
            return Now(MEMORY);
        }
        if let Err(errno) = self.host_call() {
            return Now(host_error(errno));
        }
        Make(ModelBlob {
            life: self.new_life(),
            size,
            host_memory,
            guest_pages,
            mappable: mappable && host_memory,
            mapping: Mapping::None,
            uuid: None,
            reservation: Reservation::default(),
            bytes: Vec::new(),
            looked_at: false,
            moving: None,
        })
    }

    pub(super) fn wait_for_buffer(&mut self, turn: &Turn<'_>, what: &Command, blob: ModelBlob) {
        let Command::Blob { resource, .. } = *what else {
            unreachable!("{what:?} makes no blob");
        };
        self.unmade.push(Unmade {
            resource,
            blob,
            chain: turn.chain,
            answer: turn.answer(Response::Ok),
            line: turn.line,
            deadline_ns: self.deadline_ns(),
            fortune: Fortune::Awaited,
        });
    }

    /// Whether commands have to wait.
    pub(crate) fn is_paused(&self) -> bool {
        let awaited = |unmade: &Unmade| unmade.fortune == Fortune::Awaited;
        self.unmade.iter().any(awaited)
    }

    /// The host has made the buffer `nth`, or could not.
    pub(crate) fn buffer_created(&mut self, nth: usize, error: Option<Errno>) {
        let unmade = self.unmade.remove(nth);
        if unmade.fortune != Fortune::Awaited {
            self.allocations_late += 1;
            return;
        }
        let response = error.map_or(Response::Ok, host_error);
        if error.is_none() {
            self.blobs.insert(unmade.resource, unmade.blob);
        }
        let answer = Expected {
            response,
            ..unmade.answer
        };
        self.end_command(unmade.chain, unmade.line, answer);
    }

    /// The allocator has taken too long for the guest.
    pub(super) fn pass_unmade(&mut self) {
        let now_ns = self.now_ns;
        let mut unmade = self.unmade.iter_mut();
        let due = unmade
            .find(|unmade| unmade.fortune == Fortune::Awaited && unmade.deadline_ns <= now_ns);
        let Some(unmade) = due else { return };
        unmade.fortune = Fortune::GivenUp;
        let (chain, line) = (unmade.chain, unmade.line);
        let answer = Expected {
            response: MEMORY,
            ..unmade.answer.clone()
        };
        self.allocations_overdue += 1;
        self.end_command(chain, line, answer);
    }
}
