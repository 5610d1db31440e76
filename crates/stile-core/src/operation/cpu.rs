//! CPU_BEGIN and CPU_END: accesses by the CPU, for which the host may wait without limit.

use stile_wire::sync::Access;

use super::{Done, Started, attached, new_wait};
use crate::device::{Device, Turn};
use crate::host::{CpuPhase, Errno, Host, WaitId, errno};
use crate::status::Subject;
use crate::wait::Kind;

impl<H: Host> Device<H> {
    /// The submission's fence waits until the access has begun, or has ended.
    pub(super) fn cpu_access(
        &mut self,
        host: &mut H,
        turn: &Turn<'_>,
        subject: &Subject,
        started: &mut Started,
        (phase, access): (CpuPhase, Access),
    ) -> Result<Done, Errno> {
        if turn.timeline.is_none() {
            return Err(errno::EINVAL);
        }
        self.room_for_wait(started)?;
        self.room_for_fds(1)?;
        let context = self.contexts.get(&subject.ctx_id).ok_or(errno::ENOENT)?;
        let blob = attached(context.resources.contains(&subject.resource_id), || {
            self.blobs.get(&subject.resource_id)
        })?;
        let wait = self
            .waits
            .insert(new_wait(Kind::Cpu, context.serial, subject));
        if let Err(error) = host.access(WaitId(wait), &blob.buffer, phase, access) {
            self.waits.remove(wait);
            return Err(error);
        }
        Ok(started.wait(&mut self.waits, wait))
    }
}
