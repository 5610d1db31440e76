//! FROM_RING and SNAPSHOT by example.

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Access, Op, encode_export, encode_import, encode_wait};

use crate::operations::{READ, errors, limited};
use crate::sim::{Bench, Fenced, GuestCommand, HostFails};

const WRITE: Access = Access::WRITE;

fn from_ring(tag: u32, ring: u32, cookie: u64) -> Vec<u8> {
    let op = Op::FromRing {
        ctx_id: 0,
        ring,
        cookie,
    };
    op.encode(0, tag).to_vec()
}

fn snapshot(tag: u32, resource_id: u32, cookie: u64) -> Vec<u8> {
    let op = Op::Snapshot {
        resource_id,
        cookie,
    };
    op.encode(0, tag).to_vec()
}

fn export(ring: u8, resource_id: u32) -> Vec<u8> {
    encode_export(ring, 0, resource_id, READ, 0).to_vec()
}

fn bench() -> Bench {
    limited(Limits::default())
}

/// Whether a cookie of context 1 has signalled; asked on a ring of its own.
fn is_signalled(bench: &mut Bench, cookie: u64) -> bool {
    bench.now_ns += 1;
    let id = bench.now_ns;
    let chain = bench.fenced(60, id, &[encode_wait(60, 99, cookie).to_vec()]);
    bench.deliver();
    let signalled = !bench.is_pending(chain);
    // It would be waited for again and again.
    if !signalled {
        let wait = bench.sim.new_watches.last().unwrap().0;
        bench
            .device
            .watch_failed(&mut bench.sim, id, wait, errno::ENOMEM);
    }
    signalled
}

#[test]
fn a_ring_is_as_far_as_all_its_pending_fences() {
    let mut bench = bench();
    let works = [1, 2, 3].map(|resource| bench.writer(resource));
    bench.fenced(5, 1, &[export(5, 1), export(5, 2)]);
    // Held, without a wait of its own.
    bench.fenced(5, 2, &[]);
    bench.fenced(5, 3, &[export(5, 3)]);
    // Not the ring that is asked for.
    let other = bench.writer(1);
    bench.fenced(6, 1, &[export(6, 1)]);
    bench.unfenced(&[from_ring(1, 5, 50), from_ring(2, 6, 60)]);
    for work in [works[2], works[0]] {
        bench.signal(work);
        assert!(!is_signalled(&mut bench, 50));
    }
    bench.signal(works[1]);
    assert!(is_signalled(&mut bench, 50) && !is_signalled(&mut bench, 60));
    bench.signal(other);
    assert!(is_signalled(&mut bench, 60));
}

#[test]
fn the_cookie_is_for_others_before_anything_signals_and_outlives_the_fence() {
    let mut bench = bench();
    let work = bench.writer(1);
    let chain = bench.fenced(5, 1, &[export(5, 1)]);
    let import = encode_import(0, 2, 2, WRITE, 50).to_vec();
    bench.unfenced(&[from_ring(1, 5, 50), import]);
    let waits = bench.fenced(7, 1, &[export(7, 2)]);
    bench.deliver();
    assert!(bench.is_pending(chain) && bench.is_pending(waits));
    // The guest's fence is given up; what it stood for is not done.
    bench.pass_ms(10_000);
    assert!(!bench.is_pending(chain) && !is_signalled(&mut bench, 50));
    bench.signal(work);
    assert!(is_signalled(&mut bench, 50));
    assert_eq!(bench.device.population().2, 1);
}

#[test]
fn what_a_submission_has_started_itself_is_not_there_yet() {
    let mut bench = bench();
    let work = bench.writer(1);
    let chain = bench.fenced(
        0,
        1,
        &[export(0, 1), from_ring(1, 0, 50), snapshot(2, 1, 51)],
    );
    assert!(bench.is_pending(chain));
    assert!(is_signalled(&mut bench, 50) && is_signalled(&mut bench, 51));
    bench.unfenced(&[from_ring(3, 0, 52)]);
    assert!(!is_signalled(&mut bench, 52));
    bench.signal(work);
}

