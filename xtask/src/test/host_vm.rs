//! Test programs that need a real host kernel with dma-bufs: they run on the lab's host side, all in
//! one boot, each a suite. A test target becomes one by requiring the feature "lab" in its
//! Cargo.toml; nothing else names it, unless it is to run with both host kernels.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cargo_tests::{self, TestProgram};
use super::marked;
use super::report::{Case, Suite};
use crate::host::Host;
use crate::hostvm::quoted;
use crate::process::output_of;
use crate::workspace::Workspace;

/// Longer than all of them take together.
const BOUND: Duration = Duration::from_secs(600);

/// Programs whose subject differs from host kernel to host kernel: they run with the newest, too.
const ON_BOTH_KERNELS: [&str; 2] = ["stile-gpu/timelines", "stile-host/kernel"];

/// Those of the programs that run with the newest host kernel, too.
pub(crate) fn for_both_kernels<'a>(programs: &[&'a TestProgram]) -> Vec<&'a TestProgram> {
    let both = |program: &&&TestProgram| ON_BOTH_KERNELS.contains(&program.name.as_str());
    programs.iter().filter(both).copied().collect()
}

/// Runs these programs on the host side. One that the machine takes with it fails, and so do those
/// after it.
pub(crate) fn run(
    workspace: &Workspace,
    host: &Host<'_>,
    programs: &[&TestProgram],
    filter: &str,
) -> Result<Vec<Suite>> {
    let filter = quoted(filter.as_ref())?;
    let mut commands = Vec::new();
    for program in programs {
        let directory = quoted(program.directory.as_os_str())?;
        let executable = quoted(program.executable.as_os_str())?;
        commands.push(format!("cd {directory} && {executable} {filter}"));
    }
    let (runs, why) = marked::run(workspace, host, &commands, BOUND);
    let kernel = host
        .kernel_version()
        .context("The host's kernel is not known")?;
    Ok(programs
        .iter()
        .zip(runs)
        .map(|(program, run)| {
            let cases = match run.status {
                Some(status) => cargo_tests::outcome(&run.said, "", Some(status)),
                None => vec![Case::failed("the test program runs to its end", &*why)],
            };
            Suite {
                name: format!("{} on {kernel}", program.name),
                cases,
                time: run.time,
            }
        })
        .collect())
}

/// Whether the filter leaves any test of this program: known without a boot.
pub(crate) fn has_tests(program: &TestProgram, filter: &str) -> Result<bool> {
    let words = [filter, "--list", "--format=terse"];
    Ok(!output_of(Command::new(&program.executable).args(words))?.is_empty())
}
