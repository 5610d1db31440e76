//! The checks that are no tests: format, clippy, documentation, and that the inner crates need no
//! operating system.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::report::{Case, Suite};
use super::{documents, freestanding};
use crate::fuzz::cargo_of_fuzz;
use crate::process::{cannot_start, last_lines};
use crate::progress::Progress;
use crate::workspace::{Workspace, cargo};

/// How much of a tool's complaint is kept.
const QUOTED_LINES: usize = 200;

type Check = (&'static str, fn(&Workspace) -> Result<Result<(), String>>);

const CHECKS: [Check; 6] = [
    ("the code is formatted", |_| {
        let all = complains(cargo().args(["fmt", "--all", "--check"]))?;
        let fuzz = ["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"];
        Ok(all.and(complains(cargo().args(fuzz))?))
    }),
    ("clippy finds nothing", |workspace| {
        complains(
            cargo()
                .args(["clippy", "--quiet", "--workspace", "--all-targets"])
                .args(workspace.lab_features())
                .args(["--", "--deny=warnings"]),
        )
    }),
    ("clippy finds nothing in the fuzz targets", |workspace| {
        let mut command = cargo_of_fuzz(workspace, "clippy")?;
        complains(command.args(["--", "--deny=warnings"]))
    }),
    ("the documentation builds without a warning", |_| {
        complains(
            cargo()
                .args(["doc", "--quiet", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "--deny=warnings"),
        )
    }),
    (
        "the documents link to what exists and name files that exist",
        documents::check,
    ),
    (
        "the wire and core crates need no operating system",
        freestanding::check,
    ),
];

/// Runs the checks whose name contains the filter.
pub(crate) fn run(workspace: &Workspace, progress: &Progress, filter: &str) -> Suite {
    let begin = Instant::now();
    let mut cases = Vec::new();
    for (name, check) in CHECKS.iter().filter(|(name, _)| name.contains(filter)) {
        progress.say(format!("checking that {name}"));
        let begin = Instant::now();
        let case = match check(workspace) {
            Ok(Ok(())) => Case::passed(name),
            Ok(Err(complaint)) => Case::failed(name, complaint),
            Err(error) => Case::failed(name, format!("{error:#}")),
        };
        cases.push(case.took(begin.elapsed()));
    }
    Suite {
        name: "checks".to_owned(),
        cases,
        time: begin.elapsed(),
    }
}

/// Runs a tool; what it says, if it does not succeed.
pub(crate) fn complains(command: &mut Command) -> Result<Result<(), String>> {
    let output = command
        .output()
        .map_err(|error| cannot_start(command, error))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Err(last_lines(&said, QUOTED_LINES)))
}
