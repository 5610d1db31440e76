//! The table of what operations are refused with, cause by cause and in its order.

use std::cell::RefCell;
use std::rc::Rc;

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::Response;
use stile_wire::sync::{Access, Direction, Op, OpCode, PointEvent, TimelineFlags};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, Points, operation};
use crate::spec_table::{errnos, number, table};

const STATUS: u32 = 1;
/// The blob that the operations are about.
const BUFFER: u32 = 2;
/// The blob of work that is never done.
const BUSY: u32 = 3;
/// Names that are taken, of cookies, timelines and events.
const TAKEN: u64 = 5;
/// Names that are free.
const FREE: u64 = 6;
const WATCHES: u64 = 256;
const SHARED: [u8; 16] = [1; 16];
const OFFERED: [u8; 16] = [2; 16];
const NOBODYS: [u8; 16] = [3; 16];

/// What is wrong, as the specification says it: an errno, and a word.
pub(super) type Cause = (String, String);

/// Whether one of the causes is this.
pub(super) fn has(causes: &[Cause], errno: &str, word: &str) -> bool {
    causes
        .iter()
        .any(|cause| cause.0 == errno && cause.1 == word)
}

/// A device in which these causes are, as far as they are not the operation's own.
fn scene(causes: &[Cause]) -> Bench {
    let is = |errno: &str, word: &str| has(causes, errno, word);
    let many = is("EDQUOT", "watches");
    let watches = if many { WATCHES as u32 } else { 1 };
    let mut limits = Limits::default();
    if is("EDQUOT", "cookies") {
        limits.cookies = 1;
    }
    if is("EDQUOT", "timelines") {
        limits.timelines = 1;
    }
    if is("EDQUOT", "events") {
        limits.events = watches;
    }
    if is("EDQUOT", "fences") {
        limits.pending_fences = 1;
    }
    if is("EDQUOT", "looks") {
        limits.looks = 0;
    }
    if is("EBUSY", "accesses") {
        limits.cpu_accesses = 0;
    }
    if is("EMFILE", "descriptors") {
        // Three blobs, a cookie, a timeline, the watches, and the wait of a pending fence.
        limits.fds = 3 + 1 + 1 + watches + u32::from(is("EDQUOT", "fences"));
    }
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, [STATUS, BUFFER, BUSY]);
    let place = |resource_id, offset| (resource_id, offset, 8192);
    let (resource_id, offset, size) = place(STATUS, 0);
    let status = Op::Status {
        resource_id,
        offset,
        size,
    };
    let (resource_id, offset, size) = place(STATUS, 8192);
    let ring = |resource_id| Op::Events {
        resource_id,
        offset,
        size,
    };
    let cookie = Op::Export {
        resource_id: BUFFER,
        access: Access::READ,
        cookie: TAKEN,
    };
    let timeline = Op::TlCreate {
        timeline: TAKEN,
        flags: TimelineFlags::empty(),
    };
    let point = Op::TlSignal {
        timeline: TAKEN,
        point: 1,
    };
    let mut operations = vec![status, ring(resource_id), cookie, timeline, point];
    operations.extend((0..u64::from(watches)).map(|nth| Op::TlWatch {
        timeline: TAKEN,
        point: 100,
        event: TAKEN + 1_000 * nth,
        timeout_ns: 0,
        until: PointEvent::Available,
    }));
    if is("EEXIST", "shared") {
        let (timeline, uuid) = (TAKEN, OFFERED);
        operations.push(Op::TlShare { timeline, uuid });
    } else {
        let points = Rc::new(RefCell::new(Points::default()));
        bench.sim.graphics.offered.insert(OFFERED, (points, false));
    }
    if is("ENXIO", "ring") {
        operations.push(ring(0));
    }
    for op in operations {
        bench.ok(&GuestCommand::submit(1, &[operation(0, op)]));
    }
    assert!(
        bench
            .records(STATUS, 0)
            .errors()
            .iter()
            .all(|one| one.1 == 0)
    );
    // The ring of the operation has had a fence.
    bench.fenced(0, 1, &[]);
    if is("EOPNOTSUPP", "unbacked") {
        bench.send(&GuestCommand::map(BUFFER, 0).of(1), Fenced::Ring(0, 2));
    }
    if is("EDQUOT", "fences") {
        bench.writer(BUSY);
        let export = Op::Export {
            resource_id: BUSY,
            access: Access::READ,
            cookie: 0,
        };
        let pending = bench.fenced(1, 1, &[export.encode(1, 0).to_vec()]);
        assert!(bench.is_pending(pending));
    }
    bench.sim.fails = HostFails {
        after: 0,
        error: [
            (("EOPNOTSUPP", "dma-buf"), errno::EOPNOTSUPP),
            (("EFAULT", "pages"), errno::EFAULT),
            (("EAGAIN", "contended"), errno::EAGAIN),
        ]
        .into_iter()
        .find(|((errno, word), _)| is(errno, word))
        .map(|(_, error)| error),
    };
    bench
}

