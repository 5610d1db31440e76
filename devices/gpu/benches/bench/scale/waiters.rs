//! Waiters for counters in memory, in any number: what adding one costs, and waking one.

use std::collections::VecDeque;
use std::time::Instant;

use stile_core::{Request, ResourceName};
use stile_wire::sync::Op;

use super::BLOCK;
use super::core::{Core, RESOURCE, unfenced};

/// Counters, of which each waiter waits for one.
const COUNTERS: usize = 4096;

/// Longer than the measurement, in nanoseconds.
const LONG: u64 = 60_000_000_000;

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A context, for an event.
    Context,
    /// A host process, for a reply.
    Process,
}

/// So many waiters, one after the other on all counters.
pub(crate) struct Waiting {
    core: Core,
    who: Who,
    counters: u64,
    /// Who waits for what, the first to be woken first.
    order: VecDeque<(u64, u64)>,
    added: u64,
    woken: u64,
    asked: u64,
}

impl Waiting {
    pub(crate) fn none(count: usize, who: Who) -> Self {
        let mut core = Core::new(1, COUNTERS);
        let (resource_id, offset, size) = (RESOURCE, 0, 65536);
        let events = Op::Events {
            resource_id,
            offset,
            size,
        };
        core.run(1, &events.encode(0, 0));
        let mut waiting = Self {
            core,
            who,
            counters: COUNTERS.min(count) as u64,
            order: VecDeque::with_capacity(count + 2 * BLOCK),
            added: 0,
            woken: 0,
            asked: 0,
        };
        waiting.add(1);
        waiting.wake(1);
        waiting
    }

    pub(crate) fn with(count: usize, who: Who) -> Self {
        let mut waiting = Self::none(count, who);
        waiting.fill(count);
        waiting
    }

    pub(crate) fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.add(1);
        }
    }

    /// Adds waiters, and says what each took in nanoseconds.
    pub(crate) fn add(&mut self, count: usize) -> f64 {
        let wanted: Vec<_> = (0..count as u64)
            .map(|nth| {
                let nth = self.added + nth;
                (nth % self.counters, nth / self.counters + 1)
            })
            .collect();
        let each = match self.who {
            Who::Context => {
                let commands: Vec<_> = (self.added..)
                    .zip(&wanted)
                    .map(|(nth, (counter, value))| {
                        let wait = Op::MemWait {
                            resource_id: RESOURCE,
                            offset: counter * 8,
                            value: *value,
                            event: nth + 1,
                            timeout_ns: LONG,
                        };
                        unfenced(1, &wait.encode(0, 0))
                    })
                    .collect();
                self.send(&commands)
            }
            Who::Process => {
                let requests = wanted.iter().map(|(counter, value)| Request::Wait {
                    resource: ResourceName::Id(RESOURCE),
                    offset: counter * 8,
                    value: *value,
                    timeout_ns: LONG,
                });
                self.ask(requests.collect())
            }
        };
        self.added += count as u64;
        self.order.extend(wanted);
        each
    }

    /// Raises counters so that each wakes one, and says what each took in nanoseconds.
    pub(crate) fn wake(&mut self, count: usize) -> f64 {
        let due: Vec<_> = self.order.drain(..count).collect();
        let told = self.core.host.told;
        let each = match self.who {
            Who::Context => {
                let commands: Vec<_> = due
                    .iter()
                    .map(|(counter, value)| {
                        let signal = Op::MemSignal {
                            resource_id: RESOURCE,
                            offset: counter * 8,
                            value: *value,
                        };
                        unfenced(1, &signal.encode(0, 0))
                    })
                    .collect();
                self.send(&commands)
            }
            Who::Process => {
                let requests = due.iter().map(|(counter, value)| Request::Signal {
                    resource: ResourceName::Id(RESOURCE),
                    offset: counter * 8,
                    value: *value,
                });
                self.ask(requests.collect())
            }
        };
        self.woken += count as u64;
        match self.who {
            Who::Context => {
                // The guest has read its events.
                let seen = self.woken;
                self.core.run(1, &Op::EventWait { seen }.encode(0, 0));
            }
            // Those who asked to signal are told, and those who waited.
            Who::Process => assert_eq!(self.core.host.told - told, 2 * count as u64),
        }
        each
    }

    /// Wakes the rest, and sees that nobody is left or was refused.
    pub(crate) fn finish(mut self) {
        while !self.order.is_empty() {
            self.wake(self.order.len().min(BLOCK));
        }
        assert_eq!(self.woken, self.added);
        assert_eq!(self.core.device.counters().operations_failed, 0);
        assert_eq!(
            self.core.device.next_deadline_ns(),
            None,
            "somebody waits yet"
        );
    }

    fn send(&mut self, commands: &[Vec<u8>]) -> f64 {
        let begin = Instant::now();
        for command in commands {
            self.core.send(command);
        }
        begin.elapsed().as_nanos() as f64 / commands.len() as f64
    }

    fn ask(&mut self, requests: Vec<Request>) -> f64 {
        let count = requests.len() as f64;
        let begin = Instant::now();
        for request in requests {
            self.asked += 1;
            self.core.ask(self.asked, request);
        }
        begin.elapsed().as_nanos() as f64 / count
    }
}
