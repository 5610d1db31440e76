//! The guest's side of a run: takes the order, runs the cases one after the other, reports each.
//! A program with cases is a call to [`main`] with a list of them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::event::{Event, Order, PORTS, RESULTS_PORT};
use crate::outcome::{Outcome, attempt};
use crate::stuck::Watchdog;

/// Longer than any case takes: what a guest that takes longer is doing stands on its console.
const LONG: Duration = Duration::from_secs(60);

/// One thing that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// A plain sentence.
    pub name: &'static str,
    /// Tries it.
    pub run: fn() -> Outcome,
}

/// The whole program: `--list` prints the cases' names, without it the order is taken from the
/// results port.
pub fn main(cases: &[&[Case]]) -> ExitCode {
    let cases: Vec<Case> = cases.iter().flat_map(|list| list.iter()).copied().collect();
    if std::env::args().nth(1).as_deref() == Some("--list") {
        for case in &cases {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    }
    match run(&cases) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The results port failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cases: &[Case]) -> std::io::Result<()> {
    let port = File::options()
        .read(true)
        .write(true)
        .open(Path::new(PORTS).join(RESULTS_PORT))?;
    let mut line = String::new();
    let mut reader = BufReader::new(port.try_clone()?);
    reader.read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    run_order(cases, &order, &mut &port)
}

/// Runs the ordered cases and writes what happens.
fn run_order(cases: &[Case], order: &Order, out: &mut impl Write) -> std::io::Result<()> {
    let mut tell = |event: Event| writeln!(out, "{}", event.to_line());
    for name in &order.cases {
        let case = name.clone();
        let Some(found) = cases.iter().find(|case| case.name == name) else {
            let detail = "This program has no such case.".to_owned();
            tell(Event::Fail {
                case,
                detail,
                ms: 0,
            })?;
            continue;
        };
        tell(Event::Start { case: case.clone() })?;
        let watchdog = Watchdog::start(name, LONG);
        let end = attempt(case, found.run);
        drop(watchdog);
        tell(end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Skip;

    const CASES: &[Case] = &[
        Case {
            name: "holds",
            run: || Ok(()),
        },
        Case {
            name: "errs",
            run: || Err("it is broken".into()),
        },
        Case {
            name: "asserts",
            run: || {
                assert_eq!(1 + 1, 3, "sums");
                Ok(())
            },
        },
        Case {
            name: "does not apply",
            run: || Err(Skip("no such device".into()).into()),
        },
    ];

    fn events(names: &[&str]) -> Vec<Event> {
        let order = Order {
            cases: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut out = Vec::new();
        run_order(CASES, &order, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn every_ordered_case_starts_and_ends() {
        let events = events(&["holds", "errs"]);
        assert!(matches!(&events[0], Event::Start { case } if case == "holds"));
        assert!(matches!(&events[1], Event::Pass { case, .. } if case == "holds"));
        assert!(matches!(&events[2], Event::Start { case } if case == "errs"));
        assert!(
            matches!(&events[3], Event::Fail { detail, .. } if detail == "it is broken"),
            "{events:?}"
        );
    }

    #[test]
    fn a_failed_assertion_fails_its_case_alone_and_says_where() {
        let events = events(&["asserts", "holds"]);
        assert!(
            matches!(&events[1], Event::Fail { detail, .. }
                if detail.contains("sums") && detail.contains("payload.rs")),
            "{events:?}"
        );
        assert!(matches!(&events[3], Event::Pass { .. }));
    }

    #[test]
    fn a_case_can_say_that_it_does_not_apply() {
        let events = events(&["does not apply"]);
        assert!(matches!(&events[1], Event::Skip { detail, .. } if detail == "no such device"));
    }

    #[test]
    fn an_unknown_case_fails() {
        assert!(matches!(&events(&["unheard of"])[0], Event::Fail { .. }));
    }
}
