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
    let mut said = String::from_utf8_lossy(&said).replace('\r', "");
    if let (true, Err(error)) = (said.is_empty(), asked) {
        said = format!("QEMU's monitor says nothing: {error}");
    }
    said
}
