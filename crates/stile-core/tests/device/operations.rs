//! The sync operations by example.

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::{
    Access, Op, encode_drop, encode_export, encode_import, encode_merge, encode_status, encode_wait,
};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails};

pub(crate) const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
/// The blob that records go to.
pub(crate) const STATUS: u32 = 9;

pub(crate) fn export(tag: u32, resource_id: u32, access: Access, cookie: u64) -> Vec<u8> {
    encode_export(0, tag, resource_id, access, cookie).to_vec()
}

fn import(tag: u32, resource_id: u32, access: Access, cookie: u64) -> Vec<u8> {
    encode_import(0, tag, resource_id, access, cookie).to_vec()
}

pub(crate) fn merge(tag: u32, first: u64, second: u64, cookie: u64) -> Vec<u8> {
    encode_merge(0, tag, first, second, cookie).to_vec()
}

pub(crate) fn wait(tag: u32, cookie: u64) -> Vec<u8> {
    encode_wait(0, tag, cookie).to_vec()
}

pub(crate) fn drop(tag: u32, cookie: u64) -> Vec<u8> {
    encode_drop(0, tag, cookie).to_vec()
}

/// Blobs 1 to 3, a status blob, and these limits.
pub(crate) fn limited(limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, [1, 2, 3, STATUS]);
    bench.ok(&GuestCommand::submit(
        1,
        &[encode_status(0, 0, STATUS, 0, 65536).to_vec()],
    ));
    bench
}

fn bench() -> Bench {
    limited(Limits::default())
}

/// Tag and errno of what was recorded after STATUS.
pub(crate) fn errors(bench: &Bench) -> Vec<(u32, u32)> {
    bench.records(STATUS, 0).errors().split_off(1)
}

#[test]
fn a_read_waits_for_writers_and_a_write_for_everybody() {
    let mut bench = bench();
    let reader = bench.reader(1);
    let read = bench.fenced(0, 1, &[export(1, 1, READ, 0)]);
    let command = GuestCommand::submit(1, &[encode_export(1, 2, 1, WRITE, 0).to_vec()]);
    let write = bench.send(&command, Fenced::Ring(1, 2));
    let command = GuestCommand::submit(1, &[encode_export(2, 3, 1, READ | WRITE, 0).to_vec()]);
    let both = bench.send(&command, Fenced::Ring(2, 3));
    bench.deliver();
    assert!(!bench.is_pending(read) && bench.is_pending(write) && bench.is_pending(both));
    bench.signal(reader);
    assert!(!bench.is_pending(write) && !bench.is_pending(both));
}

#[test]
fn an_export_is_a_snapshot() {
    let mut bench = bench();
    let before = bench.writer(1);
    let chain = bench.fenced(0, 1, &[export(1, 1, READ, 5)]);
    bench.writer(1);
    bench.signal(before);
    assert!(!bench.is_pending(chain));
    let chain = bench.fenced(0, 2, &[wait(2, 5)]);
    bench.deliver();
    assert!(!bench.is_pending(chain));
}

#[test]
fn an_export_whose_watch_fails_leaves_no_cookie() {
    let mut bench = bench();
    let work = bench.writer(1);
    let first = bench.fenced(0, 1, &[export(1, 1, READ, 5), export(2, 1, READ, 6)]);
    // Until then it may be used, and its number be given to another one.
    let again = bench.fenced(
        0,
        2,
        &[
            merge(3, 5, 5, 7),
            wait(4, 7),
            drop(5, 6),
            export(6, 1, READ, 6),
        ],
    );
    let watches: Vec<_> = bench.sim.new_watches.iter().map(|(id, _)| *id).collect();
    let [five, old_six, seven, six] = watches.as_slice() else {
        panic!("{watches:?}");
    };
    let fail = |bench: &mut Bench, wait| {
        bench
            .device
            .watch_failed(&mut bench.sim, bench.now_ns, wait, errno::ENOMEM);
        bench.deliver();
        bench.device.check().expect("the device is whole");
        bench.device.population().2
    };
    assert_eq!(bench.device.population().2, 3);
    assert_eq!(fail(&mut bench, *five), 2);
    assert!(bench.is_pending(first));
    assert_eq!(fail(&mut bench, *old_six), 2);
    assert!(!bench.is_pending(first));
    // What a WAIT names is not its own.
    assert_eq!(fail(&mut bench, *seven), 2);
    assert!(bench.is_pending(again));
    bench.signal(work);
    assert!(!bench.is_pending(again));
    // Too late to be refused.
    assert_eq!(fail(&mut bench, *six), 2);
    bench.unfenced(&[drop(7, 5), drop(8, 6), drop(9, 7)]);
    let errors: Vec<_> = errors(&bench).into_iter().skip(2).collect();
    let refused = [(1, 12), (2, 12), (4, 12)];
    let expected = [&refused[..], &[(6, 0), (7, 2), (8, 0), (9, 0)]].concat();
    assert_eq!(errors, expected);
}

