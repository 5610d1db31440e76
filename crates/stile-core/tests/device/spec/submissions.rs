//! The tables of what submissions are answered, and of what goes for every command.

use stile_core::Limits;
use stile_wire::gpu::types;
use stile_wire::sync::{Access, encode_export, encode_status};

use super::commands::{NONE, kind};
use crate::sim::{Bench, Fenced, GuestCommand};
use crate::spec_table::{named_numbers, table};

/// Context 1 has a status blob and may submit two operations in 64 bytes, context 2 none.
fn submissions() -> Bench {
    let mut bench = Bench::new(Limits {
        submit_bytes: 64,
        operations: 2,
        cookies: 1,
        ..Limits::default()
    });
    bench.context_with_blobs(1, [1]);
    bench.ok(&GuestCommand::ctx_create(2, 0));
    let status = encode_status(0, 0, 1, 0, 4096).to_vec();
    bench.ok(&GuestCommand::submit(1, &[status]));
    bench
}

fn export(tag: u32, cookie: u64) -> Vec<u8> {
    encode_export(0, tag, 1, Access::READ, cookie).to_vec()
}

#[test]
fn submissions_are_answered_as_their_table_says() {
    let submit = GuestCommand::submit_bytes;
    let two = [export(1, 5), export(2, 6)].concat();
    let three = [&[[0x8a, 0, 8, 0, 1, 0, 0, 0]; 3].concat()[..], &[1; 4]].concat();
    let broken = [export(1, 5), vec![1; 4]].concat();
    let truncated = GuestCommand {
        kind: types::CMD_SUBMIT_3D,
        ctx_id: 1,
        body: vec![0; 4],
    };
    // Each with the tags and errnos of its records.
    let cases = [
        (0x1204, vec![(submit(9, 99, &[]), vec![])]),
        (
            0x1200,
            vec![
                (submit(2, 99, &[]), vec![]),
                (submit(2, 24, &export(1, 5)), vec![]),
            ],
        ),
        (0x1205, vec![(submit(1, 99, &[]), vec![(0, 7)])]),
        (
            0x1205,
            vec![
                (submit(1, 24, &[]), vec![(0, 74)]),
                (truncated, vec![(0, 74)]),
            ],
        ),
        (
            0x1205,
            vec![
                (submit(1, 28, &three), vec![(1, 0), (1, 0), (1, 7)]),
                (submit(1, 28, &broken), vec![(1, 0), (0, 74)]),
            ],
        ),
        (0x1201, vec![(submit(1, 48, &two), vec![(1, 0), (2, 122)])]),
        (0x1100, vec![(submit(1, 24, &export(1, 5)), vec![(1, 0)])]),
    ];
    let rows = table("response to `SUBMIT_3D`").rows;
    let specified = rows.iter().map(|row| named_numbers(&row[0])[0].1 as u32);
    assert!(specified.eq(cases.iter().map(|(kind, _)| *kind)));
    for (expected, ways) in cases {
        for (command, records) in ways {
            let mut bench = submissions();
            let chain = bench.send(&command, Fenced::No);
            assert_eq!(kind(&bench, chain).0, expected, "{command:?}");
            let errors = bench.records(1, 0).errors().split_off(1);
            assert_eq!(errors, records, "{command:?}");
        }
    }
}

#[test]
fn what_goes_for_every_command_is_as_its_table_says() {
    let info = GuestCommand::display_info();
    let unknown = GuestCommand {
        kind: 0x0fff,
        ..info.clone()
    };
    let short = GuestCommand {
        kind: types::CMD_RESOURCE_UNREF,
        ..info.clone()
    };
    let cases = [
        (info.bytes(Fenced::Global(9))[..23].to_vec(), false),
        (info.bytes(Fenced::Global(1)), false),
        (info.clone().of(1).bytes(Fenced::Ring(64, 9)), true),
        (info.of(NONE).bytes(Fenced::Ring(0, 9)), true),
        (unknown.bytes(Fenced::Global(9)), true),
        (short.bytes(Fenced::Global(9)), true),
    ];
    let rows = table("response to any command").rows;
    assert_eq!(rows.len(), cases.len());
    for (row, (bytes, signals)) in rows.iter().zip(cases) {
        let mut bench = submissions();
        bench.send(&GuestCommand::display_info(), Fenced::Global(1));
        let chain = bench.send_bytes(&bytes);
        let specified = named_numbers(&row[0])[0].1 as u32;
        assert_eq!(kind(&bench, chain), (specified, signals), "{row:?}");
        let says = !["none", "not signalled"].contains(&row[1].as_str());
        assert_eq!(says, signals, "{row:?}");
    }
}
