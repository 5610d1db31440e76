//! Several commands in one boot of the host side, with what each says told apart.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::hostvm::Job;
use crate::workspace::Workspace;

/// Stands before and after what a command prints.
const MARK: &str = "@stile-suite";

/// Runs these commands of a shell one after the other, each in a shell of its own. Gives what came
/// of each, and why the job ended.
pub(super) fn run(
    workspace: &Workspace,
    host: &Host<'_>,
    commands: &[String],
    bound: Duration,
) -> (Vec<Run>, String) {
    let mut script = String::new();
    for (number, command) in commands.iter().enumerate() {
        // Writing into a String does not fail.
        let _ = writeln!(
            script,
            "echo '{MARK} begin {number}'\n({command}) 2>&1\necho \"{MARK} end {number} $?\""
        );
    }
    let job = Job {
        directory: workspace.root.clone(),
        words: vec!["/bin/sh".into(), "-c".into(), script.into()],
        environment: vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())],
    };
    let heard = Mutex::new(Heard::new(commands.len()));
    let ended = host.run(&job, bound, &|_, line| {
        heard
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .line(line);
    });
    let heard = heard
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let why = match &ended {
        Ok(status) => format!("The job ended with status {status}."),
        Err(error) => format!("{error:#}"),
    };
    (heard.runs, why)
}

/// What came of one command.
#[derive(Clone, Default)]
pub(super) struct Run {
    /// What it printed, to stdout and to stderr.
    pub(super) said: String,
    /// None if the machine ended before it did.
    pub(super) status: Option<i32>,
    pub(super) time: Duration,
}

/// What came of all of them.
struct Heard {
    runs: Vec<Run>,
    current: Option<(usize, Instant)>,
}

impl Heard {
    fn new(count: usize) -> Self {
        Self {
            runs: vec![Run::default(); count],
            current: None,
        }
    }

    fn line(&mut self, line: &str) {
        // A command may leave its last line unfinished.
        let (before, mark) = match line.split_once(MARK) {
            Some((before, mark)) => (before, Some(mark)),
            None => (line, None),
        };
        let run = self
            .current
            .and_then(|(number, _)| self.runs.get_mut(number));
        if let Some(run) = run {
            run.said.push_str(before);
            run.said.push('\n');
        }
        let Some(mark) = mark else { return };
        let words: Vec<&str> = mark.split_whitespace().collect();
        match words[..] {
            ["begin", number] => {
                self.current = number.parse().ok().map(|number| (number, Instant::now()));
            }
            ["end", _, status] => {
                if let Some((number, begin)) = self.current.take()
                    && let Some(run) = self.runs.get_mut(number)
                {
                    run.status = status.parse().ok();
                    run.time = begin.elapsed();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_is_told_apart_from_the_next_ones() {
        let mut heard = Heard::new(2);
        for line in [
            "@stile-suite begin 0",
            "one",
            "unfinished@stile-suite end 0 0",
            "@stile-suite begin 1",
            "two",
        ] {
            heard.line(line);
        }
        assert_eq!(heard.runs[0].said, "one\nunfinished\n");
        assert_eq!(heard.runs[0].status, Some(0));
        assert_eq!(heard.runs[1].said, "two\n");
        assert_eq!(heard.runs[1].status, None);
    }
}