#[test]
fn an_import_makes_others_wait_for_the_cookie() {
    let mut bench = bench();
    let work = bench.writer(1);
    assert_eq!(
        bench.unfenced(&[
            export(1, 1, READ, 5),
            import(2, 2, READ, 5),
            import(3, 3, WRITE, 5)
        ]),
        Response::Ok
    );
    // As a read fence only writers wait for it, as a write fence everybody does.
    let rings = [(2, READ), (2, WRITE), (3, READ), (3, WRITE)];
    let chains: Vec<_> = (0_u8..)
        .zip(rings)
        .map(|(ring, (resource, access))| {
            let operation = encode_export(ring, 4, resource, access, 0).to_vec();
            bench.fenced(ring, 1 + u64::from(ring), &[operation])
        })
        .collect();
    bench.deliver();
    let pending: Vec<_> = chains
        .iter()
        .map(|chain| bench.is_pending(*chain))
        .collect();
    assert_eq!(pending, [false, true, true, true]);
    bench.signal(work);
    assert!(chains.iter().all(|chain| !bench.is_pending(*chain)));
    // A signalled cookie is accepted and has no effect.
    assert_eq!(bench.unfenced(&[import(5, 1, WRITE, 5)]), Response::Ok);
    assert_eq!(errors(&bench).last(), Some(&(5, 0)));
}

#[test]
fn a_merge_waits_for_both() {
    let mut bench = bench();
    let (first, second) = (bench.writer(1), bench.writer(2));
    bench.unfenced(&[
        export(1, 1, READ, 5),
        export(2, 2, READ, 6),
        merge(3, 5, 6, 7),
    ]);
    let chain = bench.fenced(0, 1, &[wait(4, 7)]);
    bench.signal(second);
    assert!(bench.is_pending(chain));
    // The sources stay.
    bench.unfenced(&[drop(5, 5), drop(6, 6)]);
    bench.signal(first);
    assert!(!bench.is_pending(chain));
    assert!(errors(&bench).iter().all(|(_, errno)| *errno == 0));
}

#[test]
fn a_merge_of_signalled_and_pending_waits_for_the_pending_one() {
    let mut bench = bench();
    let (first, second) = (bench.writer(1), bench.writer(2));
    bench.unfenced(&[export(1, 1, READ, 5), export(2, 2, READ, 6)]);
    bench.signal(first);
    bench.unfenced(&[merge(3, 5, 6, 7)]);
    let chain = bench.fenced(0, 1, &[wait(4, 7)]);
    bench.deliver();
    assert!(bench.is_pending(chain));
    bench.signal(second);
    assert!(!bench.is_pending(chain));
}

#[test]
fn a_merge_of_a_cookie_with_itself_is_the_same_again() {
    let mut bench = bench();
    let work = bench.writer(1);
    bench.unfenced(&[export(1, 1, READ, 5), merge(2, 5, 5, 6), drop(3, 5)]);
    let chain = bench.fenced(0, 1, &[wait(4, 6)]);
    bench.deliver();
    assert!(bench.is_pending(chain));
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    // Its result may not be one of its sources.
    bench.unfenced(&[merge(5, 6, 6, 6), merge(6, 6, 77, 8), merge(7, 77, 6, 8)]);
    let all = errors(&bench);
    assert_eq!(all[all.len() - 3..], [(5, 17), (6, 2), (7, 2)]);
}

#[test]
fn a_wait_in_a_submission_without_a_fence_is_einval() {
    let mut bench = bench();
    bench.writer(1);
    assert_eq!(
        bench.unfenced(&[export(1, 1, READ, 5), wait(2, 5)]),
        Response::Ok
    );
    assert_eq!(errors(&bench), [(1, 0), (2, 22)]);
    assert_eq!(bench.sim.watches(), 0);
}

#[test]
fn a_wait_goes_on_when_its_cookie_is_dropped() {
    let mut bench = bench();
    let work = bench.writer(1);
    bench.unfenced(&[export(1, 1, READ, 5)]);
    let chain = bench.fenced(0, 1, &[wait(2, 5), drop(3, 5)]);
    assert_eq!(bench.device.population().2, 0);
    bench.deliver();
    assert!(bench.is_pending(chain));
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    // In the order in which they ended.
    assert_eq!(errors(&bench), [(1, 0), (3, 0), (2, 0)]);
}

