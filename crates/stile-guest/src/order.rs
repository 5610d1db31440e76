//! Which submission is a ring's last: what the guest knows of the order of its own fences.

use std::sync::atomic::{AtomicU64, Ordering};

use stile_wire::sync::MAX_RINGS;

/// Counts the submissions of each ring of a context.
///
/// The kernel orders a ring's submissions as their ioctls come to it, which threads cannot see from
/// outside. So a submission counts as the last one only where no other of its ring was under way
/// when it began, and none has begun since.
#[derive(Debug)]
pub(crate) struct Order {
    rings: Box<[Ring]>,
}

#[derive(Debug, Default)]
struct Ring {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Place {
    /// Whether it is certain that this is the next submission on the ring after `earlier`.
    pub(crate) fn follows(self, earlier: Self) -> bool {
        let next = earlier.number.checked_add(1);
        self.ring == earlier.ring && earlier.number != 0 && Some(self.number) == next
    }
}

/// A submission that is on its way to the kernel.
#[derive(Debug)]
pub(crate) struct Begun {
    place: Place,
}

/// Where a submission stands on its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    ring: usize,
    /// Its number on the ring, from 1 on; 0 where another was under way when it began.
    number: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            rings: (0..MAX_RINGS).map(|_| Ring::default()).collect(),
        }
    }
}

impl Order {
    /// A submission on `ring` is about to be given to the kernel. `None` for a ring that no context
    /// has.
    pub(crate) fn begin(&self, ring: u32) -> Option<Begun> {
        let ring = usize::try_from(ring).ok()?;
        let counts = self.rings.get(ring)?;
        let before = counts.begun.fetch_add(1, Ordering::SeqCst);
        // One that began later and has ended already can stand in for one that is still under way,
        // but then this one is not the last.
        let alone = counts.ended.load(Ordering::SeqCst) == before;
        let number = if alone { before.saturating_add(1) } else { 0 };
        Some(Begun {
            place: Place { ring, number },
        })
    }

    /// The kernel has it, or has refused it.
    pub(crate) fn end(&self, begun: Begun) -> Place {
        if let Some(counts) = self.rings.get(begun.place.ring) {
            counts.ended.fetch_add(1, Ordering::SeqCst);
        }
        begun.place
    }

    /// Whether it is certain that the ring has no later submission than this one.
    pub(crate) fn is_last(&self, place: Place) -> bool {
        self.rings
            .get(place.ring)
            .is_some_and(|counts| counts.begun.load(Ordering::SeqCst) == place.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_the_last_until_the_next_begins() {
        let order = Order::default();
        let first = order.end(order.begin(5).unwrap());
        assert!(order.is_last(first));
        let elsewhere = order.end(order.begin(6).unwrap());
        assert!(order.is_last(first) && order.is_last(elsewhere));
        let next = order.begin(5).unwrap();
        assert!(!order.is_last(first));
        assert!(order.is_last(order.end(next)));
        assert!(order.begin(64).is_none());
    }

    #[test]
    fn of_two_at_once_neither_is_known_to_be_the_last() {
        let order = Order::default();
        let one = order.begin(0).unwrap();
        let other = order.begin(0).unwrap();
        let (other, one) = (order.end(other), order.end(one));
        assert!(!order.is_last(one));
        assert!(!order.is_last(other), "the first may have come after it");
        let third = order.end(order.begin(0).unwrap());
        assert!(order.is_last(third));
        assert!(!one.follows(other) && !third.follows(one) && !third.follows(other));
    }

    #[test]
    fn a_submission_follows_the_one_before_it_on_its_ring_and_no_other() {
        let order = Order::default();
        let next = |ring| order.end(order.begin(ring).unwrap());
        let (first, elsewhere, second, third) = (next(1), next(2), next(1), next(1));
        assert!(second.follows(first) && third.follows(second));
        assert!(!third.follows(first) && !first.follows(second) && !first.follows(first));
        assert!(!second.follows(elsewhere));
    }
}
