//! The host VM: a machine with dma-bufs, vgem, drm_syncobj and KVM, emulated without KVM, for
//! machines that have none of these. It boots in seconds, runs one job in the lab's root file system
//! with the tree mounted under its own name, and powers off.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{cannot_start, last_lines};
use crate::setup::{Kernel, Lab};
use crate::supervise::{LineSink, supervise};
use crate::workspace::Workspace;

/// Longer than any kernel message needs, short enough to quote.
const QUOTED_CONSOLE_LINES: usize = 30;

/// How the host VM is built.
pub(crate) struct HostVm<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) lab: &'a Lab,
    pub(crate) kernel: Kernel,
    /// Its memory, in MiB.
    pub(crate) memory: u32,
    /// Its processors; each is a thread on this machine.
    pub(crate) processors: usize,
}

impl<'a> HostVm<'a> {
    /// The usual host VM: the stable kernel, and as many processors as this machine.
    pub(crate) fn new(workspace: &'a Workspace, lab: &'a Lab) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workspace,
            lab,
            kernel: Kernel::Stable,
            memory: 4096,
            processors,
        }
    }

    /// Runs a job and gives its lines to `line` as they come. Gives the job's exit status. After
    /// `bound` the machine is taken for hung and ended, which is an error.
    pub(crate) fn run(&self, job: &Job, bound: Duration, line: LineSink<'_>) -> Result<i32> {
        let files = self.job_files(job)?;
        let mut qemu = self.qemu(&files)?;
        // The command's own ports: their far ends are QEMU's stdout and stderr, so that a line
        // leaves the machine without a file or a socket between.
        qemu.args(["-chardev", "stdio,id=stdout,signal=off"]);
        qemu.args(["-device", "virtserialport,chardev=stdout,name=stile.stdout"]);
        qemu.args(["-chardev", "file,id=stderr,path=/proc/self/fd/2"]);
        qemu.args(["-device", "virtserialport,chardev=stderr,name=stile.stderr"]);
        let status = supervise(&mut qemu, bound, line)?;
        let Some(status) = status else {
            bail!(
                "The host VM was still running after {} s and was ended. Its console:\n{}",
                bound.as_secs(),
                files.console()
            );
        };
        files.outcome(status)
    }

    /// Runs a job with this terminal as its console.
    pub(crate) fn run_interactive(&self, job: &Job) -> Result<i32> {
        let files = self.job_files(job)?;
        let mut qemu = self.qemu(&files)?;
        qemu.args(["-chardev", "stdio,id=console,mux=on,signal=off"]);
        qemu.args(["-device", "virtconsole,chardev=console"]);
        let status = qemu.status().map_err(|error| cannot_start(&qemu, error))?;
        files.outcome(status)
    }

    fn job_files(&self, job: &Job) -> Result<JobFiles> {
        let directory = self
            .lab
            .directory
            .join("jobs")
            .join(std::process::id().to_string());
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("{} could not be made", directory.display()))?;
        let files = JobFiles { directory };
        let mut setup = String::new();
        for (number, shared) in self.workspace.shared_directories().into_iter().enumerate() {
            let inside = quoted(
                Path::new("/root")
                    .join(shared.strip_prefix("/")?)
                    .as_os_str(),
            )?;
            writeln!(
                setup,
                "mkdir -p {inside} && nine shared{number} {inside} cache=mmap"
            )?;
        }
        files.write("setup", &setup)?;
        files.write("command", &job.script()?)?;
        files.write("status", "")?;
        Ok(files)
    }

    fn qemu(&self, files: &JobFiles) -> Result<Command> {
        let boot = self.lab.kernel(self.kernel)?;
        let mut qemu = self.lab.rootfs.qemu();
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        qemu.args(["-run-with", "exit-with-parent=on"]);
        qemu.args([
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max,+svm",
        ]);
        qemu.args([
            "-smp",
            &self.processors.to_string(),
            "-m",
            &self.memory.to_string(),
        ]);
        qemu.arg("-kernel")
            .arg(&boot.image)
            .arg("-initrd")
            .arg(&boot.host_initramfs);
        // Mitigations cost an emulated machine time and protect nothing there. Its TSC is this
        // machine's and goes as it should; but on a busy machine the kernel's watchdog compares it
        // with timers that come late, finds it unstable, and KVM then has guests' clocks lag behind.
        qemu.args([
            "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable",
        ]);
        // A virtio-gpu node is what drm_syncobj is reached through.
        qemu.args(["-vga", "none", "-device", "virtio-gpu-pci"]);

        qemu.arg("-chardev")
            .arg(with_path("file,id=log,path=", &files.path("console")));
        qemu.args(["-serial", "chardev:log", "-device", "virtio-serial-pci"]);
        qemu.arg("-chardev")
            .arg(with_path("file,id=status,path=", &files.path("status")));
        qemu.args(["-device", "virtserialport,chardev=status,name=stile.status"]);

        share(&mut qemu, "rootfs", &self.lab.rootfs.root, ",readonly=on");
        share(&mut qemu, "job", &files.directory, "");
        for (number, path) in self.workspace.shared_directories().into_iter().enumerate() {
            share(&mut qemu, &format!("shared{number}"), path, "");
        }
        Ok(qemu)
    }
}

