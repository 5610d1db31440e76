//! The code and `docs/spec/stile-sync.md` say the same, byte for byte.
#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod errors;
mod example;
mod operations;
#[path = "../spec_table/mod.rs"]
mod spec_table;

use core::mem::offset_of;

use spec_table::{SPEC, named_numbers, number, table};
use stile_wire::sync::{
    CAPSET_ID, CAPSET_VERSION, Capset, EVENTS_MAGIC, EVENTS_VERSION, EventHeader, EventRecord,
    MAX_RINGS, RECORD_BYTES, RecordFlags, STATUS_HEADER_BYTES, STATUS_MAGIC, STATUS_VERSION,
    StatusHeader, StatusRecord, capacity, record_offset,
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

/// The unit of a field, by its name.
fn unit(name: &str) -> &'static str {
    match name {
        "size" | "offset" | "syncobj_stride" => "bytes",
        "access" | "operations" => "mask",
        "capacity" => "records",
        "overflow" => "events",
        _ if name.ends_with("_bytes") || name.ends_with("_len") || name == "cmd_size" => "bytes",
        _ if name.ends_with("_ns") => "ns",
        _ if name.ends_with("_ms") => "ms",
        _ if name.ends_with("flags") => "mask",
        _ => "",
    }
}

#[test]
fn every_field_has_its_unit() {
    let bridge = include_str!("../../../../docs/spec/bridge.md");
    let tables = [SPEC, bridge].map(spec_table::tables_of);
    let fields = |table: &&spec_table::Table| table.heading[0].ends_with(" field");
    let mut seen = 0;
    for table in tables.iter().flatten().filter(fields) {
        assert_eq!(
            table.heading[1..],
            ["offset", "size", "unit", "meaning"],
            "{}",
            table.heading[0]
        );
        for row in &table.rows {
            assert_eq!(
                row[3],
                unit(&row[0]),
                "`{}` of {}",
                row[0],
                table.heading[0]
            );
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen} fields");
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
        max_timelines,
        max_host_bytes,
        max_events,
        max_cpu_accesses,
        max_timeout_ms,
        reserved,
        reserved_tail,
    });
    assert_eq!(places("capset"), ours);
    assert_eq!(size_of::<Capset>(), 80);
    assert!(meaning("capset", "size").starts_with("80"));
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

#[test]
fn the_event_ring_is_as_specified() {
    let header = places_of!(EventHeader {
        magic,
        version,
        capacity,
        record_bytes,
        head,
        overflow,
        reserved
    });
    assert_eq!(places("event header"), header);
    let record = places_of!(EventRecord {
        seq,
        event,
        value,
        time_ns,
        errno,
        cmd,
        reserved,
        tag,
        resource_id,
        reserved_tail,
    });
    assert_eq!(places("event"), record);
    assert_eq!(size_of::<EventHeader>(), size_of::<StatusHeader>());
    assert_eq!(size_of::<EventRecord>(), size_of::<StatusRecord>());
    assert_eq!(
        offset_of!(EventHeader, head),
        offset_of!(StatusHeader, head)
    );
    let magic = meaning("event header", "magic");
    assert_eq!(magic, format!("{EVENTS_MAGIC:#010x}, the bytes `STEV`"));
    assert_eq!(&EVENTS_MAGIC.to_le_bytes(), b"STEV");
    let version = meaning("event header", "version");
    assert_eq!(version, EVENTS_VERSION.to_string());
}
