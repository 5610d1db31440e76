//! Mapped memory that others read and write at the same time.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::mm::{MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// A shared mapping of a buffer, for reading and writing, until it is dropped.
///
/// A device, another process or a guest may change the bytes at any time, so that there is never a
/// reference to them: [`read`](Self::read) and [`write`](Self::write) copy. Each aligned group of
/// eight bytes is copied as one, whatever the others do; there is no order between the groups, nor
/// between copies. Order comes from [`load_u64`](Self::load_u64) and [`store_u64`](Self::store_u64).
///
/// It may go to another thread, but not be used by two: accesses of different sizes may not race
/// inside one program. A thread that needs its own maps the buffer again.
#[derive(Debug)]
pub struct Mapping {
    /// The first byte of the part that is offered, at the start of a page.
    base: NonNull<u8>,
    /// Its length.
    len: usize,
    /// What mmap(2) gave, from the buffer's first byte to the part's last.
    whole: NonNull<u8>,
    /// The length of that.
    whole_len: usize,
}

// SAFETY: the mapping belongs to this value alone, and neither mapping nor unmapping cares for the
// thread. (It is not `Sync`: `NonNull` sees to that, and the documentation says why.)
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `range` of the buffer behind `fd`, which is `size` bytes long and cannot shrink.
    ///
    /// What stands before the range is mapped with it: vgem's buffers (Linux 6.12 and 7.2), and by
    /// its source all of the kernel's helper for GEM buffers in shared memory, do not look at mmap's
    /// offset and give the buffer's start whatever it says.
    pub(crate) fn new(fd: BorrowedFd<'_>, range: Range<u64>, size: u64) -> Result<Self> {
        let Range { start, end } = range;
        let bytes = end.saturating_sub(start);
        if bytes == 0 {
            return Err(Error::Empty);
        }
        if end > size {
            return Err(Error::OutOfBounds {
                offset: start,
                len: bytes,
                size,
            });
        }
        let page = crate::page_size();
        if !start.is_multiple_of(page) {
            return Err(Error::Misaligned {
                what: "mapping's offset",
                value: start,
                unit: page,
            });
        }
        let outside = |_| Error::OutOfBounds {
            offset: start,
            len: bytes,
            size,
        };
        let len = usize::try_from(bytes).map_err(outside)?;
        let whole_len = usize::try_from(end).map_err(outside)?;
        let skipped = usize::try_from(start).map_err(outside)?;
        // SAFETY: the kernel chooses an address that nothing else uses, so no memory that Rust
        // knows changes its meaning.
        let whole = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                whole_len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }
        .map_err(Error::syscall("mmap"))?;
        let whole = NonNull::new(whole.cast::<u8>()).ok_or(Error::Syscall {
            call: "mmap",
            errno: rustix::io::Errno::FAULT,
        })?;
        Ok(Self {
            // SAFETY: the range starts before its end, which is the mapping's.
            base: unsafe { whole.add(skipped) },
            len,
            whole,
            whole_len,
        })
    }

    /// Length in bytes, never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies bytes out, from `offset` bytes after the mapping's start.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], and nothing is copied.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let mut at = self.at(offset, to.len())?;
        let (head, rest) = to.split_at_mut(head_of(at, to.len()));
        let (words, tail) = rest.as_chunks_mut::<8>();
        // SAFETY: `at()` has found as many bytes mapped as `to` is long, and head, words and tail
        // together are that long; the words start where the head ends, at a multiple of eight.
        unsafe {
            head.iter_mut().for_each(|byte| *byte = load_byte(&mut at));
            words.iter_mut().for_each(|word| *word = load_word(&mut at));
            tail.iter_mut().for_each(|byte| *byte = load_byte(&mut at));
        }
        Ok(())
    }

    /// Copies bytes in, to `offset` bytes after the mapping's start.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], and nothing is copied.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        let mut at = self.at(offset, from.len())?;
        let (head, rest) = from.split_at(head_of(at, from.len()));
        let (words, tail) = rest.as_chunks::<8>();
        // SAFETY: as in `read`.
        unsafe {
            head.iter().for_each(|byte| store_byte(&mut at, *byte));
            words.iter().for_each(|word| store_word(&mut at, *word));
            tail.iter().for_each(|byte| store_byte(&mut at, *byte));
        }
        Ok(())
    }
}

