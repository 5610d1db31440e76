//! The event ring: order, wake-ups, overflow, and what ends a wait.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use guest_tests::gpu::Gpu;
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{
    Blob, BlobOptions, Errno, EventOptions, Mapping, OpCode, PointEvent, SessionOptions,
    Submission, SyncFile, TimelineFlags,
};
use stile_host::wait_readable;

use super::bad_input::Prober;
use super::memory::wait_for_each;
use crate::stage::{Guest, PATIENCE, Result, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "events come in the order in which they happen, each once",
        run: in_their_order,
    },
    Case {
        name: "a polled ring wakes who sleeps on the context's file, once for many events",
        run: one_wake_up_for_many,
    },
    Case {
        name: "a ring that is full says so, and brings what it kept back when there is room",
        run: a_full_ring,
    },
    Case {
        name: "a new event ring begins anew with what was kept back",
        run: a_new_ring,
    },
    Case {
        name: "a small ring loses nothing to a program that reads on",
        run: a_small_ring,
    },
    Case {
        name: "watches outlive their event ring, and waits for events do not",
        run: without_a_ring,
    },
    Case {
        name: "a cancelled event does not come, and one that came cannot be cancelled",
        run: cancelled,
    },
];

const ECANCELED: u32 = 125;

fn in_their_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let counters = guest.buffer()?;
    let mut numbers = Vec::new();
    for place in 0..8_u64 {
        let offset = place.saturating_mul(8);
        numbers.push(guest.session.wait_memory(&counters, offset, 1, PATIENCE)?);
    }
    // In another order than they were asked for; those of one submission together.
    let (mut happened, mut submission) = (Vec::new(), Submission::on_ring(0));
    for (place, round) in [5, 0, 7, 2, 1, 6, 3, 4].into_iter().zip(0_u64..) {
        let offset = u64::try_from(place)?.saturating_mul(8);
        submission = submission.signal_memory(&counters, offset, 1, 0);
        if round % 4 == 3 {
            let whole = std::mem::replace(&mut submission, Submission::on_ring(0));
            guest.fence_at_once(&guest.submit(whole)?)?;
        }
        happened.push(numbers.get(place).ok_or("no such place")?.get());
    }
    let (mut heard, mut last) = (Vec::new(), 0);
    for seq in 1..=8 {
        let event = guest.event()?;
        assert_eq!((event.seq, event.cmd), (seq, OpCode::MemWait.code()));
        assert_eq!(event.resource_id, counters.resource_id());
        assert!(event.time_ns >= last, "{event:?} is before {last}");
        last = event.time_ns;
        heard.push(event.number);
    }
    assert_eq!(heard, happened);
    guest.no_event()
}

fn one_wake_up_for_many() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let counters = guest.buffer()?;
    let host = gpu.take(counters.resource_id())?;
    for round in [1..=1, 2..=100, 101..=101] {
        let waited = wait_for_each(&mut guest, &counters, 0, round.clone())?;
        guest.no_event()?;
        let context = guest.session.context().clone();
        assert!(!wait_readable(context.as_fd(), Some(Duration::ZERO))?);
        host.signal_memory(0, *round.end())?;
        assert!(
            wait_readable(context.as_fd(), Some(PATIENCE))?,
            "nobody was woken"
        );
        assert_eq!(context.take_events()?, 1, "wake-ups");
        let mut heard = BTreeSet::new();
        while let Some(event) = guest.session.next_event()? {
            assert_eq!(event.value, *round.end());
            assert!(heard.insert(event.number), "{event:?} has come twice");
        }
        assert!(heard.iter().eq(waited.keys()), "{heard:?}");
        guest.no_event()?;
    }
    Ok(())
}

/// A context whose event ring the case reads itself.
struct Listener {
    prober: Prober,
    ring: Blob,
    memory: Mapping,
    capacity: u64,
}

/// An event, as far as a case looks at it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    seq: u64,
    event: u64,
}

