//! `cargo xtask bench`: the daemon's figures, here and in the lab. What is measured, and how, stands
//! in `devices/gpu/benches/bench`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::hostvm::{HostVm, Job};
use crate::process::{cannot_start, output_of, shown};
use crate::progress::Progress;
use crate::setup::Lab;
use crate::supervise::Stream;
use crate::workspace::{Workspace, cargo};

/// What is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also what needs real dma-bufs, in the lab's host VM
    #[arg(long)]
    lab: bool,
    /// Also instructions, counted by valgrind's callgrind; builds the daemon again
    #[arg(long)]
    callgrind: bool,
    /// Only the part with this name: round-trip, throughput, per-command, memory-fences or scale,
    /// in the lab per-command, export, batch, memory-fences or crowd; with --callgrind also
    /// instructions
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many rounds, in tenths of what the figures need; 1 shows that it works
    #[arg(long, default_value_t = 10, value_name = "N")]
    effort: u32,
}

/// Longer than the lab's part takes, emulated and on a busy machine.
const BOUND: Duration = Duration::from_secs(900);

/// What callgrind consists of on Debian, and by which names it is found.
const VALGRIND: [(&str, &str); 4] = [
    ("/usr/bin/valgrind.bin", "valgrind"),
    (
        "/usr/libexec/valgrind/callgrind-amd64-linux",
        "callgrind-amd64-linux",
    ),
    (
        "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so",
        "vgpreload_core-amd64-linux.so",
    ),
    ("/usr/libexec/valgrind/default.supp", "default.supp"),
];

/// Measures, prints the figures, and writes them to `target/bench`.
pub(crate) fn run(
    workspace: &Workspace,
    progress: &Progress,
    options: &Options,
) -> Result<ExitCode> {
    progress.say("building the benchmarks and the daemon for release");
    let program = build(workspace)?;
    let mut words = vec![
        format!("--effort={}", options.effort),
        format!("--out={}", workspace.target.join("bench").display()),
    ];
    if let Some(only) = &options.only {
        words.push(format!("--only={only}"));
    }
    let mut here = Command::new(&program);
    here.args(&words).current_dir(&workspace.root);
    if options.callgrind {
        progress.say("building the daemon for callgrind");
        let daemon = for_callgrind(workspace)?;
        here.arg("--callgrind").arg(&daemon);
        words.extend(["--callgrind".to_owned(), daemon.display().to_string()]);
    }
    progress.say("measuring");
    let status = here.status().map_err(|error| cannot_start(&here, error))?;
    if !status.success() {
        bail!("`{}` failed ({status}).", shown(&here));
    }
    if options.lab {
        let lab = Lab::ensure(workspace, progress, false)?;
        progress.say("measuring in the host VM");
        words.push("--lab".to_owned());
        // System calls are counted by the kernel's trace points.
        let mount = "mount -t tracefs nodev /sys/kernel/tracing; exec \"$0\" \"$@\"";
        let job = Job {
            directory: workspace.root.clone(),
            words: ["/bin/sh", "-c", mount]
                .map(OsString::from)
                .into_iter()
                .chain([program.into_os_string()])
                .chain(words.into_iter().map(OsString::from))
                .collect(),
            environment: if options.callgrind {
                valgrind_for_lab(workspace)?
            } else {
                Vec::new()
            },
        };
        // One processor: what wakes whom is then the same each time, however busy this machine is.
        let host = HostVm {
            processors: 1,
            ..HostVm::new(workspace, &lab)
        };
        let status = host.run(&job, BOUND, &|stream, line| match stream {
            Stream::Stdout => println!("{line}"),
            Stream::Stderr => eprintln!("{line}"),
        })?;
        if status != 0 {
            bail!("The benchmarks failed in the lab (status {status}).");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies this machine's valgrind to where the host VM finds it, and gives the environment that lets
/// it: its tools need nothing of the system, and the lab has none of its own.
fn valgrind_for_lab(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let folder = workspace.target.join("bench").join("valgrind");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{} could not be made", folder.display()))?;
    for (from, name) in VALGRIND {
        let to = folder.join(name);
        std::fs::copy(from, &to)
            .with_context(|| format!("{from} could not be copied to {}", to.display()))?;
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
    let library = folder.display().to_string();
    Ok(vec![
        ("PATH".to_owned(), path),
        ("VALGRIND_LIB".to_owned(), library),
    ])
}

/// Builds the program with the benchmarks, which knows its daemon.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut command = cargo();
    command.args(["bench", "--package=stile-gpu", "--bench=bench", "--no-run"]);
    command.args(["--quiet", "--message-format=json-render-diagnostics"]);
    command.current_dir(&workspace.root);
    let output = output_of(&mut command)?;
    let artifacts = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts
        .filter(|artifact| artifact.target.name == "bench")
        .filter(|artifact| artifact.target.kind.iter().any(|kind| kind == "bench"))
        .find_map(|artifact| artifact.executable)
        .context("Cargo built no benchmarks")
}

/// Builds a daemon that asks libc for the time: valgrind has no vDSO.
fn for_callgrind(workspace: &Workspace) -> Result<PathBuf> {
    let target: &Path = &workspace.target.join("callgrind");
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package=stile-gpu"]);
    command
        .env("RUSTFLAGS", "--cfg=rustix_use_libc")
        .arg("--target-dir")
        .arg(target)
        .current_dir(&workspace.root);
    output_of(&mut command)?;
    Ok(target.join("release").join("stile-gpu"))
}
