//! The lines that the demo is told in; `xtask/src/demo` reads them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use guest_tests::event::{PORTS, RESULTS_PORT};
use serde::Serialize;

/// One moment.
#[derive(Debug, Serialize)]
#[serde(tag = "demo", rename_all = "lowercase")]
pub(crate) enum Line<'a> {
    /// A scene begins.
    Scene { title: &'a str },
    /// The host has put a fence on a buffer, or left it idle.
    Made {
        name: &'a str,
        ring: u8,
        work: &'a str,
    },
    /// The guest has a fence of its own kernel for it.
    Crossed { name: &'a str },
    /// The guest's program saw that fence signalled. Times are the host's `CLOCK_MONOTONIC`.
    Seen {
        scene: &'a str,
        name: &'a str,
        ring: u8,
        made_ns: Option<u64>,
        taken_ns: u64,
        signalled_ns: Option<u64>,
        done_ns: u64,
        seen_ns: Option<u64>,
        fence_ns: Option<u64>,
        errno: u32,
    },
    /// That was all.
    End {
        clock_error_ns: u64,
        guest_kernel: &'a str,
    },
}

/// The way out of the guest.
#[derive(Debug)]
pub(crate) struct Teller {
    port: File,
}

impl Teller {
    pub(crate) fn open() -> std::io::Result<Self> {
        let port = File::options()
            .write(true)
            .open(Path::new(PORTS).join(RESULTS_PORT))?;
        Ok(Self { port })
    }

    pub(crate) fn tell(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.port.write_all(text.as_bytes())
    }
}
