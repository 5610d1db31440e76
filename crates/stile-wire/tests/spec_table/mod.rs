//! Reads the tables of `docs/spec/stile-sync.md`.

/// The specification's text.
pub(crate) const SPEC: &str = include_str!("../../../../docs/spec/stile-sync.md");

/// A table: the cells of its heading, then those of each row.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) heading: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// All tables, in their order.
pub(crate) fn tables() -> Vec<Table> {
    tables_of(SPEC)
}

/// All tables of a document, in their order.
pub(crate) fn tables_of(document: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with('|') {
            continue;
        }
        let heading = cells(line);
        let rule = lines.next().expect("a rule under the heading");
        assert!(rule.starts_with("| ---"), "{rule}");
        let mut rows = Vec::new();
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            let row = cells(row);
            assert_eq!(row.len(), heading.len(), "{row:?} under {heading:?}");
            rows.push(row);
        }
        tables.push(Table { heading, rows });
    }
    tables
}

/// The one table whose first heading is this.
pub(crate) fn table(first: &str) -> Table {
    let mut found = tables()
        .into_iter()
        .filter(|table| table.heading.first().is_some_and(|cell| cell == first));
    let table = found
        .next()
        .unwrap_or_else(|| panic!("no table `{first}` in the specification"));
    assert!(found.next().is_none(), "two tables `{first}`");
    table
}

/// The errnos of a cell, in their order, each with the word behind it; an empty one where there is
/// none.
pub(crate) fn errnos(cell: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut parts = cell.split('`');
    parts.next();
    while let (Some(errno), Some(after)) = (parts.next(), parts.next()) {
        let word = after.trim_start().split([',', ' ']).next();
        found.push((errno.to_owned(), word.unwrap_or_default().to_owned()));
    }
    found
}

/// The lines of the example that has this name, each its bytes and what it says of them.
pub(crate) fn example(name: &str) -> Vec<(Vec<u8>, String)> {
    let mut lines = SPEC.lines();
    while lines.any(|line| line == "```text") {
        if lines.next() == Some(name) {
            return lines
                .take_while(|line| *line != "```")
                .map(example_line)
                .collect();
        }
    }
    panic!("no example `{name}` in the specification")
}

/// Eight bytes at most, and what the line says of them.
fn example_line(line: &str) -> (Vec<u8>, String) {
    let (bytes, what) = line.split_at(line.len().min(8 * 3 - 1));
    let bytes = bytes.split(' ');
    let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
    (bytes.collect(), what.trim().to_owned())
}

/// A number as the specification writes it: decimal, or hexadecimal with `0x`.
pub(crate) fn number(text: &str) -> u64 {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// Every `NAME (number)` of a text.
pub(crate) fn named_numbers(text: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(" (") {
        let (before, after) = text.split_at(at);
        let name = before
            .rsplit(|c: char| {
                !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '`')
            })
            .next()
            .unwrap_or_default()
            .trim_matches('`');
        let inside = after
            .trim_start_matches(" (")
            .split(')')
            .next()
            .unwrap_or_default();
        if !name.is_empty() && inside.starts_with(|c: char| c.is_ascii_digit()) {
            found.push((name.to_owned(), number(inside)));
        }
    }
    found
}
