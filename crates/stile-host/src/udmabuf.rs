//! udmabuf: a dma-buf over the pages of memfds.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::dma_buf::DmaBuf;
use crate::error::{Error, Result};
use crate::ioctl::{call_at, call_for_fd};
use crate::open::open_device;
use crate::uapi::{UDMABUF_CREATE, UDMABUF_CREATE_LIST, UDMABUF_FLAGS_CLOEXEC, UdmabufCreate};

/// The device.
const DEVICE: &str = "/dev/udmabuf";

/// What the kernel allows one udmabuf to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdmabufLimits {
    /// Pieces (`/sys/module/udmabuf/parameters/list_limit`).
    pub segments: u32,
    /// Bytes in all (`/sys/module/udmabuf/parameters/size_limit_mb`).
    pub bytes: u64,
}

impl Default for UdmabufLimits {
    /// The kernel's own: 1024 pieces, 64 MiB.
    fn default() -> Self {
        Self {
            segments: 1024,
            bytes: 64 << 20,
        }
    }
}

impl UdmabufLimits {
    /// Reads the limits of this machine. What cannot be read is taken as the kernel's own.
    #[must_use]
    pub fn read() -> Self {
        Self::read_from(Path::new("/sys/module/udmabuf/parameters"))
    }

    fn read_from(folder: &Path) -> Self {
        let parameter = |name| {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse::<u32>().ok()
        };
        let kernel = Self::default();
        Self {
            segments: parameter("list_limit").unwrap_or(kernel.segments),
            bytes: parameter("size_limit_mb")
                .map_or(kernel.bytes, |mib| u64::from(mib).saturating_mul(1 << 20)),
        }
    }
}

/// One piece of a udmabuf.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'fd> {
    /// The memfd, sealed as [`memfd`](crate::memfd) says.
    pub memfd: BorrowedFd<'fd>,
    /// First byte in the memfd, a multiple of the page size.
    pub offset: u64,
    /// Bytes, a multiple of the page size, not zero.
    pub len: u64,
}

/// Joins each piece with the next where that one follows it in the same memfd (by descriptor
/// number), so that memory that a guest has as scattered pages takes as few pieces as it can. The
/// bytes and their order stay the same.
#[must_use]
pub fn coalesce<'fd>(segments: &[Segment<'fd>]) -> Vec<Segment<'fd>> {
    let mut joined: Vec<Segment<'fd>> = Vec::new();
    for segment in segments {
        if let Some(last) = joined.last_mut()
            && last.memfd.as_raw_fd() == segment.memfd.as_raw_fd()
            && last.offset.checked_add(last.len) == Some(segment.offset)
            && let Some(len) = last.len.checked_add(segment.len)
        {
            last.len = len;
        } else {
            joined.push(*segment);
        }
    }
    joined
}

/// `/dev/udmabuf` (`linux/udmabuf.h`).
#[derive(Debug)]
pub struct Udmabuf {
    device: OwnedFd,
    limits: UdmabufLimits,
}

impl Udmabuf {
    /// Opens the device and reads its limits.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], with what to do about it.
    pub fn open() -> Result<Self> {
        let device = open_device(
            Path::new(DEVICE),
            "Load the module with `modprobe udmabuf` (CONFIG_UDMABUF).",
            "Give this user access to it, for example through the group that owns it.",
        )?;
        Ok(Self {
            device,
            limits: UdmabufLimits::read(),
        })
    }

    /// The limits, as they were when the device was opened.
    #[must_use]
    pub fn limits(&self) -> UdmabufLimits {
        self.limits
    }

