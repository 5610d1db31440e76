//! Reading what Rust's test harness prints. Its JSON is not stable; its text has been for years.

use super::report::{Case, Outcome};

/// The cases of one run of a test program, from its stdout.
pub(crate) fn cases(stdout: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    // A test that writes past the harness separates a name from its result.
    let mut unfinished: Option<String> = None;
    let mut lines = stdout.lines();
    for line in lines.by_ref() {
        if line == "failures:" {
            break;
        }
        if let Some((name, rest)) = line
            .strip_prefix("test ")
            .and_then(|l| l.split_once(" ... "))
        {
            let name = name.trim_end_matches(" - should panic").to_owned();
            match outcome(rest) {
                Some(outcome) => cases.push(Case::new(&name, outcome)),
                None => unfinished = Some(name),
            }
        } else if let (Some(name), Some(outcome)) = (&unfinished, outcome(line)) {
            cases.push(Case::new(name, outcome));
            unfinished = None;
        }
    }
    if let Some(name) = unfinished {
        cases.push(Case::failed(
            &name,
            "The test program ended in the middle of it.",
        ));
    }

    // "---- name stdout ----", what the test printed, an empty line.
    let mut current: Option<&mut Case> = None;
    for line in lines {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            current = cases.iter_mut().find(|case| case.name == name);
        } else if line == "failures:" {
            current = None;
        } else if let Some(Case {
            outcome: Outcome::Failed(detail),
            ..
        }) = current.as_deref_mut()
        {
            detail.push_str(line);
            detail.push('\n');
        }
    }
    cases
}

fn outcome(text: &str) -> Option<Outcome> {
    if text == "ok" || text.starts_with("ok <") {
        Some(Outcome::Passed)
    } else if text.starts_with("FAILED") {
        Some(Outcome::Failed(String::new()))
    } else if let Some(why) = text.strip_prefix("ignored") {
        let why = why.trim_start_matches(", ");
        Some(Outcome::Skipped(
            if why.is_empty() { "ignored" } else { why }.to_owned(),
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_becomes_a_case_with_what_it_printed() {
        let text = "
running 4 tests
test fence::a_late_signal ... ok
test fence::an_early_one ... FAILED
test slow ... ignored, takes an hour
test overflows - should panic ... ok

failures:

---- fence::an_early_one stdout ----

thread 'x' panicked at src/fence.rs:3:5:
left is not right


failures:
    fence::an_early_one

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let cases = cases(text);
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "fence::a_late_signal",
                "fence::an_early_one",
                "slow",
                "overflows"
            ]
        );
        assert_eq!(cases[0].outcome, Outcome::Passed);
        assert!(matches!(&cases[1].outcome, Outcome::Failed(detail)
                if detail.contains("left is not right") && !detail.contains("failures:")));
        assert_eq!(cases[2].outcome, Outcome::Skipped("takes an hour".into()));
        assert_eq!(cases[3].outcome, Outcome::Passed);
    }

    #[test]
    fn output_in_the_middle_of_a_line_hides_no_result() {
        let text = "running 1 test\ntest talks ... hello from below\nok\n";
        assert_eq!(cases(text), [Case::passed("talks")]);
    }

    #[test]
    fn a_test_that_ends_the_program_has_failed() {
        let cases = cases("running 1 test\ntest aborts ... ");
        assert!(matches!(cases[0].outcome, Outcome::Failed(_)));
    }
}
