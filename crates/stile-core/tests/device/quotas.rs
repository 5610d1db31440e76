//! The quotas of submissions by example.

use stile_core::Limits;
use stile_wire::gpu::{Response, ResponseError};
use stile_wire::sync::encode_export;

use crate::operations::{READ, STATUS, drop, errors, export, limited, merge, wait};
use crate::sim::GuestCommand;

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
    assert_eq!(bench.response(free), Some(memory));
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
