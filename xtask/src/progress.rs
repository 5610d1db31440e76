//! What a person sees while something takes its time: one line a step, with the time since the
//! start in front.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

/// The clock and the terminal line that every step shares.
pub(crate) struct Progress {
    start: Instant,
    /// The line that is being rewritten in place, if there is one.
    open_line: Mutex<bool>,
    terminal: bool,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            open_line: Mutex::new(false),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says what happens now.
    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        let mut open = self
            .open_line
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut err = std::io::stderr().lock();
        let end = if std::mem::take(&mut *open) { "\n" } else { "" };
        // A closed stderr must not end the work.
        let _ = writeln!(err, "{end}{} {what}", self.stamp());
    }

    /// Rewrites the last line in place; on something that is no terminal, says nothing.
    pub(crate) fn update(&self, what: impl std::fmt::Display) {
        if !self.terminal {
            return;
        }
        let mut open = self
            .open_line
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *open = true;
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{} {what}", self.stamp());
        let _ = err.flush();
    }

    fn stamp(&self) -> String {
        format!("[{:7.1} s]", self.start.elapsed().as_secs_f64())
    }
}
