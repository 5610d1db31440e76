//! The bridge's thread: accepts, checks who it is, answers.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

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

use super::demand::{Demand, demand};
use super::desk::ClientId;
use super::office::{Answered, Office};
use super::wire::{Question, Request};
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
    socket: Arc<OwnedFd>,
    number: u64,
}

impl Client {
    const fn id(&self) -> ClientId {
        ClientId(self.number)
    }
}

fn run(socket: &OwnedFd, office: &Office) {
    let desk = &office.desk;
    let mut clients: Vec<Client> = Vec::new();
    let mut number: u64 = 0;
    loop {
        let fixed = [
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(desk.backlogs(), PollFlags::IN),
        ];
        let theirs = clients.iter().map(|client| {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, desk.has_backlog(client.id()));
            PollFd::from_borrowed_fd(client.socket.as_fd(), events)
        });
        let mut set: Vec<PollFd<'_>> = fixed.into_iter().chain(theirs).collect();
        match poll(&mut set, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                warn!(%error, "The bridge has ended");
                return;
            }
        }
        let woken: Vec<PollFlags> = set.iter().map(PollFd::revents).collect();
        let mut woken = woken.into_iter();
        let incoming = woken.next().is_some_and(|events| !events.is_empty());
        if woken.next().is_some_and(|events| !events.is_empty()) {
            // The next poll asks for room in the sockets that had none.
            let _told = rustix::io::read(desk.backlogs(), &mut [0; 8][..]);
        }
        clients.retain(|client| {
            let events = woken.next().unwrap_or(PollFlags::empty());
            let asks = events.intersects(!PollFlags::OUT);
            let stays =
                events.is_empty() || ((!asks || serve(client, office)) && desk.flush(client.id()));
            if !stays {
                office.forget_client(client.number);
                desk.leave(client.id());
            }
            stays
        });
        if incoming && let Some(client) = accept(socket) {
            if clients.len() < CLIENTS {
                number = number.saturating_add(1);
                let socket = Arc::new(client);
                desk.arrive(ClientId(number), Arc::clone(&socket));
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

/// Takes one packet. `false` if the client is gone or does not read its answers.
fn serve(client: &Client, office: &Office) -> bool {
    let mut packet = [0_u8; size_of::<Request>()];
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
    if length == packet.len()
        && let Ok(request) = Request::read_from_bytes(&packet)
    {
        take(client.id(), &request, descriptor, office);
        return true;
    }
    let question = packet.get(..length).unwrap_or_default();
    let question = Question::read_from_bytes(question).ok();
    let reply = office.answer(client.number, question.as_ref(), descriptor);
    match send(client.socket.as_fd(), &reply) {
        Ok(()) => true,
        Err(error) => {
            debug!(%error, "A client of the bridge does not take its answer");
            false
        }
    }
}

/// Puts a request on the desk. Its reply comes from there.
fn take(client: ClientId, request: &Request, descriptor: Option<OwnedFd>, office: &Office) {
    let name = (request.kind.get(), request.tag.get());
    match demand(request, descriptor) {
        Ok(Demand::Ask(asked)) => office.desk.ask(client, name, asked),
        Ok(Demand::Cancel) => office.desk.cancel(client, name),
        Err(error) => office.desk.refuse(client, name, error),
    }
}

fn send(client: BorrowedFd<'_>, reply: &Answered) -> rustix::io::Result<()> {
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
