//! The code and `docs/spec/stile-sync.md` say the same, byte for byte.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod spec_table;

use core::mem::offset_of;

use spec_table::{SPEC, named_numbers, number, table};
use stile_wire::gpu::types;
use stile_wire::sync::{
    Access, CAPSET_ID, CAPSET_VERSION, Capset, HEADER_BYTES, MAX_RINGS, Op, OpCode, RECORD_BYTES,
    RecordFlags, Refused, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION, StatusHeader,
    StatusRecord, Step, Steps, capacity, encode_drop, encode_export, encode_import, encode_merge,
    encode_status, encode_wait, record_offset,
};

/// A field as the specification gives it.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    name: String,
    offset: usize,
    size: usize,
    meaning: String,
}

/// The fields of the struct that the specification calls `what`, which follow without a gap.
fn fields(what: &str) -> Vec<Field> {
    let table = table(&format!("{what} field"));
    let column = |name: &str| {
        let at = table.heading.iter().position(|cell| cell == name);
        at.unwrap_or_else(|| panic!("no column `{name}` in the table of {what}"))
    };
    let (offset, size, meaning) = (column("offset"), column("size"), column("meaning"));
    let mut end = 0;
    let mut fields = Vec::new();
    for row in &table.rows {
        let field = Field {
            name: row[0].clone(),
            offset: number(&row[offset]) as usize,
            size: number(&row[size]) as usize,
            meaning: row[meaning].clone(),
        };
        assert_eq!(field.offset, end, "{what}: `{}` leaves a gap", field.name);
        end = field.offset + field.size;
        fields.push(field);
    }
    fields
}

fn places(what: &str) -> Vec<(String, usize, usize)> {
    let fields = fields(what).into_iter();
    fields
        .map(|field| (field.name, field.offset, field.size))
        .collect()
}

fn meaning(what: &str, name: &str) -> String {
    let field = fields(what).into_iter().find(|field| field.name == name);
    field
        .unwrap_or_else(|| panic!("{what} has no `{name}`"))
        .meaning
}

fn field_size<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// The fields of a Rust struct, in the order of the source.
macro_rules! places_of {
    ($type:ident { $($field:ident),* $(,)? }) => {{
        // Fails to build where a field is left out.
        let _ = |value: $type| { let $type { $($field: _),* } = value; };
        vec![$((
            stringify!($field).to_owned(),
            offset_of!($type, $field),
            field_size(|value: &$type| &value.$field),
        )),*]
    }};
}

#[test]
fn the_capset_is_as_specified() {
    let ours = places_of!(Capset {
        version,
        size,
        operations,
        max_submit_bytes,
        max_operations,
        max_pending_fences,
        max_cookies,
        max_rings,
        fence_deadline_ms,
        status_record_bytes,
        reserved,
        max_host_bytes,
        reserved_tail,
    });
    assert_eq!(places("capset"), ours);
    assert_eq!(size_of::<Capset>(), 64);
    assert!(meaning("capset", "size").starts_with("64"));
    assert_eq!(meaning("capset", "version"), CAPSET_VERSION.to_string());
    assert_eq!(meaning("capset", "max_rings"), MAX_RINGS.to_string());
    assert_eq!(
        meaning("capset", "status_record_bytes"),
        RECORD_BYTES.to_string()
    );
    let title = SPEC.lines().next().unwrap();
    let expected = format!("# Capset `stile-sync` (id {CAPSET_ID}), version {CAPSET_VERSION}");
    assert_eq!(title, expected);
}

