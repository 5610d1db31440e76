//! What the device makes of a submission, and what is refused before it is sent.

use std::time::Duration;

use stile_host::PointEvent;
use stile_wire::sync::{self, Access, Capset, Direction, Op, Steps, TimelineFlags};
use zerocopy::FromZeros;

use super::*;

fn limits(max_bytes: u32, max_operations: u32) -> Capset {
    let mut capset = Capset::new_zeroed();
    capset.operations = OpCode::mask().into();
    capset.max_submit_bytes = max_bytes.into();
    capset.max_operations = max_operations.into();
    capset
}

/// Every operation, with the tags 1, 2, 3, …, and what the device is to read.
fn everything() -> (Submission<'static>, Vec<Op>) {
    let (blob, access, event) = (ResourceId(3), Access::READ, 9_u64);
    let (resource_id, second) = (3, Duration::from_secs(1));
    let submission = Submission::on_ring(5)
        .export(blob, access, 7_u64, 1)
        .import(blob, access, 7_u64, 2)
        .merge(7_u64, 8_u64, 6_u64, 3)
        .wait(7_u64, 4)
        .drop_cookie(7_u64, 5)
        .status(blob, 64, 4096, 6)
        .poll(blob, access, 7)
        .deadline(7_u64, 99, 8)
        .cpu_begin(blob, access, 9)
        .cpu_end(blob, access, 10)
        .clock(11)
        .events(blob, 64, 4096, 12)
        .event_wait(4, 13)
        .cancel(event, 14)
        .create_timeline(2_u64, TimelineFlags::BINARY, 15)
        .destroy_timeline(2_u64, 16)
        .signal_point(2_u64, 5, 17)
        .reset_timeline(2_u64, 18)
        .cookie_to_point(7_u64, 2_u64, 5, 19)
        .point_to_cookie(2_u64, 5, 7_u64, 20)
        .watch_point(2_u64, 5, PointEvent::Available, event, Some(second), 21)
        .watch_point(2_u64, 5, PointEvent::Signalled, event, None, 22)
        .share_timeline(2_u64, [1; 16], 23)
        .adopt_timeline(2_u64, [1; 16], 24)
        .wait_memory(blob, 8, 4, event, Duration::ZERO, 25)
        .signal_memory(blob, 8, 4, 26)
        .snapshot(blob, 7_u64, 27)
        .from_ring(63, 7_u64, 28);
    let (timeline, point, cookie, uuid) = (2, 5, 7, [1; 16]);
    let transfer = |direction| Op::TlTransfer {
        timeline,
        point,
        cookie,
        direction,
    };
    let watch = |until, timeout_ns| Op::TlWatch {
        timeline,
        point,
        event,
        timeout_ns,
        until,
    };
    let ops = vec![
        Op::Export {
            resource_id,
            access,
            cookie,
        },
        Op::Import {
            resource_id,
            access,
            cookie,
        },
        Op::Merge {
            first: 7,
            second: 8,
            cookie: 6,
        },
        Op::Wait { cookie },
        Op::Drop { cookie },
        Op::Status {
            resource_id,
            offset: 64,
            size: 4096,
        },
        Op::Poll {
            resource_id,
            access,
        },
        Op::Deadline {
            cookie,
            deadline_ns: 99,
        },
        Op::CpuBegin {
            resource_id,
            access,
        },
        Op::CpuEnd {
            resource_id,
            access,
        },
        Op::Clock,
        Op::Events {
            resource_id,
            offset: 64,
            size: 4096,
        },
        Op::EventWait { seen: 4 },
        Op::Cancel { event },
        Op::TlCreate {
            timeline,
            flags: TimelineFlags::BINARY,
        },
        Op::TlDestroy { timeline },
        Op::TlSignal { timeline, point },
        Op::TlReset { timeline },
        transfer(Direction::ToPoint),
        transfer(Direction::ToCookie),
        watch(sync::PointEvent::Available, 1_000_000_000),
        watch(sync::PointEvent::Signalled, 0),
        Op::TlShare { timeline, uuid },
        Op::TlAdopt { timeline, uuid },
        // Over at once; 0 would be for ever, or refused.
        Op::MemWait {
            resource_id,
            offset: 8,
            value: 4,
            event,
            timeout_ns: 1,
        },
        Op::MemSignal {
            resource_id,
            offset: 8,
            value: 4,
        },
        Op::Snapshot {
            resource_id,
            cookie,
        },
        Op::FromRing {
            ctx_id: 0,
            ring: 63,
            cookie,
        },
    ];
    (submission, ops)
}

