//! The quotas of submissions by example.

use stile_core::Limits;
use stile_wire::gpu::{Response, ResponseError, Timeline, types};
use stile_wire::sync::encode_export;

use crate::operations::{READ, STATUS, drop, errors, export, limited, merge, wait};
use crate::sim::{Bench, Fenced, GuestCommand};

#[test]
fn a_submission_over_its_bytes_is_e2big_and_runs_nothing() {
    let mut bench = limited(Limits {
        submit_bytes: 48,
        ..Limits::default()
    });
    let refused = Response::Err(ResponseError::InvalidParameter);
    let fits = [export(1, 1, READ, 5), export(2, 1, READ, 6)];
    assert_eq!(bench.unfenced(&fits), Response::Ok);
    let long = [export(3, 1, READ, 7), export(4, 1, READ, 8), drop(5, 5)];
    assert_eq!(bench.unfenced(&long), refused);
    // Nor need its reader have read it all.
    let unread = GuestCommand::submit_bytes(1, 56, &export(6, 1, READ, 9));
    assert_eq!(bench.now(&unread), refused);
    assert_eq!(errors(&bench), [(1, 0), (2, 0), (0, 7), (0, 7)]);
    assert_eq!(bench.records(STATUS, 0).records[3].cmd, 0);
    assert_eq!(bench.device.population().2, 2);
}

#[test]
fn an_operation_over_their_number_is_e2big_and_ends_the_submission() {
    let mut bench = limited(Limits {
        operations: 2,
        ..Limits::default()
    });
    let work = bench.writer(1);
    let operations = [
        export(1, 1, READ, 5),
        drop(2, 5),
        export(3, 1, READ, 6),
        export(4, 1, READ, 7),
    ];
    let chain = bench.fenced(0, 1, &operations);
    assert!(bench.is_pending(chain));
    bench.signal(work);
    let refused = Response::Err(ResponseError::InvalidParameter);
    assert_eq!(bench.response(chain), Some(refused));
    assert_eq!(errors(&bench), [(2, 0), (3, 7), (1, 0)]);
    assert_eq!(bench.records(STATUS, 0).records[2].cmd, 0x80);
}

#[test]
fn a_wait_over_the_quota_of_fences_is_edquot_and_keeps_the_order() {
    let mut bench = limited(Limits {
        pending_fences: 2,
        ..Limits::default()
    });
    let work = [1, 2].map(|resource| bench.writer(resource));
    let first = bench.fenced(0, 1, &[export(1, 1, READ, 0)]);
    let second = bench.fenced(0, 2, &[export(2, 2, READ, 0), export(3, 1, READ, 0)]);
    let third = bench.fenced(0, 3, &[export(4, 1, READ, 5), drop(5, 5), drop(6, 5)]);
    assert!(bench.is_pending(third), "held behind those before it");
    assert_eq!(errors(&bench), [(4, 122), (5, 2), (6, 2)]);
    // Another ring is not held; its operations that do not wait take effect.
    let free = bench.fenced(1, 4, &[encode_export(1, 7, 1, READ, 0).to_vec()]);
    let memory = Response::Err(ResponseError::OutOfMemory);
    assert_eq!(bench.response(free), Some(memory.clone()));
    bench.unfenced(&[export(8, 1, READ, 5)]);
    assert_eq!(bench.device.population().2, 1);
    bench.answered();
    bench.signal(work[1]);
    bench.signal(work[0]);
    let answers = [first, second, third].map(|chain| bench.response(chain));
    assert_eq!(
        answers,
        [Some(Response::Ok), Some(Response::Ok), Some(memory)]
    );
    assert_eq!(bench.answered(), [first, second, third]);
    assert!(bench.device.counters().over_quota >= 2);
}

