//! What wakes the data path: one epoll set with a 64-bit token for each source.
//!
//! The few fixed sources and any number of fences stand in the same set, so that a fence that
//! signals is one wake-up away from its guest. Adding and removing take constant time.
//!
//! | token | source |
//! | --- | --- |
//! | below 2^31 | a fixed one |
//! | 2^31 to 2^32 − 1 | a point: 2^31 and the lower half of its [`PointId`] |
//! | from 2^32 on | a fence: its [`WaitId`], whose upper half is not zero |
//!
//! Eventfds and the timer are edge-triggered: nobody reads them, a write wakes again. Fences stay
//! readable, and leave the set when they are seen. The eventfd of a point is written once, and wakes
//! once.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use stile_core::{PointId, WaitId};
use stile_host::SyncFile;

use crate::error::{Error, Result};
use crate::watches::{Ended, Watches};

/// Events that one wake-up takes.
const BATCH: usize = 256;

/// The first token of a point.
const POINTS: u64 = 1 << 31;

/// The fixed sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The front end's socket.
    Socket,
    /// The control ring's kick.
    ControlKick,
    /// The cursor ring's kick.
    CursorKick,
    /// A fence's deadline.
    Timer,
    /// The channel has done a job.
    Channel,
    /// The memory of a blob is made.
    Allocations,
    /// An access of the CPU is done.
    Cpu,
    /// A host process asks for something.
    Bridge,
}

impl Source {
    const ALL: [Self; 8] = [
        Self::Socket,
        Self::ControlKick,
        Self::CursorKick,
        Self::Timer,
        Self::Channel,
        Self::Allocations,
        Self::Cpu,
        Self::Bridge,
    ];

    const fn token(self) -> u64 {
        match self {
            Self::Socket => 0,
            Self::ControlKick => 1,
            Self::CursorKick => 2,
            Self::Timer => 3,
            Self::Channel => 4,
            Self::Allocations => 5,
            Self::Cpu => 6,
            Self::Bridge => 7,
        }
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A fixed source.
    Source(Source),
    /// A watched fence.
    Fence(WaitId),
    /// A watched point.
    Point(PointId),
}

/// The epoll set and the fences in it.
pub(crate) struct Reactor {
    set: OwnedFd,
    timer: OwnedFd,
    /// When the timer is set to go off.
    timer_ns: Option<u64>,
    watches: Watches,
    /// Watches that were not asked yet whether they are signalled.
    fresh: Vec<WaitId>,
    /// Watches that have ended and cost a system call or two yet.
    ended: Vec<Ended>,
    /// Descriptors that nobody else holds, to be closed together.
    closing: Vec<OwnedFd>,
    /// Watched points, by their tokens, with the eventfd that the kernel counts up.
    points: HashMap<u64, (PointId, OwnedFd)>,
    /// Eventfds of points that are to be closed.
    done: Vec<OwnedFd>,
}

impl Reactor {
    pub(crate) fn new() -> Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(Error::system::<Errno>("epoll_create1"))?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(Error::system::<Errno>("timerfd_create"))?;
        let reactor = Self {
            set,
            timer,
            timer_ns: None,
            watches: Watches::default(),
            fresh: Vec::new(),
            ended: Vec::new(),
            closing: Vec::new(),
            points: HashMap::new(),
            done: Vec::new(),
        };
        reactor.add(&reactor.timer, Source::Timer)?;
        Ok(reactor)
    }

    /// Adds a fixed source. All but the socket are edge-triggered.
    pub(crate) fn add(&self, fd: impl AsFd, source: Source) -> Result<()> {
        let trigger = match source {
            Source::Socket => epoll::EventFlags::empty(),
            _ => epoll::EventFlags::ET,
        };
        let token = epoll::EventData::new_u64(source.token());
        epoll::add(&self.set, fd, token, epoll::EventFlags::IN | trigger).map_err(Error::system::<
            Errno,
        >(
            "epoll_ctl(EPOLL_CTL_ADD)",
        ))
    }

