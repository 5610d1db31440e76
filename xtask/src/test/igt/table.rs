//! docs/igt.md: what is expected of each subtest of IGT's programs, and which of our own cases have
//! the scenarios that IGT skips. The document's tables are the tests' only list.

use anyhow::{Context, Result, bail, ensure};

use crate::setup::Kernel;

/// What a subtest's full name begins with.
pub(super) const PREFIX: &str = "igt@";

const EXPECTED: [&str; 6] = [
    "program", "subtest", "where", "result", "IGT says", "reason",
];
const SCENARIOS: [&str; 2] = ["skipped by IGT", "our guest cases"];

/// On which side a subtest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Host,
    Guest,
}

/// Where a row applies: on one side, with each kernel or with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    side: Side,
    kernel: Option<Kernel>,
}

/// How a subtest is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Skip,
    Fail,
}

/// What is expected of a subtest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) program: String,
    pub(super) subtest: String,
    places: Vec<Place>,
    pub(super) verdict: Verdict,
    /// What its output must contain, each.
    pub(super) says: Vec<String>,
}

impl Row {
    /// The subtest's name as IGT's own runner writes it.
    pub(super) fn name(&self) -> String {
        name(&self.program, &self.subtest)
    }

    /// Whether it says what happens there.
    pub(super) fn is_for(&self, side: Side, kernel: Kernel) -> bool {
        self.places
            .iter()
            .any(|place| place.side == side && place.kernel.is_none_or(|one| one == kernel))
    }
}

/// A subtest's name as IGT's own runner writes it.
pub(super) fn name(program: &str, subtest: &str) -> String {
    format!("{PREFIX}{program}@{subtest}")
}

/// Cases of ours that show what a subtest would, which IGT skips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// The subtest's full name.
    pub(super) subtest: String,
    pub(super) cases: Vec<String>,
}

/// Both tables.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) rows: Vec<Row>,
    pub(super) scenarios: Vec<Scenario>,
}

impl Tables {
    /// Reads the document.
    pub(super) fn parse(document: &str) -> Result<Self> {
        let mut rows = Vec::new();
        for (line, cells) in table(document, &EXPECTED)? {
            let row = row(&cells).with_context(|| format!("Line {line}"))?;
            rows.push((line, row));
        }
        for (number, (line, row)) in rows.iter().enumerate() {
            let same = |(_, other): &&(usize, Row)| {
                other.name() == row.name()
                    && other
                        .places
                        .iter()
                        .any(|place| overlaps(*place, &row.places))
            };
            if let Some((other, _)) = rows.iter().take(number).find(same) {
                bail!("Lines {other} and {line} are about the same.");
            }
        }
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();

        let mut scenarios = Vec::new();
        for (line, cells) in table(document, &SCENARIOS)? {
            let [subtest, cases] = &cells[..] else {
                bail!("Line {line} has not {} columns.", SCENARIOS.len());
            };
            let cases: Vec<String> = cases.split("; ").map(str::to_owned).collect();
            scenarios.push(Scenario {
                subtest: subtest.clone(),
                cases,
            });
        }
        for row in rows.iter().filter(|row| row.verdict == Verdict::Skip) {
            ensure!(
                scenarios.iter().any(|one| one.subtest == row.name()),
                "{} is skipped, and no case of ours stands for it.",
                row.name()
            );
        }
        Ok(Self { rows, scenarios })
    }
}

fn overlaps(one: Place, others: &[Place]) -> bool {
    others.iter().any(|other| {
        let differ = |(a, b): (Kernel, Kernel)| a != b;
        one.side == other.side && !one.kernel.zip(other.kernel).is_some_and(differ)
    })
}

fn row(cells: &[String]) -> Result<Row> {
    let [program, subtest, places, verdict, says, reason] = cells else {
        bail!("It has not {} columns.", EXPECTED.len());
    };
    let places = places.split(", ").map(place).collect::<Result<Vec<_>>>()?;
    let verdict = match verdict.as_str() {
        "pass" => Verdict::Pass,
        "skip" => Verdict::Skip,
        "fail" => Verdict::Fail,
        other => bail!("`{other}` is neither pass nor skip nor fail."),
    };
    let says = quotes(says)?;
    if verdict != Verdict::Pass {
        ensure!(
            !says.is_empty() && !reason.is_empty(),
            "What is no pass needs a reason, and what IGT says of it."
        );
    }
    Ok(Row {
        program: program.clone(),
        subtest: subtest.clone(),
        places,
        verdict,
        says,
    })
}

/// "host" or "guest", and the kernel's name behind it where kernels differ.
fn place(text: &str) -> Result<Place> {
    let (side, kernel) = match text.split_once(' ') {
        Some((side, kernel)) => (side, Some(kernel)),
        None => (text, None),
    };
    let side = match side {
        "host" => Side::Host,
        "guest" => Side::Guest,
        other => bail!("`{other}` is neither host nor guest."),
    };
    let kernel = match kernel {
        None => None,
        Some(name) => Some(
            Kernel::ALL
                .into_iter()
                .find(|kernel| kernel.to_string() == name)
                .with_context(|| format!("There is no kernel `{name}`."))?,
        ),
    };
    Ok(Place { side, kernel })
}

