//! What the desk refuses, in the order of `docs/spec/bridge.md`.

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use stile_core::{Request, ResourceName};
use zerocopy::FromBytes;

use super::*;
use crate::bridge::wire::{CANCEL, MEM_SIGNAL};

const CLIENT: ClientId = ClientId(1);
const TAG: u64 = 7;

/// A desk with a client, and the client's end of the socket.
fn desk() -> (Desk, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let desk = Desk::new().unwrap();
    desk.arrive(CLIENT, Arc::new(ours));
    (desk, theirs)
}

fn signal() -> Asked {
    Asked::Request(Request::Signal {
        resource: ResourceName::Id(1),
        offset: 0,
        value: 0,
    })
}

/// The errno of the reply that comes at once; `None` where there is none.
fn reply(desk: &Desk, socket: &OwnedFd) -> Option<u32> {
    assert!(desk.flush(CLIENT));
    let mut bytes = [0; size_of::<Reply>()];
    let (received, _) = recv(socket, &mut bytes, RecvFlags::DONTWAIT).ok()?;
    assert_eq!(received, bytes.len());
    Some(Reply::read_from_bytes(&bytes).unwrap().errno.get())
}

fn ask(desk: &Desk, socket: &OwnedFd, tag: u64) -> Option<u32> {
    desk.ask(CLIENT, (MEM_SIGNAL, tag), signal());
    reply(desk, socket)
}

#[test]
fn no_guest_goes_before_a_tag_that_is_taken_and_that_before_a_quota() {
    let (desk, socket) = desk();
    let enoent = Some(errno::ENOENT.0);
    assert_eq!(ask(&desk, &socket, TAG), enoent);
    desk.open();
    for tag in 0..u64::try_from(REQUESTS_OF_A_CLIENT).unwrap() {
        assert_eq!(ask(&desk, &socket, tag), None, "{tag}");
    }
    assert_eq!(ask(&desk, &socket, TAG), Some(errno::EEXIST.0));
    assert_eq!(ask(&desk, &socket, u64::MAX), Some(errno::EDQUOT.0));
    desk.cancel(CLIENT, (CANCEL, u64::MAX));
    assert_eq!(reply(&desk, &socket), enoent);
    desk.cancel(CLIENT, (CANCEL, TAG));
    assert!(desk.flush(CLIENT));
    let mut both = [0; 2 * size_of::<Reply>()];
    let (received, _) = recv(&socket, &mut both, RecvFlags::DONTWAIT).unwrap();
    assert_eq!(received, both.len());
    let (ended, done) = Reply::read_from_prefix(&both).unwrap();
    assert_eq!(ended.errno.get(), errno::ECANCELED.0);
    let done = Reply::read_from_bytes(done).unwrap();
    assert_eq!((done.errno.get(), done.kind.get()), (0, CANCEL));
    assert_eq!(ask(&desk, &socket, TAG), None);
}
