//! What the model makes of FROM_RING and SNAPSHOT.

use stile_core::{Errno, errno};

use super::waits::Cause;
use super::{Model, ModelFence};
use crate::sim::SyncFile;

/// What becomes of an EVENT_WAIT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listeners {
    PassedOver,
    Refused,
}

impl Model {
    /// One sync_file for everything that is pending on a ring.
    pub(super) fn join_ring(
        &mut self,
        ctx: u32,
        ring: u32,
        looks: &mut u32,
    ) -> Result<SyncFile, Errno> {
        let ring = u8::try_from(ring).expect("it was looked at");
        let lines: Vec<_> = self.contexts[&ctx]
            .rings
            .get(&ring)
            .copied()
            .into_iter()
            .collect();
        let parts = self.parts(&lines, Listeners::Refused, looks)?;
        self.join(parts)
    }

    /// One for everything that the contexts have queued which hold the resource.
    pub(super) fn join_users(&mut self, resource: u32, looks: &mut u32) -> Result<SyncFile, Errno> {
        let users = self.contexts.values();
        let users = users.filter(|context| context.resources.contains(&resource));
        let lines: Vec<_> = users
            .flat_map(|context| context.rings.values().copied())
            .collect();
        let mut parts = self.parts(&lines, Listeners::PassedOver, looks)?;
        let global: Vec<_> = self.pending_on(self.global).collect();
        for _ in &global {
            look(looks)?;
        }
        let is_users = |fence: &&ModelFence| {
            let ctx = fence.answer.ctx_id;
            let context = self.contexts.get(&ctx);
            context.is_some_and(|context| context.resources.contains(&resource))
        };
        let last = global.iter().rposition(is_users);
        for fence in &global[..last.map_or(0, |last| last + 1)] {
            parts.extend(self.parts_of(fence, Listeners::PassedOver, looks)?);
        }
        self.join(parts)
    }

    fn pending_on(&self, line: usize) -> impl Iterator<Item = &ModelFence> {
        let fences = self.lines[line].fences.iter();
        fences.filter(|fence| !fence.answered)
    }

    fn parts(
        &self,
        lines: &[usize],
        listeners: Listeners,
        looks: &mut u32,
    ) -> Result<Vec<SyncFile>, Errno> {
        let mut parts = Vec::new();
        for line in lines {
            look(looks)?;
            for fence in self.pending_on(*line) {
                look(looks)?;
                parts.extend(self.parts_of(fence, listeners, looks)?);
            }
        }
        Ok(parts)
    }

    /// Nothing stands for what is not a host fence.
    fn parts_of(
        &self,
        fence: &ModelFence,
        listeners: Listeners,
        looks: &mut u32,
    ) -> Result<Vec<SyncFile>, Errno> {
        if fence.job.is_some() {
            return Err(errno::EOPNOTSUPP);
        }
        let waits = fence.waits.iter().map(|wait| &self.waits[*wait]);
        let open = waits.filter(|wait| wait.ended.is_none());
        let parts = open.map(|wait| match &wait.cause {
            Cause::Fence(file) => look(looks).map(|()| Some(file.clone())),
            Cause::Event if listeners == Listeners::PassedOver => look(looks).map(|()| None),
            _ => Err(errno::EOPNOTSUPP),
        });
        parts.filter_map(Result::transpose).collect()
    }

    fn join(&mut self, parts: Vec<SyncFile>) -> Result<SyncFile, Errno> {
        // A signalled one, or a merge for each further part.
        let calls = if parts.is_empty() { 1 } else { parts.len() - 1 };
        for _ in 0..calls {
            self.host_call()?;
        }
        Ok(parts.into_iter().flatten().collect())
    }
}

fn look(looks: &mut u32) -> Result<(), Errno> {
    *looks = looks.checked_sub(1).ok_or(errno::EDQUOT)?;
    Ok(())
}
