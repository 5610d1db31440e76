//! The same of the operations for timelines, events, counters, accesses of the CPU, and what is joined.

use std::time::Duration;

use guest_tests::payload::Case;
use stile_guest::{Access, Op, PointEvent, ResourceId, Submission, TimelineFlags};

use super::bad_input::{Expected, Prober, harmless, ring};
use crate::stage::{PAGE, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "unknown resources are refused by the operations of every family",
        run: || harmless(unknown_resources),
    },
    Case {
        name: "unknown timelines are refused, and so are names that are taken, and 0",
        run: || harmless(unknown_timelines),
    },
    Case {
        name: "points that a timeline cannot have are refused",
        run: || harmless(points),
    },
    Case {
        name: "unknown events are refused, and so are numbers that are taken, and 0",
        run: || harmless(unknown_events),
    },
    Case {
        name: "an event ring that does not fit is refused, and the old one goes on",
        run: || harmless(rings_that_do_not_fit),
    },
    Case {
        name: "counters outside of their blob, and times that are out of range, are refused",
        run: || harmless(counters_and_times),
    },
    Case {
        name: "flags that are none, and reserved fields, are refused by every operation",
        run: || harmless(flags),
    },
    Case {
        name: "what waits is refused without a fence",
        run: || harmless(without_a_fence),
    },
    Case {
        name: "rings and contexts that are not one's own are refused by FROM_RING",
        run: || harmless(joined),
    },
];

const EPERM: u32 = 1;
const ENOENT: u32 = 2;
const ENXIO: u32 = 6;
const EEXIST: u32 = 17;
const EINVAL: u32 = 22;

const NONE: TimelineFlags = TimelineFlags::empty();
const UNTIL: PointEvent = PointEvent::Signalled;

impl Prober {
    /// An event ring of one page, which a case has to keep.
    fn ring_of_events(&mut self) -> Result<stile_guest::Blob> {
        let blob = self
            .context
            .create_blob(&stile_guest::BlobOptions::host(PAGE))?;
        self.refused(0, ring().events(&blob, 0, PAGE, 0))?;
        Ok(blob)
    }
}

fn unknown_resources(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let _events = prober.ring_of_events()?;
    let other = Prober::new()?;
    for resource in [0, other.buffer.resource_id(), 4_000_000_000, u32::MAX] {
        let resource = ResourceId(resource);
        let access = Access::READ;
        all.add(ENOENT, &ring().poll(resource, access, 0));
        all.add(ENOENT, &ring().cpu_begin(resource, access, 0));
        all.add(ENOENT, &ring().cpu_end(resource, access, 0));
        all.add(ENOENT, &ring().snapshot(resource, 6_u64, 0));
        all.add(ENOENT, &ring().signal_memory(resource, 0, 1, 0));
        let wait = ring().wait_memory(resource, 0, 0, 5_u64, PATIENCE, 0);
        all.add(ENOENT, &wait);
        if resource.0 != 0 {
            all.add(ENOENT, &ring().events(resource, 0, PAGE, 0));
        }
    }
    // What was refused has left nothing behind.
    all.add(ENOENT, &ring().wait(6_u64, 0));
    all.add(ENOENT, &ring().cancel(5_u64, 0));
    prober.answered(&all)
}

