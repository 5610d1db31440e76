//! QEMU's monitor, asked about a guest that hangs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Processors, the interrupt controllers, and the rings as QEMU sees them.
const QUESTIONS: &str = "info status\ninfo registers -a\ninfo pic\ninfo lapic\ninfo virtio\n";
/// QEMU answers at once, or hangs itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// What QEMU says, or why it says nothing.
pub(super) fn ask(socket: &Path) -> String {
    let mut said = Vec::new();
    let asked = UnixStream::connect(socket).and_then(|mut monitor| {
        monitor.set_read_timeout(Some(PATIENCE))?;
        monitor.write_all(QUESTIONS.as_bytes())?;
        // The monitor stays open: the time is what ends it.
        monitor.read_to_end(&mut said)
    });
    match asked {
        Err(error) if said.is_empty() => format!("QEMU's monitor says nothing: {error}"),
        _ => without_noise(&String::from_utf8_lossy(&said)),
    }
}

/// Without the monitor's echo, which is drawn letter by letter, and the registers that nobody needs
/// to see where a processor is.
fn without_noise(said: &str) -> String {
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
