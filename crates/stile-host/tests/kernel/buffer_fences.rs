//! The fences on a dma-buf: who waits for whom.

use stile_host::{Access, DmaBuf, Errno};

use crate::{LONG, assert_errno, buffer, buffers, gpu};

/// Every access that there is.
const ACCESSES: [Access; 3] = [Access::READ, Access::WRITE, Access::all()];

/// Whether export and poll say that an access could begin now. They must agree.
#[track_caller]
fn free(buffer: &DmaBuf, access: Access) -> bool {
    let exported = buffer
        .export_sync_file(access)
        .unwrap()
        .signalled()
        .unwrap();
    assert_eq!(
        buffer.poll(access).unwrap(),
        exported,
        "poll and export differ for {access:?}"
    );
    exported
}

#[test]
fn an_idle_buffer_gives_a_sync_file_that_is_signalled() {
    for (source, buffer) in buffers() {
        for access in ACCESSES {
            assert!(free(&buffer, access), "{source}, {access:?}");
        }
    }
}

#[test]
fn a_reader_waits_for_writers_and_a_writer_for_everybody() {
    let gpu = gpu();
    for (source, buffer) in buffers() {
        for (held, reader_free) in [
            (Access::READ, true),
            (Access::WRITE, false),
            (Access::all(), false),
        ] {
            let fence = gpu.attach(&buffer, held).unwrap();
            assert_eq!(
                free(&buffer, Access::READ),
                reader_free,
                "{source}, {held:?} is held"
            );
            assert!(!free(&buffer, Access::WRITE), "{source}, {held:?} is held");
            assert!(!free(&buffer, Access::all()), "{source}, {held:?} is held");
            fence.signal().unwrap();
            for access in ACCESSES {
                assert!(free(&buffer, access), "{source}, {held:?} has ended");
            }
        }
    }
}

#[test]
fn a_reader_beside_a_writer_delays_only_the_next_writer() {
    let (gpu, buffer) = (gpu(), buffer());
    let reader = gpu.attach(&buffer, Access::READ).unwrap();
    let writer = gpu.attach(&buffer, Access::WRITE).unwrap();
    writer.signal().unwrap();
    assert!(free(&buffer, Access::READ));
    assert!(!free(&buffer, Access::WRITE));
    reader.signal().unwrap();
    assert!(free(&buffer, Access::WRITE));
}

#[test]
fn an_export_is_a_snapshot() {
    let (gpu, buffer) = (gpu(), buffer());
    let first = gpu.attach(&buffer, Access::WRITE).unwrap();
    let exported = buffer.export_sync_file(Access::READ).unwrap();
    let second = gpu.attach(&buffer, Access::WRITE).unwrap();
    assert!(!exported.signalled().unwrap());
    first.signal().unwrap();
    assert!(exported.wait(Some(LONG)).unwrap());
    assert!(
        !free(&buffer, Access::READ),
        "the second writer is still there"
    );
    second.signal().unwrap();
    assert!(free(&buffer, Access::READ));
}

#[test]
fn several_fences_are_waited_for_in_whatever_order_they_signal() {
    let (gpu, buffer) = (gpu(), buffer());
    let fences: Vec<_> = (0..5)
        .map(|_| gpu.attach(&buffer, Access::WRITE).unwrap())
        .collect();
    let exported = buffer.export_sync_file(Access::READ).unwrap();
    for number in [3, 0, 4, 2] {
        fences[number].signal().unwrap();
        assert!(!exported.signalled().unwrap());
        assert!(!buffer.poll(Access::READ).unwrap());
    }
    fences[1].signal().unwrap();
    assert!(exported.wait(Some(LONG)).unwrap());
    assert!(free(&buffer, Access::WRITE));
}

#[test]
fn a_fence_crosses_from_one_buffer_to_the_next() {
    let gpu = gpu();
    for (source, from) in buffers() {
        for (target, to) in buffers() {
            let fence = gpu.attach(&from, Access::WRITE).unwrap();
            to.import_sync_file(Access::READ, &from.export_sync_file(Access::READ).unwrap())
                .unwrap();
            assert!(free(&to, Access::READ), "{source} to {target}");
            assert!(!free(&to, Access::WRITE), "{source} to {target}");
            to.import_sync_file(Access::WRITE, &from.export_sync_file(Access::READ).unwrap())
                .unwrap();
            assert!(!free(&to, Access::READ), "{source} to {target}");
            fence.signal().unwrap();
            assert!(free(&to, Access::WRITE), "{source} to {target}");
        }
    }
}

#[test]
fn a_sync_file_that_is_signalled_is_taken_and_has_no_effect() {
    let (from, to) = (buffer(), buffer());
    let signalled = from.export_sync_file(Access::WRITE).unwrap();
    to.import_sync_file(Access::WRITE, &signalled).unwrap();
    assert!(free(&to, Access::WRITE));
}

#[test]
fn an_import_does_not_wait_for_what_is_there() {
    let (gpu, buffer) = (gpu(), buffer());
    let slow = gpu.attach(&buffer, Access::WRITE).unwrap();
    let quick = gpu.fence().unwrap();
    buffer
        .import_sync_file(Access::WRITE, quick.sync_file())
        .unwrap();
    quick.signal().unwrap();
    assert!(quick.sync_file().signalled().unwrap());
    assert!(!free(&buffer, Access::READ), "the slow one is still there");
    slow.signal().unwrap();
    assert!(free(&buffer, Access::READ));
}

#[test]
fn no_access_at_all_is_an_error() {
    let fence = gpu().fence().unwrap();
    for (_, buffer) in buffers() {
        assert_errno(buffer.export_sync_file(Access::empty()), Errno::INVAL);
        let imported = buffer.import_sync_file(Access::empty(), fence.sync_file());
        assert_errno(imported, Errno::INVAL);
        let unknown = Access::from_bits_retain(4);
        assert_errno(buffer.export_sync_file(unknown), Errno::INVAL);
        assert_errno(
            buffer.import_sync_file(unknown, fence.sync_file()),
            Errno::INVAL,
        );
    }
}

#[test]
fn a_fence_that_is_dropped_signals() {
    let (gpu, buffer) = (gpu(), buffer());
    let fence = gpu.attach(&buffer, Access::WRITE).unwrap();
    assert!(!free(&buffer, Access::READ));
    drop(fence);
    assert!(free(&buffer, Access::READ));
}

#[test]
fn a_second_descriptor_shows_the_same_fences() {
    let (gpu, buffer) = (gpu(), buffer());
    let twin = buffer.try_clone().unwrap();
    assert_eq!(twin.size(), buffer.size());
    let fence = gpu.attach(&buffer, Access::WRITE).unwrap();
    assert!(!free(&twin, Access::READ));
    drop(buffer);
    fence.signal().unwrap();
    assert!(free(&twin, Access::READ));
}
