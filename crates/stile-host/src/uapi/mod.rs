//! The kernel's own structs and ioctl numbers, as its headers have them.
//!
//! Names are the headers'. Every layout is checked when the crate is compiled, every number by the
//! tests below.

mod dma_buf;
mod drm;
#[cfg(test)]
mod spec;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the wire's tests")]
#[path = "../../../stile-wire/tests/spec_table/mod.rs"]
mod spec_table;
mod sync_file;
mod syncobj;
mod udmabuf;
mod vgem;

pub(crate) use dma_buf::*;
pub(crate) use drm::*;
pub(crate) use sync_file::*;
pub(crate) use syncobj::*;
pub(crate) use udmabuf::*;
pub(crate) use vgem::*;

/// Compiles only if the struct has this size and these offsets, in bytes, and nothing between its
/// fields.
macro_rules! layout {
    ($type:ty, $size:literal: $($field:ident @ $offset:literal),+ $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)+
        };
    };
}

/// A table of ioctls: `NAME = direction(type, number, argument), kind;`
///
/// - `plain`: the kernel touches the argument alone; `addresses`: it follows addresses in it.
/// - `again`: `EAGAIN` restarts the call.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $direction:ident($group:literal, $number:literal, $argument:ty),
       $kind:ident $($again:ident)?;)+) => {
        $(
            $(#[$doc])*
            #[allow(non_camel_case_types, reason = "the header's own name")]
            pub(crate) enum $name {}

            // SAFETY: each line of the table repeats the header's line, the struct's layout is
            // asserted beside it, and the number is compared with the kernel's in `tests`.
            unsafe impl crate::ioctl::Request for $name {
                type Argument = $argument;
                const NAME: &'static str = stringify!($name);
                const OPCODE: rustix::ioctl::Opcode =
                    rustix::ioctl::opcode::$direction::<$argument>($group, $number);
                const RESTART_ON_AGAIN: bool = requests!(@again $($again)?);
            }

            requests!(@$kind $name);
        )+
    };
    (@again) => { false };
    (@again again) => { true };
    (@plain $name:ident) => {
        // SAFETY: the struct of a line marked `plain` holds numbers, handles and descriptors only,
        // and its handler copies exactly the struct in and out.
        unsafe impl crate::ioctl::Plain for $name {}
    };
    (@addresses $name:ident) => {};
}

use {layout, requests};

#[cfg(test)]
mod tests {
    use rustix::ioctl::Opcode;

    use super::*;
    use crate::ioctl::Request;

    /// `_IOC` of `asm-generic/ioctl.h`, by hand.
    fn ioc(direction: u32, group: u8, number: u32, size: usize) -> u64 {
        u64::from(
            direction << 30 | u32::try_from(size).unwrap() << 16 | u32::from(group) << 8 | number,
        )
    }

    fn check<R: Request>(expected: u64, direction: u32, group: u8, number: u32) {
        let opcode: Opcode = R::OPCODE;
        assert_eq!(u64::from(opcode), expected, "{}", R::NAME);
        let size = core::mem::size_of::<R::Argument>();
        assert_eq!(ioc(direction, group, number, size), expected, "{}", R::NAME);
    }

    const WRITE: u32 = 1;
    const READ_WRITE: u32 = 3;

    #[test]
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))]
    fn every_number_is_the_kernels() {
        check::<DMA_BUF_IOCTL_SYNC>(0x4008_6200, WRITE, b'b', 0);
        check::<DMA_BUF_IOCTL_EXPORT_SYNC_FILE>(0xC008_6202, READ_WRITE, b'b', 2);
        check::<DMA_BUF_IOCTL_IMPORT_SYNC_FILE>(0x4008_6203, WRITE, b'b', 3);
        check::<SYNC_IOC_MERGE>(0xC030_3E03, READ_WRITE, b'>', 3);
        check::<SYNC_IOC_FILE_INFO>(0xC038_3E04, READ_WRITE, b'>', 4);
        check::<SYNC_IOC_SET_DEADLINE>(0x4010_3E05, WRITE, b'>', 5);
        check::<UDMABUF_CREATE>(0x4018_7542, WRITE, b'u', 0x42);
        check::<UDMABUF_CREATE_LIST>(0x4008_7543, WRITE, b'u', 0x43);
        check::<DMA_HEAP_IOCTL_ALLOC>(0xC018_4800, READ_WRITE, b'H', 0);
        check::<DRM_IOCTL_GEM_CLOSE>(0x4008_6409, WRITE, b'd', 0x09);
        check::<DRM_IOCTL_GET_CAP>(0xC010_640C, READ_WRITE, b'd', 0x0C);
        check::<DRM_IOCTL_PRIME_HANDLE_TO_FD>(0xC00C_642D, READ_WRITE, b'd', 0x2D);
        check::<DRM_IOCTL_PRIME_FD_TO_HANDLE>(0xC00C_642E, READ_WRITE, b'd', 0x2E);
        check::<DRM_IOCTL_MODE_CREATE_DUMB>(0xC020_64B2, READ_WRITE, b'd', 0xB2);
        check::<DRM_IOCTL_VGEM_FENCE_ATTACH>(0xC010_6441, READ_WRITE, b'd', 0x41);
        check::<DRM_IOCTL_VGEM_FENCE_SIGNAL>(0x4008_6442, WRITE, b'd', 0x42);
        check::<DRM_IOCTL_SYNCOBJ_CREATE>(0xC008_64BF, READ_WRITE, b'd', 0xBF);
        check::<DRM_IOCTL_SYNCOBJ_DESTROY>(0xC008_64C0, READ_WRITE, b'd', 0xC0);
        check::<DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD>(0xC018_64C1, READ_WRITE, b'd', 0xC1);
        check::<DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE>(0xC018_64C2, READ_WRITE, b'd', 0xC2);
        check::<DRM_IOCTL_SYNCOBJ_RESET>(0xC010_64C4, READ_WRITE, b'd', 0xC4);
        check::<DRM_IOCTL_SYNCOBJ_SIGNAL>(0xC010_64C5, READ_WRITE, b'd', 0xC5);
        check::<DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT>(0xC028_64CA, READ_WRITE, b'd', 0xCA);
        check::<DRM_IOCTL_SYNCOBJ_QUERY>(0xC018_64CB, READ_WRITE, b'd', 0xCB);
        check::<DRM_IOCTL_SYNCOBJ_TRANSFER>(0xC020_64CC, READ_WRITE, b'd', 0xCC);
        check::<DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL>(0xC018_64CD, READ_WRITE, b'd', 0xCD);
        check::<DRM_IOCTL_SYNCOBJ_EVENTFD>(0xC018_64CF, READ_WRITE, b'd', 0xCF);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_number_of_version_fits_a_64_bit_machine() {
        check::<DRM_IOCTL_VERSION>(0xC040_6400, READ_WRITE, b'd', 0x00);
    }
}