    /// Removes a source's descriptor, if it is there.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _gone = epoll::delete(&self.set, fd);
    }

    /// Waits until something happens, and appends it to `wakes`. A caller that is `busy` only looks.
    pub(crate) fn wait(&mut self, wakes: &mut Vec<Wake>, busy: bool) -> Result<()> {
        // Before anything can be read from the set: a new point may have the token of an old one.
        self.done.clear();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = busy.then_some(&now);
        let mut events = [MaybeUninit::uninit(); BATCH];
        let (events, _) = match epoll::wait(&self.set, &mut events, timeout) {
            Err(Errno::INTR) => return Ok(()),
            answer => answer.map_err(Error::system::<Errno>("epoll_wait"))?,
        };
        wakes.extend(events.iter().filter_map(|event| {
            let token = event.data.u64();
            let source = Source::ALL
                .into_iter()
                .find(|source| source.token() == token);
            let point = || self.points.get(&token).map(|(id, _)| Wake::Point(*id));
            source
                .map(Wake::Source)
                .or_else(point)
                .or_else(|| WaitId::from_bits(token).map(Wake::Fence))
        }));
        if wakes.contains(&Wake::Source(Source::Timer)) {
            self.timer_ns = None;
        }
        Ok(())
    }

    /// Has the timer go off at `deadline_ns` at the latest. Costs a system call only where it would
    /// go off later, or not at all: once in a deadline's time, not once for each fence.
    pub(crate) fn set_timer(&mut self, deadline_ns: u64) -> Result<()> {
        if self.timer_ns.is_some_and(|set| set <= deadline_ns) {
            return Ok(());
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let seconds = deadline_ns.checked_div(1_000_000_000).unwrap_or(0);
        let nanoseconds = deadline_ns.checked_rem(1_000_000_000).unwrap_or(0);
        let value = Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
        };
        let time = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &time)
            .map_err(Error::system::<Errno>("timerfd_settime"))?;
        self.timer_ns = Some(deadline_ns);
        Ok(())
    }

    /// Begins to watch a fence. Nothing is asked of the kernel before [`Reactor::settle`].
    pub(crate) fn watch(&mut self, wait: WaitId, fence: Arc<SyncFile>) {
        self.watches.insert(wait, fence);
        self.fresh.push(wait);
    }

    /// Asks all new watches at once whether they are signalled. Those that are go to `signalled`,
    /// the others into the epoll set. What cannot be listed goes to `failed`.
    pub(crate) fn settle(
        &mut self,
        signalled: &mut Vec<WaitId>,
        failed: &mut Vec<(WaitId, Errno)>,
    ) {
        if self.fresh.is_empty() {
            return;
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain(|wait| self.watches.fence(*wait).is_some());
        let mut ready = Vec::new();
        let fences = fresh.iter().filter_map(|wait| self.watches.fence(*wait));
        let fds: Vec<_> = fences.map(|fence| fence.as_fd()).collect();
        if let Err(error) = stile_host::poll_many(&fds, &mut ready) {
            // They all go into the set, which tells the signalled ones too.
            tracing::warn!(%error, "New fences cannot be polled");
        }
        let answers = ready.into_iter().chain(std::iter::repeat(false));
        for (wait, ready) in fresh.drain(..).zip(answers) {
            if ready {
                signalled.push(wait);
            } else if let Err(error) = self.list(wait) {
                tracing::warn!(%error, "A fence cannot be watched");
                failed.push((wait, error));
            }
        }
        self.fresh = fresh;
    }

    /// Puts a watch into the epoll set.
    fn list(&mut self, wait: WaitId) -> std::result::Result<(), Errno> {
        let token = epoll::EventData::new_u64(wait.to_bits());
        let set = &self.set;
        self.watches
            .list(wait, |fd| epoll::add(set, fd, token, epoll::EventFlags::IN))
    }

    /// Begins to watch a point, and gives the eventfd that the kernel is to count up.
    ///
    /// # Errors
    /// The errno of `eventfd` or `epoll_ctl`.
    pub(crate) fn watch_point(
        &mut self,
        id: PointId,
    ) -> std::result::Result<BorrowedFd<'_>, Errno> {
        let token = point_token(id).ok_or(Errno::NOSPC)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfd = rustix::event::eventfd(0, flags)?;
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&self.set, &eventfd, epoll::EventData::new_u64(token), once)?;
        self.points.insert(token, (id, eventfd));
        let (_, eventfd) = self.points.get(&token).ok_or(Errno::NOSPC)?;
        Ok(eventfd.as_fd())
    }

    /// Ends the watch of a point. Its eventfd is closed by the next [`Reactor::wait`], and leaves
    /// the set with that: the kernel's own reference, to be counted up, does not keep it there.
    pub(crate) fn unwatch_point(&mut self, id: PointId) {
        let gone = point_token(id).and_then(|token| self.points.remove(&token));
        self.done.extend(gone.map(|(_, eventfd)| eventfd));
    }

    /// The fence of a watch.
    pub(crate) fn fence(&self, wait: WaitId) -> Option<&Arc<SyncFile>> {
        self.watches.fence(wait)
    }

    /// Takes a watch out of the epoll set; its end does not wake any more.
    pub(crate) fn postpone(&mut self, wait: WaitId) {
        let set = &self.set;
        self.watches.unlist(wait, |fd| {
            let _gone = epoll::delete(set, fd);
        });
    }

    /// Ends a watch. What that takes of the kernel waits until [`Reactor::bury`], so that the guest
    /// hears of a fence first.
    pub(crate) fn unwatch(&mut self, wait: WaitId) {
        self.ended.extend(self.watches.remove(wait));
    }

    /// Takes the watches that have ended out of the set and closes what nobody else holds. The
    /// kernel takes a file that is closed out of the set by itself.
    pub(crate) fn bury(&mut self) {
        for ended in self.ended.drain(..) {
            if Arc::strong_count(&ended.fence) > 1 {
                let _gone = ended.listed().map(|fd| epoll::delete(&self.set, fd));
            }
            self.closing
                .extend(Arc::into_inner(ended.fence).map(OwnedFd::from));
        }
        stile_host::close_many(&mut self.closing);
    }
}

/// The token of a point; `None` where a device has had 2^31 of them at once.
fn point_token(id: PointId) -> Option<u64> {
    let index = id.to_bits() & u64::from(u32::MAX);
    (index < POINTS).then_some(POINTS | index)
}

/// An eventfd for waking a reactor from another thread.
pub(crate) fn eventfd() -> Result<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(Error::system::<Errno>("eventfd"))
}