impl Listener {
    fn new(capacity: u64) -> Result<Self> {
        let prober = Prober::new()?;
        let ring = prober.context.create_blob(&BlobOptions::host(4096))?;
        let memory = ring.map()?;
        let mut listener = Self {
            prober,
            ring,
            memory,
            capacity,
        };
        listener.bind()?;
        Ok(listener)
    }

    /// EVENTS.
    fn bind(&mut self) -> Result {
        let size = self.capacity.saturating_add(1).saturating_mul(64);
        let events = Submission::on_ring(0).events(&self.ring, 0, size, 7);
        self.done(events)
    }

    fn done(&mut self, submission: Submission<'_>) -> Result {
        let errnos = self.prober.errnos(submission)?;
        assert!(errnos.iter().all(|errno| *errno == 0), "{errnos:?}");
        Ok(())
    }

    /// Waits for values 1 to `last` of a counter as events of the same numbers, from `first` on.
    fn wait_for(&mut self, first: u64, last: u64) -> Result {
        let counter = stile_guest::ResourceId(self.prober.buffer.resource_id());
        let mut submission = Submission::on_ring(0);
        for value in first..=last {
            submission = submission.wait_memory(counter, 0, value, value, PATIENCE, 7);
        }
        self.done(submission)
    }

    /// Raises the counter, one after the other.
    fn raise(&mut self, values: std::ops::RangeInclusive<u64>) -> Result {
        let counter = stile_guest::ResourceId(self.prober.buffer.resource_id());
        for value in values {
            self.done(Submission::on_ring(0).signal_memory(counter, 0, value, 7))?;
        }
        Ok(())
    }

    /// EVENT_WAIT on a ring of its own.
    fn ask(&self, seen: u64, tag: u32) -> Result<SyncFile> {
        let submission = Submission::on_ring(2).event_wait(seen, tag).out_fence();
        let fence = self.prober.context.submit(&submission)?.fence;
        Ok(fence.ok_or("the kernel gave no fence")?)
    }

    fn word(&self, offset: u64) -> Result<u64> {
        Ok(u64::from_le(
            self.memory.load_u64(usize::try_from(offset)?)?,
        ))
    }

    /// The head and the overflow of the ring's header.
    fn header(&self) -> Result<(u64, u64)> {
        Ok((self.word(16)?, self.word(24)?))
    }

    /// The event with this number.
    fn told(&self, seq: u64) -> Result<Told> {
        let place = seq.saturating_sub(1).checked_rem(self.capacity);
        let at = place.unwrap_or(0).saturating_add(1).saturating_mul(64);
        Ok(Told {
            seq: self.word(at)?,
            event: self.word(at.saturating_add(8))?,
        })
    }
}

fn told(seq: u64, event: u64) -> Told {
    Told { seq, event }
}

fn a_full_ring() -> Outcome {
    let _gpu = Gpu::in_guest()?;
    let mut listener = Listener::new(2)?;
    listener.wait_for(1, 5)?;
    listener.raise(1..=2)?;
    assert_eq!(listener.header()?, (2, 0));
    listener.raise(3..=5)?;
    // Nothing is overwritten that was not read.
    assert_eq!(listener.header()?, (2, 3));
    assert_eq!(listener.told(1)?, told(1, 1));
    assert_eq!(listener.told(2)?, told(2, 2));

    // One was read: there is room for one.
    let fence = listener.ask(1, 8)?;
    assert!(fence.wait(Some(PATIENCE))?);
    assert_eq!(listener.header()?, (3, 2));
    assert_eq!(listener.told(2)?, told(2, 2));
    assert_eq!(listener.told(3)?, told(3, 3));
    let fence = listener.ask(3, 8)?;
    assert!(fence.wait(Some(PATIENCE))?);
    assert_eq!(listener.header()?, (5, 0));
    assert_eq!(listener.told(4)?, told(4, 4));
    assert_eq!(listener.told(5)?, told(5, 5));

    // All was read: the next one waits, and comes with the next event.
    let fence = listener.ask(5, 8)?;
    listener.wait_for(6, 6)?;
    assert!(!fence.signalled()?, "there is no event");
    listener.raise(6..=6)?;
    assert!(fence.wait(Some(PATIENCE))?);
    assert_eq!(listener.told(6)?, told(6, 6));
    Ok(())
}

