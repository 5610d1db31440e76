//! IGT's own programs: in the host VM as a check of the host, and in guests on our device. What is
//! expected of each subtest is in docs/igt.md, and each subtest is a case: it does what the document
//! says, or the case fails.
//!
//! Always in the host VM, also where this machine could be the host: the programs take a machine's
//! consoles and DRM nodes for their own.

mod judge;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::guests::PAIRS;
use super::marked::{self, Run};
use super::report::{Case, Suite};
use crate::host::Host;
use crate::hostvm::{HostVm, quoted};
use crate::process::{last_lines, output_of};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::setup::{IGT_PROGRAMS, Igt, Kernel, Lab};
use crate::stile_lab::{self, EMULATED, Event};
use crate::workspace::Workspace;
use judge::Ran;
use table::{Row, Side, Tables};

/// Longer than all that runs in one boot takes, with a guest that hangs in it.
const BOUND: Duration = Duration::from_secs(900);
/// How much of what is no line about a subtest is kept.
const QUOTED_LINES: usize = 60;
/// Where the programs are in a guest, and in the host VM, whose memory is faster than its 9p.
const IN_GUEST: &str = "/igt";
const IN_HOST: &str = "/tmp/igt";

/// What is expected, of the subtests that the filter leaves.
pub(crate) struct Expected {
    tables: Tables,
    filter: String,
}

impl Expected {
    /// Reads docs/igt.md. None if the filter leaves nothing of it.
    pub(crate) fn read(workspace: &Workspace, filter: &str) -> Result<Option<Self>> {
        let path = workspace.root.join("docs/igt.md");
        let document = std::fs::read_to_string(&path)
            .with_context(|| format!("{} could not be read", path.display()))?;
        let tables =
            Tables::parse(&document).with_context(|| format!("{} is wrong", path.display()))?;
        let wanted = tables.rows.iter().any(|row| row.name().contains(filter));
        Ok(wanted.then(|| Self {
            tables,
            filter: filter.to_owned(),
        }))
    }

    /// The programs of which the filter leaves subtests.
    fn programs(&self) -> Vec<&str> {
        let named: BTreeSet<&str> = self
            .tables
            .rows
            .iter()
            .filter(|row| row.name().contains(&self.filter))
            .map(|row| row.program.as_str())
            .collect();
        let all = IGT_PROGRAMS.into_iter();
        all.filter(|program| self.filter.is_empty() || named.contains(program))
            .collect()
    }
}

/// What all suites share.
pub(crate) struct Programme<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) lab: &'a Lab,
    pub(crate) programs: &'a Programs,
    pub(crate) igt: &'a Igt,
    pub(crate) progress: &'a Progress,
}

