//! What the model makes of events: who waits for what, the ring, and the queue before it.

use stile_core::{Errno, errno};
use stile_wire::sync::{EventHeader, EventRecord, Op};
use zerocopy::IntoBytes;

use super::waits::Cause;
use super::{Ended, Model};

/// An event ring.
#[derive(Debug)]
pub(super) struct ModelRing {
    pub(super) resource_id: u32,
    pub(super) offset: usize,
    pub(super) capacity: u64,
    pub(super) head: u64,
    pub(super) seen: u64,
    /// As the header has it. It is written when it changes: two rings may lie in one place.
    overflow: u64,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is waited for.
    Armed,
    /// It has happened, and is not written.
    Kept,
    /// It stands in a ring.
    Written,
    /// Cancelled, or its context is gone.
    Gone,
}

/// An event that was ever waited for.
#[derive(Debug)]
pub(super) struct ModelEvent {
    /// The context's life.
    pub(super) context: u64,
    pub(super) record: EventRecord,
    pub(super) deadline_ns: Option<u64>,
    pub(super) fate: Fate,
}

impl Model {
    /// Watches and events of the device that are not written.
    pub(super) fn events(&self) -> usize {
        let live = |event: &&ModelEvent| matches!(event.fate, Fate::Armed | Fate::Kept);
        self.events.iter().filter(live).count()
    }

    /// A context's event of this number that is not written.
    pub(super) fn event_of(&self, context: u64, number: u64) -> Option<usize> {
        self.events.iter().position(|event| {
            let live = matches!(event.fate, Fate::Armed | Fate::Kept);
            live && event.context == context && event.record.event.get() == number
        })
    }

    /// The device begins to watch for an event.
    pub(super) fn arm(&mut self, context: u64, op: Op, tag: u32, deadline_ns: Option<u64>) {
        let (number, value, resource_id) = match op {
            Op::TlWatch { event, point, .. } => (event, point, 0),
            other => panic!("{other:?} waits for no event"),
        };
        let record = EventRecord {
            seq: 0.into(),
            event: number.into(),
            value: value.into(),
            time_ns: 0.into(),
            errno: 0.into(),
            cmd: op.code().code(),
            reserved: [0; 3],
            tag: tag.into(),
            resource_id: resource_id.into(),
            reserved_tail: [0.into(); 2],
        };
        let fate = Fate::Armed;
        self.events.push(ModelEvent {
            context,
            record,
            deadline_ns,
            fate,
        });
    }

    /// An event happens, or will not.
    pub(super) fn fire(&mut self, nth: usize, error: Option<Errno>) {
        let now_ns = self.now_ns;
        let event = &mut self.events[nth];
        assert_eq!(event.fate, Fate::Armed, "{event:?} happens twice");
        event.fate = Fate::Kept;
        event.deadline_ns = None;
        event.record.time_ns = now_ns.into();
        event.record.errno = error.map_or(0, |error| error.0).into();
        let life = event.context;
        self.context_of(life).kept.push(nth);
        self.write_events(life);
    }

    /// No timeline waits for anything but an EVENT_WAIT.
    pub(crate) fn assert_only_event_waits(&self) {
        for line in &self.lines {
            let Some(head) = line.fences.iter().find(|fence| !fence.answered) else {
                continue;
            };
            let mut waits = head.waits.iter().map(|wait| &self.waits[*wait]);
            let event =
                waits.any(|wait| wait.ended.is_none() && matches!(wait.cause, Cause::Event));
            assert!(event, "{head:?} waits for no event");
        }
    }

    fn context_of(&mut self, life: u64) -> &mut super::ModelContext {
        let mut contexts = self.contexts.values_mut();
        let context = contexts.find(|context| context.life == life);
        context.expect("an event's context")
    }

    /// Writes what is kept back, as far as nothing is overwritten that was not read.
    pub(super) fn write_events(&mut self, life: u64) {
        let mut contexts = self.contexts.values_mut();
        let context = contexts.find(|context| context.life == life);
        let context = context.expect("an event's context");
        let Some(ring) = &mut context.ring else {
            return;
        };
        let blob = self.blobs.get_mut(&ring.resource_id);
        let bytes = &mut blob.expect("an event ring's blob").bytes[ring.offset..];
        let mut wrote = false;
        while !context.kept.is_empty() && ring.head < ring.seen + ring.capacity {
            let event = &mut self.events[context.kept.remove(0)];
            assert_eq!(event.fate, Fate::Kept, "{event:?} is written");
            event.fate = Fate::Written;
            ring.head += 1;
            event.record.seq = ring.head.into();
            let at = 64 + ((ring.head - 1) % ring.capacity) as usize * 64;
            bytes[at..at + 64].copy_from_slice(event.record.as_bytes());
            bytes[16..24].copy_from_slice(&ring.head.to_le_bytes());
            self.records += 1;
            wrote = true;
        }
        let overflow = context.kept.len() as u64;
        if ring.overflow != overflow {
            ring.overflow = overflow;
            bytes[24..32].copy_from_slice(&overflow.to_le_bytes());
        }
        if wrote {
            self.end_event_waits(life, None);
        }
    }

