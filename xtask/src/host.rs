//! Where the lab's host side runs: in the host VM, or on this machine, where it has all that the
//! host VM would have.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::hostvm::{HostVm, Job};
use crate::programs::Programs;
use crate::progress::Progress;
use crate::setup::{Kernel, Lab};
use crate::stile_lab;
use crate::supervise::{LineSink, supervise};
use crate::workspace::Workspace;

/// What a machine must have to be the host itself.
const NEEDED: [&str; 2] = ["/dev/udmabuf", "/dev/kvm"];
/// A guest that has not booted by then is no faster than one in the host VM.
const TRIAL: Duration = Duration::from_secs(30);

/// The host side.
pub(crate) enum Host<'a> {
    /// The emulated machine.
    Vm(HostVm<'a>),
    /// This machine.
    Here,
}

impl<'a> Host<'a> {
    /// Looks at this machine, tries what it claims to have, and says what it chose and why.
    pub(crate) fn choose(
        workspace: &'a Workspace,
        lab: &'a Lab,
        programs: &Programs,
        progress: &Progress,
    ) -> Result<Self> {
        match why_not_here(lab, programs)? {
            None => {
                progress.say("this machine has usable dma-bufs and KVM: it is the host itself");
                Ok(Self::Here)
            }
            Some(reason) => {
                progress.say(format!("the host is an emulated machine, because {reason}"));
                Ok(Self::Vm(HostVm::new(workspace, lab)))
            }
        }
    }

    /// The host with another kernel; None where the host's kernel is not ours to choose.
    pub(crate) fn with_kernel(&self, kernel: Kernel) -> Option<Self> {
        match self {
            Self::Vm(vm) => Some(Self::Vm(HostVm { kernel, ..*vm })),
            Self::Here => None,
        }
    }

    /// The version of the host's kernel.
    pub(crate) fn kernel_version(&self) -> Result<String> {
        match self {
            Self::Vm(vm) => Ok(vm.lab.kernel(vm.kernel)?.version.clone()),
            Self::Here => Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .context("The kernel's version could not be read")?
                .trim()
                .to_owned()),
        }
    }

    /// Runs a job there and gives its lines as they come. Gives its exit status. A job that still
    /// runs after `bound` is ended, which is an error.
    pub(crate) fn run(&self, job: &Job, bound: Duration, line: LineSink<'_>) -> Result<i32> {
        match self {
            Self::Vm(vm) => vm.run(job, bound, line),
            Self::Here => {
                let status = supervise(&mut job.here()?, bound, line)?.with_context(|| {
                    format!("A job still ran after {} s and was ended.", bound.as_secs())
                })?;
                Ok(status.code().unwrap_or(1))
            }
        }
    }

    /// Runs a job there with this terminal as its own.
    pub(crate) fn run_interactive(&self, job: &Job) -> Result<i32> {
        match self {
            Self::Vm(vm) => vm.run_interactive(job),
            Self::Here => {
                let status = job.here()?.status().context("A job could not be started")?;
                Ok(status.code().unwrap_or(1))
            }
        }
    }
}

/// Why this machine cannot be the host; None when it can. What is cheap to see is looked at first;
/// then a program tries the ioctls and boots a guest, because a /dev/kvm that opens proves nothing.
fn why_not_here(lab: &Lab, programs: &Programs) -> Result<Option<String>> {
    if let Some(missing) = NEEDED.into_iter().find(|path| !Path::new(path).exists()) {
        return Ok(Some(format!("this machine has no {missing}")));
    }
    let logs = lab.directory.join("logs");
    let words = stile_lab::command(lab, programs, Kernel::Stable, &logs, true, &["probe"])?;
    let (program, words) = words
        .split_first()
        .ok_or_else(|| anyhow!("an empty command"))?;
    let last = std::sync::Mutex::new(String::new());
    let status = supervise(Command::new(program).args(words), TRIAL, &|_, line| {
        line.clone_into(&mut last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    })?;
    let last = last
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(match status {
        Some(status) if status.success() => None,
        Some(_) => Some(last),
        None => Some(format!(
            "a trial guest took more than {} s here",
            TRIAL.as_secs()
        )),
    })
}
