//! The host's clock, as a guest knows it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How the host's `CLOCK_MONOTONIC` stands to this machine's, from [`crate::Session::clock`].
///
/// Deadlines and the times in records are the host's. What is converted is right to
/// [`HostClock::error_ns`] at the time of the exchange. Afterwards the clocks drift apart as time
/// daemons steer them, each by at most 500 ppm (adjtimex(2)) and usually by much less: whoever needs
/// the time long after an exchange makes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostClock {
    offset_ns: i64,
    error_ns: u64,
}

impl HostClock {
    /// From one exchange: this machine's clock said `before_ns` and `after_ns`, and at a moment in
    /// between the host's said `host_ns`. `None` where the two are the wrong way round.
    pub(crate) fn from_exchange(before_ns: u64, host_ns: u64, after_ns: u64) -> Option<Self> {
        let width = after_ns.checked_sub(before_ns)?;
        let half = width.checked_div(2).unwrap_or(0);
        let middle = before_ns.saturating_add(half);
        let offset = i128::from(host_ns).saturating_sub(i128::from(middle));
        Some(Self {
            offset_ns: i64::try_from(offset).ok()?,
            // The moment lies at most so far from the middle, which was rounded down.
            error_ns: width.saturating_sub(half),
        })
    }

    /// What is to be added to this machine's time to get the host's, in nanoseconds.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// How wrong the offset may be, in nanoseconds, either way.
    pub fn error_ns(&self) -> u64 {
        self.error_ns
    }

    /// The host's time when this machine's `CLOCK_MONOTONIC` says `here_ns`; both in nanoseconds.
    pub fn host_ns(&self, here_ns: u64) -> u64 {
        here_ns.saturating_add_signed(self.offset_ns)
    }

    /// The host's time now, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.host_ns(now_ns())
    }

    /// What this machine's `CLOCK_MONOTONIC` says at `host_ns` of the host's time; both in
    /// nanoseconds.
    pub fn here_ns(&self, host_ns: u64) -> u64 {
        host_ns.saturating_add_signed(self.offset_ns.saturating_neg())
    }
}

/// This machine's `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_error_wherever_the_host_looked(
            before in 0..=u64::MAX / 4,
            width in prop_oneof![0_u64..10, 0_u64..1 << 40],
            part in 0.0..=1.0_f64,
            offset in -(1_i64 << 60)..1 << 60,
        ) {
            let moment = before + ((width as f64 * part) as u64).min(width);
            let Some(host) = moment.checked_add_signed(offset) else {
                return Ok(());
            };
            let clock = HostClock::from_exchange(before, host, before + width).unwrap();
            prop_assert!(clock.offset_ns().abs_diff(offset) <= clock.error_ns());
            prop_assert!(clock.error_ns() <= width / 2 + 1);
            prop_assert!(clock.host_ns(moment).abs_diff(host) <= clock.error_ns());
            prop_assert_eq!(clock.here_ns(clock.host_ns(moment)), moment);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_offset() {
        assert_eq!(HostClock::from_exchange(10, 50, 9), None);
    }

    #[test]
    fn the_error_of_an_exchange_is_half_of_what_it_took_rounded_up() {
        let clock = HostClock::from_exchange(100, 1000, 103).unwrap();
        assert_eq!((clock.offset_ns(), clock.error_ns()), (899, 2));
    }
}