/// What stands between backticks.
fn quotes(text: &str) -> Result<Vec<String>> {
    let pieces: Vec<&str> = text.split('`').collect();
    ensure!(pieces.len() % 2 == 1, "A backtick is alone: {text}");
    Ok(pieces
        .into_iter()
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// The cells of the one table with this head, with the numbers of their lines.
fn table(document: &str, head: &[&str]) -> Result<Vec<(usize, Vec<String>)>> {
    let mut lines = document
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line));
    lines
        .by_ref()
        .find(|(_, line)| cells(line).is_some_and(|cells| cells == head))
        .with_context(|| format!("There is no table with the columns {}.", head.join(", ")))?;
    // The line under the head.
    lines.next();
    let rows = lines.take_while(|(_, line)| line.starts_with('|'));
    rows.map(|(at, line)| {
        let cells = cells(line).with_context(|| format!("Line {at} is no row of a table."))?;
        Ok((at, cells))
    })
    .collect()
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(
        inner
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::IGT_PROGRAMS;

    const DOCUMENT: &str = "\
# A title

| program | subtest | where | result | IGT says | reason |
| --- | --- | --- | --- | --- | --- |
| a | works | host, guest | pass |  |  |
| a | breaks | guest backports | fail | `Last errno: 38` and `!ret` | It is new. |
| a | breaks | guest stable | pass | `hello` |  |
| b | lacks | host | skip | `has()` | It is off. |

| skipped by IGT | our guest cases |
| --- | --- |
| igt@b@lacks | one; two |
";

    fn with(from: &str, to: &str) -> Result<Tables> {
        assert!(DOCUMENT.contains(from));
        Tables::parse(&DOCUMENT.replace(from, to))
    }

    fn complaint(tables: Result<Tables>) -> String {
        format!("{:#}", tables.unwrap_err())
    }

    #[test]
    fn rows_and_scenarios_are_read() {
        let tables = Tables::parse(DOCUMENT).unwrap();
        let of = |side, kernel| {
            let rows = tables.rows.iter().filter(|row| row.is_for(side, kernel));
            rows.map(|row| (row.name(), row.verdict))
                .collect::<Vec<_>>()
        };
        let works = ("igt@a@works".to_owned(), Verdict::Pass);
        let breaks = |verdict| ("igt@a@breaks".to_owned(), verdict);
        let lacks = ("igt@b@lacks".to_owned(), Verdict::Skip);
        assert_eq!(
            of(Side::Guest, Kernel::Stable),
            [works.clone(), breaks(Verdict::Pass)]
        );
        assert_eq!(
            of(Side::Guest, Kernel::Backports),
            [works.clone(), breaks(Verdict::Fail)]
        );
        assert_eq!(of(Side::Host, Kernel::Stable), [works, lacks]);
        assert_eq!(tables.rows[1].says, ["Last errno: 38", "!ret"]);
        assert_eq!(
            tables.scenarios,
            [Scenario {
                subtest: "igt@b@lacks".into(),
                cases: vec!["one".into(), "two".into()]
            }]
        );
    }

    #[test]
    fn the_document_can_be_read_and_is_about_the_labs_programs() {
        let tables = Tables::parse(include_str!("../../../../docs/igt.md")).unwrap();
        for row in &tables.rows {
            assert!(
                IGT_PROGRAMS.contains(&row.program.as_str()),
                "{}",
                row.name()
            );
        }
    }

    #[test]
    fn two_rows_about_the_same_are_refused() {
        let said = complaint(with("guest stable", "host, guest"));
        assert_eq!(said, "Lines 6 and 7 are about the same.");
    }

    #[test]
    fn what_is_no_pass_needs_a_reason_and_a_quote() {
        assert!(complaint(with("It is off.", "")).contains("reason"));
        assert!(complaint(with("`has()`", "has()")).contains("reason"));
    }

    #[test]
    fn a_skip_needs_cases_of_ours() {
        assert!(complaint(with("igt@b@lacks", "igt@b@else")).contains("no case of ours"));
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_line() {
        assert!(complaint(with("| pass |  |  |", "| works |  |  |")).starts_with("Line 5"));
        assert!(complaint(with("guest stable", "guests")).starts_with("Line 7"));
        assert!(complaint(with("guest stable", "guest old")).contains("no kernel `old`"));
        assert!(complaint(with("| `hello` |", "|")).contains("columns"));
        assert!(complaint(with("| subtest |", "| test |")).contains("no table"));
        assert!(complaint(with("| guest stable", "|guest stable")).contains("columns"));
        assert!(complaint(with("| a | works", "|a | works")).starts_with("Line 5 is no row"));
    }
}
