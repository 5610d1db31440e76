//! The one place where an ioctl is issued.
//!
//! [`uapi`](crate::uapi) says what each ioctl is; the wrappers elsewhere say what it means. Here is
//! only the call itself, in three strengths: [`call`] and [`call_for_fd`] are safe, because the
//! traits that they ask for were promised in `uapi`; [`call_with_addresses`] and [`call_at`] are for
//! the few arguments that lead the kernel to further memory.

use core::ffi::c_void;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};

use crate::error::{Error, Result};

/// An ioctl whose argument is the address of one struct.
///
/// # Safety
///
/// - `OPCODE` is the number of `NAME` in the kernel's header, and `Argument` its struct: the same
///   size, the same offsets, no padding that is not a field, valid with any bytes in it.
/// - Unless the request is also [`Plain`], the struct may hold addresses that the kernel follows.
pub(crate) unsafe trait Request {
    /// The struct that the kernel reads, and may write.
    type Argument;
    /// The ioctl's name in the kernel's header.
    const NAME: &'static str;
    /// Its number: direction, size, type, number.
    const OPCODE: Opcode;
    /// Whether `EAGAIN` asks for the same call again, as it does for DRM and `DMA_BUF_IOCTL_SYNC`.
    const RESTART_ON_AGAIN: bool;
}

/// An ioctl that leads the kernel to no memory besides its argument.
///
/// # Safety
///
/// On a descriptor of the kind that the request belongs to, the kernel's handler touches no user
/// memory outside `Argument`.
pub(crate) unsafe trait Plain: Request {}

/// An ioctl that makes a new descriptor.
///
/// # Safety
///
/// After a call that succeeded, `new_fd` gives the descriptor that the kernel has installed for it
/// and for nobody else.
pub(crate) unsafe trait ReturnsFd: Plain {
    /// The new descriptor, from the argument as the kernel left it or from what the call returned.
    fn new_fd(argument: &Self::Argument, returned: IoctlOutput) -> RawFd;
}

/// Issues `R` on `fd`, which must be of the kind that `R` belongs to: the types around it see to
/// that before they hold a descriptor.
pub(crate) fn call<R: Plain>(
    fd: BorrowedFd<'_>,
    argument: &mut R::Argument,
) -> Result<IoctlOutput> {
    // SAFETY: `Plain` promises that the kernel touches `argument` alone, which is borrowed for the
    // whole call.
    unsafe { call_with_addresses::<R>(fd, argument) }
}

/// Issues `R` on `fd` and takes the descriptor that it makes.
pub(crate) fn call_for_fd<R: ReturnsFd>(
    fd: BorrowedFd<'_>,
    argument: &mut R::Argument,
) -> Result<OwnedFd> {
    let returned = call::<R>(fd, argument)?;
    let new = R::new_fd(argument, returned);
    // SAFETY: the call succeeded, so by the promise of `ReturnsFd` the descriptor is open and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Issues `R`, whose argument may hold addresses.
///
/// # Safety
///
/// - Every address in `argument` is null, or points to memory as large as the counts beside it say.
/// - That memory may be read, and written where the ioctl writes, for the whole call, and whatever
///   the kernel writes there is a valid value.
pub(crate) unsafe fn call_with_addresses<R: Request>(
    fd: BorrowedFd<'_>,
    argument: &mut R::Argument,
) -> Result<IoctlOutput> {
    let address: *mut R::Argument = argument;
    // SAFETY: `Request` promises that the struct fits the number, the reference makes it readable
    // and writable, and the caller vouches for what it points to.
    unsafe { call_at::<R>(fd, address.cast()) }
}

/// Issues `R` with an argument at `address`, for arguments that are longer than their struct.
///
/// # Safety
///
/// - `address` is aligned for `R::Argument`, and as much as the kernel reads and writes of it, its
///   trailing array included, stays readable and writable for the whole call.
/// - What it holds satisfies [`call_with_addresses`].
pub(crate) unsafe fn call_at<R: Request>(
    fd: BorrowedFd<'_>,
    address: *mut c_void,
) -> Result<IoctlOutput> {
    loop {
        let raw = Raw {
            opcode: R::OPCODE,
            address,
        };
        // SAFETY: handed on to the caller, whose promises are the ones that the kernel needs.
        match unsafe { rustix::ioctl::ioctl(fd, raw) } {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if R::RESTART_ON_AGAIN => {}
            answer => {
                return answer.map_err(|errno| Error::Ioctl {
                    request: R::NAME,
                    errno,
                });
            }
        }
    }
}

/// The value that an argument holds for the address of `memory`.
pub(crate) fn address_of<T>(memory: &mut [T]) -> u64 {
    // A pointer has at most 64 bits on Linux; zero would be refused by the kernel with EFAULT.
    u64::try_from(memory.as_mut_ptr().expose_provenance()).unwrap_or_default()
}

/// An ioctl for rustix that keeps the plain number that the call returned.
struct Raw {
    opcode: Opcode,
    address: *mut c_void,
}

// SAFETY: `opcode` and `as_ptr` give what they were made with, which the caller of
// `rustix::ioctl::ioctl` vouches for; `IS_MUTATING` is the cautious answer, and the output is not
// read from memory.
unsafe impl Ioctl for Raw {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.address
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(output)
    }
}