fn unknown_timelines(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let _events = prober.ring_of_events()?;
    let buffer = ResourceId(prober.buffer.resource_id());
    let uuid = [0x77; 16];
    all.add(0, &ring().create_timeline(1_u64, NONE, 0));
    prober.refused(0, ring().export(buffer, Access::READ, 5_u64, 0))?;
    for (name, errno) in [(6, ENOENT), (u64::MAX, ENOENT), (0, EINVAL)] {
        all.add(errno, &ring().destroy_timeline(name, 0));
        all.add(errno, &ring().signal_point(name, 1, 0));
        all.add(errno, &ring().reset_timeline(name, 0));
        all.add(errno, &ring().share_timeline(name, uuid, 0));
        all.add(errno, &ring().cookie_to_point(5_u64, name, 1, 0));
        all.add(errno, &ring().point_to_cookie(name, 1, 7_u64, 0));
        let watch = ring().watch_point(name, 1, UNTIL, 8_u64, None, 0);
        all.add(errno, &watch);
        // Cookies, too.
        all.add(errno, &ring().cookie_to_point(name, 1_u64, 1, 0));
    }
    all.add(EINVAL, &ring().create_timeline(0_u64, NONE, 0));
    all.add(EINVAL, &ring().adopt_timeline(0_u64, uuid, 0));
    all.add(EINVAL, &ring().point_to_cookie(1_u64, 1, 0_u64, 0));
    all.add(EEXIST, &ring().create_timeline(1_u64, NONE, 0));
    all.add(EEXIST, &ring().adopt_timeline(1_u64, uuid, 0));
    all.add(ENOENT, &ring().adopt_timeline(2_u64, uuid, 0));
    all.add(0, &ring().signal_point(1_u64, 1, 0));
    all.add(EEXIST, &ring().point_to_cookie(1_u64, 1, 5_u64, 0));
    all.add(0, &ring().share_timeline(1_u64, uuid, 0));
    all.add(EEXIST, &ring().share_timeline(1_u64, [0x78; 16], 0));
    prober.answered(&all)?;
    // A context sees its own timelines alone.
    let mut other = Prober::new()?;
    other.refused(ENOENT, ring().signal_point(1_u64, 2, 0))?;
    let mut all = Expected::new();
    all.add(0, &ring().destroy_timeline(1_u64, 0));
    all.add(ENOENT, &ring().destroy_timeline(1_u64, 0));
    for name in [2_u64, 7] {
        all.add(ENOENT, &ring().reset_timeline(name, 0));
        all.add(ENOENT, &ring().wait(name, 0));
    }
    prober.answered(&all)
}

fn points(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let _events = prober.ring_of_events()?;
    let buffer = ResourceId(prober.buffer.resource_id());
    all.add(0, &ring().create_timeline(1_u64, NONE, 0));
    all.add(0, &ring().create_timeline(2_u64, TimelineFlags::BINARY, 0));
    prober.refused(0, ring().export(buffer, Access::READ, 5_u64, 0))?;
    for (timeline, point) in [(1_u64, 0), (2, 1), (2, u64::MAX)] {
        all.add(EINVAL, &ring().signal_point(timeline, point, 0));
        let transfer = ring().cookie_to_point(5_u64, timeline, point, 0);
        all.add(EINVAL, &transfer);
        let transfer = ring().point_to_cookie(timeline, point, 6_u64, 0);
        all.add(EINVAL, &transfer);
        let watch = ring().watch_point(timeline, point, UNTIL, 8_u64, None, 0);
        all.add(EINVAL, &watch);
    }
    all.add(0, &ring().signal_point(1_u64, u64::MAX, 0));
    all.add(0, &ring().signal_point(2_u64, 0, 0));
    all.add(ENOENT, &ring().wait(6_u64, 0));
    all.add(ENOENT, &ring().cancel(8_u64, 0));
    prober.answered(&all)
}

