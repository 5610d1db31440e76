//! What the device has done, for metrics.

/// Counted since the start of the device; a reset does not set them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands answered.
    pub replies: u64,
    /// Answers that stood for a fence.
    pub fences: u64,
    /// Fences that had to wait.
    pub fences_parked: u64,
    /// Fences whose command was answered without them, since a later fence stands for both.
    pub fences_displaced: u64,
    /// Fences that their deadline ended.
    pub fences_overdue: u64,
    /// Blobs whose memory was not there in time, and that the guest was refused for it.
    pub allocations_overdue: u64,
    /// Allocations that ended when nobody waited for them any more.
    pub allocations_late: u64,
    /// Blobs refused because the host had not ended one of those.
    pub allocations_refused: u64,
    /// Commands without a fence that were answered since the front end took too long.
    pub commands_overdue: u64,
    /// Fenced commands whose id was not above the timeline's last.
    pub fences_stale: u64,
    /// Operations that failed, quotas included.
    pub operations_failed: u64,
    /// Commands and operations refused because of a quota.
    pub over_quota: u64,
    /// Signals for waits that were gone.
    pub late_signals: u64,
}