/// One word, with the order that goes with it: what the other side wrote before it stored the word
/// is seen after loading it, and the other way round. Words are in the machine's byte order.
impl Mapping {
    /// Loads 32 bits (acquire) at `offset`, a multiple of 4.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn load_u32(&self, offset: usize) -> Result<u32> {
        // SAFETY: `word` has checked that four bytes at a multiple of four are mapped, which lasts
        // as long as `self`; all access in this program is atomic.
        let word = unsafe { AtomicU32::from_ptr(self.word(offset, 4)?.cast().as_ptr()) };
        Ok(word.load(Ordering::Acquire))
    }

    /// Stores 32 bits (release) at `offset`, a multiple of 4.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn store_u32(&self, offset: usize, value: u32) -> Result<()> {
        // SAFETY: as in `load_u32`.
        let word = unsafe { AtomicU32::from_ptr(self.word(offset, 4)?.cast().as_ptr()) };
        word.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads 64 bits (acquire) at `offset`, a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn load_u64(&self, offset: usize) -> Result<u64> {
        // SAFETY: `word` has checked that eight bytes at a multiple of eight are mapped, which
        // lasts as long as `self`; all access in this program is atomic.
        let word = unsafe { AtomicU64::from_ptr(self.word(offset, 8)?.cast().as_ptr()) };
        Ok(word.load(Ordering::Acquire))
    }

    /// Stores 64 bits (release) at `offset`, a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`].
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<()> {
        // SAFETY: as in `load_u64`.
        let word = unsafe { AtomicU64::from_ptr(self.word(offset, 8)?.cast().as_ptr()) };
        word.store(value, Ordering::Release);
        Ok(())
    }

    /// Raises 64 bits at `offset`, a multiple of 8, to `value` if they are below, and gives what they
    /// were before. It is one step: what another program, a guest or a device stores at the same
    /// time comes before or after, and is not lost between.
    ///
    /// Numbers are **little-endian**, as everybody else who counts in a buffer has them.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`], [`Error::Misaligned`]; [`Error::Contended`] where others keep
    /// changing the word, so that whoever must not wait does not.
    pub fn raise_u64(&self, offset: usize, value: u64) -> Result<u64> {
        // SAFETY: as in `load_u64`.
        let word = unsafe { AtomicU64::from_ptr(self.word(offset, 8)?.cast().as_ptr()) };
        raise_u64(word, value)
    }

    /// Where a word of `size` bytes stands. The base is the start of a page, so that a multiple of
    /// `size` after it is aligned.
    fn word(&self, offset: usize, size: usize) -> Result<NonNull<u8>> {
        if !offset.is_multiple_of(size) {
            return Err(Error::Misaligned {
                what: "word's offset",
                value: wide(offset),
                unit: wide(size),
            });
        }
        self.at(offset, size)
    }

    /// Where `len` bytes stand, all of which are mapped.
    fn at(&self, offset: usize, len: usize) -> Result<NonNull<u8>> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => {
                // SAFETY: the offset is inside the mapping, or its end.
                Ok(unsafe { self.base.add(offset) })
            }
            _ => Err(Error::OutOfBounds {
                offset: wide(offset),
                len: wide(len),
                size: wide(self.len),
            }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those that mmap(2) gave, and as this value owns the mapping
        // and lends no reference to it, nothing points there any more.
        let unmapped = unsafe { rustix::mm::munmap(self.whole.as_ptr().cast(), self.whole_len) };
        debug_assert!(unmapped.is_ok(), "munmap of an own mapping cannot fail");
    }
}

/// How often [`raise_u64`] tries. A word that others change so often between two instructions is not
/// being counted with.
const TRIES: u32 = 1_000;

