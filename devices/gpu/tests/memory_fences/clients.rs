//! Clients that make no sense, ask for too much, or do not read.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use stile_frontend::{HANG, readable};
use stile_gpu::bridge::{Client, Reply, ReplyTo, ResourceName};

use crate::rig::*;

#[test]
fn a_request_that_makes_no_sense_is_refused_in_its_name() {
    let rig = Rig::new();
    let client = rig.client();
    for offset in [1, 4, 4095, SIZE - 4, SIZE, u64::MAX - 7, u64::MAX] {
        client.mem_signal(1, COUNTERS, offset, 1).unwrap();
        assert_eq!(reply(&client), to_signal(1, Err(EINVAL)), "{offset}");
        client.mem_wait(1, COUNTERS, offset, 1, LONG).unwrap();
        assert_eq!(reply(&client), to_wait(1, Err(EINVAL)), "{offset}");
    }
    for timeout in [0, 3_600_000_000_001, u64::MAX] {
        client.mem_wait(1, COUNTERS, 0, 1, timeout).unwrap();
        assert_eq!(reply(&client), to_wait(1, Err(EINVAL)), "{timeout}");
    }
    for unknown in [ResourceName::Id(9), ResourceName::Uuid([9; 16])] {
        client.mem_signal(1, unknown, 0, 1).unwrap();
        assert_eq!(reply(&client), to_signal(1, Err(ENOENT)));
    }
    client.mem_wait(4, COUNTERS, 0, 1, LONG).unwrap();
    client.mem_signal(4, COUNTERS, 8, 1).unwrap();
    assert_eq!(reply(&client), to_signal(4, Err(EEXIST)));
    client.mem_signal(5, COUNTERS, 0, 1).unwrap();
    let mut both = [reply(&client), reply(&client)];
    both.sort_by_key(|reply| reply.tag);
    assert_eq!(both, [to_wait(4, Ok(1)), to_signal(5, Ok(1))]);

    // Fields that a kind has no use for, and names that are none.
    let socket = rig.dial();
    let request = |kind: u32, id: u32, uuid: u8, words: [u64; 4]| {
        let mut bytes = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        bytes.extend([uuid; 16]);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    };
    for (kind, id, uuid, words) in [
        (16, 0, 0, [3, 0, 1, 0]),
        (16, 1, 1, [3, 0, 1, 0]),
        (16, 1, 0, [3, 0, 1, 1]),
        (17, 0, 0, [3, 0, 1, LONG]),
        (17, 1, 1, [3, 0, 1, LONG]),
        (19, 0, 0, [3, 0, 0, LONG]),
        (19, 1, 1, [3, 0, 0, LONG]),
        (19, 1, 0, [3, 1, 0, LONG]),
        (19, 1, 0, [3, 0, 1, LONG]),
        (18, 1, 0, [3, 0, 0, 0]),
        (18, 0, 1, [3, 0, 0, 0]),
        (18, 0, 0, [3, 1, 0, 0]),
        (18, 0, 0, [3, 0, 1, 0]),
        (18, 0, 0, [3, 0, 0, 1]),
        (0, 1, 0, [3, 0, 0, 0]),
        (1, 1, 0, [3, 0, 0, 0]),
        (15, 1, 0, [3, 0, 0, 0]),
        (u32::MAX, 1, 0, [3, 0, 0, 0]),
    ] {
        let bytes = request(kind, id, uuid, words);
        send(&socket, &bytes, SendFlags::NOSIGNAL).unwrap();
        assert!(readable(&socket, HANG), "the bridge does not reply");
        let mut reply = [0; 64];
        let (_, length) = recv(&socket, &mut reply, RecvFlags::TRUNC).unwrap();
        let mut expected = [EINVAL.to_le_bytes(), kind.to_le_bytes()].concat();
        expected.extend([3_u64.to_le_bytes(), [0; 8]].concat());
        assert_eq!(reply[..length], expected, "{kind} {id} {uuid} {words:?}");
    }
}

