//! Telling descriptors apart.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, FdFlags};
use stile_host::{Access, DmaBuf, Error, SyncFile, is_dma_buf};

use crate::{buffer, buffers, gpu};

#[test]
fn every_source_makes_dma_bufs() {
    for (source, buffer) in buffers() {
        assert_eq!(is_dma_buf(&buffer), Ok(true), "{source}");
        buffer.check_sync_files().unwrap();
        let size = buffer.size();
        let again = DmaBuf::from_fd(OwnedFd::from(buffer)).unwrap();
        assert_eq!(again.size(), size);
    }
}

#[test]
fn a_sync_file_is_no_dma_buf_and_the_other_way_round() {
    let buffer = buffer();
    let sync_file = buffer.export_sync_file(Access::READ).unwrap();
    assert_eq!(is_dma_buf(&sync_file), Ok(false));
    let sync_file = SyncFile::from_fd(OwnedFd::from(sync_file)).unwrap();
    let error = DmaBuf::from_fd(OwnedFd::from(sync_file)).unwrap_err();
    assert_eq!(error, Error::NotADmaBuf);
    let error = SyncFile::from_fd(OwnedFd::from(buffer)).unwrap_err();
    assert_eq!(error, Error::NotASyncFile);
}

#[test]
fn the_kernel_answers_enotty_where_there_is_no_dma_buf() {
    const EXPORT: u32 = 0xC008_6202;
    let memfd = stile_host::memfd::create("test", 4096).unwrap();
    let export = |fd: &dyn AsFd| {
        let mut argument = [0_u32; 2];
        // SAFETY: the argument has the eight bytes that the number says, and holds no address.
        unsafe {
            let call = rustix::ioctl::Updater::<EXPORT, _>::new(&mut argument);
            rustix::ioctl::ioctl(fd.as_fd(), call)
        }
    };
    assert_eq!(export(&memfd), Err(Errno::NOTTY));
    assert_eq!(export(&buffer()), Err(Errno::INVAL));
}

#[test]
fn every_descriptor_is_close_on_exec() {
    let gpu = gpu();
    let closes = |fd: &dyn AsFd| {
        let flags = rustix::io::fcntl_getfd(fd.as_fd()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
    };
    for (_, buffer) in buffers() {
        closes(&buffer);
        closes(&buffer.try_clone().unwrap());
        closes(&buffer.export_sync_file(Access::READ).unwrap());
        let fence = gpu.attach(&buffer, Access::READ).unwrap();
        closes(fence.sync_file());
        closes(&fence.sync_file().try_clone().unwrap());
        closes(&fence.sync_file().merge(fence.sync_file(), "twice").unwrap());
    }
    let node = stile_host::SyncobjNode::find().unwrap();
    let syncobj = node.create(true).unwrap();
    closes(&syncobj.export_fd().unwrap());
    closes(&syncobj.export_sync_file(0).unwrap());
}
