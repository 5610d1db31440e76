//! What a guest's clock says in the host's time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::client::Gpu;
use crate::control::ControlError;

/// This machine's `CLOCK_MONOTONIC`, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// How far the host's clock is ahead of this machine's: somewhere between two bounds that are as far
/// apart as the quickest of some calls took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// At least so many nanoseconds.
    least: i128,
    /// At most so many.
    most: i128,
}

impl Clock {
    /// Asks the host a few times and keeps the quickest answer.
    ///
    /// # Errors
    /// Those of a call.
    pub fn compare(gpu: &Gpu) -> Result<Self, ControlError> {
        let mut best: Option<Self> = None;
        for _ in 0..8 {
            let before = i128::from(now_ns());
            let host = i128::from(gpu.clock_ns()?);
            let after = i128::from(now_ns());
            let least = host.saturating_sub(after);
            let most = host.saturating_sub(before);
            let one = Self { least, most };
            if best.is_none_or(|best| one.error() < best.error()) {
                best = Some(one);
            }
        }
        best.ok_or(ControlError::Closed)
    }

    fn error(&self) -> i128 {
        self.most.saturating_sub(self.least)
    }

    /// How far apart the bounds are, in nanoseconds.
    pub fn error_ns(&self) -> u64 {
        u64::try_from(self.error()).unwrap_or(0)
    }

    /// The host's time, at the latest, when this machine's clock said `here_ns`.
    pub fn latest_ns(&self, here_ns: u64) -> u64 {
        shifted(here_ns, self.most)
    }

    /// The host's time, at the earliest, when this machine's clock said `here_ns`.
    pub fn earliest_ns(&self, here_ns: u64) -> u64 {
        shifted(here_ns, self.least)
    }
}

fn shifted(ns: u64, by: i128) -> u64 {
    u64::try_from(i128::from(ns).saturating_add(by)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_between_its_bounds() {
        let clock = Clock {
            least: -30,
            most: 20,
        };
        assert_eq!(clock.earliest_ns(100), 70);
        assert_eq!(clock.latest_ns(100), 120);
        assert_eq!(clock.error_ns(), 50);
        assert_eq!(clock.earliest_ns(10), 0);
    }
}