#[test]
fn the_status_blob_is_as_specified() {
    let header = places_of!(StatusHeader {
        magic,
        version,
        capacity,
        record_bytes,
        head,
        reserved
    });
    assert_eq!(places("status header"), header);
    let record = places_of!(StatusRecord {
        seq,
        cookie,
        tag,
        errno,
        cmd,
        ring_idx,
        flags,
        resource_id,
        taken_ns,
        done_ns,
        signalled_ns,
        reserved,
    });
    assert_eq!(places("status record"), record);
    assert_eq!(size_of::<StatusHeader>() as u64, STATUS_HEADER_BYTES);
    assert_eq!(size_of::<StatusRecord>() as u64, RECORD_BYTES);
    assert_eq!((STATUS_HEADER_BYTES, RECORD_BYTES), (64, 64));

    let magic = meaning("status header", "magic");
    let (value, rest) = magic.split_once(',').unwrap();
    assert_eq!(number(value), STATUS_MAGIC.into());
    assert_eq!(rest.trim(), "the bytes `STIL`");
    assert_eq!(&STATUS_MAGIC.to_le_bytes(), b"STIL");
    assert_eq!(
        meaning("status header", "version"),
        STATUS_VERSION.to_string()
    );
    assert_eq!(
        meaning("status header", "record_bytes"),
        RECORD_BYTES.to_string()
    );
    let flags = named_numbers(&meaning("status record", "flags"));
    let ours: Vec<_> = RecordFlags::all()
        .iter_names()
        .map(|(name, flag)| (name.to_owned(), flag.bits().into()))
        .collect();
    assert_eq!(flags, ours);
}

#[test]
fn records_lie_where_the_formula_says() {
    assert!(meaning("status header", "capacity").contains("(size − 64) / 64"));
    assert!(SPEC.contains("`64 + ((seq − 1) mod capacity) × 64`"));
    for size in [0, 63, 64, 127, 128, 191, 192, 4096, 65536] {
        let records = u64::saturating_sub(size, 64) / 64;
        assert_eq!(capacity(size), records, "capacity of {size} bytes");
        for seq in 1..=3 * records.min(40) {
            let expected = 64 + ((seq - 1) % records) * 64;
            assert_eq!(record_offset(seq, records), Some(expected));
            assert!(expected + 64 <= size);
        }
    }
    assert_eq!(record_offset(0, 8), None);
    assert_eq!(record_offset(1, 0), None);
    assert_eq!(record_offset(u64::MAX, u64::MAX), None);
}

const OPERATIONS: [(&str, OpCode); 6] = [
    ("EXPORT", OpCode::Export),
    ("IMPORT", OpCode::Import),
    ("MERGE", OpCode::Merge),
    ("WAIT", OpCode::Wait),
    ("DROP", OpCode::Drop),
    ("STATUS", OpCode::Status),
];

#[test]
fn codes_are_as_specified() {
    assert_eq!(OPERATIONS.map(|(_, code)| code), OpCode::ALL);
    let mut mask = 0;
    for (name, op) in OPERATIONS {
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
        let refused = if known {
            Refused::WrongSize
        } else {
            Refused::UnknownCode
        };
        assert_eq!(step.op, Err(refused), "{code:#x}");
    }
}

#[test]
fn access_flags_are_as_specified() {
    let ours: Vec<_> = Access::all()
        .iter_names()
        .map(|(name, flag)| (name.to_owned(), u64::from(flag.bits())))
        .collect();
    for operation in ["EXPORT", "IMPORT"] {
        assert_eq!(named_numbers(&meaning(operation, "access")), ours);
    }
}

#[test]
fn responses_are_as_specified() {
    let rows = table("response to `SUBMIT_3D`").rows;
    let specified: Vec<_> = rows.iter().flat_map(|row| named_numbers(&row[0])).collect();
    let ours = [
        ("RESP_OK_NODATA", types::RESP_OK_NODATA),
        (
            "RESP_ERR_INVALID_CONTEXT_ID",
            types::RESP_ERR_INVALID_CONTEXT_ID,
        ),
        (
            "RESP_ERR_INVALID_PARAMETER",
            types::RESP_ERR_INVALID_PARAMETER,
        ),
        ("RESP_ERR_OUT_OF_MEMORY", types::RESP_ERR_OUT_OF_MEMORY),
        ("RESP_ERR_UNSPEC", types::RESP_ERR_UNSPEC),
    ];
    assert_eq!(
        specified,
        ours.map(|(name, value)| (name.to_owned(), u64::from(value)))
    );
}

