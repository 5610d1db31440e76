//! QEMU's monitor, asked about a guest that hangs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Processors, the interrupt controllers, and the devices as QEMU sees them.
const QUESTIONS: &str = "info status\ninfo registers -a\ninfo pic\ninfo lapic\ninfo virtio\n";
/// The last question. No guest has a UUID.
const LAST: &str = "info uuid\n";
const LAST_ANSWER: &[u8] = b"00000000-0000-0000-0000-000000000000";
/// QEMU answers at once, or hangs itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// What QEMU says, or why it says nothing.
pub(super) fn ask(socket: &Path) -> String {
    asked(socket, QUESTIONS).unwrap_or_else(|error| format!("QEMU's monitor says: {error}"))
}

/// What `info registers` says; nothing where QEMU says nothing.
pub(super) fn registers(socket: &Path) -> String {
    asked(socket, "info registers\n").unwrap_or_default()
}

fn asked(socket: &Path, questions: &str) -> std::io::Result<String> {
    let mut monitor = UnixStream::connect(socket)?;
    monitor.set_read_timeout(Some(PATIENCE))?;
    monitor.write_all(questions.as_bytes())?;
    monitor.write_all(LAST.as_bytes())?;
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    while !said
        .windows(LAST_ANSWER.len())
        .any(|end| end == LAST_ANSWER)
    {
        match monitor.read(&mut piece)? {
            0 => break,
            count => said.extend(piece.iter().take(count)),
        }
    }
    Ok(without_noise(&String::from_utf8_lossy(&said)))
}

/// Without the monitor's echo, which is drawn letter by letter, and the registers that nobody needs
/// to see where a processor is.
pub(super) fn without_noise(said: &str) -> String {
    const REGISTERS: [&str; 4] = ["FPR", "XMM", "YMM", "FCW="];
    said.lines()
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.contains('\u{1b}') && !line.is_empty())
        .filter(|line| REGISTERS.iter().all(|name| !line.starts_with(name)))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_monitor_says_is_left_without_its_echo() {
        let said = "(qemu) i\u{1b}[K\u{1b}[Dinfo\r\nVM status: running\r\n\r\nYMM00=0 0\r\n";
        assert_eq!(without_noise(said), "VM status: running\n");
    }
}
