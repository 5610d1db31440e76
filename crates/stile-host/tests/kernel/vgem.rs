//! vgem's own rules for fences.

use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd};

use stile_host::{Access, DrmNode, Errno, Error, NodeKind, SyncobjNode, VgemNode, drm_nodes};

use crate::{LONG, assert_errno, buffer, buffers, gpu};

#[test]
fn the_node_is_vgems() {
    let node = VgemNode::find().unwrap();
    assert_eq!(
        DrmNode::open(node.path()).unwrap().driver_name().unwrap(),
        "vgem"
    );
    assert!(drm_nodes(NodeKind::Card).contains(&node.path().to_owned()));
    let other = SyncobjNode::find().unwrap();
    let error = VgemNode::open(other.path()).unwrap_err();
    assert!(matches!(error, Error::WrongDriver { .. }), "{error}");
    let name = DrmNode::open(other.path()).unwrap().driver_name().unwrap();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn a_fence_is_put_on_a_buffer_from_anywhere() {
    let node = VgemNode::find().unwrap();
    for (source, buffer) in buffers() {
        let number = node.attach(&buffer, Access::WRITE).unwrap();
        let exported = buffer.export_sync_file(Access::READ).unwrap();
        assert!(!exported.signalled().unwrap(), "{source}");
        node.signal(number).unwrap();
        assert!(exported.wait(Some(LONG)).unwrap(), "{source}");
    }
}

#[test]
fn the_render_node_will_do_for_fences() {
    let node = drm_nodes(NodeKind::Render)
        .iter()
        .find_map(|path| VgemNode::open(path).ok())
        .expect("vgem has a render node");
    let buffer = buffer();
    let number = node.attach(&buffer, Access::WRITE).unwrap();
    assert!(!buffer.poll(Access::READ).unwrap());
    node.signal(number).unwrap();
    assert!(buffer.poll(Access::READ).unwrap());
    assert_errno(node.allocate(4096), Errno::ACCESS);
}

#[test]
fn a_fence_that_conflicts_is_refused() {
    let node = VgemNode::find().unwrap();
    for (_, buffer) in buffers() {
        let reader = node.attach(&buffer, Access::READ).unwrap();
        assert_errno(node.attach(&buffer, Access::WRITE), Errno::BUSY);
        let second_reader = node.attach(&buffer, Access::READ).unwrap();
        node.signal(reader).unwrap();
        node.signal(second_reader).unwrap();
        let writer = node.attach(&buffer, Access::all()).unwrap();
        assert_errno(node.attach(&buffer, Access::READ), Errno::BUSY);
        assert_errno(node.attach(&buffer, Access::WRITE), Errno::BUSY);
        node.signal(writer).unwrap();
    }
}

#[test]
fn a_fence_is_signalled_once() {
    let node = VgemNode::find().unwrap();
    let buffer = buffer();
    let number = node.attach(&buffer, Access::READ).unwrap();
    node.signal(number).unwrap();
    assert_errno(node.signal(number), Errno::NOENT);
    assert_errno(node.signal(NonZeroU32::new(4711).unwrap()), Errno::NOENT);
    let next = node.attach(&buffer, Access::READ).unwrap();
    assert_ne!(next, number, "numbers are not used twice");

    let fence = gpu().fence().unwrap();
    fence.signal().unwrap();
    assert_errno(fence.signal(), Errno::NOENT);
}

#[test]
fn handles_are_given_back() {
    const PRIME_FD_TO_HANDLE: u32 = 0xC00C_642E;
    let (node, buffer) = (VgemNode::find().unwrap(), buffer());
    for _ in 0..10 {
        let another = node.allocate(4096).unwrap();
        let number = node.attach(&another, Access::READ).unwrap();
        node.signal(number).unwrap();
    }
    let fd = u32::try_from(buffer.as_fd().as_raw_fd()).unwrap();
    let mut argument = [0, 0, fd];
    // SAFETY: the argument has the twelve bytes that the number says, and holds no address.
    unsafe {
        let call = rustix::ioctl::Updater::<PRIME_FD_TO_HANDLE, _>::new(&mut argument);
        rustix::ioctl::ioctl(&node, call)
    }
    .unwrap();
    assert_eq!(argument[0], 1, "the lowest number that is free");
}

#[test]
fn closing_the_node_signals_what_is_left() {
    let buffer = buffer();
    let node = VgemNode::find().unwrap();
    node.attach(&buffer, Access::WRITE).unwrap();
    assert!(!buffer.poll(Access::READ).unwrap());
    drop(node);
    assert!(buffer.poll(Access::READ).unwrap());
}

#[test]
fn a_fence_keeps_the_node_that_can_signal_it() {
    let fence = {
        let gpu = gpu();
        gpu.fence().unwrap()
    };
    assert!(!fence.sync_file().signalled().unwrap());
    fence.signal().unwrap();
    assert!(fence.sync_file().signalled().unwrap());
}

#[test]
fn threads_that_put_fences_on_one_buffer_do_not_take_its_handle_from_each_other() {
    let (node, buffer) = (VgemNode::find().unwrap(), buffer());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let number = node.attach(&buffer, Access::READ).unwrap();
                    node.signal(number).unwrap();
                }
            });
        }
    });
    assert!(buffer.poll(Access::WRITE).unwrap());
}