    /// The EVENT_WAITs of a context are over when everything else has happened.
    fn end_event_waits(&mut self, life: u64, error: Option<Errno>) {
        for (nth, wait) in self.waits.iter().enumerate() {
            let known = self.due.iter().any(|(due, _)| *due == nth);
            let its = wait.context == life && matches!(wait.cause, Cause::Event);
            if its && wait.ended.is_none() && !known {
                self.due.push((nth, error));
            }
        }
    }

    /// A ring is here from now on: zeroes, and the header.
    pub(super) fn bind_ring(&mut self, life: u64, resource: u32, offset: usize, size: usize) {
        let blob = self.blobs.get_mut(&resource).expect("an attached blob");
        blob.bytes.resize(blob.bytes.len().max(offset + size), 0);
        let bytes = &mut blob.bytes[offset..offset + size];
        bytes.fill(0);
        let capacity = (size as u64 - 64) / 64;
        let header = EventHeader {
            magic: 0x5645_5453.into(),
            version: 1.into(),
            capacity: (capacity as u32).into(),
            record_bytes: 64.into(),
            head: 0.into(),
            overflow: 0.into(),
            reserved: [0.into(); 4],
        };
        bytes[..64].copy_from_slice(header.as_bytes());
        self.unbind_ring(life);
        self.context_of(life).ring = Some(ModelRing {
            resource_id: resource,
            offset,
            capacity,
            head: 0,
            seen: 0,
            overflow: 0,
        });
        self.write_events(life);
    }

    pub(super) fn unbind_ring(&mut self, life: u64) {
        self.context_of(life).ring = None;
        self.end_event_waits(life, Some(errno::ECANCELED));
    }

    /// EVENT_WAIT: whether there is news, once `seen` makes room.
    pub(super) fn has_news(&self, life: u64, seen: u64) -> Result<bool, Errno> {
        let mut contexts = self.contexts.values();
        let context = contexts.find(|context| context.life == life);
        let context = context.expect("the submission's context");
        let ring = context.ring.as_ref().ok_or(errno::ENXIO)?;
        if seen > ring.head {
            return Err(errno::EINVAL);
        }
        Ok(ring.head > seen || !context.kept.is_empty())
    }

    pub(super) fn seen(&mut self, life: u64, seen: u64) {
        if let Some(ring) = &mut self.context_of(life).ring {
            ring.seen = ring.seen.max(seen);
        }
        self.write_events(life);
    }

    pub(super) fn cancel(&mut self, life: u64, number: u64) -> Result<(), Errno> {
        let nth = self.event_of(life, number).ok_or(errno::ENOENT)?;
        self.events[nth].fate = Fate::Gone;
        self.context_of(life).kept.retain(|kept| *kept != nth);
        self.write_events(life);
        Ok(())
    }

    /// Time-outs, in their order, and of those of one moment the oldest first.
    pub(super) fn pass_events(&mut self) {
        let mut due: Vec<_> = self.events.iter().enumerate().collect();
        due.retain(|(_, event)| event.deadline_ns.is_some_and(|due| due <= self.now_ns));
        let mut due: Vec<_> = due
            .iter()
            .map(|(nth, event)| (event.deadline_ns, *nth))
            .collect();
        due.sort_unstable();
        for (_, nth) in due {
            self.fire(nth, Some(errno::ETIMEDOUT));
        }
        self.end_due();
    }

    pub(super) fn next_time_out_ns(&self) -> Option<u64> {
        self.events
            .iter()
            .filter_map(|event| event.deadline_ns)
            .min()
    }

    /// The end of everything that happens at one time: what has lost its blob or its context goes,
    /// and EVENT_WAITs end.
    pub(crate) fn end_due(&mut self) {
        let contexts = self.contexts.values();
        let without_blob: Vec<_> = contexts
            .filter(|context| {
                let ring = context.ring.as_ref();
                ring.is_some_and(|ring| !context.resources.contains(&ring.resource_id))
            })
            .map(|context| context.life)
            .collect();
        for life in without_blob {
            self.unbind_ring(life);
        }
        let lives: Vec<_> = self.contexts.values().map(|context| context.life).collect();
        for event in &mut self.events {
            let live = matches!(event.fate, Fate::Armed | Fate::Kept);
            if live && !lives.contains(&event.context) {
                event.fate = Fate::Gone;
                event.deadline_ns = None;
            }
            if event.fate == Fate::Gone {
                event.deadline_ns = None;
            }
        }
        let orphans: std::collections::BTreeSet<_> = self
            .waits
            .iter()
            .filter(|wait| wait.ended.is_none() && matches!(wait.cause, Cause::Event))
            .map(|wait| wait.context)
            .filter(|life| !lives.contains(life))
            .collect();
        for life in orphans {
            self.end_event_waits(life, Some(errno::ECANCELED));
        }
        self.drop_timelines(&lives);
        for (wait, error) in std::mem::take(&mut self.due) {
            if self.waits[wait].ended.is_none() {
                self.end_wait(wait, Ended::Told, error, 0);
                self.flush_all();
            }
        }
    }
}
