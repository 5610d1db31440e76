//! `cargo xtask test`: everything, into one report.

mod cargo_tests;
mod checks;
mod documents;
mod freestanding;
mod fuzzing;
mod guests;
mod host_vm;
mod igt;
mod junit;
mod libtest;
mod marked;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::host::Host;
use crate::programs::Programs;
use crate::progress::Progress;
use crate::setup::{Igt, Kernel, Lab};
use crate::workspace::Workspace;
use cargo_tests::TestProgram;
use report::Case;

pub(crate) use guests::{Chosen, Guests};
pub(crate) use report::{Report, Suite};

/// What is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the VMs out, and fuzz for some seconds only
    #[arg(long)]
    quick: bool,
    /// Only tests and checks whose name contains this
    #[arg(default_value = "")]
    filter: String,
}

/// Runs it, writes `target/test/junit.xml`, and prints what came out.
pub(crate) fn run(
    workspace: &Workspace,
    progress: &Progress,
    options: &Options,
) -> Result<ExitCode> {
    let mut report = Report::default();
    std::thread::scope(|scope| {
        // The downloads go on while cargo compiles.
        let set_up = || {
            let lab = Lab::ensure(workspace, progress, false)?;
            let igt = lab.igt(progress);
            Ok((lab, igt))
        };
        let lab = (!options.quick).then(|| scope.spawn(set_up));
        let for_host_vm = on_this_machine(workspace, progress, options, &mut report);
        if let Some(lab) = lab {
            let lab = lab.join().unwrap_or_else(|_| bail!("The set-up panicked."));
            let result = lab.and_then(|(lab, igt)| {
                in_the_lab(
                    workspace,
                    &lab,
                    &igt,
                    &for_host_vm,
                    &options.filter,
                    progress,
                    &mut report,
                )
            });
            if let Err(error) = result {
                report.add(broken("lab", "the lab can be used", &error));
            }
        }
    });
    let path = workspace.target.join("test/junit.xml");
    junit::write(&report, &path)?;
    report.print();
    let counts = report.counts();
    if counts.passed + counts.failed == 0 {
        bail!("No test has `{}` in its name.", options.filter);
    }
    // A machine may lack something; the one that decides over a change may not.
    let must_not_skip = std::env::var_os("CI").is_some() && counts.skipped > 0;
    if must_not_skip {
        eprintln!("CI is set, and then a skipped test is a failure.");
    }
    Ok(if counts.failed == 0 && !must_not_skip {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The checks and the tests that need nothing special. Gives the test programs for the host VM.
fn on_this_machine(
    workspace: &Workspace,
    progress: &Progress,
    options: &Options,
    report: &mut Report,
) -> Vec<TestProgram> {
    let filter = &*options.filter;
    report.add(checks::run(workspace, progress, filter));
    let programs = match cargo_tests::build(workspace, progress) {
        Ok(programs) => programs,
        Err(error) => {
            report.add(broken("tests", "the tests build", &error));
            return Vec::new();
        }
    };
    let (for_host_vm, here): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| program.in_host_vm);
    for program in here {
        report.say_and_add(cargo_tests::run(&program, filter), progress);
    }
    report.add(cargo_tests::documentation(progress, filter));
    report.add(fuzzing::run(workspace, progress, options));
    for_host_vm
}

/// What needs a real host kernel, and guests.
fn in_the_lab(
    workspace: &Workspace,
    lab: &Lab,
    igt: &Result<Igt>,
    test_programs: &[TestProgram],
    filter: &str,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let programs = Programs::build(workspace, progress)?;
    let host = Host::choose(workspace, lab, &programs, progress)?;
    let mut chosen = Vec::new();
    for program in test_programs {
        if host_vm::has_tests(program, filter)? {
            chosen.push(program);
        }
    }
    if !chosen.is_empty() {
        progress.say("running the tests that need a host kernel");
        for suite in host_vm::run(workspace, &host, &chosen, filter)? {
            report.say_and_add(suite, progress);
        }
    }
    let both = host_vm::for_both_kernels(&chosen);
    if !both.is_empty() {
        match host.with_kernel(Kernel::Backports) {
            Some(newest) => {
                for suite in host_vm::run(workspace, &newest, &both, filter)? {
                    report.say_and_add(suite, progress);
                }
            }
            None => report.add(not_this_host("test programs", Kernel::Backports)),
        }
    }
    let guests = Guests {
        workspace,
        lab,
        programs: &programs,
        progress,
    };
    for pair in guests::PAIRS {
        let other = host.with_kernel(pair.host);
        // This machine is taken for one with the stable kernel, whatever it has.
        let host = match &other {
            Some(other) => other,
            None if pair.host == Kernel::Stable => &host,
            None => {
                report.add(not_this_host("guests", pair.host));
                continue;
            }
        };
        let chosen = Chosen {
            filter,
            about: pair.about,
            without_gpu: false,
            times: 1,
        };
        let suite = guests.run(host, pair.guest, chosen)?;
        if filter.is_empty() && suite.cases.is_empty() {
            bail!("There is not one case for a guest with {}.", pair.guest);
        }
        report.add(suite);
    }
    for suite in of_igt(workspace, lab, igt, &programs, filter, progress) {
        report.say_and_add(suite, progress);
    }
    Ok(())
}

/// IGT's programs. Without them, nothing else of the lab is amiss.
pub(crate) fn of_igt(
    workspace: &Workspace,
    lab: &Lab,
    igt: &Result<Igt>,
    programs: &Programs,
    filter: &str,
    progress: &Progress,
) -> Vec<Suite> {
    let expected = match igt::Expected::read(workspace, filter) {
        Ok(None) => return Vec::new(),
        Ok(Some(expected)) => expected,
        Err(error) => return vec![broken("docs/igt.md", "the document can be read", &error)],
    };
    let igt = match igt {
        Ok(igt) => igt,
        Err(error) => return vec![broken("IGT", "its programs are there", error)],
    };
    let programme = igt::Programme {
        workspace,
        lab,
        programs,
        igt,
        progress,
    };
    programme
        .run(&expected)
        .unwrap_or_else(|error| vec![broken("IGT", "its programs can be run", &error)])
}

/// A suite for what this machine, being the host itself, cannot run.
fn not_this_host(what: &str, kernel: Kernel) -> Suite {
    let case = format!("{what} on the {kernel} host kernel");
    let why = "This machine is the host itself, with a kernel of its own.";
    Suite {
        name: "lab".to_owned(),
        cases: vec![Case::skipped(&case, why)],
        time: Duration::ZERO,
    }
}

/// A suite for something that kept others from running.
fn broken(suite: &str, case: &str, error: &anyhow::Error) -> Suite {
    let cases = vec![Case::failed(case, format!("{error:#}"))];
    Suite {
        name: suite.to_owned(),
        cases,
        time: Duration::ZERO,
    }
}