fn a_new_ring() -> Outcome {
    let _gpu = Gpu::in_guest()?;
    let mut listener = Listener::new(2)?;
    listener.wait_for(1, 7)?;
    listener.raise(1..=5)?;
    assert_eq!(listener.header()?, (2, 3));
    // A program that has lost its place asks for the ring anew. What stood there is not written
    // again, and what did not comes first.
    listener.bind()?;
    assert_eq!(listener.header()?, (2, 1));
    assert_eq!(listener.told(1)?, told(1, 3));
    assert_eq!(listener.told(2)?, told(2, 4));
    let fence = listener.ask(2, 8)?;
    assert!(fence.wait(Some(PATIENCE))?);
    assert_eq!(listener.header()?, (3, 0));
    assert_eq!(listener.told(3)?, told(3, 5));
    // What is still waited for comes to the new one.
    let fence = listener.ask(3, 8)?;
    listener.raise(6..=6)?;
    assert!(fence.wait(Some(PATIENCE))?);
    assert_eq!(listener.told(4)?, told(4, 6));
    Ok(())
}

fn a_small_ring() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let options = SessionOptions {
        events: Some(EventOptions {
            blob: BlobOptions::host(64 * 3),
            ..EventOptions::default()
        }),
        ..SessionOptions::default()
    };
    let mut guest = Guest::open(&gpu, &options)?;
    let counters = guest.buffer()?;
    let host = gpu.take(counters.resource_id())?;
    let waited = wait_for_each(&mut guest, &counters, 0, 1..=30)?;
    host.signal_memory(0, 30)?;
    let mut heard = BTreeSet::new();
    for seq in 1..=30 {
        let event = guest.event()?;
        assert_eq!(event.seq, seq);
        assert!(heard.insert(event.number), "{event:?} has come twice");
    }
    assert!(heard.iter().eq(waited.keys()), "{heard:?}");
    guest.no_event()
}

fn without_a_ring() -> Outcome {
    let _gpu = Gpu::in_guest()?;
    let mut listener = Listener::new(4)?;
    listener.wait_for(1, 2)?;
    let fence = listener.ask(0, 8)?;
    listener.raise(0..=0)?;
    assert!(!fence.signalled()?, "there is no event");
    let none = Submission::on_ring(0).events(stile_guest::ResourceId(0), 0, 0, 9);
    let records = listener.prober.submit(none)?;
    assert!(fence.wait(Some(PATIENCE))?);
    let ends: Vec<_> = records.iter().map(|one| (one.tag, one.errno)).collect();
    assert_eq!(ends, [(8, ECANCELED), (9, 0)]);

    listener.raise(1..=1)?;
    assert_eq!(listener.header()?, (0, 0), "the ring is the guest's");
    listener.bind()?;
    assert_eq!(listener.header()?, (1, 0));
    assert_eq!(listener.told(1)?, told(1, 1));
    listener.raise(2..=2)?;
    assert_eq!(listener.told(2)?, told(2, 2));
    Ok(())
}

fn cancelled() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let counter = guest.buffer()?;
    let timeline = guest.session.create_timeline(TimelineFlags::empty())?;
    let counted = guest.session.wait_memory(&counter, 0, 1, PATIENCE)?;
    let pointed = guest
        .session
        .watch_point(timeline, 1, PointEvent::Signalled, None)?;
    let last = guest.session.wait_memory(&counter, 0, 1, PATIENCE)?;
    guest.session.cancel(counted)?;
    guest.session.cancel(pointed)?;
    for gone in [counted, pointed] {
        refused(guest.session.cancel(gone), Errno::NOENT);
    }
    guest.session.signal_point(timeline, 1)?;
    guest.session.signal_memory(&counter, 0, 1)?;
    assert_eq!(guest.event()?.number, last.get());
    guest.no_event()?;
    refused(guest.session.cancel(last), Errno::NOENT);
    Ok(())
}
