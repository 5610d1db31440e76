//! The operations on events: EVENTS, EVENT_WAIT, CANCEL.

use super::{Done, Started, attached, new_wait};
use crate::device::{Device, Turn};
use crate::events::EventRing;
use crate::host::{Errno, Host, errno};
use crate::status::{Place, Subject};
use crate::wait::Kind;

impl<H: Host> Device<H> {
    /// EVENTS: the context's event ring is here from now on, or nowhere.
    pub(super) fn bind_events(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        offset: u64,
        size: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        if resource_id == 0 {
            self.events.unbind(&mut context.inbox);
            return Ok(Done::Now);
        }
        let blob = attached(context.resources.contains(&resource_id), || {
            self.blobs.get(&resource_id)
        })?;
        let place = Place {
            resource_id,
            offset,
            size,
            blob_size: blob.size,
        };
        let ring = EventRing::new(host, &blob.buffer, &place)?;
        self.events.bind(host, &mut context.inbox, ring);
        Ok(Done::Now)
    }

    /// EVENT_WAIT: the guest has read so far, and the submission's fence waits for more.
    pub(super) fn event_wait(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        started: &mut Started,
        seen: u64,
    ) -> Result<Done, Errno> {
        let ctx_id = turn.request.ctx_id;
        let context = self.contexts.get(&ctx_id).ok_or(errno::ENOENT)?;
        let waits = !context.inbox.has_news(seen)? && turn.timeline.is_some();
        if waits {
            self.room_for_wait(started)?;
            self.room_for_fds(1)?;
        }
        let context = self.contexts.get_mut(&ctx_id).ok_or(errno::ENOENT)?;
        self.events.seen(host, &mut context.inbox, seen);
        if !waits {
            return Ok(Done::Now);
        }
        let wait = new_wait(Kind::Event, context.serial, subject);
        let wait = self.waits.insert(wait);
        context.inbox.wait_begins(wait);
        Ok(started.wait(&mut self.waits, wait))
    }

    /// CANCEL: there will be no such event.
    pub(super) fn cancel(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        event: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        if let Some(awaited) = self.events.cancel(host, &mut context.inbox, event)? {
            self.disarm(host, awaited);
        }
        Ok(Done::Now)
    }
}
