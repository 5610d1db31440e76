//! docs/cases.md names cases that there are.

use std::collections::BTreeSet;
use std::path::Path;

use guest_tests::lifecycle;

use crate::cases;

/// The rows of its table.
const ROWS: [&str; 10] = [
    "AcquireNextImage",
    "QueuePresent",
    "two readers",
    "media consumer",
    "wait before signal",
    "memory fence",
    "bare sync_file chain",
    "racing writers",
    "moving buffer",
    "loop",
];

/// Each row's first column, and the cases that its last column names.
fn rows(document: &str) -> Vec<(&str, Vec<&str>)> {
    let rows = document.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (name, rest) = cells.split_once(" | ")?;
        let (_, named) = rest.rsplit_once(" | ")?;
        Some((name, named.split("; ").collect()))
    });
    // Without the head and the line under it.
    rows.skip(2).collect()
}

#[test]
fn each_row_of_the_document_is_shown_by_cases_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cases.md");
    let document = std::fs::read_to_string(path).unwrap();
    let in_guest = cases::ALL.iter().flat_map(|list| list.iter());
    let across = lifecycle::CASES.iter().map(|case| case.name);
    let there: BTreeSet<&str> = in_guest.map(|case| case.name).chain(across).collect();
    let rows = rows(&document);
    let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ROWS);
    for (row, named) in rows {
        for case in named {
            assert!(there.contains(case), "{row}: there is no case {case:?}");
        }
    }
}