#[test]
fn a_ring_without_pending_fences_gives_a_signalled_cookie() {
    let mut bench = bench();
    let work = bench.writer(1);
    let chain = bench.fenced(5, 1, &[export(5, 1)]);
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    bench.unfenced(&[
        from_ring(1, 5, 50),
        from_ring(2, 63, 51),
        snapshot(3, 1, 52),
    ]);
    assert_eq!(errors(&bench)[1..], [(1, 0), (2, 0), (3, 0)]);
    for cookie in [50, 51, 52] {
        assert!(is_signalled(&mut bench, cookie));
    }
    bench.sim.fails = HostFails::now(errno::EOPNOTSUPP);
    bench.unfenced(&[from_ring(4, 5, 53)]);
    assert_eq!(errors(&bench).last(), Some(&(4, 95)));
}

#[test]
fn nothing_stands_for_what_is_no_host_fence() {
    let poll = |resource_id| {
        let op = Op::Poll {
            resource_id,
            access: READ,
        };
        op.encode(5, 0).to_vec()
    };
    let begin = |resource_id| {
        let op = Op::CpuBegin {
            resource_id,
            access: READ,
        };
        op.encode(5, 0).to_vec()
    };
    // A mapping, an access of the CPU, a POLL whose turn has not come.
    for case in 0..3 {
        let mut bench = bench();
        let work = bench.writer(1);
        bench.fenced(5, 1, &[export(5, 1)]);
        let map = GuestCommand::map(3, 0).of(1);
        match case {
            0 => bench.send(&map, Fenced::Ring(5, 2)),
            1 => bench.fenced(5, 2, &[export(5, 1), begin(1)]),
            _ => bench.fenced(5, 2, &[poll(2), export(5, 1)]),
        };
        bench.unfenced(&[from_ring(7, 5, 50), snapshot(8, 1, 51), from_ring(9, 6, 52)]);
        let ends = errors(&bench);
        assert_eq!(ends, [(7, 95), (8, 95), (9, 0)], "{case}");
        assert_eq!(bench.device.population().2, 1);
        // When that is over, or has become one, there is something.
        bench.signal(work);
        match case {
            0 => bench.job(0, Ok(())),
            1 => bench.accessed(0, Ok(())),
            _ => {}
        }
        bench.unfenced(&[from_ring(10, 5, 53), snapshot(11, 1, 54)]);
        let ends = errors(&bench);
        assert_eq!(ends[ends.len() - 2..], [(10, 0), (11, 0)], "{case}");
    }
}

#[test]
fn a_snapshot_is_all_rings_of_all_contexts_that_hold_the_buffer() {
    let mut bench = bench();
    bench.context_with_blobs(2, [1, 4]);
    bench.context_with_blobs(3, [4]);
    let works = [1, 2, 3, 4].map(|resource| bench.writer(resource));
    bench.fenced(5, 1, &[export(5, 2)]);
    bench.fenced(6, 2, &[export(6, 3)]);
    let of_two = GuestCommand::submit(2, &[export(0, 4)]);
    bench.send(&of_two, Fenced::Ring(0, 3));
    // The third does not hold it.
    let apart = bench.writer(4);
    let of_three = GuestCommand::submit(3, &[export(0, 4)]);
    bench.send(&of_three, Fenced::Ring(0, 4));
    bench.unfenced(&[snapshot(1, 1, 50), snapshot(2, 2, 51)]);
    assert_eq!(errors(&bench), [(1, 0), (2, 0)]);
    for work in [works[1], works[2]] {
        assert!(!is_signalled(&mut bench, 50) && !is_signalled(&mut bench, 51));
        bench.signal(work);
    }
    // Blob 2 is the first context's alone.
    assert!(!is_signalled(&mut bench, 50) && is_signalled(&mut bench, 51));
    bench.signal(works[3]);
    assert!(is_signalled(&mut bench, 50));
    bench.signal(apart);
    bench.signal(works[0]);
}