/// The operation of this name, with those of the causes that are its own.
fn op(name: &str, causes: &[Cause]) -> Op {
    let is = |errno: &str, word: &str| has(causes, errno, word);
    let pick = |wrong: bool, bad: u64, good: u64| if wrong { bad } else { good };
    let resource_id = pick(is("ENOENT", "resource"), 66, BUFFER.into()) as u32;
    let access = Access::READ;
    // What the operation makes, and what it is about.
    let new = |word: &str| pick(is("EEXIST", word), TAKEN, FREE);
    let old = |word: &str| pick(is("ENOENT", word), 66, TAKEN);
    let point = pick(is("EINVAL", "point"), 0, 1);
    let counter = pick(is("EINVAL", "counter"), 4, 8);
    let size = 4096;
    let place = pick(is("EINVAL", "place"), 1, 0);
    let timeout_ns = pick(is("EINVAL", "timeout"), u64::MAX, 1_000);
    match name {
        "EXPORT" => Op::Export {
            resource_id,
            access,
            cookie: new("cookie"),
        },
        "IMPORT" => Op::Import {
            resource_id,
            access,
            cookie: old("cookie"),
        },
        "MERGE" => Op::Merge {
            first: old("first"),
            second: old("second"),
            cookie: new("cookie"),
        },
        "WAIT" => Op::Wait {
            cookie: old("cookie"),
        },
        "DROP" => Op::Drop {
            cookie: old("cookie"),
        },
        "STATUS" => Op::Status {
            resource_id,
            offset: place,
            size,
        },
        "POLL" => Op::Poll {
            resource_id,
            access,
        },
        "DEADLINE" => Op::Deadline {
            cookie: old("cookie"),
            deadline_ns: 1,
        },
        "CPU_BEGIN" => Op::CpuBegin {
            resource_id,
            access,
        },
        "CPU_END" => Op::CpuEnd {
            resource_id,
            access,
        },
        "CLOCK" => Op::Clock,
        "EVENTS" => Op::Events {
            resource_id,
            offset: place,
            size,
        },
        "EVENT_WAIT" => Op::EventWait {
            seen: pick(is("EINVAL", "seen"), 1, 0),
        },
        "CANCEL" => Op::Cancel {
            event: old("event"),
        },
        "TL_CREATE" => Op::TlCreate {
            timeline: new("timeline"),
            flags: TimelineFlags::empty(),
        },
        "TL_DESTROY" => Op::TlDestroy {
            timeline: old("timeline"),
        },
        "TL_SIGNAL" => Op::TlSignal {
            timeline: old("timeline"),
            point,
        },
        "TL_RESET" => Op::TlReset {
            timeline: old("timeline"),
        },
        "TL_TRANSFER, TO_POINT" => Op::TlTransfer {
            timeline: old("timeline"),
            point,
            cookie: old("cookie"),
            direction: Direction::ToPoint,
        },
        "TL_TRANSFER, TO_COOKIE" => Op::TlTransfer {
            timeline: old("timeline"),
            point: pick(is("EINVAL", "materialised"), 50, point),
            cookie: new("cookie"),
            direction: Direction::ToCookie,
        },
        "TL_WATCH" => Op::TlWatch {
            timeline: old("timeline"),
            point,
            event: new("event"),
            timeout_ns,
            until: PointEvent::Available,
        },
        "TL_SHARE" => {
            let free = if is("EEXIST", "uuid") {
                OFFERED
            } else {
                SHARED
            };
            Op::TlShare {
                timeline: old("timeline"),
                uuid: free,
            }
        }
        "TL_ADOPT" => {
            let offer = if is("ENOENT", "offer") {
                NOBODYS
            } else {
                OFFERED
            };
            Op::TlAdopt {
                timeline: new("timeline"),
                uuid: offer,
            }
        }
        "MEM_WAIT" => Op::MemWait {
            resource_id,
            offset: counter,
            value: 1,
            event: new("event"),
            timeout_ns,
        },
        "MEM_SIGNAL" => Op::MemSignal {
            resource_id,
            offset: counter,
            value: 1,
        },
        "SNAPSHOT" => Op::Snapshot {
            resource_id,
            cookie: new("cookie"),
        },
        "FROM_RING" => Op::FromRing {
            ctx_id: u32::from(is("EPERM", "context")) * 2,
            ring: pick(is("EINVAL", "ring"), 64, 0) as u32,
            cookie: new("cookie"),
        },
        unknown => panic!("the test does not know {unknown}"),
    }
}

