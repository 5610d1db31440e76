//! drm_syncobj: points that may not be there yet.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use stile_host::{Access, DrmNode, Errno, Error, PointEvent, SyncobjNode, VgemNode, poll_many};

use crate::{LONG, assert_errno, buffer, gpu};

const EVENTS: [PointEvent; 2] = [PointEvent::Available, PointEvent::Signalled];

fn node() -> SyncobjNode {
    SyncobjNode::find().unwrap()
}

#[test]
fn a_node_with_timelines_is_found() {
    let node = node();
    assert!(
        DrmNode::open(node.path())
            .unwrap()
            .has_syncobj_timelines()
            .unwrap()
    );
    let vgem = VgemNode::find().unwrap();
    assert_eq!(
        SyncobjNode::open(vgem.path()).unwrap_err(),
        Error::NoSyncobjNode
    );
}

#[test]
fn sync_files_go_to_points_by_themselves_on_newer_kernels_alone() {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>());
    let (major, minor) = (numbers.next().unwrap(), numbers.next().unwrap());
    let newer = (major.unwrap(), minor.unwrap()) >= (7, 2);
    assert_eq!(node().takes_points(), newer, "{release}");
}

#[test]
fn a_binary_syncobj_holds_one_fence() {
    let (node, gpu) = (node(), gpu());
    let syncobj = node.create(false).unwrap();
    assert_eq!(
        syncobj.export_sync_file(0).unwrap_err(),
        Error::NotMaterialised { point: 0 }
    );
    let fence = gpu.fence().unwrap();
    syncobj.import_sync_file(0, fence.sync_file()).unwrap();
    let exported = syncobj.export_sync_file(0).unwrap();
    assert!(!exported.signalled().unwrap());
    fence.signal().unwrap();
    assert!(exported.signalled().unwrap());
    assert!(
        syncobj
            .wait(0, PointEvent::Signalled, Duration::ZERO)
            .unwrap()
    );
    syncobj.reset().unwrap();
    assert_eq!(
        syncobj.export_sync_file(0).unwrap_err(),
        Error::NotMaterialised { point: 0 }
    );
    syncobj.signal(0).unwrap();
    assert!(syncobj.export_sync_file(0).unwrap().signalled().unwrap());
    assert!(
        node.create(true)
            .unwrap()
            .export_sync_file(0)
            .unwrap()
            .signalled()
            .unwrap()
    );
}

#[test]
fn points_materialise_and_then_signal() {
    let (gpu, syncobj) = (gpu(), node().create(false).unwrap());
    let points = || {
        (
            syncobj.signalled_point().unwrap(),
            syncobj.available_point().unwrap(),
        )
    };
    assert_eq!(points(), (0, 0));
    let fence = gpu.fence().unwrap();
    syncobj.import_sync_file(3, fence.sync_file()).unwrap();
    assert_eq!(points(), (0, 3));
    let huge = u64::from(u32::MAX) + 7;
    syncobj.signal(huge).unwrap();
    assert_eq!(
        points(),
        (0, huge),
        "a point does not signal before those that precede it"
    );
    fence.signal().unwrap();
    assert_eq!(points(), (huge, huge));
}

#[test]
fn a_point_is_exported_as_a_sync_file() {
    let (gpu, syncobj) = (gpu(), node().create(false).unwrap());
    assert_eq!(
        syncobj.export_sync_file(1).unwrap_err(),
        Error::NotMaterialised { point: 1 }
    );
    let (first, second) = (gpu.fence().unwrap(), gpu.fence().unwrap());
    syncobj.import_sync_file(2, first.sync_file()).unwrap();
    syncobj.import_sync_file(4, second.sync_file()).unwrap();
    let exported = |point| syncobj.export_sync_file(point).unwrap();
    let (one, two, four) = (exported(1), exported(2), exported(4));
    assert_eq!(
        syncobj.export_sync_file(5).unwrap_err(),
        Error::NotMaterialised { point: 5 }
    );
    first.signal().unwrap();
    assert!(
        one.wait(Some(LONG)).unwrap(),
        "point 1 is done when point 2 is"
    );
    assert!(two.wait(Some(LONG)).unwrap());
    assert!(!four.signalled().unwrap());
    second.signal().unwrap();
    assert!(four.wait(Some(LONG)).unwrap());
    assert!(
        exported(2).signalled().unwrap(),
        "a point of the past is signalled"
    );
}

#[test]
fn a_point_crosses_to_a_buffer_and_back() {
    let (gpu, syncobj, buffer) = (gpu(), node().create(false).unwrap(), buffer());
    let fence = gpu.fence().unwrap();
    syncobj.import_sync_file(7, fence.sync_file()).unwrap();
    buffer
        .import_sync_file(Access::WRITE, &syncobj.export_sync_file(7).unwrap())
        .unwrap();
    assert!(!buffer.poll(Access::READ).unwrap());
    let release = buffer.export_sync_file(Access::READ).unwrap();
    syncobj.import_sync_file(8, &release).unwrap();
    assert_eq!(syncobj.available_point().unwrap(), 8);
    fence.signal().unwrap();
    assert!(buffer.poll(Access::READ).unwrap());
    assert!(syncobj.wait(8, PointEvent::Signalled, LONG).unwrap());
}

