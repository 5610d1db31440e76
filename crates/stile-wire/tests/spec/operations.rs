//! The operations' codes, flags and layouts.

use stile_wire::sync::{
    Access, Direction, HEADER_BYTES, Op, OpCode, PointEvent, Refused, Step, Steps, TimelineFlags,
    encode_drop, encode_export, encode_import, encode_merge, encode_status, encode_wait,
};

use crate::spec_table::{self, named_numbers, number};
use crate::{fields, meaning, places};

pub(crate) const OPERATIONS: [(&str, OpCode); 26] = [
    ("EXPORT", OpCode::Export),
    ("IMPORT", OpCode::Import),
    ("MERGE", OpCode::Merge),
    ("WAIT", OpCode::Wait),
    ("DROP", OpCode::Drop),
    ("STATUS", OpCode::Status),
    ("POLL", OpCode::Poll),
    ("DEADLINE", OpCode::Deadline),
    ("CPU_BEGIN", OpCode::CpuBegin),
    ("CPU_END", OpCode::CpuEnd),
    ("CLOCK", OpCode::Clock),
    ("EVENTS", OpCode::Events),
    ("EVENT_WAIT", OpCode::EventWait),
    ("CANCEL", OpCode::Cancel),
    ("TL_CREATE", OpCode::TlCreate),
    ("TL_DESTROY", OpCode::TlDestroy),
    ("TL_SIGNAL", OpCode::TlSignal),
    ("TL_RESET", OpCode::TlReset),
    ("TL_TRANSFER", OpCode::TlTransfer),
    ("TL_WATCH", OpCode::TlWatch),
    ("TL_SHARE", OpCode::TlShare),
    ("TL_ADOPT", OpCode::TlAdopt),
    ("MEM_WAIT", OpCode::MemWait),
    ("MEM_SIGNAL", OpCode::MemSignal),
    ("SNAPSHOT", OpCode::Snapshot),
    ("FROM_RING", OpCode::FromRing),
];

#[test]
fn codes_are_as_specified() {
    assert_eq!(OPERATIONS.map(|(_, code)| code), OpCode::ALL);
    let mut mask = 0;
    for (name, op) in OPERATIONS {
        assert_eq!(op.name(), name);
        let code = number(&meaning(name, "cmd"));
        assert_eq!(u64::from(op.code()), code, "{name}");
        assert_eq!(op as u64, code, "{name}");
        mask |= 1 << (code - 0x80);
    }
    assert_eq!(OpCode::mask(), mask);
    assert!(meaning("capset", "operations").contains("bit n: the operation with code 0x80 + n"));
    let tables = spec_table::tables();
    let with_cmd = tables
        .iter()
        .filter(|table| table.heading[0].ends_with(" field") && table.rows[0][0] == "cmd");
    // The header and one for each operation.
    assert_eq!(with_cmd.count(), 1 + OPERATIONS.len());
    for code in 0..=u8::MAX {
        let known = OpCode::ALL.iter().any(|op| op.code() == code);
        let bytes = [code, 0, 8, 0, 0, 0, 0, 0];
        let step = Steps::new(&bytes).next().unwrap().unwrap();
        let refused = if code == OpCode::Clock.code() {
            // Nothing but a header.
            assert_eq!(step.op, Ok(Op::Clock));
            continue;
        } else if known {
            Refused::WrongSize
        } else {
            Refused::UnknownCode
        };
        assert_eq!(step.op, Err(refused), "{code:#x}");
    }
}

/// Every `NAME (number)` of a field of flags.
fn flags_of(operation: &str, field: &str) -> Vec<(String, u64)> {
    named_numbers(&meaning(operation, field))
}

fn flags<F: bitflags::Flags>() -> Vec<(String, u64)>
where
    F::Bits: Into<u64>,
{
    F::all()
        .iter_names()
        .map(|(name, flag)| (name.to_owned(), flag.bits().into()))
        .collect()
}

