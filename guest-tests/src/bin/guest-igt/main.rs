//! Runs programs of IGT, each of their subtests in a process of its own, and tells what became of
//! each, a line of JSON: on the results port where there is one, otherwise on stdout. It is static,
//! as everything in a guest; IGT's programs are not and start with their own loader.
//!
//! `guest-igt TREE PROGRAM…`: the directory with `bin/` and `lib/`, and the programs' names.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use guest_tests::event::{PORTS, RESULTS_PORT};
use guest_tests::igt::{Ran, Verdict};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

/// Longer than any subtest takes, also one that waits for vgem's ten seconds.
const BOUND: Duration = Duration::from_secs(60);
/// Which driver a program takes that is content with any. (One that needs vgem takes vgem.)
const DRIVER: &str = "virtio_gpu";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(tree) = words.next() else {
        eprintln!("guest-igt TREE PROGRAM…");
        return ExitCode::FAILURE;
    };
    let tree = Tree(tree.into());
    match tell_all(&tree, words.map(|word| word.to_string_lossy().into_owned())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell_all(tree: &Tree, programs: impl Iterator<Item = String>) -> Result<()> {
    let port = Path::new(PORTS).join(RESULTS_PORT);
    let mut out: Box<dyn Write> = if port.exists() {
        Box::new(File::options().write(true).open(port)?)
    } else {
        Box::new(std::io::stdout())
    };
    for program in programs {
        tree.run(&program, &mut |ran| {
            writeln!(out, "{}", serde_json::to_string(ran)?)?;
            Ok(out.flush()?)
        })?;
    }
    Ok(())
}

/// Where the programs are.
struct Tree(PathBuf);

/// What came of a process.
struct Ended {
    said: String,
    /// None if it was ended because it took too long.
    status: Option<ExitStatus>,
    ms: u64,
}

impl Tree {
    /// Runs all subtests of a program and tells each.
    fn run(&self, program: &str, tell: &mut dyn FnMut(&Ran) -> Result<()>) -> Result<()> {
        let listed = self.start(program, &["--list-subtests"])?;
        let code = listed.status.and_then(|status| status.code());
        if code != Some(0) || listed.said.trim().is_empty() {
            return tell(&Ran::new(program, "", &listed.said, code, listed.ms));
        }
        for subtest in listed.said.lines() {
            let ended = self.start(program, &["--run-subtest", subtest])?;
            let code = ended.status.and_then(|status| status.code());
            let mut ran = Ran::new(program, subtest, &ended.said, code, ended.ms);
            match ended.status {
                None => ran.verdict = Verdict::Hang,
                Some(status) => {
                    if let Some(signal) = status.signal() {
                        ran.said
                            .push_str(&format!("It ended with signal {signal}.\n"));
                    }
                }
            }
            tell(&ran)?;
        }
        Ok(())
    }

    /// Runs a program to its end.
    fn start(&self, program: &str, words: &[&str]) -> Result<Ended> {
        let libraries = self.0.join("lib");
        // A file and not a pipe: a process that is left over does not hold it open.
        let mut said = File::from(rustix::fs::memfd_create(
            "said",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        let begin = Instant::now();
        let mut child = Command::new(libraries.join("ld-linux-x86-64.so.2"))
            .args([OsStr::new("--library-path"), libraries.as_os_str()])
            .arg(self.0.join("bin").join(program))
            .args(words)
            .env("IGT_FORCE_DRIVER", DRIVER)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()?;
        let status = wait(&mut child)?;
        let ms = u64::try_from(begin.elapsed().as_millis())?;
        let mut bytes = Vec::new();
        said.rewind()?;
        said.read_to_end(&mut bytes)?;
        let said = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ended { said, status, ms })
    }
}

/// Waits for its end, and ends it after a time.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let bound = Timespec::try_from(BOUND)?;
    loop {
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&bound)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return Ok(Some(child.wait()?)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
