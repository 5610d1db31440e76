//! The round trip of `echo.rs` by futexes: counters in a memfd's page that both processes have
//! mapped. It is what memory fences would be without a doorbell, where the kernel can do that.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex::{self, ClockId, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};

use crate::echo::{self, Echo};
use crate::report::{Report, median};

/// As many words as one call of futex_waitv(2) takes.
const WORDS: usize = 128;
/// Round trips in a block.
const BLOCK: usize = 2000;
/// The bytes of the counters that the other end waits for, and of the one that comes back.
const BYTES: usize = 2 * 4096;
/// The counter that goes there, the last of them, and the one that comes back, in the next page.
const THERE: usize = WORDS - 1;
const BACK: usize = 4096 / 8;

/// How the other end sleeps.
#[derive(Clone, Copy)]
pub(crate) enum Sleep {
    /// In `FUTEX_WAIT`, for its one word.
    One,
    /// In futex_waitv(2), for that and 127 others that do not change.
    Many,
}

/// The process at the other end.
struct FutexEcho {
    counters: Counters,
    value: u32,
    child: Child,
}

impl FutexEcho {
    fn start(sleep: Sleep) -> Self {
        let memfd = stile_host::memfd::create("counters", BYTES as u64).expect("a memfd");
        let counters = Counters::of(&memfd);
        let child = Command::new(std::env::current_exe().expect("this program"))
            .arg(match sleep {
                Sleep::One => "--role=echo-futex",
                Sleep::Many => "--role=echo-futexes",
            })
            .stdin(Stdio::from(memfd))
            .spawn()
            .expect("this program");
        Self {
            counters,
            value: 0,
            child,
        }
    }

    /// Nanoseconds of so many round trips.
    fn block(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.trip()).collect()
    }

    fn trip(&mut self) -> f64 {
        let begin = Instant::now();
        self.counters.raise(THERE, self.value + 1);
        while self.counters.low(BACK).load(Ordering::Acquire) == self.value {
            sleep(self.counters.low(BACK), self.value);
        }
        self.value += 1;
        begin.elapsed().as_nanos() as f64
    }
}

impl Drop for FutexEcho {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The loop by futexes beside the loop by eventfds, in turns.
pub(crate) fn compare(effort: usize, report: &mut Report) {
    let echo = Echo::start(echo::Sleep::Epoll);
    let [mut one, mut many] = [Sleep::One, Sleep::Many].map(FutexEcho::start);
    let mut ratios: [Vec<f64>; 2] = Default::default();
    for round in 0..=2 * effort {
        let base = median(&mut echo.block(BLOCK));
        let blocks = [&mut one, &mut many].map(|other| other.block(BLOCK));
        if round == 0 {
            continue;
        }
        for (ratios, mut block) in ratios.iter_mut().zip(blocks) {
            ratios.push(median(&mut block) / base);
        }
    }
    let [one, many] = ratios.each_mut().map(|ratios| median(ratios));
    let label = "futexes on a memfd / loop, median of the rounds' p50";
    report.row("futex_ratio", label, one, "x");
    let label = "the same, the other end in futex_waitv on 128 words";
    report.row("futexes_ratio", label, many, "x");
}

/// The other end.
pub(crate) fn serve(how: Sleep) {
    let counters = Counters::of(io::stdin());
    let mut words: Vec<_> = (0..WORDS).map(|nth| counters.entry(nth)).collect();
    for value in 0.. {
        while counters.low(THERE).load(Ordering::Acquire) == value {
            match how {
                Sleep::One => sleep(counters.low(THERE), value),
                Sleep::Many => {
                    words[THERE].val = value.into();
                    let none = WaitvFlags::empty();
                    slept(futex::waitv(&words, none, None, ClockId::Monotonic).map(|_| ()));
                }
            }
        }
        counters.raise(BACK, value + 1);
    }
}

fn sleep(word: &AtomicU32, value: u32) {
    slept(futex::wait(word, Flags::empty(), value, None));
}

fn slept(answer: rustix::io::Result<()>) {
    use rustix::io::Errno;
    // It was changed before anybody slept, or somebody looks at the process.
    let passes = matches!(answer, Ok(()) | Err(Errno::AGAIN | Errno::INTR));
    assert!(passes, "no futex: {answer:?}");
}

/// 64-bit counters of which the low words are futexes. Mapped until the process ends.
struct Counters(&'static [AtomicU32]);

impl Counters {
    fn of(memfd: impl AsFd) -> Self {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses. The memfd is that long and
        // cannot shrink, nobody unmaps it, and all that is done with the words is atomic.
        let words = unsafe {
            let start = rustix::mm::mmap(
                std::ptr::null_mut(),
                BYTES,
                both,
                MapFlags::SHARED,
                memfd,
                0,
            );
            std::slice::from_raw_parts(start.expect("memory").cast(), BYTES / 4)
        };
        Self(words)
    }

    fn low(&self, counter: usize) -> &AtomicU32 {
        &self.0[2 * counter]
    }

    fn entry(&self, counter: usize) -> Wait {
        let mut entry = Wait::new();
        entry.uaddr = WaitPtr::new(self.low(counter).as_ptr().cast());
        entry.flags = WaitFlags::SIZE_U32;
        entry
    }

    fn raise(&self, counter: usize, value: u32) {
        let word = self.low(counter);
        word.store(value, Ordering::Release);
        futex::wake(word, Flags::empty(), 1).expect("a futex");
    }
}
