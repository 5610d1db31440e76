//! Timelines that a guest and a host process share.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use stile_frontend::HANG;
use stile_gpu::bridge::{Client, ClientError};
use stile_host::{Access, PointEvent, Syncobj};
use stile_wire::sync::Op;

use crate::guest::{AVAILABLE, Guest, SIGNALLED, signal, to_cookie, to_point, watch};
use crate::rig::READ;

/// Whether a point has come so far, without waiting for it.
fn has(syncobj: &Syncobj, point: u64, event: PointEvent) -> bool {
    syncobj.wait(point, event, Duration::ZERO).unwrap()
}

/// A second connection to the bridge.
fn client(guest: &Guest) -> Client {
    Client::connect(&guest.rig.daemon.folder().join("bridge.sock")).unwrap()
}

/// Sees that something comes true. That a client has gone the bridge may hear of late: as long as
/// another test is starting its daemon, that has a copy of each descriptor.
#[track_caller]
fn soon(come_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !come_true() {
        assert!(begin.elapsed() < HANG, "it does not come true");
    }
}

#[track_caller]
fn refused(answer: Result<(), ClientError>) -> u32 {
    match answer {
        Err(ClientError::Refused(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

/// The two sides tell each other of points on a timeline that both have.
fn tell_each_other(guest: &mut Guest, timeline: u64, host: &Syncobj) {
    // The host waits, and the guest signals.
    assert!(!has(host, 1, PointEvent::Available));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| host.wait(1, PointEvent::Signalled, HANG));
        guest.ok(signal(timeline, 1));
        assert!(waits.join().unwrap().unwrap(), "the host hears nothing");
    });
    // The guest waits, and the host signals.
    guest.ok(watch(timeline, 2, 20, AVAILABLE));
    guest.ok(watch(timeline, 2, 21, SIGNALLED));
    guest.assert_silent();
    let work = guest.rig.gpu.fence().unwrap();
    host.import_sync_file(2, work.sync_file()).unwrap();
    assert_eq!(guest.numbers(1), [(20, 0)]);
    guest.assert_silent();
    // The host's work becomes a fence of the guest's.
    guest.ok(to_cookie(timeline, 2, 90));
    let wait = Op::Wait { cookie: 90 }.encode(3, 1);
    let fence = guest.rig.submit(3, &wait);
    guest.rig.assert_pending(fence);
    work.signal().unwrap();
    assert_eq!(guest.numbers(1), [(21, 0)]);
    guest.rig.assert_signals(fence);
    guest.ok(Op::Drop { cookie: 90 });
    // What the guest waits for becomes the host's.
    let buffer = guest.rig.blob(1);
    let work = guest.rig.busy(&buffer, Access::WRITE);
    guest.rig.export(0, 1, READ, 91);
    guest.ok(to_point(timeline, 3, 91));
    assert!(has(host, 3, PointEvent::Available));
    assert!(!has(host, 3, PointEvent::Signalled));
    work.signal().unwrap();
    assert!(has(host, 3, PointEvent::Signalled));
}

#[test]
fn a_guest_shares_a_timeline_with_a_host_process() {
    let mut guest = Guest::new(&[]);
    guest.create(5);
    let host = guest.share(5);
    tell_each_other(&mut guest, 5, &host);
}

#[test]
fn a_guest_adopts_the_timeline_of_a_host_process() {
    let mut guest = Guest::new(&[]);
    let host = guest.node.create(false).unwrap();
    let uuid = [9; 16];
    let fd = host.export_fd().unwrap();
    let bridge = client(&guest);
    bridge.offer_timeline(uuid, fd.as_fd(), false).unwrap();
    guest.ok(Op::TlAdopt { timeline: 5, uuid });
    // It stays the guest's when the host process goes.
    drop((bridge, fd));
    tell_each_other(&mut guest, 5, &host);
}

#[test]
fn a_binary_syncobj_is_adopted_as_what_it_is() {
    let mut guest = Guest::new(&[]);
    let host = guest.node.create(false).unwrap();
    let fd = host.export_fd().unwrap();
    let uuid = [9; 16];
    let bridge = client(&guest);
    bridge.offer_timeline(uuid, fd.as_fd(), true).unwrap();
    guest.ok(Op::TlAdopt { timeline: 5, uuid });
    guest.ok(watch(5, 0, 1, SIGNALLED));
    guest.assert_silent();
    host.signal(0).unwrap();
    assert_eq!(guest.numbers(1), [(1, 0)]);
    assert_eq!(guest.run(signal(5, 1)), 22);
}

#[test]
fn a_shared_timeline_is_found_until_it_is_destroyed() {
    let mut guest = Guest::new(&[]);
    let not_found = |guest: &Guest, uuid| {
        let answer = guest.rig.bridge.timeline(uuid);
        assert!(matches!(answer, Err(ClientError::NotFound)), "{answer:?}");
    };
    let (uuid, other) = ([5; 16], [6; 16]);
    not_found(&guest, uuid);
    guest.create(5);
    guest.create(6);
    let host = guest.share(5);
    // A UUID has one timeline, and a timeline one UUID.
    assert_eq!(guest.run(Op::TlShare { timeline: 6, uuid }), 17);
    let again = Op::TlShare {
        timeline: 5,
        uuid: other,
    };
    assert_eq!(guest.run(again), 17);
    let fd = host.export_fd().unwrap();
    let taken = guest.rig.bridge.offer_timeline(uuid, fd.as_fd(), false);
    assert_eq!(refused(taken), 17);
    // What a guest shares is not there to be adopted.
    assert_eq!(guest.run(Op::TlAdopt { timeline: 7, uuid }), 2);
    guest.ok(Op::TlDestroy { timeline: 5 });
    not_found(&guest, uuid);
    // The host process has it all the same.
    host.signal(1).unwrap();
    assert!(has(&host, 1, PointEvent::Signalled));
    guest.ok(Op::TlShare { timeline: 6, uuid });
    guest.rig.vm.reboot();
    not_found(&guest, uuid);
}

#[test]
fn an_offer_is_taken_once_and_ends_with_its_client() {
    let mut guest = Guest::new(&[]);
    let fd = guest.node.create(false).unwrap().export_fd().unwrap();
    let (one, two) = ([1; 16], [2; 16]);
    let bridge = client(&guest);
    bridge.offer_timeline(one, fd.as_fd(), false).unwrap();
    bridge.offer_timeline(two, fd.as_fd(), false).unwrap();
    assert_eq!(refused(bridge.offer_timeline(one, fd.as_fd(), false)), 17);
    // It is for the guest, not for other host processes, and a guest does not take its name.
    let answer = guest.rig.bridge.timeline(one);
    assert!(matches!(answer, Err(ClientError::NotFound)));
    guest.create(4);
    let taken = Op::TlShare {
        timeline: 4,
        uuid: one,
    };
    assert_eq!(guest.run(taken), 17);
    let adopt = |timeline, uuid| Op::TlAdopt { timeline, uuid };
    guest.ok(adopt(5, one));
    assert_eq!(guest.run(adopt(6, one)), 2);
    // An offer outlives the guest, but not its client.
    guest.rig.vm.reboot();
    guest.rig.furnish();
    guest.furnish();
    drop(bridge);
    let next = client(&guest);
    soon(|| next.offer_timeline(two, fd.as_fd(), false).is_ok());
    guest.rig.vm.reboot();
    guest.rig.furnish();
    guest.furnish();
    guest.ok(adopt(6, two));
}

#[test]
fn offers_are_checked_and_bounded() {
    let guest = Guest::new(&[]);
    let bridge = &guest.rig.bridge;
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(
        refused(bridge.offer_timeline([1; 16], null.as_fd(), false)),
        22
    );
    let before = guest.rig.daemon.quiet_fds();
    let fd = guest.node.create(false).unwrap().export_fd().unwrap();
    let uuid = |nth: u16| {
        let mut uuid = [0; 16];
        uuid[..2].copy_from_slice(&nth.to_le_bytes());
        uuid
    };
    let many = client(&guest);
    for nth in 0..256 {
        many.offer_timeline(uuid(nth), fd.as_fd(), false).unwrap();
    }
    assert_eq!(
        refused(many.offer_timeline(uuid(256), fd.as_fd(), false)),
        122
    );
    drop(many);
    let next = client(&guest);
    soon(|| next.offer_timeline(uuid(0), fd.as_fd(), false).is_ok());
    drop(next);
    soon(|| guest.rig.daemon.quiet_fds() == before);
}