#[test]
fn who_listens_for_events_is_no_user_of_the_buffer() {
    let mut bench = bench();
    let events = Op::Events {
        resource_id: 3,
        offset: 0,
        size: 128,
    };
    bench.unfenced(&[events.encode(0, 1).to_vec()]);
    let work = bench.writer(1);
    let listen = |tag| Op::EventWait { seen: 0 }.encode(7, tag).to_vec();
    let listener = bench.fenced(7, 1, &[listen(2)]);
    let mixed = bench.fenced(7, 2, &[listen(3), export(7, 1)]);
    bench.unfenced(&[snapshot(4, 1, 50), from_ring(5, 7, 51)]);
    // Nothing stands for the fence of the listener itself.
    assert_eq!(errors(&bench)[1..], [(4, 0), (5, 95)]);
    assert!(!is_signalled(&mut bench, 50));
    bench.signal(work);
    assert!(is_signalled(&mut bench, 50));
    assert!(bench.is_pending(listener) && bench.is_pending(mixed));
}

#[test]
fn a_snapshot_has_the_devices_own_timeline_up_to_the_last_of_the_users() {
    let mut bench = bench();
    bench.context_with_blobs(2, [4]);
    let works = [1, 2, 4].map(|resource| bench.writer(resource));
    let submit = |ctx, resource| GuestCommand::submit(ctx, &[export(0, resource)]);
    bench.send(&submit(2, 4), Fenced::Global(1));
    // Nobody of the users: there is nothing to wait for.
    bench.unfenced(&[snapshot(1, 1, 50)]);
    assert!(is_signalled(&mut bench, 50));
    bench.send(&submit(1, 2), Fenced::Global(2));
    bench.send(&GuestCommand::map(3, 0), Fenced::Global(3));
    // What is behind the last of them does not count; what is before it does.
    bench.unfenced(&[snapshot(2, 1, 51)]);
    assert_eq!(errors(&bench).last(), Some(&(2, 0)));
    bench.signal(works[1]);
    assert!(!is_signalled(&mut bench, 51));
    bench.signal(works[2]);
    assert!(is_signalled(&mut bench, 51));
    // Now it does: it is before the next of theirs.
    bench.send(&submit(1, 1), Fenced::Global(4));
    bench.unfenced(&[snapshot(3, 1, 52)]);
    assert_eq!(errors(&bench).last(), Some(&(3, 95)));
}

#[test]
fn a_merge_that_fails_leaves_no_cookie_and_no_sync_file() {
    let mut bench = bench();
    for (ring, resource) in [(1_u8, 1), (2, 2), (3, 3)] {
        bench.writer(resource);
        bench.fenced(ring, 1, &[export(ring, resource), export(ring, resource)]);
    }
    let fds = bench.sim.fds();
    // Six parts are five merges.
    for after in 0..5 {
        let error = Some(Errno(12));
        bench.sim.fails = HostFails { after, error };
        bench.unfenced(&[snapshot(after, 1, 50)]);
        assert_eq!(errors(&bench).last(), Some(&(after, 12)));
        assert_eq!(bench.sim.fds(), fds);
    }
    bench.sim.fails = HostFails {
        after: 5,
        error: Some(Errno(12)),
    };
    bench.unfenced(&[snapshot(9, 1, 50)]);
    assert_eq!(errors(&bench).last(), Some(&(9, 0)));
    assert_eq!(bench.sim.fds(), fds + 1);
}

