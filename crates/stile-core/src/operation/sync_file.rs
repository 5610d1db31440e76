//! The operations on sync_files and their cookies: EXPORT, IMPORT, MERGE, WAIT, DROP, DEADLINE.

use stile_wire::sync::Access;

use super::{Done, Started, attached, new_wait};
use crate::context::Cookie;
use crate::device::{Device, Turn};
use crate::host::{Errno, Host, WaitId, errno};
use crate::status::Subject;
use crate::wait::Kind;

impl<H: Host> Device<H> {
    /// EXPORT: the kernel's snapshot, a name for it, and a wait if somebody waits.
    pub(super) fn export(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        started: &mut Started,
        (resource_id, access, cookie): (u32, Access, u64),
    ) -> Result<Done, Errno> {
        let ctx_id = turn.request.ctx_id;
        let fenced = turn.timeline.is_some();
        if cookie != 0 {
            self.room_for_cookie(ctx_id, cookie)?;
        }
        if fenced {
            self.room_for_wait(started)?;
        }
        self.room_for_fds(u32::from(cookie != 0).saturating_add(fenced.into()))?;
        let context = self.contexts.get_mut(&ctx_id).ok_or(errno::ENOENT)?;
        let blob = attached(context.resources.contains(&resource_id), || {
            self.blobs.get(&resource_id)
        })?;
        let fence = host.export(&blob.buffer, access)?;
        let mut watched = None;
        if fenced {
            let wait = self
                .waits
                .insert(new_wait(Kind::Fence, context.serial, subject));
            if let Err(error) = host.watch(WaitId(wait), &fence) {
                self.waits.remove(wait);
                return Err(error);
            }
            started.wait(&mut self.waits, wait);
            watched = Some(wait);
        }
        if cookie != 0 {
            let wait = watched;
            context.cookies.insert(cookie, Cookie { fence, wait });
            self.cookies = self.cookies.saturating_add(1);
        }
        Ok(if watched.is_some() {
            Done::Waits
        } else {
            Done::Now
        })
    }

    /// IMPORT: the host's users of the buffer wait for the cookie.
    pub(super) fn import(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        resource_id: u32,
        access: Access,
        cookie: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        let fence = context.fence(cookie).ok_or(errno::ENOENT)?;
        let blob = attached(context.resources.contains(&resource_id), || {
            self.blobs.get(&resource_id)
        })?;
        host.import(&blob.buffer, access, fence)?;
        Ok(Done::Now)
    }

    /// MERGE: a new cookie for both.
    pub(super) fn merge(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        (first, second): (u64, u64),
        cookie: u64,
    ) -> Result<Done, Errno> {
        let ctx_id = turn.request.ctx_id;
        self.room_for_cookie(ctx_id, cookie)?;
        self.room_for_fds(1)?;
        let context = self.contexts.get(&ctx_id).ok_or(errno::ENOENT)?;
        let first = context.fence(first).ok_or(errno::ENOENT)?;
        let second = context.fence(second).ok_or(errno::ENOENT)?;
        let merged = host.merge(first, second)?;
        self.add_cookie(ctx_id, cookie, merged)
    }

    /// WAIT: the submission's fence waits for the cookie.
    pub(super) fn wait(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        started: &mut Started,
        cookie: u64,
    ) -> Result<Done, Errno> {
        if turn.timeline.is_none() {
            return Err(errno::EINVAL);
        }
        self.room_for_wait(started)?;
        self.room_for_fds(1)?;
        let context = self
            .contexts
            .get(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        let fence = context.fence(cookie).ok_or(errno::ENOENT)?;
        let wait = self
            .waits
            .insert(new_wait(Kind::Fence, context.serial, subject));
        if let Err(error) = host.watch(WaitId(wait), fence) {
            self.waits.remove(wait);
            return Err(error);
        }
        Ok(started.wait(&mut self.waits, wait))
    }

    /// DROP: the cookie is free.
    pub(super) fn drop_cookie(&mut self, turn: &Turn<'_>, cookie: u64) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get_mut(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        context.cookies.remove(&cookie).ok_or(errno::ENOENT)?;
        self.cookies = self.cookies.saturating_sub(1);
        Ok(Done::Now)
    }

    /// DEADLINE: the host's drivers learn when the cookie is wanted.
    pub(super) fn deadline(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        cookie: u64,
        deadline_ns: u64,
    ) -> Result<Done, Errno> {
        let context = self
            .contexts
            .get(&turn.request.ctx_id)
            .ok_or(errno::ENOENT)?;
        let fence = context.fence(cookie).ok_or(errno::ENOENT)?;
        host.set_deadline(fence, deadline_ns)?;
        Ok(Done::Now)
    }

    /// A new cookie, whose name was seen to be free.
    pub(super) fn add_cookie(
        &mut self,
        ctx_id: u32,
        cookie: u64,
        fence: H::Fence,
    ) -> Result<Done, Errno> {
        let context = self.contexts.get_mut(&ctx_id).ok_or(errno::ENOENT)?;
        context.cookies.insert(cookie, Cookie { fence, wait: None });
        self.cookies = self.cookies.saturating_add(1);
        Ok(Done::Now)
    }
}
