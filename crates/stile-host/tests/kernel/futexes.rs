//! Which memory a counter may stand in, for a futex on its low word.
//!
//! Between processes the kernel knows a futex by the page that its word stands in. What maps a
//! dma-buf tells the kernel of no page.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex::{self, ClockId, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use stile_host::{Errno, Segment, Udmabuf, memfd};

use crate::{LONG, SIZE, buffers};

/// Of a buffer, what is mapped here.
const MAPPED: usize = 4096;

/// How many words a call of futex_waitv(2) takes.
const WORDS: usize = 128;

/// 64-bit counters that are mapped, of which the low words can be waited for.
struct Counters(NonNull<AtomicU32>);

// SAFETY: the words are atomic, and the mapping cares for no thread.
unsafe impl Sync for Counters {}

impl Counters {
    /// At the start of a buffer of [`MAPPED`] bytes or more.
    fn of(buffer: impl AsFd) -> Self {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that nothing else uses.
        let start = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                MAPPED,
                both,
                MapFlags::SHARED,
                buffer,
                0,
            )
        };
        let counters = Self(NonNull::new(start.unwrap().cast()).unwrap());
        // There is memory, whatever the kernel will say.
        counters.low(0).store(7, Ordering::SeqCst);
        assert_eq!(counters.low(0).load(Ordering::SeqCst), 7);
        counters
    }

    fn low(&self, counter: usize) -> &AtomicU32 {
        assert!(counter < MAPPED / 8);
        // SAFETY: so many counters of eight bytes are mapped, from the start of a page, until this
        // value is dropped. All that is done with their words is atomic.
        unsafe { self.0.add(2 * counter).as_ref() }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the mapping any more, which is that long.
        unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), MAPPED) }.unwrap();
    }
}

/// The calls that wait, by name. Without the time until which they wait they come back at once,
/// with `ETIMEDOUT` from a sleep.
type Call = fn(&AtomicU32, u32, bool) -> Result<(), Errno>;
const CALLS: [(&str, Call); 2] = [("FUTEX_WAIT", wait), ("futex_waitv", waitv_of_one)];

fn wait(word: &AtomicU32, value: u32, long: bool) -> Result<(), Errno> {
    let timeout = if long {
        LONG.try_into().unwrap()
    } else {
        Timespec::default()
    };
    futex::wait(word, Flags::empty(), value, Some(&timeout))
}

fn waitv_of_one(word: &AtomicU32, value: u32, long: bool) -> Result<(), Errno> {
    waitv(&[entry(word, value)], long)
}

fn entry(word: &AtomicU32, value: u32) -> Wait {
    let mut entry = Wait::new();
    entry.val = value.into();
    entry.uaddr = WaitPtr::new(word.as_ptr().cast());
    entry.flags = WaitFlags::SIZE_U32;
    entry
}

fn waitv(entries: &[Wait], long: bool) -> Result<(), Errno> {
    let mut end = Timespec::default();
    if long {
        end = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        end.tv_sec += i64::try_from(LONG.as_secs()).unwrap();
    }
    futex::waitv(entries, WaitvFlags::empty(), Some(&end), ClockId::Monotonic)
        .map(|woken| assert_eq!(woken, 0))
}

fn memfd() -> std::os::fd::OwnedFd {
    memfd::create("counters", SIZE).unwrap()
}

#[test]
fn nobody_sleeps_on_a_word_of_a_dma_buf_nor_wakes_another_there() {
    for (source, buffer) in buffers() {
        let counters = Counters::of(&buffer);
        let word = counters.low(0);
        for (name, call) in CALLS {
            for value in [7, 8] {
                let answer = call(word, value, false);
                assert_eq!(answer, Err(Errno::FAULT), "{name}, {source}, {value}");
            }
        }
        let answer = futex::wake(word, Flags::empty(), 1);
        assert_eq!(answer, Err(Errno::FAULT), "{source}");
    }
}

#[test]
fn a_futex_of_one_process_alone_needs_no_page() {
    for (source, buffer) in buffers() {
        let (one, other) = (Counters::of(&buffer), Counters::of(&buffer));
        let wait = |value| {
            let now = Timespec::default();
            futex::wait(one.low(0), Flags::PRIVATE, value, Some(&now))
        };
        assert_eq!(wait(7), Err(Errno::TIMEDOUT), "{source}");
        assert_eq!(wait(8), Err(Errno::AGAIN), "{source}");
        std::thread::scope(|scope| {
            let timeout = LONG.try_into().unwrap();
            let word = one.low(0);
            let sleeper = scope.spawn(move || futex::wait(word, Flags::PRIVATE, 7, Some(&timeout)));
            let wake = |word| futex::wake(word, Flags::PRIVATE, 1).unwrap();
            let mut woken = 0;
            while woken == 0 && !sleeper.is_finished() {
                // It is known by its address, so another mapping of the word is another futex.
                assert_eq!(wake(other.low(0)), 0, "{source}");
                woken = wake(word);
                std::thread::yield_now();
            }
            assert_eq!((woken, sleeper.join().unwrap()), (1, Ok(())), "{source}");
        });
    }
}

#[test]
fn a_word_of_a_memfd_wakes_whoever_sleeps_on_another_mapping_of_it() {
    let memfd = memfd();
    let (one, other) = (Counters::of(&memfd), Counters::of(&memfd));
    for (name, call) in CALLS {
        assert_eq!(call(one.low(0), 7, false), Err(Errno::TIMEDOUT), "{name}");
        assert_eq!(call(one.low(0), 8, false), Err(Errno::AGAIN), "{name}");
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| call(one.low(0), 7, true));
            let mut woken = 0;
            while woken == 0 && !sleeper.is_finished() {
                woken = futex::wake(other.low(0), Flags::empty(), 1).unwrap();
                std::thread::yield_now();
            }
            assert_eq!((woken, sleeper.join().unwrap()), (1, Ok(())), "{name}");
        });
    }
}

#[test]
fn the_same_page_has_a_futex_by_its_memfd_and_none_by_its_udmabuf() {
    let memfd = memfd();
    let segment = Segment {
        memfd: memfd.as_fd(),
        offset: 0,
        len: SIZE,
    };
    let buffer = Udmabuf::open().unwrap().create(&[segment]).unwrap();
    let (by_memfd, by_buffer) = (Counters::of(&memfd), Counters::of(&buffer));
    by_buffer.low(0).store(9, Ordering::SeqCst);
    for (name, call) in CALLS {
        let answer = call(by_memfd.low(0), 9, false);
        assert_eq!(answer, Err(Errno::TIMEDOUT), "{name}");
        let answer = call(by_buffer.low(0), 9, false);
        assert_eq!(answer, Err(Errno::FAULT), "{name}");
    }
}

#[test]
fn one_call_waits_for_no_more_than_128_words() {
    let counters = Counters::of(memfd());
    let entries: Vec<_> = (0..=WORDS)
        .map(|counter| entry(counters.low(counter), if counter == 0 { 7 } else { 0 }))
        .collect();
    assert_eq!(waitv(&entries[..WORDS], false), Err(Errno::TIMEDOUT));
    assert_eq!(waitv(&entries, false), Err(Errno::INVAL));
}