impl Programme<'_> {
    /// Runs all of it: each host kernel, and on it the guests that the guest tests have on it.
    pub(crate) fn run(&self, expected: &Expected) -> Result<Vec<Suite>> {
        let mut suites = vec![self.document(expected)?];
        for host_kernel in Kernel::ALL {
            let all_cases = PAIRS.iter().filter(|pair| pair.about.is_empty());
            let guests = all_cases.filter(|pair| pair.host == host_kernel);
            let mut places = vec![(Side::Host, host_kernel)];
            places.extend(guests.map(|pair| (Side::Guest, pair.guest)));
            suites.extend(self.boot(expected, host_kernel, &places)?);
        }
        Ok(suites)
    }

    /// The cases of ours that the document names are there.
    fn document(&self, expected: &Expected) -> Result<Suite> {
        let program = self.programs.host.join("guest-cases");
        let listed = output_of(Command::new(program).arg("--list"))?;
        let ours: BTreeSet<&str> = listed.lines().collect();
        let mut unknown = String::new();
        for scenario in &expected.tables.scenarios {
            for case in &scenario.cases {
                if !ours.contains(case.as_str()) {
                    unknown.push_str(&format!("{}: {case}\n", scenario.subtest));
                }
            }
        }
        let name = "what IGT skips is shown by guest cases that there are";
        let case = if unknown.is_empty() {
            Case::passed(name)
        } else {
            Case::failed(name, format!("There are no such guest cases:\n{unknown}"))
        };
        Ok(Suite {
            name: "docs/igt.md".to_owned(),
            cases: vec![case],
            time: Duration::ZERO,
        })
    }

    /// One boot of the host VM, and a suite for each place.
    fn boot(
        &self,
        expected: &Expected,
        host_kernel: Kernel,
        places: &[(Side, Kernel)],
    ) -> Result<Vec<Suite>> {
        let host = Host::Vm(HostVm {
            kernel: host_kernel,
            ..HostVm::new(self.workspace, self.lab)
        });
        let version = host.kernel_version()?;
        self.progress.say(format!(
            "running IGT {} on {version}, and in guests on it: {}",
            self.igt.version,
            places.len() - 1
        ));
        let programs = expected.programs();
        let mut commands = Vec::new();
        for (side, kernel) in places {
            commands.push(match side {
                Side::Host => self.on_host(&programs)?,
                Side::Guest => self.in_guest(*kernel, &programs)?,
            });
        }
        let (runs, why) = marked::run(self.workspace, &host, &commands, BOUND);
        let mut suites = Vec::new();
        for ((side, kernel), run) in places.iter().zip(runs) {
            let place = match side {
                Side::Host => format!("on {version}"),
                Side::Guest => format!(
                    "in the guest {} on {version}",
                    self.lab.kernel(*kernel)?.version
                ),
            };
            let rows: Vec<&Row> = expected
                .tables
                .rows
                .iter()
                .filter(|row| row.is_for(*side, *kernel))
                .collect();
            let name = format!("IGT {} {place}", self.igt.version);
            suites.push(suite(name, &rows, run, &why, &expected.filter));
        }
        Ok(suites)
    }

    fn on_host(&self, programs: &[&str]) -> Result<String> {
        let tree = quoted(self.igt.root.as_os_str())?;
        let runner = quoted(self.programs.igt_runner.as_os_str())?;
        let programs = programs.join(" ");
        Ok(format!(
            "cp -r {tree} {IN_HOST} && {runner} {IN_HOST} {programs}"
        ))
    }

    fn in_guest(&self, kernel: Kernel, programs: &[&str]) -> Result<String> {
        let initramfs = self.programs.igt_initramfs(self.lab, self.igt, kernel)?;
        let logs = self.logs(kernel);
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("{} could not be made", logs.display()))?;
        let mut command = String::new();
        for word in stile_lab::with_initramfs(self.lab, self.programs, kernel, &initramfs, &logs)? {
            command.push_str(&quoted(&word)?);
            command.push(' ');
        }
        command.push_str(&format!(
            "{EMULATED} program -- guest-igt {IN_GUEST} {}",
            programs.join(" ")
        ));
        Ok(command)
    }

    fn logs(&self, kernel: Kernel) -> PathBuf {
        let logs: &Path = &self.workspace.target.join("test/logs");
        logs.join(format!("igt-{kernel}"))
    }
}

/// The cases of one place from what was said there.
fn suite(name: String, rows: &[&Row], run: Run, why: &str, filter: &str) -> Suite {
    let (mut ran, mut again): (Vec<Ran>, _) = (Vec::new(), Vec::new());
    let mut rest = String::new();
    for line in run.said.lines() {
        if let Ok(one) = serde_json::from_str::<Ran>(line) {
            // Another guest begins from the beginning; what has been told already stays.
            if !ran.iter().any(|other| other.is_of(&one)) {
                ran.push(one);
            }
        } else if let Ok(Event::Again { detail, .. }) = serde_json::from_str(line) {
            again.push(detail);
        } else {
            rest.push_str(&format!("{line}\n"));
        }
    }
    let mut cases = judge::cases(rows, &ran);
    let ended = match run.status {
        Some(0) => None,
        Some(status) => Some(format!("It ended with status {status}.")),
        None => Some(why.to_owned()),
    };
    if let Some(ended) = ended {
        cases.push(Case::failed(
            "IGT's programs run to the end",
            format!("{ended}\n{}", last_lines(&rest, QUOTED_LINES)),
        ));
    }
    // What is no subtest says why others are missing.
    cases.retain(|case| case.name.contains(filter) || !case.name.starts_with(table::PREFIX));
    if let Some(last) = cases.last_mut() {
        last.again = again;
    }
    Suite {
        name,
        cases,
        time: run.time,
    }
}
