//! Where a guest ends. QEMU pauses then, so that it can be asked why and where the processor was;
//! after that it may go.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::child::{Child, readable};
use super::daemon::forget;
use super::error::Error;
use super::monitor::without_noise;

/// QEMU comes to its monitor before it does anything else.
const BOUND: Duration = Duration::from_secs(60);

/// The reason of a guest that powered off (ShutdownCause in qapi/run-state.json).
pub(super) const POWERED_OFF: &str = "guest-shutdown";
/// The reason of a guest that rebooted, or whose processor has shut down.
pub(super) const RESET: &str = "guest-reset";

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// QEMU's ShutdownCause.
    pub(super) reason: String,
    /// What `info registers` says.
    pub(super) registers: String,
}

/// Where QEMU is expected to come to.
#[derive(Debug)]
pub(super) struct Expected {
    listener: UnixListener,
    socket: PathBuf,
}

impl Expected {
    pub(super) fn at(socket: PathBuf) -> Result<Self, Error> {
        forget(&socket)?;
        let listener =
            UnixListener::bind(&socket).map_err(|source| Error::file(&socket, source))?;
        Ok(Self { listener, socket })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until it has come, and from then on for the guest's end, in a thread.
    pub(super) fn watch(self, qemu: &mut Child) -> Result<Watch, Error> {
        const BEFORE: &str = "it came to its monitor";
        if !readable(&[self.listener.as_fd(), qemu.ended()], Some(BOUND))? {
            return Err(qemu.hung(BEFORE, BOUND));
        }
        if readable(&[qemu.ended()], Some(Duration::ZERO))? {
            return Err(qemu.ended_before(BEFORE));
        }
        let (monitor, _) = self
            .listener
            .accept()
            .map_err(|source| Error::file(&self.socket, source))?;
        Ok(Watch {
            thread: Some(std::thread::spawn(move || attend(monitor))),
            end: None,
        })
    }
}

/// The thread that waits for the end. It ends with QEMU.
#[derive(Debug)]
pub(super) struct Watch {
    thread: Option<JoinHandle<Option<End>>>,
    end: Option<End>,
}

impl Watch {
    /// How the guest ended, once QEMU has; nothing if QEMU went without its guest's end.
    pub(super) fn end(&mut self) -> Option<&End> {
        if let Some(thread) = self.thread.take() {
            self.end = thread.join().ok().flatten();
        }
        self.end.as_ref()
    }
}

/// What QEMU says through its monitor protocol (QMP), as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    event: String,
    data: Data,
    r#return: Value,
    error: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    reason: String,
}

/// Listens until QEMU is gone, and tells how the guest ended.
fn attend(monitor: UnixStream) -> Option<End> {
    let mut questions = monitor.try_clone().ok()?;
    // A question that does not reach it has no answer.
    let mut ask = |question: Value| writeln!(questions, "{question}").unwrap_or(());
    ask(json!({"execute": "qmp_capabilities"}));
    let mut reason = None;
    let mut end: Option<End> = None;
    for line in BufReader::new(monitor).lines().map_while(Result::ok) {
        let message: Message = serde_json::from_str(&line).unwrap_or_default();
        // Another comes when it is told to quit.
        if message.event == "SHUTDOWN" && end.is_none() {
            reason = Some(message.data.reason);
            ask(json!({
                "execute": "human-monitor-command",
                "arguments": {"command-line": "info registers"},
            }));
        } else if (message.r#return.is_string() || message.error.is_object())
            && let Some(reason) = reason.take()
        {
            let said = message.r#return.as_str().unwrap_or_default();
            end = Some(End {
                reason,
                registers: without_noise(said),
            });
            ask(json!({"execute": "quit"}));
        }
    }
    end
}
