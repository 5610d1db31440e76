//! The least that a round trip between two processes can be: each writes the other's eventfd and
//! reads its own, and sleeps in that read. And what it becomes when the other end sleeps in epoll,
//! or in an epoll set that holds another.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{EventfdFlags, epoll, eventfd};

/// The process at the other end. It reads its standard input and writes its standard output.
pub(crate) struct Echo {
    there: OwnedFd,
    back: OwnedFd,
    child: Child,
}

/// How the other end sleeps.
#[derive(Clone, Copy)]
pub(crate) enum Sleep {
    /// In read(2).
    Read,
    /// In epoll_wait(2).
    Epoll,
    /// In epoll_wait(2) on a set that holds the set, as in another's reactor.
    Nested,
}

impl Echo {
    pub(crate) fn start(sleep: Sleep) -> Self {
        let new = || eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let (there, back) = (new(), new());
        let clone = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(match sleep {
                Sleep::Read => "--role=echo",
                Sleep::Epoll => "--role=echo-epoll",
                Sleep::Nested => "--role=echo-nested",
            })
            .stdin(clone(&there))
            .stdout(clone(&back))
            .spawn()
            .expect("this program");
        Self { there, back, child }
    }

    /// Nanoseconds of so many round trips.
    pub(crate) fn block(&self, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| {
                let begin = Instant::now();
                tell(&self.there);
                sleep(&self.back);
                begin.elapsed().as_nanos() as f64
            })
            .collect()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The other end.
pub(crate) fn serve(how: Sleep) {
    if let Sleep::Read = how {
        loop {
            sleep(io::stdin());
            tell(io::stdout());
        }
    }
    let new = || epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
    let token = epoll::EventData::new_u64(0);
    let (inner, outer) = (new(), new());
    let once = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&inner, io::stdin(), token, once).expect("an eventfd");
    epoll::add(&outer, &inner, token, epoll::EventFlags::IN).expect("an epoll set");
    loop {
        if let Sleep::Nested = how {
            wait(&outer);
        }
        wait(&inner);
        tell(io::stdout());
    }
}

fn wait(set: &OwnedFd) {
    let mut events = [MaybeUninit::uninit(); 16];
    epoll::wait(set, &mut events, None).expect("an epoll set");
}

/// Writes an eventfd.
pub(crate) fn tell(fd: impl AsFd) {
    rustix::io::write(fd, &1_u64.to_ne_bytes()).expect("an eventfd");
}

/// Reads an eventfd that blocks.
pub(crate) fn sleep(fd: impl AsFd) {
    let mut count = [0; 8];
    rustix::io::read(fd, &mut count).expect("an eventfd");
}
