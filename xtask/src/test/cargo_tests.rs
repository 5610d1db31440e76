//! The unit and property tests: built once by cargo, then run here one program after the other, so
//! that each becomes a suite, and so that those for the host VM can be taken there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::libtest;
use super::report::{Case, Suite};
use crate::process::{cannot_start, last_lines};
use crate::progress::Progress;
use crate::workspace::{Workspace, cargo};

/// How much of a program's stderr is kept when it fails.
const QUOTED_LINES: usize = 60;

/// A built test program.
#[derive(Clone, Debug)]
pub(crate) struct TestProgram {
    /// "package" for its unit tests, "package/target" for others.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// The package's directory, where cargo would start it.
    pub(crate) directory: PathBuf,
    /// Whether it has to run in the host VM.
    pub(crate) in_host_vm: bool,
}

/// Builds all test programs.
pub(crate) fn build(workspace: &Workspace, progress: &Progress) -> Result<Vec<TestProgram>> {
    progress.say("building the tests");
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-run",
        "--quiet",
    ]);
    command
        .arg("--message-format=json-render-diagnostics")
        .args(workspace.lab_features());
    let output = command
        .output()
        .map_err(|error| cannot_start(&command, error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!(
            "The tests do not build:\n{}",
            last_lines(&said, QUOTED_LINES)
        );
    }

    #[derive(Deserialize)]
    struct Artifact {
        manifest_path: PathBuf,
        target: Target,
        executable: Option<PathBuf>,
        profile: Profile,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }
    let mut programs = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(artifact) = serde_json::from_slice::<Artifact>(line) else {
            continue;
        };
        let (Some(executable), true) = (artifact.executable, artifact.profile.test) else {
            continue;
        };
        let directory = artifact
            .manifest_path
            .parent()
            .context("A manifest has no directory")?;
        let target = artifact.target;
        let (package, in_host_vm) = workspace
            .test_target(&artifact.manifest_path, &target.name)
            .context("Cargo built a test of a package that it does not know")?;
        let is_lib = target.kind.iter().any(|kind| kind == "lib");
        let name = if is_lib {
            package.to_owned()
        } else {
            format!("{package}/{}", target.name)
        };
        programs.push(TestProgram {
            name,
            executable,
            directory: directory.to_owned(),
            in_host_vm,
        });
    }
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// Runs one of them here.
pub(crate) fn run(program: &TestProgram, filter: &str) -> Suite {
    let begin = Instant::now();
    let mut command = Command::new(&program.executable);
    command.arg(filter).current_dir(&program.directory);
    let cases = match command.output() {
        Err(error) => {
            vec![Case::failed(
                "the test program starts",
                format!("{error:#}"),
            )]
        }
        Ok(output) => outcome(
            &String::from_utf8_lossy(&output.stdout),
            &String::from_utf8_lossy(&output.stderr),
            output.status.code(),
        ),
    };
    Suite {
        name: program.name.clone(),
        cases,
        time: begin.elapsed(),
    }
}

/// The cases of a run. A program that fails without a failed case has failed all the same.
pub(crate) fn outcome(stdout: &str, stderr: &str, status: Option<i32>) -> Vec<Case> {
    let mut cases = libtest::cases(stdout);
    let told = cases
        .iter()
        .any(|case| matches!(case.outcome, super::report::Outcome::Failed(_)));
    if status != Some(0) && !told {
        let status = status.map_or("a signal".to_owned(), |status| format!("status {status}"));
        cases.push(Case::failed(
            "the test program runs to its end",
            format!(
                "It ended with {status}.\n{}",
                last_lines(stderr, QUOTED_LINES)
            ),
        ));
    }
    cases
}

/// The examples in the documentation.
pub(crate) fn documentation(progress: &Progress, filter: &str) -> Suite {
    progress.say("running the documentation's examples");
    let begin = Instant::now();
    let mut command = cargo();
    command
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--doc",
            "--",
            "--format=pretty",
        ])
        .arg(filter);
    let cases = match command.output() {
        Err(error) => vec![Case::failed("cargo starts", format!("{error:#}"))],
        Ok(output) => outcome(
            &String::from_utf8_lossy(&output.stdout),
            &String::from_utf8_lossy(&output.stderr),
            output.status.code(),
        ),
    };
    Suite {
        name: "documentation".to_owned(),
        cases,
        time: begin.elapsed(),
    }
}
