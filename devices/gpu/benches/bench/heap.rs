//! Counts the memory that this process has from its allocator: what was asked for, rounded up as
//! glibc does it, with the 8 bytes that it keeps for itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// glibc's own part of an allocation.
const HEADER_BYTES: usize = 8;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
pub(crate) struct Counting;

/// Bytes that are allocated now.
pub(crate) fn live() -> f64 {
    LIVE.load(Ordering::Relaxed) as f64
}

/// # Safety
/// - `block` is null or a block of the system's allocator that is allocated.
unsafe fn bytes_of(block: *mut u8) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller says that it is allocated.
    unsafe { libc::malloc_usable_size(block.cast()) + HEADER_BYTES }
}

// SAFETY: everything is the system's allocator's; what is counted has no effect on it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`, and the block is fresh.
        unsafe {
            let block = System.alloc(layout);
            LIVE.fetch_add(bytes_of(block), Ordering::Relaxed);
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`: the block is allocated.
        unsafe {
            LIVE.fetch_sub(bytes_of(block), Ordering::Relaxed);
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `realloc`: the block is allocated, and after
        // it, the new one is, if there is one, and else still the old one.
        unsafe {
            let before = bytes_of(block);
            let new = System.realloc(block, layout, size);
            if !new.is_null() {
                LIVE.fetch_sub(before, Ordering::Relaxed);
                LIVE.fetch_add(bytes_of(new), Ordering::Relaxed);
            }
            new
        }
    }
}
