//! What became of a subtest of IGT's programs: one line of JSON each, from `guest-igt` to
//! `cargo xtask test`, which knows what should become of it (docs/igt.md).

use serde::{Deserialize, Serialize};

/// How much of what a subtest said is kept, in bytes, from the end: the reason stands there.
const KEPT: usize = 4000;

/// How a subtest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// IGT calls it a success.
    Pass,
    /// IGT says that something is missing here.
    Skip,
    /// IGT calls it a failure.
    Fail,
    /// The program ended in another way than its subtest, or said nothing of it.
    Crash,
    /// It was ended because it took too long.
    Hang,
}

/// A subtest that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The program's name.
    pub program: String,
    /// The subtest's name; empty where the program could not be asked for its subtests.
    pub subtest: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it said, at most the last 4,000 bytes of it.
    pub said: String,
    /// How long its program ran, in milliseconds.
    pub ms: u64,
}

impl Ran {
    /// From all that a program said that was to run this one subtest, and its exit status (`None`
    /// after a signal).
    #[must_use]
    pub fn new(program: &str, subtest: &str, said: &str, status: Option<i32>, ms: u64) -> Self {
        Self {
            program: program.to_owned(),
            subtest: subtest.to_owned(),
            verdict: verdict(subtest, said, status),
            said: end_of(said).to_owned(),
            ms,
        }
    }
}

/// IGT says it in a line and with its exit status (lib/igt_core.h); believed where both agree.
fn verdict(subtest: &str, said: &str, status: Option<i32>) -> Verdict {
    let mut lines = said.lines().rev();
    let told = lines.find_map(|line| {
        let rest = line.strip_prefix("Subtest ")?.strip_prefix(subtest)?;
        Some(rest.strip_prefix(": ")?.split_once(" (")?.0)
    });
    match (told, status) {
        (Some("SUCCESS"), Some(0)) => Verdict::Pass,
        (Some("SKIP"), Some(77)) => Verdict::Skip,
        (Some("FAIL"), Some(98)) => Verdict::Fail,
        _ => Verdict::Crash,
    }
}

fn end_of(said: &str) -> &str {
    let mut from = said.len().saturating_sub(KEPT);
    while !said.is_char_boundary(from) {
        from = from.saturating_add(1);
    }
    said.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "IGT-Version: 2.5 (x86_64) (Linux: 6.12 x86_64)
Starting subtest: maps
(drm_virtgpu:190) CRITICAL: Failed assertion: !ret
Subtest maps failed.
**** DEBUG ****
(drm_virtgpu:190) INFO: hello
****  END  ****
Subtest maps: FAIL (0.127s)
";

    #[test]
    fn a_verdict_is_believed_where_line_and_status_agree() {
        assert_eq!(verdict("maps", FAILED, Some(98)), Verdict::Fail);
        for status in [Some(0), Some(77), Some(112), None] {
            assert_eq!(verdict("maps", FAILED, status), Verdict::Crash);
        }
        let passed = "Subtest maps: SUCCESS (0.000s)\n";
        assert_eq!(verdict("maps", passed, Some(0)), Verdict::Pass);
        let skipped = "Test requirement: has()\nSubtest maps: SKIP (0.000s)\n";
        assert_eq!(verdict("maps", skipped, Some(77)), Verdict::Skip);
    }

    #[test]
    fn a_program_that_is_silent_about_its_subtest_has_crashed() {
        assert_eq!(verdict("maps", "", Some(0)), Verdict::Crash);
        let other = "Subtest maps-not: SUCCESS (0.000s)\n";
        assert_eq!(verdict("maps", other, Some(0)), Verdict::Crash);
    }

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let said = format!("{}Ä{FAILED}", "ä".repeat(KEPT));
        let ran = Ran::new("drm_virtgpu", "maps", &said, Some(98), 5);
        assert!(ran.said.len() <= KEPT);
        assert!(ran.said.ends_with(FAILED));
    }
}