    /// Makes a dma-buf of the pieces, one after the other (`UDMABUF_CREATE`, or
    /// `UDMABUF_CREATE_LIST` for more than one piece). Neighbours are [joined](coalesce) first.
    ///
    /// The pages are pinned: they are the memfd's, whatever becomes of its descriptor, and a write
    /// through either is seen through the other. Pages that were never touched are allocated, so
    /// that this takes the longer the larger the buffer is.
    ///
    /// # Errors
    ///
    /// - [`Error::Empty`], [`Error::Misaligned`], [`Error::TooManySegments`], [`Error::TooLarge`]:
    ///   seen before the kernel is asked.
    /// - [`Error::Ioctl`]: `EINVAL` for a memfd without the right seals (ask
    ///   [`seal_for_udmabuf`](crate::memfd::seal_for_udmabuf)) or too short, `EBADFD` for a
    ///   descriptor that is no memfd, `ENOMEM`.
    pub fn create(&self, segments: &[Segment<'_>]) -> Result<DmaBuf> {
        let segments = coalesce(segments);
        self.check(&segments)?;
        let fd = match segments.as_slice() {
            [one] => {
                let mut argument = UdmabufCreate {
                    memfd: one.memfd.as_raw_fd(),
                    flags: UDMABUF_FLAGS_CLOEXEC,
                    offset: one.offset,
                    size: one.len,
                };
                call_for_fd::<UDMABUF_CREATE>(self.device.as_fd(), &mut argument)?
            }
            several => self.create_list(several)?,
        };
        DmaBuf::from_exporter(fd)
    }

    /// Sees that a udmabuf may be this large.
    pub(crate) fn check_len(&self, len: u64) -> Result<()> {
        let limit = self.limits.bytes;
        if len > limit {
            return Err(Error::TooLarge {
                len,
                limit,
                hint: RAISE_SIZE,
            });
        }
        Ok(())
    }

    fn create_list(&self, segments: &[Segment<'_>]) -> Result<OwnedFd> {
        let mut list = list_of(segments)?;
        // SAFETY: `list` holds the header, whose count is that of the items, and after it all the
        // items, aligned to eight bytes; it lives through the call, and the kernel only reads it.
        let returned = unsafe {
            call_at::<UDMABUF_CREATE_LIST>(self.device.as_fd(), list.as_mut_ptr().cast())
        }?;
        // SAFETY: `udmabuf_create()` returns the descriptor of the dma-buf that it has just
        // installed, which nobody else owns.
        Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(returned) })
    }