const RING: u8 = 0x2d;
const TAG: u32 = 0xa1a2_a3a4;
const RESOURCE: u32 = 0xb1b2_b3b4;
const COOKIE: u64 = 0xc1c2_c3c4_c5c6_c7c8;
const FIRST: u64 = 0xd1d2_d3d4_d5d6_d7d8;
const SECOND: u64 = 0xe1e2_e3e4_e5e6_e7e8;
const OFFSET: u64 = 0xf1f2_f3f4_f5f6_f7f8;
const SIZE: u64 = 0x0102_0304_0506_0708;

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
        let value = match field.name.as_str() {
            "cmd" | "cmd_size" | "reserved" => number(&field.meaning),
            "ring_idx" => RING.into(),
            "tag" => TAG.into(),
            "resource_id" => RESOURCE.into(),
            "access" => access.bits().into(),
            "cookie" => COOKIE,
            "first" => FIRST,
            "second" => SECOND,
            "offset" => OFFSET,
            "size" => SIZE,
            unknown => panic!("{name} has a field `{unknown}` that the test does not know"),
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

#[test]
fn export_and_import_are_as_specified() {
    for access in [Access::READ, Access::WRITE, Access::all()] {
        let export = specified("EXPORT", access);
        assert_eq!(
            encode_export(RING, TAG, RESOURCE, access, COOKIE).as_slice(),
            export
        );
        let step = decoded(&export);
        assert_eq!((step.cookie, step.resource_id), (COOKIE, RESOURCE));
        let (resource_id, cookie) = (RESOURCE, COOKIE);
        assert_eq!(
            step.op,
            Ok(Op::Export {
                resource_id,
                access,
                cookie
            })
        );

        let import = specified("IMPORT", access);
        assert_eq!(
            encode_import(RING, TAG, RESOURCE, access, COOKIE).as_slice(),
            import
        );
        let step = decoded(&import);
        assert_eq!((step.cookie, step.resource_id), (COOKIE, RESOURCE));
        assert_eq!(
            step.op,
            Ok(Op::Import {
                resource_id,
                access,
                cookie
            })
        );
    }
}

#[test]
fn merge_is_as_specified() {
    let bytes = specified("MERGE", Access::empty());
    assert_eq!(
        encode_merge(RING, TAG, FIRST, SECOND, COOKIE).as_slice(),
        bytes
    );
    let step = decoded(&bytes);
    assert_eq!((step.cookie, step.resource_id), (COOKIE, 0));
    assert_eq!(
        step.op,
        Ok(Op::Merge {
            first: FIRST,
            second: SECOND,
            cookie: COOKIE
        })
    );
}

#[test]
fn wait_and_drop_are_as_specified() {
    let bytes = specified("WAIT", Access::empty());
    assert_eq!(encode_wait(RING, TAG, COOKIE).as_slice(), bytes);
    let step = decoded(&bytes);
    assert_eq!((step.cookie, step.resource_id), (COOKIE, 0));
    assert_eq!(step.op, Ok(Op::Wait { cookie: COOKIE }));

    let bytes = specified("DROP", Access::empty());
    assert_eq!(encode_drop(RING, TAG, COOKIE).as_slice(), bytes);
    let step = decoded(&bytes);
    assert_eq!((step.cookie, step.resource_id), (COOKIE, 0));
    assert_eq!(step.op, Ok(Op::Drop { cookie: COOKIE }));
}

#[test]
fn status_is_as_specified() {
    let bytes = specified("STATUS", Access::empty());
    assert_eq!(
        encode_status(RING, TAG, RESOURCE, OFFSET, SIZE).as_slice(),
        bytes
    );
    let step = decoded(&bytes);
    assert_eq!((step.cookie, step.resource_id), (0, RESOURCE));
    let (resource_id, offset, size) = (RESOURCE, OFFSET, SIZE);
    assert_eq!(
        step.op,
        Ok(Op::Status {
            resource_id,
            offset,
            size
        })
    );
    assert!(meaning("STATUS", "size").starts_with("at least 128, at most 65536"));
}

#[test]
fn a_step_knows_its_code() {
    for (name, op) in OPERATIONS {
        let step = decoded(&specified(name, Access::READ));
        assert_eq!(step.op.map(|op| op.code()), Ok(op), "{name}");
    }
}