#[test]
fn flags_are_as_specified() {
    for operation in ["EXPORT", "IMPORT", "POLL"] {
        assert_eq!(flags_of(operation, "access"), flags::<Access>());
    }
    for operation in ["CPU_BEGIN", "CPU_END"] {
        assert_eq!(flags_of(operation, "access"), flags::<Access>());
    }
    assert_eq!(flags_of("TL_CREATE", "flags"), flags::<TimelineFlags>());
    let until = [
        ("AVAILABLE", PointEvent::Available),
        ("SIGNALLED", PointEvent::Signalled),
    ];
    assert_eq!(
        flags_of("TL_WATCH", "until"),
        until.map(|(name, until)| (name.to_owned(), u64::from(until.code())))
    );
    let directions = [
        ("TO_POINT", Direction::ToPoint),
        ("TO_COOKIE", Direction::ToCookie),
    ];
    assert_eq!(
        flags_of("TL_TRANSFER", "direction"),
        directions.map(|(name, direction)| (name.to_owned(), u64::from(direction.code())))
    );
}

const RING: u8 = 0x2d;
const TAG: u32 = 0xa1a2_a3a4;

/// What the specification's field of this name holds in an operation: a value of its own each.
fn value_of(field: &str, access: Access) -> Option<u64> {
    Some(match field {
        "ring_idx" => RING.into(),
        "tag" => TAG.into(),
        "access" => access.bits().into(),
        "resource_id" => 0xb1b2_b3b4,
        "ctx_id" => 0xb5b6_b7b8,
        "ring" => 0xb9ba_bbbc,
        "cookie" => COOKIE,
        "first" => 0xd1d2_d3d4_d5d6_d7d8,
        "second" => 0xe1e2_e3e4_e5e6_e7e8,
        "offset" => 0xf1f2_f3f4_f5f6_f7f8,
        "size" => 0x0102_0304_0506_0708,
        "deadline_ns" => 0x1112_1314_1516_1718,
        "seen" => 0x2122_2324_2526_2728,
        "event" => EVENT,
        "timeline" => TIMELINE,
        "point" => 0x3132_3334_3536_3738,
        "timeout_ns" => 0x4142_4344_4546_4748,
        "value" => 0x5152_5354_5556_5758,
        "flags" => 3,
        "direction" | "until" => 2,
        _ => return None,
    })
}

const COOKIE: u64 = 0xc1c2_c3c4_c5c6_c7c8;
const EVENT: u64 = 0xc9ca_cbcc_cdce_cfd0;
const TIMELINE: u64 = 0x6162_6364_6566_6768;
const UUID: [u8; 16] = *b"0123456789abcdef";

/// The bytes of an operation as its table gives them, with a value of its own in each field.
fn specified(name: &str, access: Access) -> Vec<u8> {
    let fields = fields(name);
    for (field, (header, offset, size)) in fields.iter().zip(places("header")) {
        assert_eq!(
            (&field.name, field.offset, field.size),
            (&header, offset, size),
            "{name}"
        );
    }
    let size = number(&meaning(name, "cmd_size"));
    let end = fields.last().map_or(0, |field| field.offset + field.size);
    assert_eq!(size, end as u64, "`cmd_size` of {name}");
    assert_eq!(size % 8, 0, "`cmd_size` of {name}");
    let mut bytes = vec![0; end];
    for field in fields {
        if field.name == "uuid" {
            bytes[field.offset..field.offset + field.size].copy_from_slice(&UUID);
            continue;
        }
        let value = match field.name.as_str() {
            "cmd" | "cmd_size" | "reserved" => number(&field.meaning),
            name => value_of(name, access)
                .unwrap_or_else(|| panic!("the test does not know the field `{name}`")),
        };
        let value = value.to_le_bytes();
        assert!(
            value[field.size..].iter().all(|byte| *byte == 0),
            "`{}`",
            field.name
        );
        bytes[field.offset..field.offset + field.size].copy_from_slice(&value[..field.size]);
    }
    bytes
}

fn decoded(bytes: &[u8]) -> Step {
    let mut steps = Steps::new(bytes);
    let step = steps.next().unwrap().unwrap();
    assert!(steps.next().is_none());
    assert_eq!((step.cmd, step.ring_idx, step.tag), (bytes[0], RING, TAG));
    step
}

