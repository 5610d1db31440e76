//! The daemon as a process of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::filter::WithoutIoctl;
use crate::{HANG, Plan, Vm, readable};

/// How the daemon is started.
#[derive(Debug)]
pub struct Options {
    program: PathBuf,
    arguments: Vec<String>,
    inherited: Option<OwnedFd>,
    log: String,
    wrapper: Vec<String>,
    lacking: Option<u32>,
}

impl Options {
    /// The program and nothing else.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            inherited: None,
            log: "info".to_owned(),
            wrapper: Vec::new(),
            lacking: None,
        }
    }

    /// With these arguments too.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|word| (*word).to_owned()));
        self
    }

    /// With `--fd` and this descriptor, in place of a socket with a path.
    #[must_use]
    pub fn inheriting(mut self, fd: OwnedFd) -> Self {
        self.inherited = Some(fd);
        self
    }

    /// Started by another program, which gets the daemon's command line behind these words.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// As on a kernel that does not know this ioctl, and says `ENOTTY`.
    #[must_use]
    pub fn without_ioctl(mut self, request: u32) -> Self {
        self.lacking = Some(request);
        self
    }

    /// With another log filter than `info`.
    #[must_use]
    pub fn log(mut self, filter: &str) -> Self {
        self.log = filter.to_owned();
        self
    }
}

/// A running daemon. It ends with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: PathBuf,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let listens = options.inherited.is_none();
        let daemon = Self::spawn(options, None);
        if listens {
            daemon.wait_for_line("Waiting for a front end");
        }
        daemon
    }

    /// Starts it without waiting, with the socket in `folder` if there is one.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn spawn(options: Options, folder: Option<&Path>) -> Self {
        let folder = folder.map_or_else(new_folder, Path::to_owned);
        let mut words = options.wrapper.iter().map(OsStr::new);
        let mut command = match words.next() {
            None => Command::new(&options.program),
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.args(words).arg(&options.program);
                command
            }
        };
        match &options.inherited {
            None => command.arg("--socket").arg(folder.join("gpu.sock")),
            Some(fd) => command.arg("--fd").arg(fd.as_raw_fd().to_string()),
        };
        command
            .args(&options.arguments)
            .current_dir(&folder)
            .env("STILE_LOG", &options.log)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(fd) = options.inherited {
            // SAFETY: between fork and exec the closure makes one system call and nothing else.
            unsafe {
                command.pre_exec(move || {
                    Ok(rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty())?)
                })
            };
        }
        if let Some(request) = options.lacking {
            let filter = WithoutIoctl::new(request);
            // SAFETY: between fork and exec the closure makes two system calls and nothing else.
            unsafe { command.pre_exec(move || filter.apply()) };
        }
        let mut child = command.spawn().expect("the daemon starts");
        // The closure holds the inherited descriptor; here it is not wanted any more.
        drop(command);
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("a pipe");
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sink.lock().0.push(line);
                sink.more.notify_all();
            }
            sink.lock().1 = true;
            sink.more.notify_all();
        });
        Self { child, folder, log }
    }

    /// A folder that ends with the daemon. Its sockets are there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket of `--socket`.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("gpu.sock")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A bare connection.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn dial(&self) -> UnixStream {
        UnixStream::connect(self.socket()).expect("the daemon listens")
    }

    /// A guest with two running rings.
    #[track_caller]
    pub fn connect(&self) -> Vm {
        self.connect_with(Plan::default())
    }

    /// A guest as planned.
    #[track_caller]
    pub fn connect_with(&self, plan: Plan) -> Vm {
        Vm::start(self.dial(), plan)
    }

    /// What the daemon has logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().0.clone()
    }

    /// Waits for a line of the log with this text.
    ///
    /// # Panics
    /// After [`HANG`], and when the daemon has ended without it.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let end = Instant::now() + HANG;
        let mut log = self.log.lock();
        loop {
            if log.0.iter().any(|line| line.contains(text)) {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !log.1 && left > Duration::ZERO,
                "the daemon does not say `{text}`, but:\n{}",
                log.0.join("\n")
            );
            log = self
                .log
                .more
                .wait_timeout(log, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits for the daemon's end.
    ///
    /// # Panics
    /// After [`HANG`].
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("the process");
        assert!(readable(&process, HANG), "the daemon does not end");
        self.child.wait().expect("the daemon's status")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What its descriptors stand for.
    pub fn open_fds(&self) -> Vec<String> {
        open_fds(self.pid())
    }

    /// The same, once it sleeps: some descriptors are closed after the answer that they stood for.
    ///
    /// # Panics
    /// After [`HANG`].
    #[track_caller]
    pub fn quiet_fds(&self) -> Vec<String> {
        let begin = Instant::now();
        let mut seen = None;
        loop {
            let now = Some((self.sleeps(), self.busy_ns()));
            if now == seen {
                return self.open_fds();
            }
            assert!(begin.elapsed() < HANG, "the daemon is not asleep");
            seen = now;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often its threads have gone to sleep so far.
    fn sleeps(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("/proc");
        let status = tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let switches = status.filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line?.trim().parse::<u64>().ok()
        });
        switches.sum()
    }

    /// Sees that it sleeps through `time`: that nothing wakes it, and nothing keeps it awake.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn assert_asleep(&self, time: Duration) {
        // What it was doing it may end first, which takes longer on a busy machine.
        let mut seen = Vec::new();
        for _ in 0..4 {
            let now = (self.sleeps(), self.busy_ns());
            if seen.last() == Some(&now) {
                return;
            }
            seen.push(now);
            std::thread::sleep(time);
        }
        panic!("the daemon is not asleep: {seen:?}");
    }

    /// How long its threads have run so far, in nanoseconds.
    fn busy_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("/proc");
        let busy = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        busy.sum()
    }

    /// Its threads' names.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("/proc");
        let names = tasks.flatten().map(|task| task.path().join("comm"));
        let mut names: Vec<String> = names
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .map(|name| name.trim().to_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("The daemon's log:\n{}", self.lines().join("\n"));
        }
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the descriptors of a process stand for, sorted.
///
/// # Panics
/// If there is no such process.
pub fn open_fds(pid: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc");
    let mut fds: Vec<String> = folder
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .map(|target| match target.split_once(':') {
            // Sockets and pipes have numbers.
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => target,
        })
        .collect();
    fds.sort();
    fds
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("stile-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