#[test]
fn every_operation_is_decoded_as_it_was_asked_for() {
    let (submission, expected) = everything();
    let steps: Vec<_> = Steps::new(submission.payload())
        .map(|step| step.unwrap())
        .collect();
    let ops: Vec<_> = steps.iter().map(|step| step.op.unwrap()).collect();
    assert_eq!(ops, expected);
    assert!((1..).zip(&steps).all(|(tag, step)| step.tag == tag));
    assert!(steps.iter().all(|step| step.ring_idx == 5));
    for op in OpCode::ALL {
        assert!(
            ops.iter().any(|there| there.code() == op),
            "{op:?} is missing"
        );
    }
}

#[test]
fn an_operation_that_the_device_does_not_offer_is_refused_here() {
    let (all, ops) = everything();
    assert_eq!(all.check(64, &limits(4096, 256)), Ok(()));
    for op in ops {
        let mut without = limits(4096, 256);
        without.operations = (OpCode::mask() & !op.code().bit()).into();
        let one = Submission::on_ring(0)
            .clock(0)
            .op(&op, 0)
            .drop_cookie(1_u64, 0);
        let refused = Error::NotOffered { op: op.code() };
        assert_eq!(one.check(64, &without), Err(refused.clone()));
        assert_eq!(refused.errno(), Some(stile_host::Errno::NOSYS));
        assert_eq!(one.check(64, &limits(4096, 256)), Ok(()));
    }
}

#[test]
fn a_submission_without_a_ring_has_ring_0_in_its_headers() {
    let submission = Submission::global().wait(1_u64, 0);
    let step = Steps::new(submission.payload()).next().unwrap().unwrap();
    assert_eq!((submission.ring, step.ring_idx), (None, 0));
}

#[test]
fn another_ring_can_stand_in_the_header_for_those_who_test_the_device() {
    let submission = Submission::on_ring(1)
        .wait(1_u64, 0)
        .header_ring(2)
        .wait(1_u64, 0);
    let rings: Vec<_> = Steps::new(submission.payload())
        .map(|step| step.unwrap().ring_idx)
        .collect();
    assert_eq!((submission.ring, rings), (Some(1), vec![1, 2]));
}

#[test]
fn without_a_fence_the_device_hears_of_no_ring_and_the_headers_say_so() {
    let rings = |submission: &Submission<'_>, polled: u64| -> Vec<_> {
        let payload = submission.sent_payload(polled);
        Steps::new(&payload)
            .map(|step| step.unwrap().ring_idx)
            .collect()
    };
    let two = Submission::on_ring(5)
        .wait(1_u64, 0)
        .header_ring(7)
        .wait(1_u64, 0);
    assert_eq!(rings(&two, 0), [0, 7]);
    assert_eq!(rings(&two, 1 << 5), [5, 7], "a polled ring has fences");
    assert_eq!(rings(&two.out_fence(), 0), [5, 7]);
}

#[test]
fn what_the_device_would_drop_whole_is_refused_here() {
    let two = Submission::on_ring(0).wait(1_u64, 0).wait(1_u64, 0);
    assert_eq!(two.check(1, &limits(32, 2)), Ok(()));
    for limits in [limits(31, 2), limits(32, 1)] {
        let error = two.check(1, &limits).unwrap_err();
        assert!(matches!(error, Error::SubmissionTooLong { .. }), "{error}");
    }
}

#[test]
fn a_ring_that_the_context_lacks_is_refused_here() {
    let limits = limits(64, 4);
    assert_eq!(Submission::on_ring(7).check(8, &limits), Ok(()));
    assert_eq!(Submission::global().check(1, &limits), Ok(()));
    for (submission, ring) in [
        (Submission::on_ring(8), 8),
        (Submission::global().raw_ring(0xffff_ffff), 0xffff_ffff),
    ] {
        let error = Error::NoRing { ring, rings: 8 };
        assert_eq!(submission.check(8, &limits), Err(error));
    }
}
