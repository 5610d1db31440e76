//! Fences of EXPORTs, pending in any number: what adding one costs, and completing one.

use std::collections::VecDeque;
use std::time::Instant;

use stile_core::WaitId;
use stile_wire::sync::{Access, encode_export};

use super::core::{Core, RESOURCE, fenced};
use super::{BLOCK, Random};

/// Contexts that the fences are spread over.
const CONTEXTS: u32 = 512;
/// Rings of a context.
const RINGS: u32 = 64;

/// Which fence is the next to be done.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    OldestFirst,
    Any,
}

/// So many fences.
pub(crate) struct Pending {
    core: Core,
    cookies: bool,
    order: Order,
    waits: VecDeque<WaitId>,
    random: Random,
    /// Rings that are used, of all contexts.
    rings: u64,
    sent: u64,
    done: u64,
}

impl Pending {
    /// None at first, with the room that the measurement itself needs for `count`.
    pub(crate) fn none(count: usize, order: Order, cookies: bool) -> Self {
        let mut core = Core::new(CONTEXTS, 0);
        core.host.watched.reserve(BLOCK);
        let replies = core.host.replies;
        let rings = u64::from(CONTEXTS * RINGS).min(count as u64).max(1);
        let mut pending = Self {
            core,
            cookies,
            order,
            waits: VecDeque::with_capacity(count + 2 * BLOCK),
            random: Random::new(),
            rings,
            sent: 0,
            done: replies,
        };
        // Each ring is used once, and each of the core's own tables has been touched.
        for _ in 0..rings {
            pending.add(1);
            pending.complete(1);
        }
        pending
    }

    pub(crate) fn with(count: usize, order: Order, cookies: bool) -> Self {
        let mut pending = Self::none(count, order, cookies);
        pending.fill(count);
        pending
    }

    pub(crate) fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.add(1);
        }
        assert_eq!(self.core.device.pending_fences(), count);
    }

    /// Adds fences, and says what each took in nanoseconds.
    pub(crate) fn add(&mut self, count: usize) -> f64 {
        let commands: Vec<_> = (0..count).map(|_| self.next_command()).collect();
        let begin = Instant::now();
        for command in &commands {
            self.core.send(command);
        }
        let each = begin.elapsed().as_nanos() as f64 / count as f64;
        self.waits.extend(self.core.host.watched.drain(..));
        each
    }

    /// Has fences signalled, and says what each took in nanoseconds.
    pub(crate) fn complete(&mut self, count: usize) -> f64 {
        let waits: Vec<_> = (0..count).map(|_| self.next_wait()).collect();
        let begin = Instant::now();
        for wait in waits {
            self.core.signal(wait);
        }
        let each = begin.elapsed().as_nanos() as f64 / count as f64;
        self.done += count as u64;
        each
    }

    /// Has all of them signalled, and sees that each is answered, once.
    pub(crate) fn finish(mut self) {
        self.complete(self.waits.len());
        assert_eq!(self.core.device.pending_fences(), 0);
        assert_eq!(
            self.core.host.replies, self.done,
            "a fence is lost or twice"
        );
    }

    fn next_command(&mut self) -> Vec<u8> {
        let nth = self.sent % self.rings;
        self.sent += 1;
        let (context, ring) = (nth % u64::from(CONTEXTS), nth / u64::from(CONTEXTS));
        let ring = ring as u8;
        let cookie = if self.cookies { self.sent } else { 0 };
        let export = encode_export(ring, 0, RESOURCE, Access::READ, cookie);
        fenced(context as u32 + 1, ring, self.sent, &export)
    }

    fn next_wait(&mut self) -> WaitId {
        let next = match self.order {
            Order::OldestFirst => self.waits.pop_front(),
            Order::Any => {
                let at = self.random.below(self.waits.len());
                self.waits.swap_remove_back(at)
            }
        };
        next.expect("a pending fence")
    }
}