/// Raises a little-endian word to `value` if it is below, and gives what it was before. See
/// [`Mapping::raise_u64`].
///
/// # Errors
///
/// [`Error::Contended`].
pub fn raise_u64(word: &AtomicU64, value: u64) -> Result<u64> {
    let mut seen = word.load(Ordering::Acquire);
    for _ in 0..TRIES {
        let before = u64::from_le(seen);
        if before >= value {
            return Ok(before);
        }
        let raised = value.to_le();
        match word.compare_exchange(seen, raised, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(before),
            Err(now) => seen = now,
        }
    }
    Err(Error::Contended)
}

/// How many of `len` bytes stand before the next multiple of eight.
fn head_of(at: NonNull<u8>, len: usize) -> usize {
    at.align_offset(8).min(len)
}

/// Loads one byte and moves on.
///
/// # Safety
///
/// The byte at `at` is mapped, and this program accesses it atomically only.
unsafe fn load_byte(at: &mut NonNull<u8>) -> u8 {
    // SAFETY: the caller promises it; a byte is always aligned.
    let byte = unsafe { AtomicU8::from_ptr(at.as_ptr()) };
    // SAFETY: just after the byte is at most the mapping's end.
    *at = unsafe { at.add(1) };
    byte.load(Ordering::Relaxed)
}

/// Loads eight bytes as one and moves on.
///
/// # Safety
///
/// As [`load_byte`], for eight bytes, and `at` is a multiple of eight.
unsafe fn load_word(at: &mut NonNull<u8>) -> [u8; 8] {
    // SAFETY: the caller promises it.
    let word = unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) };
    // SAFETY: just after the word is at most the mapping's end.
    *at = unsafe { at.add(8) };
    word.load(Ordering::Relaxed).to_ne_bytes()
}

/// Stores one byte and moves on.
///
/// # Safety
///
/// As [`load_byte`].
unsafe fn store_byte(at: &mut NonNull<u8>, byte: u8) {
    // SAFETY: the caller promises it; a byte is always aligned.
    let to = unsafe { AtomicU8::from_ptr(at.as_ptr()) };
    // SAFETY: just after the byte is at most the mapping's end.
    *at = unsafe { at.add(1) };
    to.store(byte, Ordering::Relaxed);
}

/// Stores eight bytes as one and moves on.
///
/// # Safety
///
/// As [`load_word`].
unsafe fn store_word(at: &mut NonNull<u8>, word: [u8; 8]) {
    // SAFETY: the caller promises it.
    let to = unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) };
    // SAFETY: just after the word is at most the mapping's end.
    *at = unsafe { at.add(8) };
    to.store(u64::from_ne_bytes(word), Ordering::Relaxed);
}

/// Pointers have at most 64 bits on Linux.
fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_raised_and_never_lowered() {
        let word = AtomicU64::new(5_u64.to_le());
        assert_eq!(raise_u64(&word, 4), Ok(5));
        assert_eq!(raise_u64(&word, 5), Ok(5));
        assert_eq!(word.load(Ordering::Relaxed), 5_u64.to_le());
        assert_eq!(raise_u64(&word, u64::MAX), Ok(5));
        assert_eq!(raise_u64(&word, 0), Ok(u64::MAX));
        assert_eq!(word.load(Ordering::Relaxed), u64::MAX);
    }

    #[test]
    fn those_who_raise_a_word_together_raise_it_to_the_highest() {
        let word = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let word = &word;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let value = round * 4 + thread;
                        raise_u64(word, value).unwrap();
                        assert!(u64::from_le(word.load(Ordering::Relaxed)) >= value);
                    }
                });
            }
        });
        assert_eq!(u64::from_le(word.load(Ordering::Relaxed)), 20_000 * 4 - 1);
    }

    #[test]
    fn words_start_at_a_multiple_of_eight() {
        let memory = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        let base = NonNull::from(&memory).cast::<u8>();
        for start in 0..8 {
            // SAFETY: the memory has 24 bytes.
            let at = unsafe { base.add(start) };
            assert_eq!((start + head_of(at, 16)) % 8, 0);
            for len in 0..8 {
                assert!(head_of(at, len) <= len);
            }
        }
    }
}
