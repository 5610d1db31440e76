//! What somebody who finds a hang wants to know: where each thread sleeps.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where the processes are that this one has started.
#[cfg(feature = "host")]
pub(crate) fn children() -> String {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let mut text = String::new();
    for (id, process) in processes() {
        if read(&process.join("status")).contains(&parent) {
            let _ = write!(text, "process {id}\n{}", threads(id));
        }
    }
    text
}

/// Where the threads of a process are. The kernel shows its stacks to root alone.
fn threads(process: u32) -> String {
    let mut text = String::new();
    for thread in sorted(&Path::new("/proc").join(process.to_string()).join("task")) {
        let [name, wchan, call, stack] =
            ["comm", "wchan", "syscall", "stack"].map(|file| read(&thread.join(file)));
        let state = read(&thread.join("status"));
        let state = state.lines().find_map(|line| line.strip_prefix("State:"));
        let _ = writeln!(
            text,
            "thread {name} ({}), in {wchan}, system call {call}",
            state.unwrap_or("gone").trim()
        );
        for line in stack.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// Where all processes of this machine are, and which interrupts have come.
fn machine() -> String {
    let mut text = String::new();
    for (id, process) in processes() {
        // A thread of the kernel has no program; one that has nothing to do is of no interest.
        let idle = fs::read_link(process.join("exe")).is_err()
            && read(&process.join("status")).contains("State:\tI");
        if !idle {
            let _ = write!(text, "process {id}\n{}", threads(id));
        }
    }
    let _ = writeln!(text, "{}", read(Path::new("/proc/interrupts")));
    text
}

/// Has the kernel print who sleeps where nothing wakes it and what each processor does, on its
/// console. Allocates no memory: whoever hangs may hold a lock for that.
fn ask_the_kernel() {
    let told = fs::write("/proc/sys/kernel/printk", "8");
    let asked = ["w", "l"].map(|key| fs::write("/proc/sysrq-trigger", key));
    if told.is_err() || asked.iter().any(Result::is_err) {
        eprintln!("The kernel does not let itself be asked.");
    }
}

/// Says on stderr where everybody is when a case takes too long. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// From now on.
    pub(crate) fn start(case: &str, bound: Duration) -> Self {
        let (done, ended) = channel();
        let case = case.to_owned();
        let thread = std::thread::Builder::new().spawn(move || {
            if ended.recv_timeout(bound) == Err(RecvTimeoutError::Timeout) {
                ask_the_kernel();
                let seconds = bound.as_secs();
                eprintln!("After {seconds} s, `{case}` has not ended:\n{}", machine());
            }
        });
        Self {
            done: Some(done),
            thread: thread.ok(),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to give, and what it says of a panic stands on stderr already.
            let _ = thread.join();
        }
    }
}

/// A file of a process that may be gone.
fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}

fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    sorted(Path::new("/proc")).into_iter().filter_map(|path| {
        let id = path.file_name()?.to_str()?.parse().ok()?;
        Some((id, path))
    })
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_found() {
        let (wake, sleep) = channel::<()>();
        let (tell, started) = channel();
        let sleeper = std::thread::Builder::new()
            .name("the-sleeper".into())
            .spawn(move || {
                // A thread gives itself its name.
                tell.send(()).unwrap();
                sleep.recv()
            });
        started.recv().unwrap();
        let text = threads(std::process::id());
        drop(wake);
        sleeper.unwrap().join().unwrap().unwrap_err();
        assert!(text.contains("thread the-sleeper ("), "{text}");
        assert!(machine().contains(&format!("process {}", std::process::id())));
    }
}