#[test]
fn a_cookie_that_an_operation_made_is_there_for_the_next() {
    let mut bench = bench();
    let work = bench.writer(1);
    let chain = bench.fenced(
        0,
        1,
        &[
            export(1, 1, READ, 5),
            merge(2, 5, 5, 6),
            import(3, 2, WRITE, 6),
            wait(4, 6),
        ],
    );
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    let mut errors = errors(&bench);
    errors.sort_unstable();
    assert_eq!(errors, [(1, 0), (2, 0), (3, 0), (4, 0)]);
}

#[test]
fn a_failed_operation_leaves_nothing_behind_and_stops_nobody() {
    let mut bench = bench();
    let mut run = |error: Errno, operations: &[Vec<u8>]| {
        bench.sim.fails = HostFails::now(error);
        let id = bench.now_ns;
        bench.now_ns += 1;
        bench.fenced(0, id, operations);
        bench.deliver();
        assert!(bench.sim.fails.error.is_none());
    };
    run(
        errno::ENOMEM,
        &[export(1, 1, READ, 5), export(2, 1, READ, 5)],
    );
    run(Errno(9), &[import(3, 2, WRITE, 5), import(4, 2, WRITE, 5)]);
    run(errno::EMFILE, &[merge(5, 5, 5, 6), merge(6, 5, 5, 6)]);
    run(Errno(28), &[wait(7, 5), wait(8, 5)]);
    let errors = errors(&bench);
    let failed: Vec<_> = errors.iter().filter(|(_, errno)| *errno != 0).collect();
    assert_eq!(failed, [&(1, 12), &(3, 9), &(5, 24), &(7, 28)]);
    assert_eq!(errors.len(), 8);
    assert_eq!(bench.device.population().2, 2);
    assert_eq!(bench.sim.watches(), 0);
}

#[test]
fn names_that_are_not_there_are_enoent() {
    let mut bench = bench();
    bench.ok(&GuestCommand::blob(4, 4096));
    bench.unfenced(&[
        export(1, 4, READ, 5),
        export(2, 77, READ, 5),
        import(3, 1, READ, 5),
        drop(4, 5),
        export(5, 1, READ, 5),
        import(6, 4, READ, 5),
        encode_status(0, 7, 4, 0, 4096).to_vec(),
        export(8, 1, READ, 5),
    ]);
    assert_eq!(
        errors(&bench),
        [
            (1, 2),
            (2, 2),
            (3, 2),
            (4, 2),
            (5, 0),
            (6, 2),
            (7, 2),
            (8, 17)
        ]
    );
}

#[test]
fn the_cookies_of_another_context_are_not_there() {
    let mut bench = bench();
    bench.context_with_blobs(2, [1]);
    bench.unfenced(&[export(1, 1, READ, 5)]);
    bench.ok(&GuestCommand::submit(
        2,
        &[export(1, 1, READ, 5), drop(2, 5)],
    ));
    bench.unfenced(&[drop(2, 5)]);
    assert_eq!(errors(&bench), [(1, 0), (2, 0)]);
}

#[test]
fn a_buffer_without_a_dma_buf_is_eopnotsupp() {
    let mut bench = bench();
    bench.sim.fails = HostFails::now(errno::EOPNOTSUPP);
    assert_eq!(bench.unfenced(&[export(1, 1, READ, 5)]), Response::Ok);
    assert_eq!(errors(&bench), [(1, 95)]);
}

#[test]
fn an_operation_for_another_ring_is_einval() {
    let mut bench = bench();
    bench.writer(1);
    let chain = bench.fenced(2, 1, &[encode_export(1, 1, 1, READ, 5).to_vec()]);
    assert_eq!(bench.response(chain), Some(Response::Ok));
    assert_eq!(
        bench.unfenced(&[encode_export(2, 2, 1, READ, 5).to_vec()]),
        Response::Ok
    );
    // Without a fence too, the ring is the header's.
    let command = GuestCommand::submit(1, &[encode_export(2, 3, 1, READ, 5).to_vec()]);
    let chain = bench.send(&command, Fenced::RingOnly(2));
    assert_eq!(bench.response(chain), Some(Response::Ok));
    assert_eq!(errors(&bench), [(1, 22), (2, 22), (3, 0)]);
    assert_eq!(bench.records(STATUS, 0).records[3].ring_idx, 2);
}

#[test]
fn what_is_no_operation_is_refused_and_what_follows_runs() {
    let mut bench = bench();
    let mut unknown = drop(1, 5);
    unknown[0] = 0xbf;
    let mut wrong_size = drop(2, 5);
    wrong_size[0] = 0x80;
    let mut no_access = export(3, 1, READ, 5);
    no_access[12] = 0;
    let no_cookie = drop(4, 0);
    let operations = [
        unknown,
        wrong_size,
        no_access,
        no_cookie,
        export(5, 1, READ, 5),
    ];
    assert_eq!(bench.unfenced(&operations), Response::Ok);
    assert_eq!(errors(&bench), [(1, 38), (2, 22), (3, 22), (4, 22), (5, 0)]);
}

