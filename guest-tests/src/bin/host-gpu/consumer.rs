//! Consumers: they wait as a compositor or a media pipeline does, asleep on a descriptor.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest_tests::gpu::{Kept, now_ns};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd};
use stile_host::{Access, DmaBuf, SyncFile};

use crate::player::{Error, Player};

/// Who waits, and what is kept.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    waiters: BTreeMap<String, Waiter>,
    exports: BTreeMap<String, SyncFile>,
}

/// How it stands with somebody who waits.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// An eventfd makes them give up.
    Sleeps(Arc<OwnedFd>),
    /// When that was.
    Woken(u64),
    /// Its time was over.
    GaveUp,
}

impl Consumers {
    /// Forgets them all. Who sleeps gives up.
    pub(crate) fn clear(&mut self) {
        for waiter in std::mem::take(&mut self.waiters).into_values() {
            if let Waiter::Sleeps(bell) = waiter {
                // It fails only for a count of 2^64.
                let _rung = ring(&bell);
            }
        }
        self.exports.clear();
    }
}

impl Player {
    /// Somebody waits for a buffer.
    pub(crate) fn await_buffer(
        &self,
        waiter: &str,
        buffer: u32,
        access: Access,
    ) -> Result<(), Error> {
        let buffer = self.buffer(buffer)?;
        let watch = begin_wait(&buffer, access)?;
        // A descriptor that is closed leaves its epoll set.
        self.fall_asleep(waiter, watch, None, move |_, woken| {
            drop(buffer);
            woken
        })
    }

    /// Somebody sleeps on a thread of their own until a descriptor is readable or the time is over,
    /// and then does something and says how it stands.
    pub(crate) fn fall_asleep(
        &self,
        waiter: &str,
        watch: OwnedFd,
        timeout: Option<Duration>,
        then: impl FnOnce(&Self, Waiter) -> Waiter + Send + 'static,
    ) -> Result<(), Error> {
        let (player, name) = (self.clone(), waiter.to_owned());
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let sleeps = Waiter::Sleeps(Arc::clone(&bell));
        let mut props = self.scene.lock();
        props.consumers.waiters.insert(name.clone(), sleeps);
        std::thread::spawn(move || {
            let ended = match sleep(&watch, &bell, timeout) {
                Ok(true) => Waiter::Woken(now_ns()),
                Ok(false) => Waiter::GaveUp,
                Err(error) => {
                    eprintln!("{name} cannot sleep: {error}");
                    Waiter::GaveUp
                }
            };
            let ended = then(&player, ended);
            // After a reset nobody asks for it.
            if let Some(place) = player.scene.lock().consumers.waiters.get_mut(&name) {
                *place = ended;
            }
            player.scene.changed.notify_all();
        });
        Ok(())
    }

    /// They give up.
    pub(crate) fn give_up(&self, waiter: &str) -> Result<(), Error> {
        let props = self.scene.lock();
        let Some(Waiter::Sleeps(bell)) = props.consumers.waiters.get(waiter) else {
            return Err(format!("Nobody called {waiter} sleeps").into());
        };
        Ok(ring(bell)?)
    }

    /// When they were woken; `None` where they have given up.
    pub(crate) fn woken(&self, waiter: &str) -> Result<Option<u64>, Error> {
        let woken = self
            .scene
            .find(|props| match props.consumers.waiters.get(waiter) {
                Some(Waiter::Sleeps(_)) => None,
                Some(Waiter::Woken(woken)) => Some(Ok(Some(*woken))),
                Some(Waiter::GaveUp) => Some(Ok(None)),
                None => Some(Err(format!("Nobody called {waiter} waits"))),
            });
        Ok(woken?)
    }

    /// Keeps what the kernel exports now.
    pub(crate) fn keep(&self, export: &str, buffer: u32, access: Access) -> Result<(), Error> {
        let file = self.buffer(buffer)?.export_sync_file(access)?;
        let mut props = self.scene.lock();
        props.consumers.exports.insert(export.to_owned(), file);
        Ok(())
    }

    /// How a kept export stands.
    pub(crate) fn look(&self, export: &str) -> Result<Kept, Error> {
        let props = self.scene.lock();
        let file = props.consumers.exports.get(export);
        let file = file.ok_or_else(|| format!("There is no export {export}"))?;
        Ok(Kept {
            fences: file.fences()?.len(),
            signalled_ns: file.outcome()?.timestamp_ns,
        })
    }
}

fn ring(bell: &OwnedFd) -> rustix::io::Result<()> {
    rustix::io::write(bell, &1_u64.to_ne_bytes()).map(drop)
}

/// The kernel looks at the fences of a dma-buf when it is polled, and an entry of an epoll set is
/// polled when it is made: so the wait begins here, whenever the thread goes to sleep.
fn begin_wait(buffer: &DmaBuf, access: Access) -> Result<OwnedFd, Error> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let events = match DmaBuf::poll_events(access) {
        PollFlags::IN => epoll::EventFlags::IN,
        _ => epoll::EventFlags::OUT,
    };
    epoll::add(&watch, buffer, epoll::EventData::new_u64(0), events)?;
    Ok(watch)
}

/// Whether the descriptor has become readable in time, and before the bell.
fn sleep(watch: &OwnedFd, bell: &OwnedFd, timeout: Option<Duration>) -> rustix::io::Result<bool> {
    let begin = Instant::now();
    loop {
        let left = timeout
            .map(|timeout| Timespec::try_from(timeout.saturating_sub(begin.elapsed())))
            .transpose()
            .map_err(|_| rustix::io::Errno::INVAL)?;
        let mut descriptors = [watch, bell].map(|fd| PollFd::new(fd, PollFlags::IN));
        match rustix::event::poll(&mut descriptors, left.as_ref()) {
            Ok(_) => {
                let [watched, _] = descriptors;
                return Ok(!watched.revents().is_empty());
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
