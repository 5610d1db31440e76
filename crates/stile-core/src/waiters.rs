//! Who waits for the counters in blobs: one structure for all waiters of the device.
//!
//! A counter is 64 bits of a blob that anybody may raise and nobody need raise ever. Nobody looks
//! at it unasked: whoever raises it says so, and then exactly those leave that it has reached, each
//! in logarithmic time however many others wait.

use alloc::collections::{BTreeMap, BTreeSet};

/// Through whom a blob is reached: a waiter leaves when that way is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Through {
    /// The context with this serial, to which the blob is attached.
    Context(u64),
    /// The bridge, for as long as there is the blob.
    Bridge,
}

/// Names a waiter. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterKey {
    /// The blob's serial: ids come back.
    blob: u64,
    /// Of the counter, in bytes.
    offset: u64,
    /// The least that the counter must be.
    value: u64,
    /// Of those who wait for the same, the first to come is the first to leave.
    nth: u64,
}

impl WaiterKey {
    const fn first(blob: u64, offset: u64) -> Self {
        Self {
            blob,
            offset,
            value: 0,
            nth: 0,
        }
    }

    /// Behind all who wait for `value` or less.
    const fn last(blob: u64, offset: u64, value: u64) -> Self {
        Self {
            blob,
            offset,
            value,
            nth: u64::MAX,
        }
    }

    /// The blob's serial.
    pub(crate) const fn blob(&self) -> u64 {
        self.blob
    }

    /// Where the counter lies in its blob, in bytes.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }
}

/// All waiters. `W` is what a waiter is.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    waiting: BTreeMap<WaiterKey, (Through, W)>,
    /// The same, by the way through which their blob is reached.
    through: BTreeSet<(u64, Through, WaiterKey)>,
    last_nth: u64,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            through: BTreeSet::new(),
            last_nth: 0,
        }
    }
}

impl<W> Waiters<W> {
    /// Names somebody who will wait until the counter at `offset` of the blob with the serial `blob`
    /// is at least `value`.
    pub(crate) fn name(&mut self, blob: u64, offset: u64, value: u64) -> WaiterKey {
        self.last_nth = self.last_nth.saturating_add(1);
        WaiterKey {
            blob,
            offset,
            value,
            nth: self.last_nth,
        }
    }

    /// Whoever was named waits from now on.
    pub(crate) fn add(&mut self, key: WaiterKey, through: Through, waiter: W) {
        self.waiting.insert(key, (through, waiter));
        self.through.insert((key.blob, through, key));
    }

    /// The waiter does not wait any more.
    pub(crate) fn remove(&mut self, key: WaiterKey) -> Option<W> {
        let (through, waiter) = self.waiting.remove(&key)?;
        self.through.remove(&(key.blob, through, key));
        Some(waiter)
    }

    /// Takes out one of those that a counter that holds `value` has reached: those who want less
    /// before those who want more. To be called until it gives `None`.
    pub(crate) fn pop_reached(&mut self, blob: u64, offset: u64, value: u64) -> Option<W> {
        let due = WaiterKey::first(blob, offset)..=WaiterKey::last(blob, offset, value);
        let (key, _) = self.waiting.range(due).next()?;
        self.remove(*key)
    }

    /// Takes out one of those who wait for any counter of a blob.
    pub(crate) fn pop_of_blob(&mut self, blob: u64) -> Option<W> {
        let all = WaiterKey::first(blob, 0)..=WaiterKey::last(blob, u64::MAX, u64::MAX);
        let (key, _) = self.waiting.range(all).next()?;
        self.remove(*key)
    }

    /// Takes out one of those who reach the blob this way.
    pub(crate) fn pop_through(&mut self, blob: u64, through: Through) -> Option<W> {
        let first = (blob, through, WaiterKey::first(blob, 0));
        let last = (blob, through, WaiterKey::last(blob, u64::MAX, u64::MAX));
        let (_, _, key) = *self.through.range(first..=last).next()?;
        self.remove(key)
    }

    /// The first counter of a blob from `offset` on that somebody waits for.
    pub(crate) fn next_counter(&self, blob: u64, offset: u64) -> Option<u64> {
        let rest = WaiterKey::first(blob, offset)..=WaiterKey::last(blob, u64::MAX, u64::MAX);
        self.waiting.range(rest).next().map(|(key, _)| key.offset)
    }

    /// Nobody waits any more, and nobody is told.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.through.clear();
    }

    /// The waiters, or what is wrong with the structure.
    pub(crate) fn check(&self) -> Result<&BTreeMap<WaiterKey, (Through, W)>, &'static str> {
        if self.through.len() != self.waiting.len() {
            return Err("A waiter is in one list and not in the other");
        }
        for (key, (through, _)) in &self.waiting {
            if !self.through.contains(&(key.blob, *through, *key)) {
                return Err("A waiter is listed under another way");
            }
        }
        Ok(&self.waiting)
    }
}

#[cfg(test)]
mod tests;
