//! A thread of the daemon that stands still, as one does that a system call has hung in.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::time::Instant;

use crate::{Daemon, HANG};

/// A thread that has been stopped with ptrace(2). It goes on when this is dropped, which has to be
/// before its daemon is: a process whose thread is traced does not end.
#[derive(Debug)]
pub struct Frozen {
    thread: libc::pid_t,
    /// Only the thread that stopped it may let it go.
    of_this_thread: PhantomData<*const ()>,
}

impl Daemon {
    /// Stops the daemon's thread of this name. If there are several, the newest.
    ///
    /// # Panics
    /// If there is none, or if it cannot be stopped.
    #[track_caller]
    pub fn freeze(&self, name: &str) -> Frozen {
        let begin = Instant::now();
        // The thread names itself, a moment after it has begun.
        let thread = loop {
            if let Some(thread) = self.newest_thread(name) {
                break thread;
            }
            assert!(begin.elapsed() < HANG, "no thread is called {name}");
            std::thread::yield_now();
        };
        assert_eq!(ptrace(libc::PTRACE_SEIZE, thread), 0, "PTRACE_SEIZE");
        let frozen = Frozen {
            thread,
            of_this_thread: PhantomData,
        };
        assert_eq!(
            ptrace(libc::PTRACE_INTERRUPT, thread),
            0,
            "PTRACE_INTERRUPT"
        );
        let mut status = 0;
        // SAFETY: the kernel writes an integer, for which `status` is.
        let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert!(stopped == thread && libc::WIFSTOPPED(status), "it stops");
        frozen
    }

    fn newest_thread(&self, name: &str) -> Option<libc::pid_t> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("/proc");
        let named = tasks.flatten().filter(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        });
        let numbers = named.filter_map(|task| task.file_name().to_str()?.parse().ok());
        numbers.max()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may be gone, with its process.
        let _gone = ptrace(libc::PTRACE_DETACH, self.thread);
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t) -> libc::c_long {
    // SAFETY: none of the three requests in use reads or writes memory of this process.
    unsafe { libc::ptrace(request, thread, null_mut::<c_void>(), null_mut::<c_void>()) }
}