#[test]
fn the_header_is_as_specified() {
    let header = places("header");
    let end = header.last().map(|(_, offset, size)| offset + size);
    assert_eq!(end, Some(HEADER_BYTES));
    let names: Vec<_> = header.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["cmd", "ring_idx", "cmd_size", "tag"]);
}

/// The operation that has these values, and what its record names: the number and the resource.
fn operation(name: &str, access: Access) -> (Op, u64, u32) {
    let long = |field: &str| value_of(field, access).unwrap();
    let small = |field: &str| u32::try_from(long(field)).unwrap();
    match name {
        "EXPORT" => (
            Op::Export {
                resource_id: small("resource_id"),
                access,
                cookie: long("cookie"),
            },
            COOKIE,
            small("resource_id"),
        ),
        "IMPORT" => (
            Op::Import {
                resource_id: small("resource_id"),
                access,
                cookie: long("cookie"),
            },
            COOKIE,
            small("resource_id"),
        ),
        "MERGE" => (
            Op::Merge {
                first: long("first"),
                second: long("second"),
                cookie: long("cookie"),
            },
            COOKIE,
            0,
        ),
        "WAIT" => (
            Op::Wait {
                cookie: long("cookie"),
            },
            COOKIE,
            0,
        ),
        "DROP" => (
            Op::Drop {
                cookie: long("cookie"),
            },
            COOKIE,
            0,
        ),
        "STATUS" => (
            Op::Status {
                resource_id: small("resource_id"),
                offset: long("offset"),
                size: long("size"),
            },
            0,
            small("resource_id"),
        ),
        "POLL" => (
            Op::Poll {
                resource_id: small("resource_id"),
                access,
            },
            0,
            small("resource_id"),
        ),
        "DEADLINE" => (
            Op::Deadline {
                cookie: long("cookie"),
                deadline_ns: long("deadline_ns"),
            },
            COOKIE,
            0,
        ),
        "CPU_BEGIN" => (
            Op::CpuBegin {
                resource_id: small("resource_id"),
                access,
            },
            0,
            small("resource_id"),
        ),
        "CPU_END" => (
            Op::CpuEnd {
                resource_id: small("resource_id"),
                access,
            },
            0,
            small("resource_id"),
        ),
        "CLOCK" => (Op::Clock, 0, 0),
        "EVENTS" => (
            Op::Events {
                resource_id: small("resource_id"),
                offset: long("offset"),
                size: long("size"),
            },
            0,
            small("resource_id"),
        ),
        "EVENT_WAIT" => (Op::EventWait { seen: long("seen") }, 0, 0),
        "CANCEL" => (
            Op::Cancel {
                event: long("event"),
            },
            EVENT,
            0,
        ),
        "TL_CREATE" => (
            Op::TlCreate {
                timeline: long("timeline"),
                flags: TimelineFlags::all(),
            },
            TIMELINE,
            0,
        ),
        "TL_DESTROY" => (
            Op::TlDestroy {
                timeline: long("timeline"),
            },
            TIMELINE,
            0,
        ),
        "TL_SIGNAL" => (
            Op::TlSignal {
                timeline: long("timeline"),
                point: long("point"),
            },
            TIMELINE,
            0,
        ),
        "TL_RESET" => (
            Op::TlReset {
                timeline: long("timeline"),
            },
            TIMELINE,
            0,
        ),
        "TL_TRANSFER" => (
            Op::TlTransfer {
                timeline: long("timeline"),
                point: long("point"),
                cookie: long("cookie"),
                direction: Direction::ToCookie,
            },
            COOKIE,
            0,
        ),
        "TL_WATCH" => (
            Op::TlWatch {
                timeline: long("timeline"),
                point: long("point"),
                event: long("event"),
                timeout_ns: long("timeout_ns"),
                until: PointEvent::Signalled,
            },
            EVENT,
            0,
        ),
        "TL_SHARE" => (
            Op::TlShare {
                timeline: long("timeline"),
                uuid: UUID,
            },
            TIMELINE,
            0,
        ),
        "TL_ADOPT" => (
            Op::TlAdopt {
                timeline: long("timeline"),
                uuid: UUID,
            },
            TIMELINE,
            0,
        ),
        "MEM_WAIT" => (
            Op::MemWait {
                resource_id: small("resource_id"),
                offset: long("offset"),
                value: long("value"),
                event: long("event"),
                timeout_ns: long("timeout_ns"),
            },
            EVENT,
            small("resource_id"),
        ),
        "MEM_SIGNAL" => (
            Op::MemSignal {
                resource_id: small("resource_id"),
                offset: long("offset"),
                value: long("value"),
            },
            0,
            small("resource_id"),
        ),
        "SNAPSHOT" => (
            Op::Snapshot {
                resource_id: small("resource_id"),
                cookie: long("cookie"),
            },
            COOKIE,
            small("resource_id"),
        ),
        "FROM_RING" => (
            Op::FromRing {
                ctx_id: small("ctx_id"),
                ring: small("ring"),
                cookie: long("cookie"),
            },
            COOKIE,
            0,
        ),
        unknown => panic!("the test does not know {unknown}"),
    }
}

