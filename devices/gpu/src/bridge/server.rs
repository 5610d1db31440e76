//! The bridge's thread: accepts, checks who it is, answers.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    listen, recvmsg, sendmsg, socket_with, sockopt,
};
use tracing::{debug, warn};
use zerocopy::{FromBytes, IntoBytes};

use super::request::{Office, Reply};
use super::wire::Question;
use crate::error::{Error, Result};
use crate::server::{SHORTAGE_PAUSE, is_shortage};

/// Clients at once. One more is turned away.
const CLIENTS: usize = 64;

/// Listens on `path` and starts the thread, which lasts as long as the process.
pub(crate) fn start(path: &Path, office: Office) -> Result<()> {
    let socket = listener(path)?;
    std::thread::Builder::new()
        .name("bridge".to_owned())
        .spawn(move || run(&socket, &office))
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

/// A connection, and its number.
struct Client {
    socket: OwnedFd,
    number: u64,
}

fn run(socket: &OwnedFd, office: &Office) {
    let mut clients: Vec<Client> = Vec::new();
    let mut number: u64 = 0;
    loop {
        let mut set: Vec<PollFd<'_>> = std::iter::once(socket.as_fd())
            .chain(clients.iter().map(|client| client.socket.as_fd()))
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
        clients.retain(|client| {
            let stays = !woken.next().unwrap_or(false) || answer(client, office);
            if !stays {
                office.forget_client(client.number);
            }
            stays
        });
        if incoming && let Some(client) = accept(socket) {
            if clients.len() < CLIENTS {
                number = number.saturating_add(1);
                let socket = client;
                clients.push(Client { socket, number });
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
fn answer(client: &Client, office: &Office) -> bool {
    let mut packet = [0_u8; size_of::<Question>()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::TRUNC | RecvFlags::CMSG_CLOEXEC;
    let mut slices = [IoSliceMut::new(&mut packet)];
    let length = match recvmsg(&client.socket, &mut slices, &mut control, flags) {
        Ok(received) => received.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    if length == 0 {
        return false;
    }
    // More than one does not fit, and is closed by the kernel.
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let question = Question::read_from_bytes(&packet)
        .ok()
        .filter(|_| length == packet.len());
    let reply = office.answer(client.number, question.as_ref(), descriptor);
    match send(client.socket.as_fd(), &reply) {
        Ok(()) => true,
        Err(error) => {
            debug!(%error, "A client of the bridge does not take its answer");
            false
        }
    }
}

fn send(client: BorrowedFd<'_>, reply: &Reply) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = reply.descriptor.as_fd().into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(
        client,
        &[IoSlice::new(reply.answer.as_bytes())],
        &mut control,
        flags,
    )?;
    Ok(())
}