#[test]
fn a_thousand_fences_behind_one_that_hangs_park_one_more_than_the_quota() {
    let mut bench = limited(Limits {
        pending_fences: 8,
        ..Limits::default()
    });
    let work = bench.writer(1);
    let mut chains = vec![bench.fenced(0, 1, &[export(1, 1, READ, 0)])];
    for id in 2..=1000 {
        // Each a command with another response.
        let chain = match id % 3 {
            0 => bench.fenced(0, id, &[]),
            1 => bench.send(&GuestCommand::display_info().of(1), Fenced::Ring(0, id)),
            _ => bench.fenced(0, id, &[export(2, 1, READ, 0)]),
        };
        chains.push(chain);
        assert!(bench.device.pending_fences() <= 9, "{id}");
        assert!(bench.is_pending(chain), "the last one stands for all");
    }
    let fences: Vec<_> = chains
        .iter()
        .filter_map(|chain| bench.answer(*chain))
        .map(|answer| answer.fence)
        .collect();
    assert_eq!(fences, [None; 991]);
    // The commands themselves are answered as ever.
    assert_eq!(bench.response(chains[11]), Some(Response::Ok));
    assert_eq!(bench.response(chains[12]), Some(Response::NoDisplays));
    let memory = Response::Err(ResponseError::OutOfMemory);
    assert_eq!(bench.response(chains[13]), Some(memory));
    assert_eq!(bench.device.counters().fences_displaced, 991);
    bench.answered();
    bench.signal(work);
    let parked = [&chains[..8], &chains[999..]].concat();
    let fences = parked
        .iter()
        .map(|chain| bench.answer(*chain).unwrap().fence);
    let ring = |id| {
        let timeline = Timeline::Ring {
            ctx_id: 1,
            ring_idx: 0,
        };
        Some((timeline, id))
    };
    assert!(fences.eq([1, 2, 3, 4, 5, 6, 7, 8, 1000].map(ring)));
    assert_eq!(bench.answered(), parked);
    // The timeline has not gone back.
    let stale = bench.fenced(0, 1000, &[]);
    assert_eq!(bench.answer(stale).unwrap().fence, None);
}

#[test]
fn a_fence_with_open_waits_is_not_displaced_nor_one_of_another_ring() {
    let mut bench = limited(Limits {
        pending_fences: 3,
        ..Limits::default()
    });
    let work = [1, 2].map(|resource| bench.writer(resource));
    let first = bench.fenced(0, 1, &[export(1, 1, READ, 0)]);
    let second = bench.fenced(0, 2, &[export(2, 2, READ, 0)]);
    let command = GuestCommand::submit(1, &[encode_export(1, 3, 1, READ, 0).to_vec()]);
    let third = bench.send(&command, Fenced::Ring(1, 3));
    bench.answered();
    // Nobody is displaced by these, nor by those that are refused, nor by what has no fence.
    let [held, other] = [0, 1].map(|ring| bench.fenced(ring, 4, &[]));
    let stale = [0, 1].map(|ring| bench.fenced(ring, 4, &[]));
    let free = bench.fenced(2, 4, &[]);
    bench.ok(&GuestCommand::submit(1, &[]));
    let answered: Vec<_> = bench.answered().into_iter().take(3).collect();
    assert_eq!(answered, [stale[0], stale[1], free]);
    // One whose waits have ended and that is held by another one is.
    bench.signal(work[1]);
    assert_eq!(bench.device.pending_fences(), 5);
    let last = bench.fenced(0, 5, &[]);
    assert_eq!(bench.answered(), [held]);
    bench.signal(work[0]);
    assert_eq!(bench.answered(), [first, second, last, third, other]);
}

#[test]
fn what_has_ended_but_is_held_is_displaced() {
    let mut bench = limited(Limits {
        pending_fences: 2,
        ..Limits::default()
    });
    let work = [1, 2].map(|resource| bench.writer(resource));
    let first = bench.fenced(0, 1, &[export(1, 1, READ, 0)]);
    let second = bench.fenced(0, 2, &[export(2, 2, READ, 0)]);
    bench.answered();
    bench.signal(work[1]);
    assert!(bench.is_pending(second));
    let third = bench.fenced(0, 3, &[]);
    assert_eq!(bench.answer(second).unwrap().fence, None);
    assert_eq!(errors(&bench), [(2, 0)], "its record was there before");
    bench.answered();
    bench.signal(work[0]);
    assert_eq!(bench.answered(), [first, third]);
}

