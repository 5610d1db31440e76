//! `DMA_BUF_IOCTL_SYNC`: the one call that blocks.

use std::sync::mpsc;
use std::time::Duration;

use stile_host::{Access, Errno};

use crate::{LONG, assert_errno, buffer, buffers, gpu};

#[test]
fn an_idle_buffer_is_accessed_at_once() {
    for (_, buffer) in buffers() {
        for access in [Access::READ, Access::WRITE, Access::all()] {
            buffer.sync_begin(access).unwrap();
            buffer.sync_end(access).unwrap();
        }
    }
}

#[test]
fn beginning_waits_for_the_fences_and_ending_does_not() {
    let (gpu, buffer) = (gpu(), buffer());
    buffer.sync_begin(Access::READ).unwrap();
    let fence = gpu.attach(&buffer, Access::WRITE).unwrap();
    buffer.sync_end(Access::READ).unwrap();

    std::thread::scope(|scope| {
        let (begun, wait) = mpsc::channel();
        let buffer = &buffer;
        scope.spawn(move || {
            buffer.sync_begin(Access::READ).unwrap();
            begun.send(()).unwrap();
            buffer.sync_end(Access::READ).unwrap();
        });
        let early = wait.recv_timeout(Duration::from_millis(200));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        fence.signal().unwrap();
        wait.recv_timeout(LONG).unwrap();
    });
}

#[test]
fn reading_does_not_wait_for_readers() {
    let (gpu, buffer) = (gpu(), buffer());
    let _reader = gpu.attach(&buffer, Access::READ).unwrap();
    buffer.sync_begin(Access::READ).unwrap();
    buffer.sync_end(Access::READ).unwrap();
}

#[test]
fn flags_that_do_not_exist_are_refused() {
    assert_errno(
        buffer().sync_begin(Access::from_bits_retain(8)),
        Errno::INVAL,
    );
}
