//! Warnings that a guest can cause as often as it likes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts an occasion and says when it is worth a line in the log: the first, second, fourth, eighth
/// time and so on.
#[derive(Debug, Default)]
pub(crate) struct Seldom(AtomicU64);

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How often it has happened, if that is to be said now.
    pub(crate) fn now(&self) -> Option<u64> {
        let times = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        times.is_power_of_two().then_some(times)
    }
}

/// `warn!` with the number of times, seldom.
macro_rules! warn_seldom {
    ($($arguments:tt)+) => {{
        static SELDOM: $crate::seldom::Seldom = $crate::seldom::Seldom::new();
        if let Some(times) = SELDOM.now() {
            tracing::warn!(times, $($arguments)+);
        }
    }};
}
pub(crate) use warn_seldom;

#[cfg(test)]
mod tests {
    use super::Seldom;

    #[test]
    fn a_thousand_times_make_ten_lines() {
        let seldom = Seldom::default();
        let said: Vec<u64> = (0..1000).filter_map(|_| seldom.now()).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }
}