#[test]
fn a_fenced_job_over_the_quota_of_fences_is_refused_and_not_begun() {
    let mut bench = limited(Limits {
        pending_fences: 2,
        ..Limits::default()
    });
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    assert!(!bench.is_pending(map));
    let work = bench.writer(1);
    for ring in 0..2 {
        let operation = encode_export(ring, 1, 1, READ, 0).to_vec();
        bench.fenced(ring, 1, &[operation]);
    }
    let commands = [
        GuestCommand::unmap(1),
        GuestCommand::map(2, 1 << 20),
        GuestCommand::assign_uuid(3),
    ];
    let memory = Response::Err(ResponseError::OutOfMemory);
    for (id, command) in (1..).zip(&commands) {
        let chain = bench.send(&command.clone().of(1), Fenced::Ring(7, id));
        let answer = bench.answer(chain).unwrap();
        assert_eq!(answer.response, memory, "{command:?}");
        assert!(answer.fence.is_some());
    }
    assert_eq!(bench.device.counters().over_quota, 3);
    assert_eq!(bench.tasks().len(), 1);
    // Without a fence they hold up nobody's.
    for command in &commands {
        let chain = bench.send(command, Fenced::No);
        assert!(bench.is_pending(chain));
    }
    assert_eq!(bench.tasks().len(), 4);
    bench.signal(work);
    let chain = bench.send(&GuestCommand::assign_uuid(1).of(1), Fenced::Ring(7, 9));
    assert!(bench.is_pending(chain));
}

#[test]
fn pending_fences_leave_most_of_the_control_queue_free() {
    let mut bench = Bench::new(Limits::default());
    let capset = GuestCommand {
        kind: types::CMD_GET_CAPSET,
        ctx_id: 0,
        body: [30_u32, 1]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect(),
    };
    let mut stated = |size: u16| {
        bench.device.set_queue_size(size);
        match bench.now(&capset) {
            Response::Capset(capset) => capset.max_pending_fences.get(),
            other => panic!("{other:?}"),
        }
    };
    let sizes = [0, 2, 16, 64, 256, 1024, 32768];
    assert_eq!(sizes.map(&mut stated), [1, 1, 6, 24, 96, 128, 128]);
    // And that is what holds, also after a reset.
    bench.device.set_queue_size(16);
    bench.reset();
    bench.context_with_blobs(1, [1]);
    bench.writer(1);
    for ring in 0..10 {
        let operation = encode_export(ring, 0, 1, READ, 0).to_vec();
        let chain = bench.fenced(ring, 1, &[operation]);
        assert_eq!(bench.is_pending(chain), ring < 6);
    }
    // Each busy timeline may park one more: three quarters of the queue.
    for id in 2..20 {
        for ring in 0..10 {
            bench.fenced(ring, id, &[]);
        }
    }
    assert_eq!(bench.device.pending_fences(), 12);
}

#[test]
fn a_cookie_over_their_quota_is_edquot() {
    let mut bench = limited(Limits {
        cookies: 2,
        ..Limits::default()
    });
    let memory = Response::Err(ResponseError::OutOfMemory);
    let operations = [
        export(1, 1, READ, 5),
        export(2, 1, READ, 6),
        export(3, 1, READ, 7),
        merge(4, 5, 6, 7),
        export(5, 1, READ, 0),
    ];
    assert_eq!(bench.unfenced(&operations), memory);
    assert_eq!(
        bench.unfenced(&[drop(6, 5), merge(7, 6, 6, 7)]),
        Response::Ok
    );
    let expected = [(1, 0), (2, 0), (3, 122), (4, 122), (5, 0), (6, 0), (7, 0)];
    assert_eq!(errors(&bench), expected);
    // The quota is each context's own.
    bench.context_with_blobs(2, [1]);
    bench.ok(&GuestCommand::submit(2, &[export(1, 1, READ, 5)]));
}

#[test]
fn a_file_descriptor_over_their_quota_is_emfile() {
    // Four blobs, and room for two more.
    let mut bench = limited(Limits {
        fds: 6,
        ..Limits::default()
    });
    let work = bench.writer(1);
    assert!(bench.device.crowded());
    bench.unfenced(&[export(1, 1, READ, 5)]);
    // A cookie and a wait are two.
    let chain = bench.fenced(0, 1, &[export(2, 1, READ, 6)]);
    assert_eq!(bench.response(chain), Some(Response::Ok));
    let chain = bench.fenced(
        0,
        2,
        &[export(3, 1, READ, 0), wait(4, 5), merge(5, 5, 5, 7)],
    );
    assert!(bench.is_pending(chain));
    let blob = GuestCommand::blob(4, 4096);
    assert_eq!(bench.refused(&blob), ResponseError::OutOfMemory);
    bench.signal(work);
    assert_eq!(errors(&bench), [(1, 0), (2, 24), (4, 24), (5, 24), (3, 0)]);
    bench.ok(&blob);
}