/// The bytes of the operation, with those of the causes that every operation has.
fn bytes(op: Op, tag: u32, causes: &[Cause]) -> Vec<u8> {
    let is = |errno: &str, word: &str| has(causes, errno, word);
    let ring = u8::from(is("EINVAL", "ring_idx"));
    let mut bytes = op.encode(ring, tag).to_vec();
    if is("EINVAL", "fields") {
        // No name, no access; or `reserved` is not 0.
        bytes[8..].fill(0);
        if let OpCode::Status | OpCode::Events | OpCode::MemSignal = op.code() {
            bytes[12] = 1;
        }
    }
    if is("EINVAL", "cmd_size") {
        bytes[2] += 8;
        bytes.extend([0; 8]);
    }
    if is("ENOSYS", "code") {
        bytes[0] = 0xbf;
    }
    bytes
}

/// The errno that an operation with these causes has; 0 where it is not refused.
fn refused(name: &str, causes: &[Cause]) -> u32 {
    let mut bench = scene(causes);
    let op = op(name, causes);
    let command = GuestCommand::submit(1, &[bytes(op, 77, causes)]);
    let fenced = if has(causes, "EINVAL", "unfenced") {
        Fenced::No
    } else {
        Fenced::Ring(0, 3)
    };
    let chain = bench.send(&command, fenced);
    let records = bench.records(STATUS, 0).records;
    let record = records.iter().rev().find(|record| record.tag.get() == 77);
    let errno = record.map_or(0, |record| record.errno.get());
    if !bench.is_pending(chain) {
        let response = bench.response(chain);
        let quota = Response::Err(stile_wire::gpu::ResponseError::OutOfMemory);
        let over = Errno(errno) == errno::EDQUOT;
        let expected = if over { quota } else { Response::Ok };
        assert_eq!(response, Some(expected), "{name} {causes:?}");
    }
    errno
}

#[test]
fn an_operation_is_refused_with_the_first_of_its_causes() {
    let values = table("errno").rows;
    let value = |errno: &str| {
        let known = values.iter().find(|row| row[0] == errno);
        number(&known.expect("an errno of the table")[1]) as u32
    };
    let rows = table("operation").rows;
    let (every, rows) = rows.split_first().expect("rows");
    let every = errnos(&every[1]);
    let mut refusals = 0;
    for row in rows {
        let name = row[0].as_str();
        let nothing_to_be_wrong = ["CLOCK", "EVENT_WAIT"].contains(&name);
        let mut causes = every.clone();
        causes.retain(|(_, word)| word != "fields" || !nothing_to_be_wrong);
        causes.extend(errnos(&row[1]));
        assert_eq!(refused(name, &[]), 0, "{name} with nothing wrong");
        for (nth, cause) in causes.iter().enumerate() {
            let (errno, word) = cause;
            let alone = std::slice::from_ref(cause);
            assert_eq!(refused(name, alone), value(errno), "{name}: {word} alone");
            let mut all = causes[nth..].to_vec();
            // What is not there has no watches.
            all.retain(|(errno, word)| {
                cause.1 != "watches" || (errno.as_str(), word.as_str()) != ("ENOENT", "timeline")
            });
            assert_eq!(refused(name, &all), value(errno), "{name}: {all:?}");
            refusals += 1;
        }
    }
    assert!(refusals > 150, "{refusals} refusals");
}
