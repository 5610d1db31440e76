//! Starting programs, with errors that say which one, and how to get it if it is missing.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// The program's name and its words, as a person would type them.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Turns "could not start" into a sentence with a way out.
pub(crate) fn cannot_start(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound {
        let package = match program.as_str() {
            "apt-get" | "apt-cache" | "apt-config" => "apt",
            "dpkg-deb" => "dpkg",
            "cc" => "gcc",
            "c++" => "g++",
            other => other,
        };
        return anyhow!(
            "There is no `{program}` on this machine. The lab needs Debian 12 or 13 (or something \
             made from it); there `apt-get install {package}` brings it."
        );
    }
    anyhow!(error).context(format!("`{program}` could not be started"))
}

/// Runs a command to its end and takes what it says on stdout.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = finished(command)?;
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not text", shown(command)))
}

/// Runs a command to its end and takes the bytes it writes to stdout.
pub(crate) fn bytes_of(command: &mut Command) -> Result<Vec<u8>> {
    Ok(finished(command)?.stdout)
}

fn finished(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_start(command, error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}):\n{}",
            shown(command),
            output.status,
            last_lines(&said, 20)
        );
    }
    Ok(output)
}

/// Runs a command to its end with all that it says in `log`, which a failure quotes.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("{} could not be opened", log.display()))?;
    let both = file
        .try_clone()
        .context("A log file could not be opened twice")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .status()
        .map_err(|error| cannot_start(command, error))?;
    if !status.success() {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        bail!(
            "`{}` failed ({status}):\n{}",
            shown(command),
            last_lines(&said, 20)
        );
    }
    Ok(())
}

/// The end of a log.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
