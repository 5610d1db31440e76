//! The exchange of times.

use stile_wire::sync::OpCode;

use super::Session;
use crate::clock::{HostClock, now_ns};
use crate::error::{Error, Result};
use crate::submission::Submission;

impl Session {
    /// CLOCK: how the host's clock stands to this machine's, from the best of so many exchanges.
    /// Eight are enough for most.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Timeout`], and those of [`crate::Context::submit`];
    /// [`Error::NoClock`] where `exchanges` is 0, or the clocks said what cannot be.
    pub fn clock(&mut self, exchanges: u32) -> Result<HostClock> {
        let mut best: Option<HostClock> = None;
        for _ in 0..exchanges {
            let one = self.exchange()?;
            best = match (best, one) {
                (Some(best), Some(one)) if one.error_ns() >= best.error_ns() => Some(best),
                (best, one) => one.or(best),
            };
        }
        best.ok_or(Error::NoClock)
    }

    fn exchange(&mut self) -> Result<Option<HostClock>> {
        let tag = self.tag();
        let submission = Submission::on_ring(0).clock(tag);
        let before = now_ns();
        let pending = self.start(submission, (OpCode::Clock, 0, tag), None)?;
        let record = self.finish(&pending, Some(self.timeout))?;
        let woken = now_ns();
        // The guest's kernel has the time when it heard of the answer. That is after the device
        // looked at its clock, and before this program was woken.
        let after = pending.fence.timestamp_ns()?.unwrap_or(woken).min(woken);
        Ok(HostClock::from_exchange(before, record.taken_ns, after))
    }
}
