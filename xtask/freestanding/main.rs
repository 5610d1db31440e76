//! A program with nothing below it: no std, no C library, no start files. It holds the wire and core
//! crates whole, so it links only while they need nothing either. `cargo xtask test` builds and runs
//! it (xtask/src/test/freestanding.rs).
#![no_std]
#![no_main]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use stile_core as _;
use stile_wire as _;

/// The simplest allocator that there is: it only ever moves on.
struct Bump {
    used: AtomicUsize,
}

const HEAP: usize = 1 << 20;
static mut MEMORY: [u8; HEAP] = [0; HEAP];

// SAFETY: each call hands out bytes of MEMORY that no earlier call handed out, aligned as asked.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = (&raw mut MEMORY).cast::<u8>();
        let size = layout.size() + layout.align();
        let from = self.used.fetch_add(size, Ordering::Relaxed);
        if from + size > HEAP {
            return null_mut();
        }
        let gap = base.wrapping_add(from).align_offset(layout.align());
        base.wrapping_add(from + gap)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Bump = Bump { used: AtomicUsize::new(0) };

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// The one thing that this program asks of the system that the check runs on.
fn exit(status: i32) -> ! {
    // SAFETY: exit_group (231) takes one number and does not come back.
    unsafe { asm!("syscall", in("eax") 231, in("edi") status, options(noreturn)) }
}

// The kernel starts a program with an aligned stack and no return address.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym main);

extern "C" fn main() -> ! {
    let boxed = alloc::boxed::Box::new(42);
    exit(if *boxed == 42 { 0 } else { 1 })
}

// What the compiler itself calls for. On a target without an operating system its own library has
// them; on this one it leaves them to the C library.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.cast_const() <= from || count == 0 {
        // SAFETY: the caller vouches for both ranges; going up is right where the target is below.
        return unsafe { memcpy(to, from, count) };
    }
    let last = count - 1;
    // SAFETY: as above, going down from the last byte.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") count => _,
            inout("rdi") to.wrapping_add(last) => _,
            inout("rsi") from.wrapping_add(last) => _,
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("eax") value);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller vouches for both ranges. Volatile, so that this loop is not made into
        // a call of the function that it is.
        let (l, r) = unsafe {
            (left.wrapping_add(at).read_volatile(), right.wrapping_add(at).read_volatile())
        };
        if l != r {
            return i32::from(l) - i32::from(r);
        }
        at += 1;
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches for a zero at the end.
    while unsafe { text.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

// The core library was built to unwind, and names these; nothing here ever unwinds.

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(102)
}