fn unknown_events(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let buffer = ResourceId(prober.buffer.resource_id());
    all.add(0, &ring().create_timeline(1_u64, NONE, 0));
    let wait = |event: u64| ring().wait_memory(buffer, 0, 1, event, PATIENCE, 0);
    let watch = |event: u64| ring().watch_point(1_u64, 1, UNTIL, event, None, 0);
    // Where there is no event ring, nobody can be told.
    all.add(ENXIO, &wait(3));
    all.add(ENXIO, &watch(3));
    all.add(ENXIO, &ring().event_wait(0, 0));
    prober.answered(&all)?;

    let _events = prober.ring_of_events()?;
    let mut all = Expected::new();
    for unknown in [3, u64::MAX] {
        all.add(ENOENT, &ring().cancel(unknown, 0));
    }
    all.add(EINVAL, &ring().cancel(0_u64, 0));
    all.add(EINVAL, &wait(0));
    all.add(EINVAL, &watch(0));
    all.add(0, &wait(3));
    all.add(EEXIST, &wait(3));
    all.add(EEXIST, &watch(3));
    all.add(EINVAL, &ring().event_wait(1, 0));
    all.add(EINVAL, &ring().event_wait(u64::MAX, 0));
    all.add(0, &ring().cancel(3_u64, 0));
    all.add(ENOENT, &ring().cancel(3_u64, 0));
    // The number is free, and one that has come is, too.
    all.add(0, &watch(3));
    all.add(0, &ring().signal_point(1_u64, 1, 0));
    prober.answered(&all)?;
    prober.refused(0, ring().event_wait(0, 0))?;
    let mut all = Expected::new();
    all.add(ENOENT, &ring().cancel(3_u64, 0));
    all.add(0, &wait(3));
    prober.answered(&all)
}

fn rings_that_do_not_fit(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let buffer = ResourceId(prober.buffer.resource_id());
    let events = prober.ring_of_events()?;
    let memory = events.map()?;
    for (offset, size) in [
        (0, 0),
        (0, 64),
        (0, 127),
        (32, 128),
        (1, 128),
        (0, PAGE.saturating_add(64)),
        (PAGE, 128),
        (PAGE.saturating_sub(64), 128),
        (0, 65536 + 64),
        (u64::MAX - 63, 128),
        (64, u64::MAX),
    ] {
        all.add(EINVAL, &ring().events(buffer, offset, size, 0));
    }
    // The event comes to the old one.
    all.add(0, &ring().wait_memory(buffer, 0, 0, 3_u64, PATIENCE, 0));
    all.add(0, &ring().event_wait(0, 0));
    prober.answered(&all)?;
    assert_eq!(u64::from_le(memory.load_u64(16)?), 1, "the ring's head");
    Ok(())
}

fn counters_and_times(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let _events = prober.ring_of_events()?;
    let buffer = ResourceId(prober.buffer.resource_id());
    all.add(0, &ring().create_timeline(1_u64, NONE, 0));
    for offset in [1, 4, 12, PAGE - 4, PAGE, PAGE + 8, u64::MAX, u64::MAX - 7] {
        let wait = ring().wait_memory(buffer, offset, 0, 3_u64, PATIENCE, 0);
        all.add(EINVAL, &wait);
        all.add(EINVAL, &ring().signal_memory(buffer, offset, 1, 0));
    }
    all.add(0, &ring().signal_memory(buffer, PAGE - 8, 1, 0));

    let most = u64::from(prober.context.capset().max_timeout_ms.get());
    let most = most.saturating_mul(1_000_000);
    let wait = |timeout_ns| {
        let op = Op::MemWait {
            resource_id: buffer.0,
            offset: 0,
            value: 9,
            event: 3,
            timeout_ns,
        };
        ring().op(&op, 0)
    };
    let watch = |timeout_ns| {
        let timeout = Some(Duration::from_nanos(timeout_ns));
        ring().watch_point(1_u64, 1, UNTIL, 4_u64, timeout, 0)
    };
    all.add(EINVAL, &wait(0));
    for timeout_ns in [most.saturating_add(1), u64::MAX] {
        all.add(EINVAL, &wait(timeout_ns));
        all.add(EINVAL, &watch(timeout_ns));
    }
    all.add(0, &wait(most));
    all.add(0, &watch(most));
    prober.answered(&all)
}

/// The operation with another 32-bit word at this place.
fn with_word(submission: &Submission<'_>, at: usize, word: u32) -> Submission<'static> {
    let mut bytes = submission.payload().to_vec();
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = word.to_le_bytes();
    }
    ring().raw_payload(&bytes)
}

