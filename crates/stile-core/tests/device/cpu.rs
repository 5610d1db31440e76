//! CPU_BEGIN and CPU_END by example.

use std::rc::Rc;

use stile_core::{CpuPhase, Errno, Limits, errno};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{Access, Op, RecordFlags, encode_export};

use crate::operations::{READ, STATUS, errors, limited};
use crate::sim::{Bench, GuestCommand, HostFails};

const WRITE: Access = Access::WRITE;

fn begin_on(ring: u8, tag: u32, resource_id: u32, access: Access) -> Vec<u8> {
    let op = Op::CpuBegin {
        resource_id,
        access,
    };
    op.encode(ring, tag).to_vec()
}

fn begin(tag: u32, resource_id: u32) -> Vec<u8> {
    begin_on(0, tag, resource_id, READ)
}

fn end(tag: u32, resource_id: u32) -> Vec<u8> {
    let op = Op::CpuEnd {
        resource_id,
        access: WRITE,
    };
    op.encode(0, tag).to_vec()
}

fn bench() -> Bench {
    limited(Limits::default())
}

fn two_at_most() -> Bench {
    limited(Limits {
        cpu_accesses: 2,
        ..Limits::default()
    })
}

#[test]
fn the_fence_waits_until_the_host_has_done_with_the_access() {
    let mut bench = bench();
    let begun = bench.fenced(0, 1, &[begin(1, 1)]);
    bench.deliver();
    assert!(bench.is_pending(begun));
    bench.now_ns += 7;
    bench.accessed(0, Ok(()));
    assert!(!bench.is_pending(begun));
    let ended = bench.fenced(0, 2, &[end(2, 2)]);
    assert!(bench.is_pending(ended));
    bench.accessed(1, Ok(()));
    assert!(!bench.is_pending(ended));
    let asked: Vec<_> = bench
        .sim
        .accesses
        .iter()
        .map(|access| (access.phase, access.access))
        .collect();
    assert_eq!(asked, [(CpuPhase::Begin, READ), (CpuPhase::End, WRITE)]);
    for (nth, resource) in [(0, 1), (1, 2)] {
        let storage = bench.sim.storage(resource);
        assert!(Rc::ptr_eq(&storage, &bench.sim.accesses[nth].storage));
    }
    let records = bench.records(STATUS, 0).records;
    let record = records[1];
    assert_eq!((record.cmd, record.tag.get()), (0x88, 1));
    assert_eq!((record.resource_id.get(), record.cookie.get()), (1, 0));
    assert_eq!(record.done_ns.get(), record.taken_ns.get() + 7);
    assert_eq!(record.signalled_ns.get(), 0);
    assert_eq!(records[2].cmd, 0x89);
}

#[test]
fn what_the_kernel_says_is_told_and_is_no_error_of_a_fence() {
    let mut bench = bench();
    let chain = bench.fenced(0, 1, &[begin(1, 1)]);
    bench.accessed(0, Err(Errno(5)));
    assert_eq!(bench.response(chain), Some(Response::Ok));
    let record = *bench.records(STATUS, 0).records.last().unwrap();
    assert_eq!((record.errno.get(), record.flags.get()), (5, 0));
}

#[test]
fn an_access_that_hangs_delays_nobody_else() {
    let mut bench = bench();
    let hangs = bench.fenced(0, 1, &[begin(1, 1)]);
    let other = bench.fenced(1, 2, &[begin_on(1, 2, 1, READ)]);
    let export = encode_export(2, 3, 1, READ, 0).to_vec();
    let export = bench.fenced(2, 3, &[export]);
    bench.deliver();
    assert!(!bench.is_pending(export));
    bench.accessed(1, Ok(()));
    assert!(!bench.is_pending(other) && bench.is_pending(hangs));
}

#[test]
fn accesses_under_way_are_limited_also_those_whose_deadline_has_passed() {
    let mut bench = two_at_most();
    let first = bench.fenced(0, 1, &[begin(1, 1), begin(2, 2), end(3, 3)]);
    bench.pass_ms(10_000);
    assert_eq!(bench.response(first), Some(Response::Ok));
    bench.fenced(0, 2, &[begin(4, 1)]);
    // The first is done, late: there is room for one.
    bench.accessed(0, Ok(()));
    let last = bench.fenced(0, 3, &[end(5, 1), begin(6, 1)]);
    bench.accessed(2, Ok(()));
    assert!(!bench.is_pending(last));
    bench.accessed(1, Err(Errno(5)));
    let expected = [(3, 16), (1, 110), (2, 110), (4, 16), (6, 16), (5, 0)];
    assert_eq!(errors(&bench), expected);
    let records = bench.records(STATUS, 0).records;
    let flags: Vec<_> = records[1..4]
        .iter()
        .map(|record| record.flags.get())
        .collect();
    let overdue = RecordFlags::DEADLINE.bits();
    assert_eq!(flags, [0, overdue, overdue]);
    assert_eq!(bench.device.counters().late_signals, 2);
}

