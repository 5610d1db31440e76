//! What another process has open.

use std::collections::BTreeMap;
use std::path::Path;

use guest_tests::gpu::Descriptors;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The process that listens on this `SOCK_SEQPACKET` socket: the kernel knows it, as the peer of
/// whoever connects. For a moment the process has that connection open.
pub(crate) fn listener(socket: &Path) -> Result<i32, Box<dyn std::error::Error>> {
    let probe = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&probe, &SocketAddrUnix::new(socket)?)?;
    let process = rustix::net::sockopt::socket_peercred(&probe)?.pid;
    Ok(process.as_raw_pid())
}

/// Counts what a process has open.
pub(crate) fn of_process(process: i32) -> Result<Descriptors, Box<dyn std::error::Error>> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that is closed meanwhile does not count.
        let Ok(target) = std::fs::read_link(entry?.path()) else {
            continue;
        };
        let count: &mut usize = kinds.entry(kind(&target.to_string_lossy())).or_default();
        *count = count.saturating_add(1);
    }
    let total = kinds.values().sum();
    Ok(Descriptors { total, kinds })
}

/// Counts the threads of a process.
pub(crate) fn threads(process: i32) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/task"))?.count())
}

/// The link without what differs from one of a kind to the next: `socket:[1234]` is a socket.
fn kind(target: &str) -> String {
    match target.split_once(":[") {
        Some((kind, number)) if number.trim_end_matches(']').parse::<u64>().is_ok() => kind.into(),
        _ => target.into(),
    }
}
