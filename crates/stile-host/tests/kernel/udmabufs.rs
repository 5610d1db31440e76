//! udmabuf: memfds as dma-bufs.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, SealFlags};
use stile_host::{Errno, Error, Segment, Udmabuf, memfd};

use crate::assert_errno;

const PAGE: u64 = 4096;

#[test]
fn pieces_stand_in_the_order_in_which_they_are_given() {
    let (one, other) = (
        memfd::create("one", 8 * PAGE).unwrap(),
        memfd::create("other", PAGE).unwrap(),
    );
    let mut file = std::fs::File::from(one);
    for page in 0..8_u8 {
        file.write_all(&[page; 4096]).unwrap();
    }
    std::fs::File::from(other.try_clone().unwrap())
        .write_all(&[0xAA; 4096])
        .unwrap();
    let piece = |fd, page, pages| Segment {
        memfd: fd,
        offset: page * PAGE,
        len: pages * PAGE,
    };
    let (one, other) = (file.as_fd(), other.as_fd());

    let buffer = Udmabuf::open()
        .unwrap()
        .create(&[
            piece(one, 5, 2),
            piece(other, 0, 1),
            piece(one, 0, 1),
            piece(one, 1, 1),
        ])
        .unwrap();
    assert_eq!(buffer.size(), 5 * PAGE);
    let mapping = buffer.map(0..5 * PAGE).unwrap();
    for (page, expected) in [5_u8, 6, 0xAA, 0, 1].into_iter().enumerate() {
        let mut bytes = [0; 4096];
        mapping.read(page * 4096, &mut bytes).unwrap();
        assert_eq!(bytes, [expected; 4096], "page {page}");
    }
}

#[test]
fn the_memory_is_the_memfds() {
    let mut file = std::fs::File::from(memfd::create("test", 4 * PAGE).unwrap());
    let segment = Segment {
        memfd: file.as_fd(),
        offset: PAGE,
        len: 2 * PAGE,
    };
    let buffer = Udmabuf::open().unwrap().create(&[segment]).unwrap();
    let mapping = buffer.map(0..2 * PAGE).unwrap();
    mapping.write(7, b"from the buffer").unwrap();
    let mut bytes = [0; 15];
    file.seek(SeekFrom::Start(PAGE + 7)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"from the buffer");
    file.seek(SeekFrom::Start(2 * PAGE)).unwrap();
    file.write_all(b"from the memfd!").unwrap();
    mapping.read(4096, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the memfd!");
    drop(file);
    mapping.read(7, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the buffer");
}

#[test]
fn more_pieces_than_the_limit_are_taken_if_they_are_neighbours() {
    let device = Udmabuf::open().unwrap();
    let pages = u64::from(device.limits().segments) + 100;
    let memfd = memfd::create("test", 2 * pages * PAGE).unwrap();
    let piece = |page| Segment {
        memfd: memfd.as_fd(),
        offset: page * PAGE,
        len: PAGE,
    };
    let neighbours: Vec<_> = (0..pages).map(piece).collect();
    assert_eq!(device.create(&neighbours).unwrap().size(), pages * PAGE);
    let scattered: Vec<_> = (0..pages).map(|page| piece(2 * page)).collect();
    let error = device.create(&scattered).unwrap_err();
    assert!(matches!(error, Error::TooManySegments { .. }), "{error}");
    let limit = usize::try_from(device.limits().segments).unwrap();
    let buffer = device.create(&scattered[..limit]).unwrap();
    assert_eq!(buffer.size(), u64::from(device.limits().segments) * PAGE);
}

#[test]
fn the_largest_buffer_is_as_large_as_the_limits_say() {
    let device = Udmabuf::open().unwrap();
    let limit = device.limits().bytes;
    // Newer kernels have as good as no limit, and then no machine has so much memory.
    let large = limit.min(64 << 20);
    let memfd = memfd::create("test", large).unwrap();
    let piece = |len| Segment {
        memfd: memfd.as_fd(),
        offset: 0,
        len,
    };
    assert_eq!(device.create(&[piece(large)]).unwrap().size(), large);
    let error = device.create(&[piece(limit + PAGE)]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[test]
fn the_kernel_wants_the_seals_that_we_look_for() {
    let device = Udmabuf::open().unwrap();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::fs::ftruncate(&memfd, PAGE).unwrap();
    let create = || {
        device.create(&[Segment {
            memfd: memfd.as_fd(),
            offset: 0,
            len: PAGE,
        }])
    };
    assert_errno(create(), Errno::INVAL);
    assert_eq!(memfd::seal_for_udmabuf(&memfd), Ok(true));
    create().unwrap();
    for seal in [SealFlags::FUTURE_WRITE, SealFlags::WRITE] {
        rustix::fs::fcntl_add_seals(&memfd, seal).unwrap();
        let sealed = memfd::seal_for_udmabuf(&memfd);
        assert!(matches!(sealed, Err(Error::WriteSealed { .. })), "{seal:?}");
        assert_errno(create(), Errno::INVAL);
    }
}

#[test]
fn a_piece_outside_the_memfd_is_refused() {
    let memfd = memfd::create("test", PAGE).unwrap();
    let segment = Segment {
        memfd: memfd.as_fd(),
        offset: 0,
        len: 2 * PAGE,
    };
    assert_errno(Udmabuf::open().unwrap().create(&[segment]), Errno::INVAL);
}

#[test]
fn a_descriptor_that_is_no_memfd_is_refused() {
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let segment = Segment {
        memfd: file.as_fd(),
        offset: 0,
        len: PAGE,
    };
    assert_errno(Udmabuf::open().unwrap().create(&[segment]), Errno::BADFD);
}