    /// What the kernel would answer with a bare `EINVAL`.
    fn check(&self, segments: &[Segment<'_>]) -> Result<()> {
        let page = crate::page_size();
        let mut bytes: u64 = 0;
        for Segment { offset, len, .. } in segments {
            for (what, value) in [("udmabuf's offset", *offset), ("udmabuf's length", *len)] {
                if !value.is_multiple_of(page) {
                    return Err(Error::Misaligned {
                        what,
                        value,
                        unit: page,
                    });
                }
            }
            bytes = bytes.saturating_add(*len);
        }
        if bytes == 0 {
            return Err(Error::Empty);
        }
        self.check_len(bytes)?;
        match u32::try_from(segments.len()) {
            Ok(count) if count <= self.limits.segments => Ok(()),
            _ => Err(Error::TooManySegments {
                count: segments.len(),
                limit: self.limits.segments,
            }),
        }
    }
}

/// What to do about a udmabuf that is too large.
const RAISE_SIZE: &str = "Raise /sys/module/udmabuf/parameters/size_limit_mb.";

/// `struct udmabuf_create_list` and its items, in words of eight bytes.
fn list_of(segments: &[Segment<'_>]) -> Result<Vec<u64>> {
    let too_many = |_| Error::TooManySegments {
        count: segments.len(),
        limit: u32::MAX,
    };
    let count = u32::try_from(segments.len()).map_err(too_many)?;
    let mut words = vec![pair(
        UDMABUF_FLAGS_CLOEXEC.to_ne_bytes(),
        count.to_ne_bytes(),
    )];
    for Segment { memfd, offset, len } in segments {
        words.extend([pair(memfd.as_raw_fd().to_ne_bytes(), [0; 4]), *offset, *len]);
    }
    Ok(words)
}

/// Two fields of 32 bits, in the order in which they stand in memory.
fn pair(first: [u8; 4], second: [u8; 4]) -> u64 {
    let [a, b, c, d] = first;
    let [e, f, g, h] = second;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unopened(limits: UdmabufLimits) -> Udmabuf {
        Udmabuf {
            device: crate::memfd::create("no device", 4096).unwrap(),
            limits,
        }
    }

    #[test]
    fn missing_parameters_are_the_kernels_own() {
        let limits = UdmabufLimits::read_from(Path::new("/nowhere"));
        assert_eq!(
            limits,
            UdmabufLimits {
                segments: 1024,
                bytes: 67_108_864
            }
        );
    }

    #[test]
    fn what_the_kernel_would_refuse_is_said_in_words() {
        let limits = UdmabufLimits {
            segments: 2,
            bytes: 16384,
        };
        let device = unopened(limits);
        let memfd = crate::memfd::create("test", 1 << 20).unwrap();
        let piece = |offset, len| Segment {
            memfd: memfd.as_fd(),
            offset,
            len,
        };
        let refused = |segments: &[Segment<'_>]| device.create(segments).unwrap_err();

        assert_eq!(refused(&[]), Error::Empty);
        assert_eq!(refused(&[piece(0, 0)]), Error::Empty);
        assert!(matches!(
            refused(&[piece(1, 4096)]),
            Error::Misaligned { value: 1, .. }
        ));
        assert!(matches!(
            refused(&[piece(0, 4097)]),
            Error::Misaligned { value: 4097, .. }
        ));
        assert!(matches!(
            refused(&[piece(0, 20480)]),
            Error::TooLarge {
                len: 20480,
                limit: 16384,
                ..
            }
        ));
        assert!(matches!(
            refused(&[piece(0, 4096), piece(8192, 4096), piece(16384, 4096)]),
            Error::TooManySegments { count: 3, limit: 2 }
        ));
        // Neighbours count as one; the kernel is asked, and a memfd is no udmabuf device.
        assert!(matches!(
            refused(&[piece(0, 4096), piece(4096, 4096), piece(8192, 4096)]),
            Error::Ioctl {
                request: "UDMABUF_CREATE",
                errno: crate::Errno::NOTTY
            }
        ));
        let huge = u64::MAX - 4095;
        assert!(matches!(
            refused(&[piece(0, huge), piece(0, huge)]),
            Error::TooLarge { .. }
        ));
    }

    #[test]
    fn a_list_stands_in_memory_as_the_header_has_it() {
        let memfd = crate::memfd::create("test", 4096).unwrap();
        let segments = [Segment {
            memfd: memfd.as_fd(),
            offset: 0x1000,
            len: 0x2000,
        }; 2];
        let bytes: Vec<u8> = list_of(&segments)
            .unwrap()
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        assert_eq!(bytes.len(), 8 + 2 * 24);
        assert_eq!(bytes[0..4], 1_u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 2_u32.to_ne_bytes());
        for item in [&bytes[8..32], &bytes[32..56]] {
            assert_eq!(item[0..4], memfd.as_raw_fd().to_ne_bytes());
            assert_eq!(item[4..8], [0; 4]);
            assert_eq!(item[8..16], 0x1000_u64.to_ne_bytes());
            assert_eq!(item[16..24], 0x2000_u64.to_ne_bytes());
        }
    }

    proptest! {
        #[test]
        fn joining_keeps_every_page_in_its_place(
            pieces in prop::collection::vec((0..2_usize, 0..8_u64, 0..4_u64), 0..24)
        ) {
            let files = [
                crate::memfd::create("a", 4096).unwrap(),
                crate::memfd::create("b", 4096).unwrap(),
            ];
            let segments: Vec<_> = pieces
                .iter()
                .map(|(file, page, pages)| Segment {
                    memfd: files[*file].as_fd(),
                    offset: page * 4096,
                    len: pages * 4096,
                })
                .collect();
            let pages = |segments: &[Segment<'_>]| -> Vec<(i32, u64)> {
                segments
                    .iter()
                    .flat_map(|s| (s.offset..s.offset + s.len).step_by(4096).map(|at| (s.memfd.as_raw_fd(), at)))
                    .collect()
            };
            let joined = coalesce(&segments);
            prop_assert_eq!(pages(&joined), pages(&segments));
            for two in joined.windows(2) {
                let next = two[0].offset + two[0].len;
                prop_assert!(
                    two[0].memfd.as_raw_fd() != two[1].memfd.as_raw_fd() || next != two[1].offset
                );
            }
        }
    }
}
