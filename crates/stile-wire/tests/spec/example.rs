//! The worked example: an EXPORT, its record, and the response.

use stile_wire::gpu::{Command, MAX_RESPONSE_BYTES, Request, Response, Timeline, layout, types};
use stile_wire::sync::{Access, StatusRecord, encode_export, record_offset};
use zerocopy::IntoBytes;

use crate::places;
use crate::spec_table::{SPEC, example, number};

/// What the lines of an example say of their bytes, in their order: names and values.
fn said(name: &str) -> Vec<(String, u64)> {
    let mut said = Vec::new();
    for (_, what) in example(name) {
        for one in what.split(", ").filter(|one| !one.is_empty()) {
            let (name, value) = one.split_once(' ').unwrap();
            said.push((name.to_owned(), number(value)));
        }
    }
    said
}

fn bytes(name: &str) -> Vec<u8> {
    let lines = example(name).into_iter();
    lines.flat_map(|(bytes, _)| bytes).collect()
}

/// The values of a table's fields in these bytes.
fn fields(table: &str, bytes: &[u8]) -> Vec<(String, u64)> {
    let places = places(table).into_iter();
    let fields = places.filter(|(name, ..)| name != "reserved");
    fields
        .map(|(name, offset, size)| {
            let mut value = [0; 8];
            value[..size].copy_from_slice(&bytes[offset..offset + size]);
            (name, u64::from_le_bytes(value))
        })
        .collect()
}

const RING: Timeline = Timeline::Ring {
    ctx_id: 1,
    ring_idx: 2,
};

#[test]
fn the_command_of_the_example_is_an_export() {
    let command = bytes("command");
    let request = Request::decode(&command).unwrap();
    let export = encode_export(2, 7, 5, Access::READ, 9);
    assert_eq!(request.command, Ok(Command::Submit3d { payload: &export }));
    assert_eq!(request.kind, types::CMD_SUBMIT_3D);
    assert_eq!((request.fence, request.ring_idx), (Some((RING, 41)), 2));
    let said = said("command");
    let header = ["type", "flags", "fence_id", "ctx_id", "ring_idx", "size"];
    let header = header.map(str::to_owned).into_iter();
    let values = [types::CMD_SUBMIT_3D.into(), 3, 41, 1, 2, 24];
    let header: Vec<_> = header.zip(values).collect();
    assert_eq!(said[..6], header);
    assert_eq!(said[6..], fields("EXPORT", &export));
}

#[test]
fn the_record_of_the_example_is_what_a_device_writes() {
    let record = StatusRecord {
        seq: 2.into(),
        cookie: 9.into(),
        tag: 7.into(),
        errno: 0.into(),
        cmd: 0x80,
        ring_idx: 2,
        flags: 0.into(),
        resource_id: 5.into(),
        taken_ns: 5_000_000_000.into(),
        done_ns: 5_016_000_000.into(),
        signalled_ns: 5_015_900_000.into(),
        reserved: 0.into(),
    };
    assert_eq!(bytes("record"), record.as_bytes());
    assert_eq!(said("record"), fields("status record", record.as_bytes()));
    let offset = record_offset(2, 8).unwrap();
    assert!(SPEC.contains(&format!("at byte {offset} of the status blob")));
}

#[test]
fn the_response_of_the_example_signals_the_fence() {
    let mut out = [0; MAX_RESPONSE_BYTES];
    let length = Response::Ok.encode(1, Some((RING, 41)), &mut out);
    assert_eq!(bytes("response"), out[..length]);
    assert_eq!(length, size_of::<layout::Header>());
    let said = said("response");
    let values: Vec<_> = said.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [types::RESP_OK_NODATA.into(), 3, 41, 1, 2]);
}
