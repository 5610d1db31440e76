//! Conversions that cannot lose anything on the machines this crate builds for.

/// `usize` as `u64`: no machine has wider addresses.
pub(crate) fn wide(n: usize) -> u64 {
    const { assert!(usize::BITS <= u64::BITS) };
    u64::try_from(n).unwrap_or(u64::MAX)
}
