//! The status blob by example.

use stile_core::{Errno, errno};
use stile_wire::gpu::Response;
use stile_wire::sync::{Access, RecordFlags, encode_drop, encode_export, encode_status};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, record};

fn status(tag: u32, resource_id: u32, offset: u64, size: u64) -> Vec<u8> {
    encode_status(0, tag, resource_id, offset, size).to_vec()
}

fn drop(tag: u32) -> Vec<u8> {
    encode_drop(0, tag, 5).to_vec()
}

fn export(tag: u32, resource_id: u32, cookie: u64) -> Vec<u8> {
    encode_export(0, tag, resource_id, Access::READ, cookie).to_vec()
}

#[test]
fn the_device_zeroes_it_writes_the_header_and_its_own_record() {
    let mut bench = Bench::with_blobs(1);
    bench.sim.storage(1).bytes.borrow_mut().resize(8192, 0xaa);
    bench.ok(&GuestCommand::submit(
        1,
        &[status(7, 1, 128, 64 + 3 * 64 + 63)],
    ));
    let records = bench.records(1, 128);
    let header = records.header;
    assert_eq!(&header.magic.get().to_le_bytes(), b"STIL");
    assert_eq!((header.version.get(), header.record_bytes.get()), (1, 64));
    assert_eq!((header.capacity.get(), header.head.get()), (3, 1));
    let mut expected = record(1, 0x85, 7, 0);
    expected.resource_id = 1.into();
    (expected.taken_ns, expected.done_ns) = (bench.now_ns.into(), bench.now_ns.into());
    assert_eq!(records.records, [expected]);
    let storage = bench.sim.storage(1);
    let bytes = storage.bytes.borrow();
    assert!(
        bytes[..128].iter().all(|byte| *byte == 0xaa),
        "what is before it stays"
    );
    assert!(bytes[256..447].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[447], 0xaa, "what is behind it stays");
}

#[test]
fn records_go_round() {
    let mut bench = Bench::with_blobs(1);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 64 + 3 * 64)]));
    for tag in 2..=8 {
        bench.unfenced(&[drop(tag)]);
        let records = bench.records(1, 0);
        assert_eq!(records.header.head.get(), u64::from(tag));
        let tags: Vec<_> = records.errors().iter().map(|(tag, _)| *tag).collect();
        let expected: Vec<_> = (1..=tag).rev().take(3).collect();
        assert!(tags.iter().eq(expected.iter().rev()), "{tags:?}");
    }
    assert_eq!(bench.sim.storage(1).bytes.borrow().len(), 64 + 3 * 64);
}

#[test]
fn one_record_is_the_least() {
    let mut bench = Bench::with_blobs(1);
    bench.ok(&GuestCommand::submit(
        1,
        &[status(1, 1, 0, 128), drop(2), drop(3)],
    ));
    let records = bench.records(1, 0);
    assert_eq!(
        (records.header.capacity.get(), records.errors()),
        (1, vec![(3, 2)])
    );
}

#[test]
fn a_place_that_does_not_fit_is_einval_and_the_old_one_stays() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(1, &[status(0, 2, 0, 65536)]));
    let size = 16 * 4096;
    for (offset, length) in [
        (0, 127),
        (0, 0),
        (1, 128),
        (32, 128),
        (0, size + 64),
        (0, 65537),
        (size, 128),
        (size - 64, 128),
        (64, u64::MAX),
        (u64::MAX - 63, 128),
    ] {
        bench.ok(&GuestCommand::submit(1, &[status(3, 1, offset, length)]));
        let last = bench.records(2, 0).errors().pop();
        assert_eq!(last, Some((3, 22)), "{length} bytes at {offset}");
    }
    let mut reserved = status(4, 1, 0, 128);
    reserved[12] = 1;
    bench.ok(&GuestCommand::submit(1, &[reserved]));
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    bench.ok(&GuestCommand::submit(1, &[status(5, 1, 0, 128)]));
    let errors = bench.records(2, 0).errors();
    assert_eq!(errors[errors.len() - 2..], [(4, 22), (5, 12)]);
    bench.ok(&GuestCommand::submit(1, &[status(6, 1, size - 128, 128)]));
    assert_eq!(bench.records(1, size as usize - 128).errors(), [(6, 0)]);
}

#[test]
fn a_new_place_begins_at_one_and_gets_what_ends_from_then_on() {
    let mut bench = Bench::with_blobs(3);
    let work = bench.writer(3);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    bench.fenced(0, 1, &[export(2, 3, 0), drop(3)]);
    bench.ok(&GuestCommand::submit(1, &[status(4, 2, 0, 4096)]));
    bench.signal(work);
    assert_eq!(bench.records(1, 0).errors(), [(1, 0), (3, 2)]);
    let records = bench.records(2, 0);
    assert_eq!(records.errors(), [(4, 0), (2, 0)]);
    assert_eq!(records.records[1].seq.get(), 2);
}

