//! Requests of host processes on their way to the data path, and the answers on their way back.
//!
//! The bridge's thread puts a request here and wakes the data path. The data path answers into the
//! client's socket as far as that takes it without waiting; what it does not take stays here, and
//! the bridge's thread sends it when the client has read. Whoever holds the lock does nothing that
//! can block.
//!
//! A request is *open* until there is an answer for it, and its client's until that is sent. Both
//! are counted, so that nothing in here grows without a bound.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno as HostErrno;
use rustix::net::{SendFlags, send};
use stile_core::{Errno, RequestId, errno};
use tracing::warn;
use zerocopy::IntoBytes;

use super::demand::Asked;
use super::wire::{BATCH, REPLACE, Reply};
use crate::error::Result;
use crate::reactor::eventfd;

/// Requests of one client that are not answered, or whose answer it has not taken.
pub(crate) const REQUESTS_OF_A_CLIENT: usize = 1024;
/// Requests of all clients that are not answered.
pub(crate) const REQUESTS: usize = 4096;
/// Requests to move a buffer that are not answered: each may hold a descriptor.
pub(crate) const MOVES: usize = 64;

/// Names a client for as long as the process lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u64);

/// What the data path is to do.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    /// Nobody waits for these any more.
    pub(crate) withdrawn: Vec<RequestId>,
    /// To be answered with [`Desk::answer`], in their order.
    pub(crate) asked: BTreeMap<RequestId, Asked>,
}

impl Errands {
    /// What the data path has not seen is not worth its while. It is given back, to be dropped when
    /// the lock is free again.
    fn withdraw(&mut self, id: RequestId) -> Option<Asked> {
        let unseen = self.asked.remove(&id);
        if unseen.is_none() {
            self.withdrawn.push(id);
        }
        unseen
    }
}

/// Who asked what.
#[derive(Clone, Copy, Debug)]
struct Asker {
    client: ClientId,
    tag: u64,
    kind: u32,
}

#[derive(Debug)]
struct Client {
    socket: Arc<OwnedFd>,
    /// Its open requests, by tag.
    open: BTreeMap<u64, RequestId>,
    /// What its socket did not take.
    backlog: VecDeque<Reply>,
}

impl Client {
    fn count(&self) -> usize {
        self.open.len().saturating_add(self.backlog.len())
    }

