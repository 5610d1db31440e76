//! POLL: what is on a buffer when the wait starts.
//!
//! A POLL starts when its fence is the head of its timeline, so when all fences before it have
//! left. Where there are none, that is at once. Until then it is a wait like any, with a deadline
//! and a file descriptor that is kept free for it.

use stile_wire::sync::{Access, RecordFlags};

use super::{Done, Started, attached, new_wait};
use crate::device::{Device, Turn};
use crate::fence::TimelineKey;
use crate::host::{Errno, Host, WaitId, errno};
use crate::list::List;
use crate::slab::Key;
use crate::status::{Ending, Subject};
use crate::wait::{Kind, OfFence};

impl<H: Host> Device<H> {
    /// POLL: the submission's fence waits for the buffer, from its turn on.
    pub(super) fn poll(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        started: &mut Started,
        access: Access,
    ) -> Result<Done, Errno> {
        let timeline = turn.timeline.ok_or(errno::EINVAL)?;
        self.room_for_wait(started)?;
        self.room_for_fds(1)?;
        let context = self.contexts.get(&subject.ctx_id).ok_or(errno::ENOENT)?;
        let blob = attached(context.resources.contains(&subject.resource_id), || {
            self.blobs.get(&subject.resource_id)
        })?;
        let kind = Kind::Poll {
            blob: blob.serial,
            access,
        };
        let wait = self.waits.insert(new_wait(kind, context.serial, subject));
        if self.fences.head(timeline).is_none()
            && let Err(error) = self.start_poll(host, wait)
        {
            self.waits.remove(wait);
            return Err(error);
        }
        Ok(started.wait(&mut self.waits, wait))
    }

    /// Starts the POLLs of a timeline's new head. `true` if none could start, and the head waits
    /// for nothing any more.
    pub(crate) fn start_polls(&mut self, host: &mut H, now_ns: u64, timeline: TimelineKey) -> bool {
        let head = self.fences.head(timeline);
        let mut next = head
            .and_then(|head| self.fences.answer_mut(head))
            .and_then(|parked| parked.waits.first(&self.waits));
        let mut done = false;
        while let Some(key) = next {
            let Some(wait) = self.waits.get(key) else {
                return done;
            };
            next = List::<OfFence>::after(&self.waits, key);
            if let Kind::Poll { .. } = wait.kind
                && let Err(error) = self.start_poll(host, key)
            {
                let ending = Ending {
                    error: Some(error),
                    flags: RecordFlags::empty(),
                    signalled_ns: 0,
                    done_ns: now_ns,
                };
                done = self.close_wait(host, WaitId(key), &ending).is_some();
            }
        }
        done
    }

    /// Takes what is on the buffer now, and watches it.
    fn start_poll(&mut self, host: &mut H, key: Key) -> Result<(), Errno> {
        let wait = self.waits.get_mut(key).ok_or(errno::ENOENT)?;
        let Kind::Poll { blob, access } = wait.kind else {
            return Ok(());
        };
        let buffer = self
            .blobs
            .get(&wait.subject.resource_id)
            .filter(|found| found.serial == blob)
            .map(|found| &found.buffer)
            .ok_or(errno::ENOENT)?;
        let fence = host.export(buffer, access)?;
        host.watch(WaitId(key), &fence)?;
        wait.kind = Kind::Fence;
        Ok(())
    }
}
