//! FROM_RING and SNAPSHOT: one sync_file for what was queued before.
//!
//! A fence of the guest stands for host fences, for those of all its open waits and of the fences
//! before it. Their union signals no sooner than the guest's fence does, and can be handed on while
//! everything is still pending. What has no host fence, nothing can stand for: such an operation is
//! refused, since a sync_file without it would be early.

use alloc::vec::Vec;

use stile_wire::sync::MAX_RINGS;

use super::{Done, Started, attached};
use crate::device::{Device, Parked, Turn};
use crate::fence::TimelineKey;
use crate::host::{Errno, Host, WaitId, errno};
use crate::list::List;
use crate::wait::{Kind, OfFence};

/// What is looked at: each ring, fence and wait takes from the submission's share.
struct Look<'a> {
    left: &'a mut u32,
    waits: Vec<WaitId>,
    /// Whether an EVENT_WAIT is passed over. Nothing was submitted that it stands for: somebody
    /// listens, for as long as the context lives.
    without_events: bool,
}

impl Look<'_> {
    fn at_one_more(&mut self) -> Result<(), Errno> {
        match self.left.checked_sub(1) {
            Some(left) => {
                *self.left = left;
                Ok(())
            }
            None => Err(errno::EDQUOT),
        }
    }
}

impl<H: Host> Device<H> {
    /// FROM_RING: a cookie for the last fence on a ring of the submission's context.
    pub(super) fn take_from_ring(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        started: &mut Started,
        (ctx_id, ring): (u32, u32),
        cookie: u64,
    ) -> Result<Done, Errno> {
        let ring = u8::try_from(ring).map_err(|_| errno::EINVAL)?;
        if ring >= MAX_RINGS {
            return Err(errno::EINVAL);
        }
        let own = turn.request.ctx_id;
        if ctx_id != 0 && ctx_id != own {
            return Err(errno::EPERM);
        }
        self.room_for_cookie(own, cookie)?;
        self.room_for_fds(1)?;
        let mut look = Look {
            left: &mut started.looks,
            waits: Vec::new(),
            without_events: false,
        };
        let context = self.contexts.get(&own).ok_or(errno::ENOENT)?;
        let looked = match context.ring_if_used(ring) {
            Some(timeline) => self.look_at(&mut look, timeline),
            None => Ok(()),
        };
        let joined = self.join(host, looked.map(|()| look.waits))?;
        self.add_cookie(own, cookie, joined)
    }

    /// SNAPSHOT: a cookie for everything that the users of a buffer have queued.
    pub(super) fn snapshot(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        started: &mut Started,
        resource_id: u32,
        cookie: u64,
    ) -> Result<Done, Errno> {
        let own = turn.request.ctx_id;
        self.room_for_cookie(own, cookie)?;
        self.room_for_fds(1)?;
        let context = self.contexts.get(&own).ok_or(errno::ENOENT)?;
        attached(context.resources.contains(&resource_id), || {
            self.blobs.get(&resource_id)
        })?;
        let mut look = Look {
            left: &mut started.looks,
            waits: Vec::new(),
            without_events: true,
        };
        let looked = self.look_at_users(&mut look, resource_id);
        let joined = self.join(host, looked.map(|()| look.waits))?;
        self.add_cookie(own, cookie, joined)
    }

    /// All rings of the contexts that hold the resource, and the device's own timeline up to the
    /// last fence of one of them.
    fn look_at_users(&self, look: &mut Look<'_>, resource_id: u32) -> Result<(), Errno> {
        let blob = self.blobs.get(&resource_id).ok_or(errno::ENOENT)?;
        for context in blob.contexts.iter().filter_map(|id| self.contexts.get(id)) {
            for timeline in context.rings() {
                self.look_at(look, timeline)?;
            }
        }
        let mut until = 0;
        for (nth, parked) in (1_usize..).zip(self.fences.queue(self.global)) {
            look.at_one_more()?;
            if blob.contexts.contains(&parked.answer.ctx_id) {
                until = nth;
            }
        }
        for parked in self.fences.queue(self.global).take(until) {
            self.look_at_fence(look, parked)?;
        }
        Ok(())
    }

    fn look_at(&self, look: &mut Look<'_>, timeline: TimelineKey) -> Result<(), Errno> {
        look.at_one_more()?;
        for parked in self.fences.queue(timeline) {
            look.at_one_more()?;
            self.look_at_fence(look, parked)?;
        }
        Ok(())
    }

    /// The open waits of a fence, if all of them wait for host fences.
    fn look_at_fence(&self, look: &mut Look<'_>, parked: &Parked) -> Result<(), Errno> {
        if parked.job.is_some() {
            return Err(errno::EOPNOTSUPP);
        }
        let mut next = parked.waits.first(&self.waits);
        while let Some(key) = next {
            let wait = self.waits.get(key).ok_or(errno::EOPNOTSUPP)?;
            match wait.kind {
                Kind::Fence => look.waits.push(WaitId(key)),
                Kind::Event if look.without_events => {}
                _ => return Err(errno::EOPNOTSUPP),
            }
            look.at_one_more()?;
            next = List::<OfFence>::after(&self.waits, key);
        }
        Ok(())
    }

    /// The union of what is watched. Two sync_files of as many parts are merged, and the results
    /// again, so that no part is copied more often than it has to be, and few are open at once.
    fn join(
        &mut self,
        host: &mut H,
        looked: Result<Vec<WaitId>, Errno>,
    ) -> Result<H::Fence, Errno> {
        if looked == Err(errno::EDQUOT) {
            self.counters.over_quota = self.counters.over_quota.saturating_add(1);
        }
        let mut parts: Vec<(u32, H::Fence)> = Vec::new();
        for wait in looked? {
            let mut part = host.watched(wait).ok_or(errno::EOPNOTSUPP)?;
            let mut rank: u32 = 0;
            while let Some((_, before)) = parts.pop_if(|(of, _)| *of == rank) {
                part = host.merge(&before, &part)?;
                rank = rank.saturating_add(1);
            }
            parts.push((rank, part));
        }
        let Some((_, mut all)) = parts.pop() else {
            return host.signalled_fence();
        };
        while let Some((_, before)) = parts.pop() {
            all = host.merge(&before, &all)?;
        }
        Ok(all)
    }
}
