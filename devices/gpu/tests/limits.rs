//! `docs/limits.md` and the command line say the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;

use clap::CommandFactory;
use stile_core::Limits;
use stile_gpu::cli::Cli;

const DOCUMENT: &str = include_str!("../../../docs/limits.md");

/// The first three cells of each row: flag or dash, default, what it bounds.
fn rows() -> Vec<[&'static str; 3]> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .map(|cells| [cells[0], cells[1], cells[2]])
        .collect()
}

#[test]
fn every_limit_of_the_command_line_stands_in_the_document_with_its_default() {
    let documented: BTreeMap<_, _> = rows()
        .into_iter()
        .filter_map(|[flag, default, _]| {
            Some((flag.strip_prefix("`--")?.strip_suffix('`')?, default))
        })
        .collect();
    let command = Cli::command();
    let limits: BTreeMap<_, _> = command
        .get_arguments()
        .filter_map(|argument| {
            let default = argument.get_default_values().first()?.to_str()?;
            // Flags without a value have a default, too.
            let takes_value = argument.get_action().takes_values();
            takes_value.then(|| (argument.get_long().unwrap(), default))
        })
        .collect();
    assert!(limits.len() > 10, "{limits:?}");
    assert_eq!(documented, limits);
}

#[test]
fn the_limits_without_a_flag_are_the_devices() {
    let fixed: Vec<_> = rows()
        .into_iter()
        .filter(|[flag, ..]| *flag == "—")
        .map(|[_, default, what]| (default, what))
        .collect();
    let Limits {
        submit_bytes,
        operations,
        looks,
        ..
    } = Limits::default();
    for (limit, of_what) in [
        (submit_bytes, "bytes of a `SUBMIT_3D` payload"),
        (operations, "operations of a `SUBMIT_3D`"),
        (looks, "SNAPSHOT"),
    ] {
        let text = limit.to_string();
        let is_there = |(default, what): &(&str, &str)| *default == text && what.contains(of_what);
        assert!(fixed.iter().any(is_there), "{text} {of_what}: {fixed:?}");
    }
}