#[test]
fn a_submission_that_cannot_be_cut_runs_up_to_there() {
    let mut bench = bench();
    let work = bench.writer(1);
    let mut broken = drop(2, 5);
    broken[2] = 12;
    let chain = bench.fenced(0, 1, &[export(1, 1, READ, 5), broken, drop(3, 5)]);
    assert!(
        bench.is_pending(chain),
        "the fence waits for what has begun"
    );
    bench.signal(work);
    let refused = Response::Err(ResponseError::InvalidParameter);
    assert_eq!(bench.response(chain), Some(refused));
    assert_eq!(errors(&bench), [(2, 74), (1, 0)]);
    assert_eq!(bench.records(STATUS, 0).records[1].cmd, 0x84);
    assert_eq!(bench.device.population().2, 1);
}

#[test]
fn a_submission_that_is_cut_short_runs_nothing() {
    let mut bench = bench();
    let refused = Response::Err(ResponseError::InvalidParameter);
    let payload = export(1, 1, READ, 5);
    let longer = GuestCommand::submit_bytes(1, 25, &payload);
    assert_eq!(bench.now(&longer), refused);
    let mut no_size = GuestCommand::submit(1, &[]);
    no_size.body.truncate(4);
    assert_eq!(bench.now(&no_size), refused);
    assert_eq!(errors(&bench), [(0, 74), (0, 74)]);
    assert_eq!(bench.device.population().2, 0);
    let unknown = Response::Err(ResponseError::InvalidContextId);
    assert_eq!(bench.now(&longer.of(7)), unknown);
}

#[test]
fn a_context_of_another_kind_has_no_operations() {
    let mut bench = bench();
    bench.ok(&GuestCommand::ctx_create(2, 0));
    bench.ok(&GuestCommand::attach(2, 1));
    let unspecified = Response::Err(ResponseError::Unspec);
    let command = GuestCommand::submit(2, &[export(1, 1, READ, 5)]);
    let chain = bench.send(&command, Fenced::Ring(0, 1));
    assert_eq!(bench.response(chain), Some(unspecified));
    assert_eq!(
        bench.now(&command.of(3)),
        Response::Err(ResponseError::InvalidContextId)
    );
}

#[test]
fn a_deadline_is_told_to_the_drivers_of_the_cookies_fences() {
    let deadline = |tag, cookie, deadline_ns| {
        let op = Op::Deadline {
            cookie,
            deadline_ns,
        };
        op.encode(0, tag).to_vec()
    };
    let mut bench = bench();
    let work = bench.writer(1);
    bench.unfenced(&[
        export(1, 1, READ, 5),
        deadline(2, 5, 77),
        deadline(3, 5, u64::MAX),
        deadline(4, 6, 1),
        deadline(5, 0, 1),
    ]);
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    bench.unfenced(&[deadline(6, 5, 78)]);
    let file = crate::sim::SyncFile::from([work]);
    assert_eq!(bench.sim.deadlines, [(file.clone(), 77), (file, u64::MAX)]);
    let expected = [(1, 0), (2, 0), (3, 0), (4, 2), (5, 22), (6, 12)];
    assert_eq!(errors(&bench), expected);
}

#[test]
fn the_clock_is_in_the_record() {
    let mut bench = bench();
    bench.writer(1);
    bench.fenced(0, 1, &[export(1, 1, READ, 0)]);
    bench.now_ns += 5;
    // Without a fence, and with one that is held up: the record comes at once.
    bench.unfenced(&[Op::Clock.encode(0, 2).to_vec()]);
    bench.now_ns += 5;
    bench.fenced(0, 2, &[Op::Clock.encode(0, 3).to_vec()]);
    let mut too_long = Op::Clock.encode(0, 4).to_vec();
    too_long[2] = 16;
    too_long.extend([0; 8]);
    bench.unfenced(&[too_long, Op::Clock.encode(1, 5).to_vec()]);
    assert_eq!(errors(&bench), [(2, 0), (3, 0), (4, 22), (5, 22)]);
    let records = bench.records(STATUS, 0).records;
    let times: Vec<_> = records[1..3]
        .iter()
        .map(|record| (record.taken_ns.get(), record.cmd))
        .collect();
    assert_eq!(times, [(bench.now_ns - 5, 0x8a), (bench.now_ns, 0x8a)]);
}