/// A directory that the machine can mount by its tag.
fn share(qemu: &mut Command, tag: &str, path: &Path, options: &str) {
    let head = format!("local,id={tag},security_model=none,multidevs=remap{options},path=");
    qemu.arg("-fsdev").arg(with_path(&head, path));
    qemu.args([
        "-device",
        &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]);
}

/// QEMU's options are separated by commas; a comma in a value is written twice.
fn with_path(head: &str, path: &Path) -> String {
    format!("{head}{}", path.display().to_string().replace(',', ",,"))
}

/// What runs in the host VM: a program with its words, in a directory.
pub(crate) struct Job {
    pub(crate) directory: PathBuf,
    pub(crate) words: Vec<std::ffi::OsString>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Job {
    /// The same on this machine.
    pub(crate) fn here(&self) -> Result<Command> {
        let (program, words) = self.words.split_first().context("A job has no words")?;
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(&self.directory)
            .envs(self.environment.iter().cloned());
        Ok(command)
    }

    fn script(&self) -> Result<String> {
        let mut script = format!("cd {} || exit 125\n", quoted(self.directory.as_os_str())?);
        for (name, value) in &self.environment {
            writeln!(script, "export {name}={}", quoted(OsStr::new(value))?)?;
        }
        script.push_str("exec");
        for word in &self.words {
            write!(script, " {}", quoted(word)?)?;
        }
        script.push('\n');
        Ok(script)
    }
}

/// A word that a shell takes as it is.
pub(crate) fn quoted(word: &OsStr) -> Result<String> {
    let text = std::str::from_utf8(word.as_bytes())
        .with_context(|| format!("{} is not UTF-8", word.to_string_lossy()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// The directory through which a job goes in and its outcome comes back.
struct JobFiles {
    directory: PathBuf,
}

impl JobFiles {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        std::fs::write(&path, text)
            .with_context(|| format!("{} could not be written", path.display()))
    }

    fn console(&self) -> String {
        let bytes = std::fs::read(self.path("console")).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&bytes), QUOTED_CONSOLE_LINES)
    }

    /// What the job ended with; a machine that ended without saying that crashed or was ended.
    fn outcome(&self, qemu: ExitStatus) -> Result<i32> {
        let path = self.path("status");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} could not be read", path.display()))?;
        let status = text.trim().parse().map_err(|_| {
            anyhow!(
                "The host VM ended ({qemu}) before its job did. Its console:\n{}",
                self.console()
            )
        })?;
        // Kept on an error only; that it stays is no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
        Ok(status)
    }
}