#[test]
fn transfer_goes_between_points() {
    let (node, gpu) = (node(), gpu());
    let (from, to) = (node.create(false).unwrap(), node.create(false).unwrap());
    assert_eq!(
        from.transfer(5, &to, 1).unwrap_err(),
        Error::NotMaterialised { point: 5 }
    );
    let fence = gpu.fence().unwrap();
    from.import_sync_file(5, fence.sync_file()).unwrap();
    from.transfer(5, &to, 10).unwrap();
    assert_eq!(
        (to.signalled_point().unwrap(), to.available_point().unwrap()),
        (0, 10)
    );
    fence.signal().unwrap();
    assert_eq!(to.signalled_point().unwrap(), 10);

    let stranger = SyncobjNode::find().unwrap().create(false).unwrap();
    assert_eq!(
        from.transfer(5, &stranger, 1).unwrap_err(),
        Error::ForeignSyncobj
    );
}

#[test]
fn waiting_starts_before_the_point_is_there() {
    let (gpu, syncobj) = (gpu(), node().create(false).unwrap());
    let short = Duration::from_millis(50);
    for event in EVENTS {
        assert!(!syncobj.wait(1, event, Duration::ZERO).unwrap());
        assert!(!syncobj.wait(1, event, short).unwrap());
    }
    let fence = gpu.fence().unwrap();
    std::thread::scope(|scope| {
        let [available, signalled] = EVENTS.map(|event| {
            let syncobj = &syncobj;
            scope.spawn(move || syncobj.wait(1, event, LONG).unwrap())
        });
        std::thread::sleep(short);
        syncobj.import_sync_file(1, fence.sync_file()).unwrap();
        assert!(available.join().unwrap());
        assert!(!signalled.is_finished());
        fence.signal().unwrap();
        assert!(signalled.join().unwrap());
    });
    assert!(
        syncobj
            .wait(1, PointEvent::Signalled, Duration::MAX)
            .unwrap()
    );
}

#[test]
fn an_eventfd_tells_of_a_point_that_was_not_there_yet() {
    let (gpu, syncobj) = (gpu(), node().create(false).unwrap());
    let [available, signalled] = EVENTS.map(|event| {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        syncobj.watch(2, event, fd.as_fd()).unwrap();
        fd
    });
    let told = || {
        let mut ready = Vec::new();
        poll_many(&[available.as_fd(), signalled.as_fd()], &mut ready).unwrap();
        ready
    };
    assert_eq!(told(), [false, false]);
    syncobj.signal(1).unwrap();
    assert_eq!(told(), [false, false], "point 1 is not point 2");
    let fence = gpu.fence().unwrap();
    syncobj.import_sync_file(2, fence.sync_file()).unwrap();
    assert_eq!(told(), [true, false]);
    fence.signal().unwrap();
    assert_eq!(told(), [true, true]);

    let late = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    syncobj
        .watch(1, PointEvent::Signalled, late.as_fd())
        .unwrap();
    let mut ready = Vec::new();
    assert_eq!(
        poll_many(&[late.as_fd()], &mut ready).unwrap(),
        1,
        "what has been is told at once"
    );
    assert_errno(
        syncobj.watch(9, PointEvent::Available, buffer().as_fd()),
        Errno::INVAL,
    );
}

#[test]
fn a_syncobj_goes_to_another_file_by_its_descriptor() {
    let (syncobj, fence) = (node().create(false).unwrap(), gpu().fence().unwrap());
    let there = node()
        .import_fd(syncobj.export_fd().unwrap().as_fd())
        .unwrap();
    syncobj.import_sync_file(1, fence.sync_file()).unwrap();
    assert_eq!(there.available_point().unwrap(), 1);
    drop(syncobj);
    fence.signal().unwrap();
    assert_eq!(there.signalled_point().unwrap(), 1);
    assert_errno(node().import_fd(buffer().as_fd()), Errno::INVAL);
}

#[test]
fn handles_are_given_back() {
    let node = node();
    let first = format!("{:?}", node.create(false).unwrap());
    // Far more than a process may have descriptors, were one kept for each.
    for number in 0..5000 {
        let syncobj = node.create(false).unwrap();
        if number % 100 == 0 {
            syncobj.signal(1).unwrap();
            syncobj.export_sync_file(1).unwrap();
        }
    }
    let last = format!("{:?}", node.create(false).unwrap());
    assert_eq!(last, first, "the lowest number that is free");
}