    /// Sends what there is, as far as the client takes it. `false` if it is gone.
    fn flush(&mut self) -> bool {
        while !self.backlog.is_empty() {
            let batch: Vec<u8> = self
                .backlog
                .iter()
                .take(BATCH)
                .flat_map(|reply| reply.as_bytes().iter().copied())
                .collect();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match send(&self.socket, &batch, flags) {
                Ok(_) => {
                    let sent = self.backlog.len().min(BATCH);
                    self.backlog.drain(..sent);
                }
                Err(HostErrno::INTR) => {}
                Err(HostErrno::AGAIN | HostErrno::NOBUFS | HostErrno::NOMEM) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is a data path.
    served: bool,
    clients: BTreeMap<ClientId, Client>,
    open: BTreeMap<RequestId, Asker>,
    errands: Errands,
    last_id: u64,
}

/// The one place where the bridge and the data path meet for requests.
#[derive(Debug)]
pub(crate) struct Desk {
    state: Mutex<State>,
    /// Wakes the data path.
    errands: OwnedFd,
    /// Wakes the bridge's thread.
    backlogs: OwnedFd,
}

impl Desk {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            errands: eventfd()?,
            backlogs: eventfd()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bridge's side.
impl Desk {
    pub(crate) fn arrive(&self, client: ClientId, socket: Arc<OwnedFd>) {
        let client_state = Client {
            socket,
            open: BTreeMap::new(),
            backlog: VecDeque::new(),
        };
        self.lock().clients.insert(client, client_state);
    }

    /// The client is gone, and with it everything that it waits for.
    pub(crate) fn leave(&self, client: ClientId) {
        let mut state = self.lock();
        let Some(gone) = state.clients.remove(&client) else {
            return;
        };
        let mut unseen = Vec::new();
        for id in gone.open.into_values() {
            state.open.remove(&id);
            unseen.extend(state.errands.withdraw(id));
        }
        drop(state);
        wake(&self.errands);
    }

    /// A request. Where it cannot be taken up it is answered here.
    pub(crate) fn ask(&self, client: ClientId, (kind, tag): (u32, u64), asked: Asked) {
        let mut state = self.lock();
        match state.admit(client, kind, tag) {
            Ok(id) => state.errands.asked.insert(id, asked),
            Err(error) => return state.reply(client, &Reply::new(kind, tag, Err(error))),
        };
        drop(state);
        wake(&self.errands);
    }

    /// The client does not wait for the request `tag` any more.
    pub(crate) fn cancel(&self, client: ClientId, (kind, tag): (u32, u64)) {
        let mut state = self.lock();
        let found = state.clients.get_mut(&client);
        let id = found.and_then(|client| client.open.remove(&tag));
        let asker = id.and_then(|id| state.open.remove(&id));
        let (Some(id), Some(asker)) = (id, asker) else {
            return state.reply(client, &Reply::new(kind, tag, Err(errno::ENOENT)));
        };
        let _unseen = state.errands.withdraw(id);
        let ended = Reply::new(asker.kind, tag, Err(errno::ECANCELED));
        state.reply(client, &ended);
        state.reply(client, &Reply::new(kind, tag, Ok(0)));
        drop(state);
        wake(&self.errands);
    }

    /// A request that makes no sense.
    pub(crate) fn refuse(&self, client: ClientId, (kind, tag): (u32, u64), error: Errno) {
        self.lock()
            .reply(client, &Reply::new(kind, tag, Err(error)));
    }

    /// Readable when a client has a backlog.
    pub(crate) fn backlogs(&self) -> BorrowedFd<'_> {
        self.backlogs.as_fd()
    }

    /// Whether the client has more to read than its socket took.
    pub(crate) fn has_backlog(&self, client: ClientId) -> bool {
        let state = self.lock();
        let found = state.clients.get(&client);
        found.is_some_and(|client| !client.backlog.is_empty())
    }

    /// Sends the client what it has room for. `false` if it is gone, or takes nothing although it
    /// has asked for more than it may.
    pub(crate) fn flush(&self, client: ClientId) -> bool {
        let mut state = self.lock();
        let Some(client) = state.clients.get_mut(&client) else {
            return false;
        };
        client.flush() && client.backlog.len() <= REQUESTS_OF_A_CLIENT
    }
}

/// The data path's side.
impl Desk {
    /// A front end is served from now on.
    pub(crate) fn open(&self) {
        self.lock().served = true;
    }

    /// The front end is gone, and its guest with it: whoever waits is told so.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.served = false;
        let _unseen = std::mem::take(&mut state.errands);
        let open: Vec<RequestId> = state.open.keys().copied().collect();
        for id in open {
            state.answer(id, Err(errno::ECANCELED));
        }
        self.wake_for(state);
    }

    /// Readable when there are errands.
    pub(crate) fn errands(&self) -> BorrowedFd<'_> {
        self.errands.as_fd()
    }

    /// What there is to do.
    pub(crate) fn take(&self) -> Errands {
        std::mem::take(&mut self.lock().errands)
    }

    /// The answers to some requests.
    pub(crate) fn answer(
        &self,
        answers: impl Iterator<Item = (RequestId, std::result::Result<u64, Errno>)>,
    ) {
        let mut state = self.lock();
        for (id, answer) in answers {
            state.answer(id, answer);
        }
        self.wake_for(state);
    }

    /// Sends what was just answered.
    fn wake_for(&self, mut state: MutexGuard<'_, State>) {
        let mut left = false;
        for client in state.clients.values_mut() {
            // One that is gone is found out by the bridge's thread.
            left |= !client.backlog.is_empty() && (!client.flush() || !client.backlog.is_empty());
        }
        drop(state);
        if left {
            wake(&self.backlogs);
        }
    }
}

impl State {
    fn admit(
        &mut self,
        client: ClientId,
        kind: u32,
        tag: u64,
    ) -> std::result::Result<RequestId, Errno> {
        if !self.served {
            return Err(errno::ENOENT);
        }
        let all = self.open.len();
        let moves = self.open.values().filter(|asker| asker.kind == REPLACE);
        let too_many_moves = kind == REPLACE && moves.count() >= MOVES;
        let found = self.clients.get_mut(&client).ok_or(errno::ENOENT)?;
        if found.open.contains_key(&tag) {
            return Err(errno::EEXIST);
        }
        if found.count() >= REQUESTS_OF_A_CLIENT || all >= REQUESTS || too_many_moves {
            return Err(errno::EDQUOT);
        }
        self.last_id = self.last_id.saturating_add(1);
        let id = RequestId(self.last_id);
        found.open.insert(tag, id);
        self.open.insert(id, Asker { client, tag, kind });
        Ok(id)
    }

    /// An answer, which one that was withdrawn does not get any more.
    fn answer(&mut self, id: RequestId, answer: std::result::Result<u64, Errno>) {
        let Some(Asker { client, tag, kind }) = self.open.remove(&id) else {
            return;
        };
        if let Some(client) = self.clients.get_mut(&client) {
            client.open.remove(&tag);
            client.backlog.push_back(Reply::new(kind, tag, answer));
        }
    }

    /// Answers in the bridge's thread, which flushes after each question.
    fn reply(&mut self, client: ClientId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.backlog.push_back(*reply);
        }
    }
}

fn wake(eventfd: &OwnedFd) {
    if let Err(error) = rustix::io::write(eventfd, &1_u64.to_ne_bytes()) {
        warn!(%error, "A thread cannot be woken");
    }
}

#[cfg(test)]
mod tests;
