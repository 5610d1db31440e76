//! What was expected beside what happened: each subtest is a case, and so is each row.

use std::time::Duration;

use serde::Deserialize;

use super::table::{self, Row, Verdict};
use crate::process::last_lines;
use crate::test::report::Case;

/// How much of what a subtest said is quoted.
const QUOTED_LINES: usize = 40;

/// A subtest that was run, as `guest-igt` tells it (guest-tests/src/igt.rs).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ran {
    pub(super) program: String,
    pub(super) subtest: String,
    pub(super) verdict: Ended,
    pub(super) said: String,
    pub(super) ms: u64,
}

impl Ran {
    /// Whether it is of the same subtest.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (&self.program, &self.subtest) == (&other.program, &other.subtest)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ended {
    Pass,
    Skip,
    Fail,
    Crash,
    Hang,
}

/// The cases of one place: `rows` are those about it, `ran` all that ran there.
pub(super) fn cases(rows: &[&Row], ran: &[Ran]) -> Vec<Case> {
    let mut cases: Vec<Case> = ran
        .iter()
        .map(|ran| {
            let row = rows
                .iter()
                .find(|row| row.program == ran.program && row.subtest == ran.subtest);
            let name = table::name(&ran.program, &ran.subtest);
            let case = match judged(row.copied(), ran) {
                Ok(()) => Case::passed(&name),
                Err(why) => Case::failed(
                    &name,
                    format!("{why}\n{}", last_lines(&ran.said, QUOTED_LINES)),
                ),
            };
            case.took(Duration::from_millis(ran.ms))
        })
        .collect();
    let missing = rows.iter().filter(|row| {
        !ran.iter()
            .any(|ran| row.program == ran.program && row.subtest == ran.subtest)
    });
    cases.extend(
        missing
            .map(|row| Case::failed(&row.name(), "docs/igt.md has a row for it; it did not run.")),
    );
    cases
}

/// Whether it is as the table says.
fn judged(row: Option<&Row>, ran: &Ran) -> Result<(), String> {
    let Some(row) = row else {
        return Err(format!(
            "docs/igt.md has no row for it here. It ended with {:?}, and said:",
            ran.verdict
        ));
    };
    let expected = match row.verdict {
        Verdict::Pass => Ended::Pass,
        Verdict::Skip => Ended::Skip,
        Verdict::Fail => Ended::Fail,
    };
    if ran.verdict != expected {
        return Err(format!(
            "docs/igt.md expects {expected:?}. It ended with {:?}, and said:",
            ran.verdict
        ));
    }
    match row.says.iter().find(|quote| !ran.said.contains(*quote)) {
        Some(quote) => Err(format!(
            "docs/igt.md quotes `{quote}`, which is not among what it said:"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Tables;
    use super::*;
    use crate::test::report::Outcome;

    fn rows() -> Vec<Row> {
        let document = "\
| program | subtest | where | result | IGT says | reason |
| --- | --- | --- | --- | --- | --- |
| a | works | guest | pass |  |  |
| a | breaks | guest | fail | `errno: 38` | It is new. |

| skipped by IGT | our guest cases |
| --- | --- |
";
        Tables::parse(document).unwrap().rows
    }

    fn ran(subtest: &str, verdict: Ended, said: &str) -> Ran {
        Ran {
            program: "a".into(),
            subtest: subtest.into(),
            verdict,
            said: said.into(),
            ms: 1,
        }
    }

    /// Which of them fail, and why.
    fn failures(ran: &[Ran]) -> Vec<(String, String)> {
        let rows = rows();
        let cases = cases(&rows.iter().collect::<Vec<_>>(), ran);
        let failed = cases.into_iter().filter_map(|case| match case.outcome {
            Outcome::Failed(why) => Some((case.name, why)),
            _ => None,
        });
        failed.collect()
    }

    #[test]
    fn what_is_as_the_table_says_passes_a_failure_too() {
        let ran = [
            ran("works", Ended::Pass, ""),
            ran("breaks", Ended::Fail, "Last errno: 38, no"),
        ];
        assert_eq!(failures(&ran), []);
    }

    #[test]
    fn any_other_end_fails() {
        for verdict in [Ended::Pass, Ended::Skip, Ended::Crash, Ended::Hang] {
            let ran = [
                ran("works", Ended::Pass, ""),
                ran("breaks", verdict, "errno: 38"),
            ];
            let failures = failures(&ran);
            assert_eq!(failures.len(), 1);
            assert_eq!(failures[0].0, "igt@a@breaks");
            assert!(failures[0].1.contains("expects Fail"), "{failures:?}");
        }
    }

    #[test]
    fn another_reason_fails() {
        let ran = [
            ran("works", Ended::Pass, ""),
            ran("breaks", Ended::Fail, "Last errno: 22, no"),
        ];
        let failures = failures(&ran);
        assert!(failures[0].1.contains("quotes `errno: 38`"), "{failures:?}");
        assert!(failures[0].1.contains("Last errno: 22"), "{failures:?}");
    }

    #[test]
    fn a_row_that_did_not_run_fails_and_so_does_what_has_no_row() {
        let ran = [
            ran("works", Ended::Pass, ""),
            ran("is-new", Ended::Pass, "hello"),
        ];
        let failures = failures(&ran);
        assert_eq!(failures[0].0, "igt@a@is-new");
        assert!(failures[0].1.contains("no row"), "{failures:?}");
        assert_eq!(failures[1].0, "igt@a@breaks");
        assert!(failures[1].1.contains("did not run"), "{failures:?}");
    }
}