#[test]
fn a_reset_forgets_an_access_and_its_end_means_nothing() {
    let mut bench = two_at_most();
    bench.fenced(0, 1, &[begin(1, 1), begin(2, 1)]);
    bench.reset();
    bench.sim.assert_empty();
    bench.context_with_blobs(1, [1]);
    // The host has not done with them.
    let refused = bench.fenced(0, 1, &[begin(1, 1)]);
    assert!(!bench.is_pending(refused));
    bench.accessed(0, Ok(()));
    let begun = bench.fenced(0, 2, &[begin(2, 1)]);
    bench.accessed(1, Ok(()));
    assert!(bench.is_pending(begun));
    bench.accessed(2, Ok(()));
    assert!(!bench.is_pending(begun));
}

#[test]
fn an_access_goes_on_without_its_blob_and_its_context() {
    let mut bench = bench();
    let chain = bench.fenced(0, 1, &[begin(1, 1)]);
    bench.ok(&GuestCommand::unref(1));
    bench.ok(&GuestCommand::ctx_destroy(1));
    assert!(bench.is_pending(chain));
    bench.accessed(0, Ok(()));
    assert_eq!(bench.response(chain), Some(Response::Ok));
}

#[test]
fn a_signal_is_no_end_of_an_access_and_the_end_of_an_access_is_none_of_a_watch() {
    let mut bench = bench();
    bench.writer(1);
    let access = bench.fenced(0, 1, &[begin(1, 1)]);
    let export = encode_export(1, 2, 1, READ, 0).to_vec();
    let export = bench.fenced(1, 2, &[export]);
    let now_ns = bench.now_ns;
    let (of_access, of_watch) = (bench.sim.accesses[0].wait, bench.sim.new_watches[0].0);
    let device = &mut bench.device;
    device.signalled(&mut bench.sim, now_ns, of_access, false);
    device.watch_failed(&mut bench.sim, now_ns, of_access, errno::ENOMEM);
    device.cpu_done(&mut bench.sim, now_ns, of_watch, Ok(()));
    bench.deliver();
    assert!(bench.is_pending(access) && bench.is_pending(export));
    assert_eq!(bench.device.counters().late_signals, 2);
}

#[test]
fn an_access_that_makes_no_sense_is_refused_and_what_follows_runs() {
    let mut bench = bench();
    let both = [begin(1, 1), end(2, 1)];
    assert_eq!(bench.unfenced(&both), Response::Ok);
    bench.ok(&GuestCommand::blob(4, 4096));
    let mut no_access = begin(3, 1);
    no_access[12] = 0;
    let mut unknown_access = end(4, 1);
    unknown_access[12] = 7;
    let mut too_short = begin(5, 1)[..8].to_vec();
    too_short[2] = 8;
    bench.sim.fails = HostFails::now(errno::EOPNOTSUPP);
    let chain = bench.fenced(
        0,
        1,
        &[
            no_access,
            unknown_access,
            too_short,
            begin_on(1, 6, 1, READ),
            begin(7, 0),
            end(8, 77),
            begin(9, 4),
            begin(10, 1),
            begin(11, 1),
        ],
    );
    assert!(bench.is_pending(chain));
    bench.accessed(0, Ok(()));
    assert_eq!(bench.response(chain), Some(Response::Ok));
    let invalid = (1..=6).map(|tag| (tag, 22));
    let unknown = (7..=9).map(|tag| (tag, 2));
    let expected: Vec<_> = invalid.chain(unknown).chain([(10, 95), (11, 0)]).collect();
    assert_eq!(errors(&bench), expected);
}

#[test]
fn accesses_count_among_the_pending_fences_and_the_descriptors() {
    let mut bench = limited(Limits {
        pending_fences: 1,
        fds: 6,
        ..Limits::default()
    });
    // Four blobs, and two accesses.
    bench.fenced(0, 1, &[begin(1, 1), begin(2, 1), begin(3, 1)]);
    let refused = bench.fenced(1, 2, &[begin_on(1, 4, 1, READ)]);
    let memory = Response::Err(ResponseError::OutOfMemory);
    assert_eq!(bench.response(refused), Some(memory));
    assert_eq!(errors(&bench), [(3, 24), (4, 122)]);
}
