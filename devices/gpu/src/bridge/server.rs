//! The bridge's thread: accepts, checks who it is, answers.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, listen, recv, sendmsg, socket_with, sockopt,
};
use tracing::{debug, warn};
use zerocopy::{FromBytes, IntoBytes};

use super::registry::{Entry, Registry};
use super::wire::{Answer, BY_ID, BY_UUID, Question};
use crate::error::{Error, Result};
use crate::server::{SHORTAGE_PAUSE, is_shortage};

/// Clients at once. One more is turned away.
const CLIENTS: usize = 64;

/// `ENOENT` and `EINVAL`, as the answer has them.
const NOT_FOUND: u32 = 2;
const INVALID: u32 = 22;

/// Listens on `path` and starts the thread, which lasts as long as the process.
pub(crate) fn start(path: &Path, registry: Arc<Registry>) -> Result<()> {
    let socket = listener(path)?;
    std::thread::Builder::new()
        .name("bridge".to_owned())
        .spawn(move || run(&socket, &registry))
        .map_err(Error::system("clone"))?;
    Ok(())
}

fn listener(path: &Path) -> Result<OwnedFd> {
    let failed = |source: Errno| Error::Listen {
        path: path.to_owned(),
        source: source.into(),
    };
    crate::server::clear_path(path, SocketType::SEQPACKET)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    // The mode is the socket's before it has a name: there is no moment when others may connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    bind(&socket, &SocketAddrUnix::new(path).map_err(failed)?).map_err(failed)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    listen(&socket, 16).map_err(failed)?;
    Ok(socket)
}

fn run(socket: &OwnedFd, registry: &Registry) {
    let mut clients: Vec<OwnedFd> = Vec::new();
    loop {
        let mut set: Vec<PollFd<'_>> = std::iter::once(socket.as_fd())
            .chain(clients.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut set, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                warn!(%error, "The bridge has ended");
                return;
            }
        }
        let mut woken = set.iter().map(|entry| !entry.revents().is_empty());
        let incoming = woken.next().unwrap_or(false);
        let woken: Vec<bool> = woken.collect();
        let mut woken = woken.into_iter();
        clients.retain(|client| !woken.next().unwrap_or(false) || answer(client.as_fd(), registry));
        if incoming && let Some(client) = accept(socket) {
            if clients.len() < CLIENTS {
                clients.push(client);
            } else {
                warn!(CLIENTS, "The bridge turns a client away");
            }
        }
    }
}

/// A client of this process' user, or of root.
fn accept(socket: &OwnedFd) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = match accept_with(socket, flags) {
        Ok(client) => client,
        Err(error) => {
            if is_shortage(&error.into()) {
                warn!(%error, "The bridge can accept nobody for now");
                std::thread::sleep(SHORTAGE_PAUSE);
            }
            return None;
        }
    };
    let peer = sockopt::socket_peercred(&client).ok()?;
    let own = rustix::process::geteuid();
    if peer.uid == own || peer.uid.is_root() {
        return Some(client);
    }
    warn!(uid = peer.uid.as_raw(), "The bridge refuses another user");
    None
}

/// Answers one question. `false` if the client is gone or does not read its answers.
fn answer(client: BorrowedFd<'_>, registry: &Registry) -> bool {
    let mut packet = [0_u8; size_of::<Question>()];
    let length = match recv(client, &mut packet, RecvFlags::TRUNC) {
        Ok((_, 0)) => return false,
        Ok((_, length)) => length,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    let question = Question::read_from_bytes(&packet)
        .ok()
        .filter(|_| length == packet.len());
    let found = match question {
        None => Err(INVALID),
        Some(question) => match question.kind.get() {
            BY_ID if question.uuid == [0; 16] => {
                registry.by_id(question.resource_id.get()).ok_or(NOT_FOUND)
            }
            BY_UUID if question.resource_id.get() == 0 => {
                registry.by_uuid(question.uuid).ok_or(NOT_FOUND)
            }
            _ => Err(INVALID),
        },
    };
    match reply(client, found) {
        Ok(()) => true,
        Err(error) => {
            debug!(%error, "A client of the bridge does not take its answer");
            false
        }
    }
}

fn reply(client: BorrowedFd<'_>, found: std::result::Result<Entry, u32>) -> rustix::io::Result<()> {
    let (answer, entry) = match found {
        Ok(entry) => {
            let answer = Answer {
                errno: 0.into(),
                resource_id: entry.resource_id.into(),
                size: entry.buffer.size().into(),
                uuid: entry.uuid.unwrap_or_default(),
            };
            (answer, Some(entry))
        }
        Err(errno) => {
            let answer = Answer {
                errno: errno.into(),
                resource_id: 0.into(),
                size: 0.into(),
                uuid: [0; 16],
            };
            (answer, None)
        }
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = entry.iter().map(|entry| entry.buffer.as_fd()).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(
        client,
        &[IoSlice::new(answer.as_bytes())],
        &mut control,
        flags,
    )?;
    Ok(())
}
