//! Accesses of the CPU to dma-bufs: the ioctl that may block without limit.
//!
//! Each runs on a thread of its own, so that one that hangs delays no other. The threads are made
//! when they are needed and stay for later ones; there are never more than accesses may be under
//! way. Nobody waits for a thread: what a front end left behind counts until the kernel has done
//! with it, also for the next one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use stile_core::{Errno, WaitId, errno};
use tracing::warn;

use crate::error::Result;
use crate::reactor::eventfd;

/// Bytes of a thread's stack. It makes one system call.
const STACK_BYTES: usize = 64 << 10;

type Outcome = std::result::Result<(), Errno>;
type Work = Box<dyn FnOnce() -> Outcome + Send>;
type Answer = (WaitId, Outcome);

/// The threads of the daemon.
pub(crate) struct CpuPool {
    state: Mutex<State>,
    more: Condvar,
    /// Accesses that may be under way.
    most: usize,
}

#[derive(Default)]
struct State {
    /// Accesses that no thread has taken yet. For each there is a thread that is idle or about to
    /// be.
    jobs: VecDeque<Job>,
    under_way: usize,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
}

struct Job {
    wait: WaitId,
    work: Work,
    /// Whom to tell, while there is somebody.
    results: Weak<Results>,
}

struct Results {
    done: Mutex<Vec<Answer>>,
    wake: OwnedFd,
}

/// The accesses of one connection.
pub(crate) struct CpuAccesses {
    pool: Arc<CpuPool>,
    results: Arc<Results>,
}

impl CpuPool {
    /// A pool for so many accesses, without a thread yet.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            state: Mutex::default(),
            more: Condvar::new(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, job: Job) -> Outcome {
        let mut state = self.lock();
        if state.under_way >= self.most {
            return Err(errno::EBUSY);
        }
        state.under_way = state.under_way.saturating_add(1);
        // With as many threads as there may be, one of them is between two jobs.
        if state.idle > state.jobs.len() || state.threads >= self.most {
            state.jobs.push_back(job);
            drop(state);
            self.more.notify_one();
            return Ok(());
        }
        state.threads = state.threads.saturating_add(1);
        drop(state);
        let pool = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("cpu-access".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || pool.work(job));
        if let Err(error) = thread {
            warn!(%error, "An access of the CPU gets no thread");
            let mut state = self.lock();
            state.threads = state.threads.saturating_sub(1);
            state.under_way = state.under_way.saturating_sub(1);
            return Err(errno::ENOMEM);
        }
        Ok(())
    }

    /// The life of a thread.
    fn work(&self, first: Job) {
        let mut job = first;
        loop {
            let answer = job.run();
            // There is room for another one before anybody hears of this one's end.
            let mut state = self.lock();
            state.under_way = state.under_way.saturating_sub(1);
            drop(state);
            answer.tell();
            job = self.next();
        }
    }

    fn next(&self) -> Job {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return job;
            }
            state.idle = state.idle.saturating_add(1);
            state = self
                .more
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
        }
    }
}

/// How an access went, and who is to know.
struct Done {
    answer: Answer,
    results: Weak<Results>,
}

impl Job {
    /// It may take for ever.
    fn run(self) -> Done {
        let Self {
            wait,
            work,
            results,
        } = self;
        let answer = (wait, work());
        Done { answer, results }
    }
}

impl Done {
    fn tell(self) {
        // The front end may have gone.
        let Some(results) = self.results.upgrade() else {
            return;
        };
        results.lock().push(self.answer);
        if let Err(error) = rustix::io::write(&results.wake, &1_u64.to_ne_bytes()) {
            warn!(%error, "The data path cannot be woken");
        }
    }
}

impl Results {
    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CpuAccesses {
    /// For a new connection.
    ///
    /// # Errors
    /// There is no eventfd to be had.
    pub(crate) fn new(pool: Arc<CpuPool>) -> Result<Self> {
        let results = Arc::new(Results {
            done: Mutex::default(),
            wake: eventfd()?,
        });
        Ok(Self { pool, results })
    }

    /// Readable when there are results.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.results.wake.as_fd()
    }

