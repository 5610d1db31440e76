//! The least that a round trip between two processes can be: each writes the other's eventfd and
//! reads its own, and sleeps in that read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

/// The process at the other end. It reads its standard input and writes its standard output.
pub(crate) struct Echo {
    there: OwnedFd,
    back: OwnedFd,
    child: Child,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let new = || eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let (there, back) = (new(), new());
        let clone = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor"));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg("--role=echo")
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
pub(crate) fn serve() {
    loop {
        sleep(io::stdin());
        tell(io::stdout());
    }
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
