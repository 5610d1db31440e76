//! The bridge's socket, and clients that do not behave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test may panic"
)]

use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use stile_frontend::{Daemon, HANG, Options, readable};
use stile_gpu::bridge::{Client, ClientError};

fn daemon() -> (Daemon, PathBuf) {
    // The daemon runs in its folder.
    let options = Options::new(env!("CARGO_BIN_EXE_stile-gpu"));
    let daemon = Daemon::start(options.with(&["--bridge=bridge.sock", "--syncobj-node=none"]));
    let path = daemon.folder().join("bridge.sock");
    (daemon, path)
}

fn dial(path: &PathBuf) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// Asks with any bytes, and gives the answer's.
#[track_caller]
fn ask(socket: &OwnedFd, packet: &[u8]) -> Vec<u8> {
    send(socket, packet, SendFlags::NOSIGNAL).unwrap();
    assert!(readable(socket, HANG), "the bridge does not answer");
    let mut answer = [0; 64];
    let (_, length) = recv(socket, &mut answer, RecvFlags::TRUNC).unwrap();
    answer[..length].to_vec()
}

/// A question of 24 bytes.
fn question(kind: u32, resource_id: u32, uuid: [u8; 16]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &resource_id.to_le_bytes(), &uuid].concat()
}

/// An answer of 32 bytes with nothing in it but an errno.
fn refusal(errno: u32) -> Vec<u8> {
    [&errno.to_le_bytes()[..], &[0; 28]].concat()
}

#[test]
fn only_its_user_may_open_it() {
    let (_daemon, path) = daemon();
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_resource_that_is_not_there_is_not_found() {
    let (daemon, path) = daemon();
    let client = Client::connect(&path).unwrap();
    for _ in 0..2 {
        assert!(matches!(client.by_id(1), Err(ClientError::NotFound)));
        let unknown = client.by_uuid([7; 16]);
        assert!(matches!(unknown, Err(ClientError::NotFound)));
        let none = client.by_uuid([0; 16]);
        assert!(matches!(none, Err(ClientError::NotFound)));
        // With a front end or without.
        drop(daemon.connect());
    }
}

#[test]
fn the_packets_are_as_the_specification_has_them() {
    let (_daemon, path) = daemon();
    let socket = dial(&path);
    assert_eq!(ask(&socket, &question(1, 5, [0; 16])), refusal(2));
    assert_eq!(ask(&socket, &question(2, 0, [5; 16])), refusal(2));
}

#[test]
fn questions_that_make_no_sense_are_answered_so() {
    let (_daemon, path) = daemon();
    let socket = dial(&path);
    for kind in [0, 3, 4, 5, u32::MAX] {
        assert_eq!(ask(&socket, &question(kind, 1, [1; 16])), refusal(22));
    }
    for length in [1, 4, 23, 25, 100, 60_000] {
        assert_eq!(ask(&socket, &vec![1; length]), refusal(22), "{length}");
    }
    assert_eq!(ask(&socket, &question(1, 5, [0; 16])), refusal(2));
}

#[test]
fn a_device_without_timelines_has_none_and_takes_none() {
    let (_daemon, path) = daemon();
    let socket = dial(&path);
    assert_eq!(ask(&socket, &question(3, 0, [5; 16])), refusal(2));
    // An offer without a descriptor, and with flags that there are not.
    assert_eq!(ask(&socket, &question(4, 0, [5; 16])), refusal(22));
    assert_eq!(ask(&socket, &question(4, 2, [5; 16])), refusal(22));
    let client = Client::connect(&path).unwrap();
    let answer = client.timeline([5; 16]);
    assert!(matches!(answer, Err(ClientError::NotFound)), "{answer:?}");
    let offer = client.offer_timeline([5; 16], std::os::fd::AsFd::as_fd(&socket), false);
    assert!(matches!(offer, Err(ClientError::Refused(95))), "{offer:?}");
}

#[test]
fn descriptors_that_come_with_a_question_are_closed() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    let (daemon, path) = daemon();
    let socket = dial(&path);
    ask(&socket, &question(1, 1, [0; 16]));
    let before = daemon.open_fds();
    for kind in [1, 4, 1, 4, 5] {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [socket.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let bytes = question(kind, 1, [0; 16]);
        let slices = [IoSlice::new(&bytes)];
        sendmsg(&socket, &slices, &mut control, SendFlags::NOSIGNAL).unwrap();
        let mut answer = [0; 64];
        recv(&socket, &mut answer, RecvFlags::empty()).unwrap();
    }
    assert_eq!(daemon.open_fds(), before);
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_others_are_served() {
    let (_daemon, path) = daemon();
    let lazy = dial(&path);
    let bytes = question(1, 1, [0; 16]);
    let dropped = (0..1_000_000).any(|_| {
        // As soon as the answers fill its socket, it is closed.
        matches!(
            send(&lazy, &bytes, SendFlags::NOSIGNAL),
            Err(Errno::PIPE | Errno::CONNRESET)
        )
    });
    assert!(dropped);
    let client = Client::connect(&path).unwrap();
    assert!(matches!(client.by_id(1), Err(ClientError::NotFound)));
}

#[test]
fn a_client_too_many_is_turned_away_and_comes_in_when_another_has_gone() {
    let (_daemon, path) = daemon();
    let mut clients: Vec<OwnedFd> = (0..64).map(|_| dial(&path)).collect();
    for client in &clients {
        ask(client, &question(1, 1, [0; 16]));
    }
    let late = dial(&path);
    assert!(readable(&late, HANG), "it is not turned away");
    let end = recv(&late, &mut [0; 64][..], RecvFlags::empty());
    assert!(matches!(end, Ok((_, 0)) | Err(Errno::CONNRESET)));
    clients.pop();
    // The bridge sees the one that went no later than the next one's question.
    let begin = std::time::Instant::now();
    loop {
        let next = Client::connect(&path).unwrap();
        match next.by_id(1) {
            Err(ClientError::NotFound) => break,
            other => assert!(begin.elapsed() < HANG, "{other:?}"),
        }
    }
}