#[test]
fn what_makes_no_sense_is_refused_in_its_order() {
    let mut bench = limited(Limits {
        cookies: 2,
        fds: 6,
        ..Limits::default()
    });
    bench.context_with_blobs(2, []);
    bench.ok(&GuestCommand::ctx_create(3, 0));
    let of = |ctx_id, ring, cookie, tag| {
        let op = Op::FromRing {
            ctx_id,
            ring,
            cookie,
        };
        op.encode(0, tag).to_vec()
    };
    let mut reserved = snapshot(8, 1, 50);
    reserved[12] = 1;
    bench.unfenced(&[
        of(1, 63, 50, 1),
        of(2, 64, 0, 2),
        of(2, 64, 50, 3),
        of(2, u32::MAX, 50, 4),
        of(2, 5, 50, 5),
        of(99, 5, 51, 6),
        of(0, 5, 50, 7),
        reserved,
        snapshot(9, 1, 0),
        snapshot(10, 77, 50),
        snapshot(11, 77, 51),
        snapshot(12, 1, 51),
        snapshot(13, 77, 52),
        of(0, 5, 52, 14),
    ]);
    let expected = [
        (1, 0),
        (2, 22),
        (3, 22),
        (4, 22),
        (5, 1),
        (6, 1),
        (7, 17),
        (8, 22),
        (9, 22),
        (10, 17),
        (11, 2),
        (12, 0),
        (13, 122),
        (14, 122),
    ];
    assert_eq!(errors(&bench), expected);
    // Four blobs and two cookies are six descriptors.
    let drop = stile_wire::sync::encode_drop(0, 15, 50).to_vec();
    bench.unfenced(&[drop]);
    bench.writer(2);
    bench.fenced(5, 1, &[export(5, 2)]);
    bench.unfenced(&[of(0, 5, 50, 16), snapshot(17, 77, 53)]);
    let ends = errors(&bench);
    assert_eq!(ends[ends.len() - 2..], [(16, 24), (17, 24)]);
}

#[test]
fn a_submission_looks_at_no_more_than_it_may() {
    let mut bench = limited(Limits {
        looks: 9,
        ..Limits::default()
    });
    bench.writer(1);
    // A ring, two fences, three waits: six.
    bench.fenced(5, 1, &[export(5, 1), export(5, 1)]);
    bench.fenced(5, 2, &[export(5, 1)]);
    let refused = bench.unfenced(&[
        from_ring(1, 5, 50),
        from_ring(2, 6, 51),
        from_ring(3, 5, 52),
    ]);
    assert_eq!(refused, Response::Err(ResponseError::OutOfMemory));
    // An unused ring is none; nothing is left after the one that was refused.
    assert_eq!(errors(&bench), [(1, 0), (2, 0), (3, 122)]);
    assert_eq!(bench.device.population().2, 2);
    let again = bench.unfenced(&[from_ring(4, 5, 52)]);
    assert_eq!(again, Response::Ok);
    // The device's own timeline counts all of its fences.
    for id in 1..=3 {
        let command = GuestCommand::submit(1, &[export(0, 1)]);
        bench.send(&command, Fenced::Global(id));
    }
    bench.unfenced(&[snapshot(5, 1, 53)]);
    assert_eq!(errors(&bench).last(), Some(&(5, 122)));
    assert_eq!(bench.device.counters().over_quota, 2);
}

#[test]
fn a_snapshot_looks_at_used_rings_pending_fences_and_open_waits() {
    let mut bench = limited(Limits {
        looks: 6,
        ..Limits::default()
    });
    let events = Op::Events {
        resource_id: 3,
        offset: 0,
        size: 128,
    };
    bench.unfenced(&[events.encode(0, 1).to_vec()]);
    // Two rings, on one of which nothing is pending; a fence there and its EVENT_WAIT.
    bench.fenced(5, 1, &[]);
    let listen = Op::EventWait { seen: 0 }.encode(6, 2).to_vec();
    bench.fenced(6, 1, &[listen]);
    // A fence of the device's own timeline, and its wait.
    bench.writer(2);
    let command = GuestCommand::submit(1, &[export(0, 2)]);
    bench.send(&command, Fenced::Global(1));
    bench.unfenced(&[snapshot(3, 1, 50)]);
    assert_eq!(errors(&bench).last(), Some(&(3, 0)));
    // One more ring is one look too many.
    bench.fenced(7, 1, &[]);
    bench.unfenced(&[snapshot(4, 1, 51)]);
    assert_eq!(errors(&bench).last(), Some(&(4, 122)));
}