fn flags(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let _events = prober.ring_of_events()?;
    let buffer = ResourceId(prober.buffer.resource_id());
    all.add(0, &ring().create_timeline(1_u64, NONE, 0));
    all.add(0, &ring().signal_point(1_u64, 1, 0));
    for bits in [0, 4, 5, 1 << 31, u32::MAX] {
        let access = Access::from_bits_retain(bits);
        all.add(EINVAL, &ring().poll(buffer, access, 0));
        all.add(EINVAL, &ring().cpu_begin(buffer, access, 0));
        all.add(EINVAL, &ring().cpu_end(buffer, access, 0));
    }
    let create = ring().create_timeline(2_u64, NONE, 0);
    let transfer = ring().point_to_cookie(1_u64, 1, 6_u64, 0);
    let watch = ring().watch_point(1_u64, 1, UNTIL, 8_u64, None, 0);
    let wait = ring().wait_memory(buffer, 0, 0, 8_u64, PATIENCE, 0);
    for (good, at, wrong) in [
        // SIGNALLED of one that is not binary, and bits that mean nothing.
        (&create, 16, &[2, 4, 5, u32::MAX][..]),
        (&create, 20, &[1, u32::MAX]),
        (&transfer, 32, &[0, 3, u32::MAX]),
        (&transfer, 36, &[1]),
        (&watch, 40, &[0, 3, u32::MAX]),
        (&watch, 44, &[1]),
        (&wait, 12, &[1, u32::MAX]),
        (&ring().signal_memory(buffer, 0, 1, 0), 12, &[1]),
        (&ring().events(buffer, 0, PAGE, 0), 12, &[1]),
        (&ring().snapshot(buffer, 6_u64, 0), 12, &[1]),
    ] {
        for word in wrong {
            all.add(EINVAL, &with_word(good, at, *word));
        }
    }
    // Each is good without that.
    for good in [create, transfer, watch] {
        all.add(0, &good);
    }
    prober.answered(&all)
}

fn without_a_fence(prober: &mut Prober) -> Result {
    let buffer = ResourceId(prober.buffer.resource_id());
    let _events = prober.ring_of_events()?;
    let unfenced = ring()
        .poll(buffer, Access::READ, 1)
        .cpu_begin(buffer, Access::READ, 2)
        .cpu_end(buffer, Access::READ, 3)
        .wait_memory(buffer, 0, 0, 3_u64, PATIENCE, 4)
        .event_wait(1, 5);
    prober.context.submit(&unfenced)?;
    // EVENT_WAIT says what was read, with a fence or without.
    let records = prober.submit(ring().event_wait(0, 6))?;
    let ends: Vec<_> = records.iter().map(|one| (one.tag, one.errno)).collect();
    assert_eq!(
        ends,
        [
            (1, EINVAL),
            (2, EINVAL),
            (3, EINVAL),
            (4, 0),
            (5, 0),
            (6, 0)
        ]
    );
    Ok(())
}

fn joined(prober: &mut Prober) -> Result {
    let mut all = Expected::new();
    let buffer = ResourceId(prober.buffer.resource_id());
    let from = |ctx_id, number, cookie| {
        let op = Op::FromRing {
            ctx_id,
            ring: number,
            cookie,
        };
        ring().op(&op, 0)
    };
    for number in [64, 255, 256, u32::MAX] {
        all.add(EINVAL, &from(0, number, 6));
    }
    all.add(EPERM, &from(u32::MAX, 0, 6));
    all.add(EINVAL, &from(0, 0, 0));
    all.add(EINVAL, &ring().snapshot(buffer, 0_u64, 0));
    all.add(0, &from(0, 63, 6));
    all.add(EEXIST, &from(0, 63, 6));
    all.add(EEXIST, &ring().snapshot(buffer, 6_u64, 0));
    all.add(0, &ring().drop_cookie(6_u64, 0));
    all.add(0, &ring().snapshot(buffer, 6_u64, 0));
    all.add(0, &ring().wait(6_u64, 0));
    prober.answered(&all)
}
