//! The packets are as `docs/spec/bridge.md` has them.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic")]

use std::mem::offset_of;

use super::*;
use crate::bridge::demand::NO_BUFFER;
use crate::bridge::desk::{MOVES, REQUESTS, REQUESTS_OF_A_CLIENT};

const SPEC: &str = include_str!("../../../../../docs/spec/bridge.md");

/// The rows of the table whose first heading is this.
fn table(first: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = SPEC.lines();
    let found = lines.any(|line| line.starts_with('|') && cells(line)[0] == first);
    assert!(found, "a table `{first}`");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(cells).collect()
}

fn numbers(first: &str) -> Vec<(String, u64)> {
    let rows = table(first).into_iter();
    rows.map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect()
}

/// Name, offset and size of each field.
fn fields(first: &str) -> Vec<(String, usize, usize)> {
    let rows = table(first).into_iter();
    rows.map(|row| {
        let number = |cell: &str| cell.parse().unwrap();
        (row[0].clone(), number(&row[1]), number(&row[2]))
    })
    .collect()
}

macro_rules! layout {
    ($of:ty { $($field:ident: $bytes:expr),* $(,)? }) => {
        vec![$((stringify!($field).to_owned(), offset_of!($of, $field), $bytes)),*]
    };
}

#[track_caller]
fn assert_layout<T>(specified: &[(String, usize, usize)], ours: &[(String, usize, usize)]) {
    assert_eq!(specified, ours);
    let (_, offset, size) = ours.last().unwrap();
    assert_eq!(size_of::<T>(), offset + size);
}

#[test]
fn the_packets_have_the_fields_of_the_specification() {
    let ours = layout!(Question {
        kind: 4,
        detail: 4,
        uuid: 16
    });
    assert_layout::<Question>(&fields("question field"), &ours);
    let ours = layout!(Answer {
        errno: 4,
        resource_id: 4,
        size: 8,
        uuid: 16
    });
    assert_layout::<Answer>(&fields("answer field"), &ours);
    let ours = layout!(Request {
        kind: 4,
        resource_id: 4,
        uuid: 16,
        tag: 8,
        offset: 8,
        value: 8,
        timeout_ns: 8
    });
    assert_layout::<Request>(&fields("request field"), &ours);
    let ours = layout!(Reply {
        errno: 4,
        kind: 4,
        tag: 8,
        value: 8
    });
    assert_layout::<Reply>(&fields("reply field"), &ours);
    let bytes = [("question".to_owned(), 24_u64), ("request".to_owned(), 56)];
    assert_eq!(numbers("packet"), bytes);
}

#[test]
fn the_kinds_and_errnos_are_those_of_the_specification() {
    let ours = [
        ("MEM_SIGNAL", MEM_SIGNAL),
        ("MEM_WAIT", MEM_WAIT),
        ("CANCEL", CANCEL),
        ("REPLACE", REPLACE),
    ];
    let ours = ours.map(|(name, kind)| (name.to_owned(), u64::from(kind)));
    assert_eq!(numbers("request kind"), ours);
    use stile_core::errno::*;
    let ours = [
        ("ENOENT", ENOENT),
        ("EBADF", NO_BUFFER),
        ("EAGAIN", EAGAIN),
        ("EFAULT", EFAULT),
        ("EBUSY", EBUSY),
        ("EEXIST", EEXIST),
        ("EINVAL", EINVAL),
        ("EOPNOTSUPP", EOPNOTSUPP),
        ("ETIMEDOUT", ETIMEDOUT),
        ("EDQUOT", EDQUOT),
        ("ECANCELED", ECANCELED),
    ];
    let ours = ours.map(|(name, errno)| (name.to_owned(), u64::from(errno.0)));
    assert_eq!(numbers("reply errno"), ours);
}

#[test]
fn the_quotas_are_those_of_the_specification() {
    let of_a_client = format!("the client has {REQUESTS_OF_A_CLIENT} requests");
    assert!(SPEC.contains(&of_a_client));
    assert!(SPEC.contains(&format!("all clients have {REQUESTS} ")));
    assert!(SPEC.contains(&format!("{MOVES} buffers move")));
}

#[test]
fn no_number_of_replies_is_as_long_as_an_answer() {
    for count in 1..=BATCH {
        assert_ne!(count * size_of::<Reply>(), size_of::<Answer>());
    }
}