#[test]
fn it_ends_with_resource_0_and_records_are_lost() {
    let mut bench = Bench::with_blobs(2);
    let work = bench.writer(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    let chain = bench.fenced(0, 1, &[export(2, 2, 0)]);
    bench.ok(&GuestCommand::submit(1, &[status(3, 0, 1, 1), drop(4)]));
    bench.signal(work);
    assert!(!bench.is_pending(chain));
    assert_eq!(bench.records(1, 0).errors(), [(1, 0)]);
}

#[test]
fn it_ends_when_its_blob_is_detached_or_destroyed_and_not_before() {
    for detach in [true, false] {
        let mut bench = Bench::with_blobs(2);
        let storage = bench.sim.storage(1);
        bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
        bench.ok(&GuestCommand::detach(1, 2));
        bench.unfenced(&[drop(2)]);
        bench.ok(&if detach {
            GuestCommand::detach(1, 1)
        } else {
            GuestCommand::unref(1)
        });
        assert_eq!(bench.unfenced(&[drop(3)]), Response::Ok);
        // Also where the same id, or the same blob, comes back.
        if !detach {
            bench.ok(&GuestCommand::blob(1, 4096));
        }
        bench.ok(&GuestCommand::attach(1, 1));
        bench.unfenced(&[drop(4)]);
        let bytes = storage.bytes.borrow();
        let records = crate::sim::Records::read(&bytes, 0);
        assert_eq!(records.errors(), [(1, 0), (2, 2)], "detached: {detach}");
    }
}

#[test]
fn a_destroyed_context_writes_no_more() {
    let mut bench = Bench::with_blobs(2);
    let work = bench.writer(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    bench.fenced(0, 1, &[export(2, 2, 0)]);
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.signal(work);
    assert_eq!(bench.records(1, 0).errors(), [(1, 0)]);
}

#[test]
fn a_record_says_everything_about_its_operation() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    let work = bench.writer(2);
    let taken = bench.now_ns;
    let operation = encode_export(9, 0xdead_beef, 2, Access::WRITE, u64::MAX).to_vec();
    bench.fenced(9, 1, &[operation]);
    bench.pass_ms(3);
    bench.sim.kernel.signal(work, bench.now_ns, None);
    let signalled = bench.now_ns;
    bench.pass_ms(1);
    bench.deliver();
    let mut expected = record(2, 0x80, 0xdead_beef, 0);
    expected.cookie = u64::MAX.into();
    expected.ring_idx = 9;
    expected.resource_id = 2.into();
    expected.taken_ns = taken.into();
    expected.done_ns = bench.now_ns.into();
    expected.signalled_ns = signalled.into();
    assert_eq!(bench.records(1, 0).records[1], expected);
}

#[test]
fn an_error_of_the_host_fence_is_told() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    let work = bench.writer(2);
    let chain = bench.fenced(0, 1, &[export(2, 2, 0)]);
    bench.fail(work, Some(Errno(125)));
    assert_eq!(bench.response(chain), Some(Response::Ok));
    let records = bench.records(1, 0).records;
    assert_eq!(records[1].errno.get(), 125);
    assert_eq!(records[1].flags.get(), RecordFlags::HOST_ERROR.bits());
    // A time-out of the host is not the device's deadline.
    let work = bench.writer(2);
    bench.fenced(0, 2, &[export(3, 2, 0)]);
    bench.fail(work, Some(errno::ETIMEDOUT));
    let records = bench.records(1, 0).records;
    assert_eq!(records[2].errno.get(), 110);
    assert_eq!(records[2].flags.get(), RecordFlags::HOST_ERROR.bits());
}

#[test]
fn a_watch_that_fails_ends_its_operation_with_the_errno() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    bench.writer(2);
    let chain = bench.fenced(0, 1, &[export(2, 2, 0)]);
    let (wait, _) = bench.sim.new_watches[0];
    bench
        .device
        .watch_failed(&mut bench.sim, bench.now_ns, wait, errno::EMFILE);
    bench.deliver();
    assert!(!bench.is_pending(chain));
    let records = bench.records(1, 0).records;
    assert_eq!((records[1].errno.get(), records[1].flags.get()), (24, 0));
    bench
        .device
        .watch_failed(&mut bench.sim, bench.now_ns, wait, errno::EMFILE);
    assert_eq!(bench.records(1, 0).records.len(), 2);
}

#[test]
fn the_records_of_a_submission_are_there_before_its_fence() {
    let mut bench = Bench::with_blobs(2);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    let work = bench.writer(2);
    let command = GuestCommand::submit(1, &[export(2, 2, 0), export(3, 2, 0), drop(4)]);
    let chain = bench.send(&command, Fenced::Ring(0, 1));
    bench.sim.kernel.signal(work, bench.now_ns, None);
    for wait in bench.sim.signalled_watches() {
        assert!(bench.is_pending(chain));
        bench
            .device
            .signalled(&mut bench.sim, bench.now_ns, wait, false);
    }
    assert!(!bench.is_pending(chain));
    assert_eq!(
        bench.records(1, 0).errors(),
        [(1, 0), (4, 2), (2, 0), (3, 0)]
    );
}

#[test]
fn two_contexts_have_one_each() {
    let mut bench = Bench::with_blobs(1);
    bench.context_with_blobs(2, [1]);
    bench.ok(&GuestCommand::submit(1, &[status(1, 1, 0, 4096)]));
    bench.ok(&GuestCommand::submit(2, &[status(2, 1, 4096, 4096)]));
    bench.ok(&GuestCommand::submit(2, &[drop(3)]));
    bench.ok(&GuestCommand::submit(1, &[drop(4)]));
    assert_eq!(bench.records(1, 0).errors(), [(1, 0), (4, 2)]);
    assert_eq!(bench.records(1, 4096).errors(), [(2, 0), (3, 2)]);
    // The end of one is not the end of the other.
    bench.ok(&GuestCommand::detach(1, 1));
    bench.ok(&GuestCommand::submit(2, &[drop(5)]));
    assert_eq!(bench.records(1, 4096).errors().len(), 3);
}