#[test]
fn operations_are_as_specified() {
    for (name, code) in OPERATIONS {
        for access in [Access::READ, Access::WRITE, Access::all()] {
            let bytes = specified(name, access);
            let (op, cookie, resource_id) = operation(name, access);
            assert_eq!(op.code(), code);
            assert_eq!(*op.encode(RING, TAG), *bytes, "{name}");
            let step = decoded(&bytes);
            assert_eq!(
                (step.op, step.cookie, step.resource_id),
                (Ok(op), cookie, resource_id),
                "{name}"
            );
        }
    }
    for name in ["STATUS", "EVENTS"] {
        assert!(meaning(name, "size").starts_with("at least 128, at most 65536"));
    }
}

#[test]
fn the_record_of_a_refused_operation_keeps_its_names() {
    let mut refused = 0;
    for (name, _) in OPERATIONS {
        let (_, cookie, resource_id) = operation(name, Access::READ);
        for field in fields(name) {
            let checked = ["access", "flags", "direction", "until", "reserved"];
            if !checked.contains(&field.name.as_str()) {
                continue;
            }
            let mut bytes = specified(name, Access::READ);
            bytes[field.offset..field.offset + field.size].fill(0xff);
            let step = decoded(&bytes);
            assert!(step.op.is_err(), "`{}` of {name}", field.name);
            assert_eq!((step.cookie, step.resource_id), (cookie, resource_id));
            refused += 1;
        }
    }
    assert!(refused > 12, "{refused} fields");
}

#[test]
fn the_operations_without_a_number_are_those_that_the_record_names() {
    let cookie = meaning("status record", "cookie");
    let (_, rest) = cookie.split_once("0 for none (").unwrap();
    let (named, _) = rest.split_once(')').unwrap();
    let ours = OPERATIONS.map(|(name, _)| name).into_iter();
    let ours: Vec<_> = ours
        .filter(|name| operation(name, Access::READ).1 == 0)
        .collect();
    assert_eq!(named.split(", ").collect::<Vec<_>>(), ours);
    assert!(cookie.contains("TL_WATCH, MEM_WAIT, CANCEL: the event"));
    for name in ["TL_WATCH", "MEM_WAIT", "CANCEL"] {
        assert_eq!(operation(name, Access::READ).1, EVENT, "{name}");
    }
}

#[test]
fn the_short_ways_to_encode_give_the_same() {
    let access = Access::WRITE;
    let long = |field: &str| value_of(field, access).unwrap();
    let resource_id = u32::try_from(long("resource_id")).unwrap();
    let same = |name: &str, bytes: &[u8]| assert_eq!(bytes, specified(name, access), "{name}");
    same(
        "EXPORT",
        &encode_export(RING, TAG, resource_id, access, COOKIE),
    );
    same(
        "IMPORT",
        &encode_import(RING, TAG, resource_id, access, COOKIE),
    );
    same(
        "MERGE",
        &encode_merge(RING, TAG, long("first"), long("second"), COOKIE),
    );
    same("WAIT", &encode_wait(RING, TAG, COOKIE));
    same("DROP", &encode_drop(RING, TAG, COOKIE));
    same(
        "STATUS",
        &encode_status(RING, TAG, resource_id, long("offset"), long("size")),
    );
}