#[test]
fn what_is_no_dma_buf_takes_no_buffers_place() {
    let rig = Rig::new();
    let client = rig.client();
    heard(&client);
    let before = rig.daemon.open_fds();
    let memfd = rustix::fs::memfd_create("none", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memfd, SIZE).unwrap();
    let other = rig.dial();
    for fd in [memfd.as_fd(), other.as_fd(), client.as_fd()] {
        for resource in [COUNTERS, ResourceName::Id(99)] {
            client.replace(9, resource, fd, LONG).unwrap();
            let kind = ReplyTo::Replace;
            let answer = Err(EBADF);
            assert_eq!(
                reply(&client),
                Reply {
                    kind,
                    tag: 9,
                    answer
                }
            );
        }
    }
    drop(other);
    // Nor does nothing at all.
    let socket = rig.dial();
    let mut bytes = [19_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    bytes.extend([0; 16]);
    bytes.extend([7, 0, 0, LONG].iter().flat_map(|word| word.to_le_bytes()));
    send(&socket, &bytes, SendFlags::NOSIGNAL).unwrap();
    assert!(readable(&socket, HANG), "the bridge does not reply");
    let mut answer = [0; 24];
    recv(&socket, &mut answer, RecvFlags::TRUNC).unwrap();
    assert_eq!(answer[..4], EBADF.to_le_bytes());
    drop(socket);
    assert_nothing_left(&rig, &client, &before);
}

#[test]
fn a_client_has_a_quota_and_so_have_all_together() {
    let rig = Rig::new();
    let clients: Vec<Client> = (0..5).map(|_| rig.client()).collect();
    for client in &clients[..4] {
        for tag in 0..1024 {
            client.mem_wait(tag, COUNTERS, 0, 1, LONG).unwrap();
        }
        client.mem_wait(2000, COUNTERS, 0, 1, LONG).unwrap();
        assert_eq!(reply(client), to_wait(2000, Err(EDQUOT)));
        // There is always a way out.
        client.cancel(0).unwrap();
        assert_eq!(reply(client), to_wait(0, Err(ECANCELED)));
        assert_eq!(reply(client), to_cancel(0, Ok(0)));
        client.mem_wait(0, COUNTERS, 0, 1, LONG).unwrap();
        heard(client);
    }
    let last = &clients[4];
    last.mem_signal(1, COUNTERS, 8, 1).unwrap();
    assert_eq!(reply(last), to_signal(1, Err(EDQUOT)));
    // While so many wait, nobody is awake.
    rig.daemon.assert_asleep(Duration::from_millis(300));
    let mut clients = clients;
    let gone = clients.remove(0);
    drop(gone);
    let last = clients.last().unwrap();
    // The bridge sees the one that went no later than the next one's question.
    heard(last);
    last.mem_signal(1, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(last), to_signal(1, Ok(1)));
    for client in &clients[..3] {
        let tags: BTreeSet<u64> = (0..1024)
            .map(|_| {
                let reply = reply(client);
                assert_eq!(reply, to_wait(reply.tag, Ok(1)));
                reply.tag
            })
            .collect();
        assert_eq!(tags.len(), 1024, "each is told once");
        assert_quiet(client);
    }
}

#[test]
fn a_client_that_reads_late_loses_nothing() {
    let mut rig = Rig::new();
    let client = rig.client();
    // Each in a packet of its own, so that the socket's buffer is full long before the last.
    for tag in 0..1024 {
        client.mem_wait(tag, COUNTERS, tag * 8, 1, LONG).unwrap();
    }
    settle(&rig, &client);
    for tag in 0..1024 {
        rig.run(&signal(tag * 8, 1));
    }
    let tags: Vec<u64> = (0..1024).map(|_| reply(&client).tag).collect();
    assert_eq!(tags, (0..1024).collect::<Vec<_>>());
}

#[test]
fn a_client_that_asks_on_and_never_reads_is_disconnected() {
    let rig = Rig::new();
    let lazy = rig.client();
    let gone = (0..1_000_000).any(|tag| lazy.cancel(tag).is_err());
    assert!(gone);
    let client = rig.client();
    client.mem_signal(1, COUNTERS, 0, 1).unwrap();
    assert_eq!(reply(&client), to_signal(1, Ok(1)));
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let mut rig = Rig::new();
    let first = rig.client();
    heard(&first);
    let before = rig.daemon.open_fds();
    for round in 0..20 {
        let client = rig.client();
        for tag in 0..200 {
            client
                .mem_wait(tag, COUNTERS, tag * 8, round + 1, LONG)
                .unwrap();
        }
        if round % 2 == 0 {
            settle(&rig, &client);
        }
    }
    rig.run(&signal(0, 100));
    first.mem_signal(1, COUNTERS, 0, 0).unwrap();
    assert_eq!(reply(&first), to_signal(1, Ok(100)));
    assert_nothing_left(&rig, &first, &before);
}

/// Waits until the daemon has the descriptors that it had. What clients have sent is read to its end
/// before their hang-up is seen.
#[track_caller]
fn assert_nothing_left(rig: &Rig, client: &Client, before: &[String]) {
    let begin = Instant::now();
    while rig.daemon.open_fds() != before {
        assert!(begin.elapsed() < HANG, "a descriptor stays");
        heard(client);
    }
}