    /// Begins or ends an access: has a thread do `work`. It never waits itself.
    ///
    /// # Errors
    /// `EBUSY` while as many are under way as may be; `ENOMEM` for want of a thread.
    pub(crate) fn start(
        &self,
        wait: WaitId,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> Outcome {
        self.pool.begin(Job {
            wait,
            work: Box::new(work),
            results: Arc::downgrade(&self.results),
        })
    }

    /// The accesses that are done, in their order.
    pub(crate) fn results(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.results.lock())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn wait(number: u64) -> WaitId {
        WaitId::from_bits((number << 32) | 7).unwrap()
    }

    /// Work that hangs until it is told its outcome; it says when it begins.
    fn hanging() -> (Sender<Outcome>, Receiver<()>, Work) {
        let (end, told) = channel();
        let (begins, begun) = channel();
        let work = move || {
            begins.send(()).unwrap();
            told.recv().unwrap_or(Ok(()))
        };
        (end, begun, Box::new(work))
    }

    /// The next results.
    fn results(accesses: &CpuAccesses) -> Vec<Answer> {
        let fds = [rustix::event::PollFd::new(
            &accesses.results.wake,
            rustix::event::PollFlags::IN,
        )];
        let time = rustix::event::Timespec::try_from(LONG).unwrap();
        let mut fds = fds;
        assert_eq!(
            rustix::event::poll(&mut fds, Some(&time)),
            Ok(1),
            "no result"
        );
        let mut count = [0; 8];
        rustix::io::read(&accesses.results.wake, &mut count).unwrap();
        accesses.results()
    }

    #[test]
    fn what_hangs_delays_nothing_else_and_counts_until_it_is_done() {
        let pool = Arc::new(CpuPool::new(2));
        let accesses = CpuAccesses::new(Arc::clone(&pool)).unwrap();
        let (end, begun, work) = hanging();
        accesses.start(wait(1), work).unwrap();
        begun.recv_timeout(LONG).unwrap();
        for number in 2..50 {
            accesses.start(wait(number), || Err(errno::EINVAL)).unwrap();
            assert_eq!(results(&accesses), [(wait(number), Err(errno::EINVAL))]);
        }
        let (second_end, _begun, work) = hanging();
        accesses.start(wait(50), work).unwrap();
        let third = accesses.start(wait(51), || Ok(()));
        assert_eq!(third, Err(errno::EBUSY));
        assert!(accesses.results().is_empty());
        end.send(Ok(())).unwrap();
        assert_eq!(results(&accesses), [(wait(1), Ok(()))]);
        accesses.start(wait(52), || Ok(())).unwrap();
        assert_eq!(results(&accesses), [(wait(52), Ok(()))]);
        drop(second_end);
        assert_eq!(results(&accesses), [(wait(50), Ok(()))]);
        assert_eq!(pool.lock().threads, 2);
    }

    #[test]
    fn threads_are_made_when_they_are_needed_and_used_again() {
        let pool = Arc::new(CpuPool::new(100));
        let accesses = CpuAccesses::new(Arc::clone(&pool)).unwrap();
        assert_eq!(pool.lock().threads, 0);
        for number in 1..=20 {
            accesses.start(wait(number), || Ok(())).unwrap();
            assert_eq!(results(&accesses), [(wait(number), Ok(()))]);
            // Idle again.
            while pool.lock().idle == 0 {
                std::thread::yield_now();
            }
        }
        assert_eq!(pool.lock().threads, 1);
    }

    #[test]
    fn as_many_as_may_be_begin_at_once_over_and_over() {
        const MOST: u32 = 8;
        let pool = Arc::new(CpuPool::new(MOST));
        let accesses = CpuAccesses::new(Arc::clone(&pool)).unwrap();
        for _ in 0..200 {
            let all: Vec<_> = (1..=MOST)
                .map(|number| {
                    let (end, begun, work) = hanging();
                    accesses.start(wait(number.into()), work).unwrap();
                    (end, begun)
                })
                .collect();
            assert_eq!(accesses.start(wait(99), || Ok(())), Err(errno::EBUSY));
            for (_, begun) in &all {
                begun.recv_timeout(LONG).unwrap();
            }
            drop(all);
            let mut done = 0;
            while done < 8 {
                done += results(&accesses).len();
            }
        }
        assert!(pool.lock().threads <= 8);
    }

    #[test]
    fn nobody_waits_for_what_a_connection_leaves_behind_and_it_counts_for_the_next() {
        let pool = Arc::new(CpuPool::new(1));
        let first = CpuAccesses::new(Arc::clone(&pool)).unwrap();
        let (end, begun, work) = hanging();
        first.start(wait(1), work).unwrap();
        begun.recv_timeout(LONG).unwrap();
        drop(first);
        let second = CpuAccesses::new(Arc::clone(&pool)).unwrap();
        assert_eq!(second.start(wait(1), || Ok(())), Err(errno::EBUSY));
        end.send(Ok(())).unwrap();
        while pool.lock().under_way > 0 {
            std::thread::yield_now();
        }
        second.start(wait(2), || Ok(())).unwrap();
        // The first one's result is told to nobody.
        assert_eq!(results(&second), [(wait(2), Ok(()))]);
    }
}
