//! A process for which the kernel lacks an ioctl: older kernels than those of the tests' machines.

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Where `struct seccomp_data` has the number of the system call.
const NUMBER: u32 = 0;
/// Where it has the lower half of an ioctl's request, its second argument.
const REQUEST: u32 = if cfg!(target_endian = "little") {
    24
} else {
    28
};

/// A seccomp filter that answers one ioctl as a kernel does that does not know it.
pub(crate) struct WithoutIoctl([sock_filter; 6]);

impl WithoutIoctl {
    pub(crate) fn new(request: u32) -> Self {
        let load = BPF_LD | BPF_W | BPF_ABS;
        let equal = BPF_JMP | BPF_JEQ | BPF_K;
        let give = BPF_RET | BPF_K;
        let ioctl = u32::try_from(libc::SYS_ioctl).expect("a number of a system call");
        let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOTTY.unsigned_abs();
        Self([
            step(load, NUMBER, 0),
            step(equal, ioctl, 3),
            step(load, REQUEST, 0),
            step(equal, request, 1),
            step(give, unknown, 0),
            step(give, libc::SECCOMP_RET_ALLOW, 0),
        ])
    }

    /// Takes the ioctl from this thread and all that it starts, for ever. Two system calls and
    /// nothing else: it may stand between fork and exec.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: 6,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the first call takes numbers. The second reads the program, which has as many
        // steps as it says, and does not write to it; both live longer than the call.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    0,
                    &raw const program,
                ) != 0
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// A step of the filter, which skips so many where it compares and finds no match.
fn step(code: u32, value: u32, skipped: u8) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("a code of BPF"),
        jt: 0,
        jf: skipped,
        k: value,
    }
}
