//! Blobs by example: their memory, their place in the hostmem region, their names.

use std::collections::BTreeMap;

use stile_core::{Errno, Limits, errno};
use stile_wire::gpu::{MAP_CACHE_CACHED, Response, ResponseError};
use stile_wire::sync::{Access, encode_export};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, Task};

const PAGE: u64 = 4096;
const INVALID: ResponseError = ResponseError::InvalidParameter;
const UNKNOWN: ResponseError = ResponseError::InvalidResourceId;
const MEMORY: ResponseError = ResponseError::OutOfMemory;
const MAPPED: Response = Response::MapInfo(MAP_CACHE_CACHED);

/// Wire numbers of `VIRTIO_GPU_BLOB_MEM_*`.
const GUEST: u32 = 1;
const HOST3D: u32 = 2;
const HOST3D_GUEST: u32 = 3;

#[test]
fn a_mapping_is_answered_when_the_front_end_has_acknowledged() {
    let mut bench = Bench::with_blobs(1);
    let map = bench.send(&GuestCommand::map(1, PAGE), Fenced::No);
    assert_eq!(
        bench.tasks(),
        [Task::Map {
            offset: PAGE,
            size: 16 * PAGE
        }]
    );
    bench.pass_ms(9_999);
    assert!(bench.is_pending(map));
    bench.job(0, Ok(()));
    assert_eq!(bench.response(map), Some(MAPPED));
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    assert!(bench.is_pending(unmap));
    bench.job(1, Ok(()));
    assert_eq!(bench.response(unmap), Some(Response::Ok));
    assert!(bench.sim.mapped().is_empty());
}

#[test]
fn a_mapping_that_the_front_end_refuses_leaves_its_place() {
    let mut bench = Bench::with_blobs(1);
    for (errno, error) in [
        (errno::ENOMEM, MEMORY),
        (errno::EINVAL, INVALID),
        (Errno(5), ResponseError::Unspec),
    ] {
        let map = bench.send(&GuestCommand::map(1, PAGE), Fenced::No);
        bench.job(bench.tasks().len() - 1, Err(errno));
        assert_eq!(bench.response(map), Some(Response::Err(error)));
    }
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(3, Ok(()));
    assert_eq!(bench.sim.mapped(), BTreeMap::from([(0, 16 * PAGE)]));
    // An unmapping that is refused has unmapped nothing that the guest could name.
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    bench.job(4, Err(Errno(5)));
    assert_eq!(
        bench.response(unmap),
        Some(Response::Err(ResponseError::Unspec))
    );
    assert_eq!(bench.refused(&GuestCommand::unmap(1)), INVALID);
}

#[test]
fn a_fenced_mapping_is_answered_in_the_order_of_its_timeline() {
    let mut bench = Bench::with_blobs(2);
    let first = bench.send(&GuestCommand::map(1, 0).of(1), Fenced::Ring(0, 1));
    let second = bench.send(&GuestCommand::map(2, 16 * PAGE).of(1), Fenced::Ring(0, 2));
    bench.job(1, Ok(()));
    assert!(bench.is_pending(first) && bench.is_pending(second));
    bench.answered();
    bench.job(0, Err(Errno(5)));
    let responses = [first, second].map(|chain| bench.response(chain));
    assert_eq!(
        responses,
        [Some(Response::Err(ResponseError::Unspec)), Some(MAPPED)]
    );
    assert_eq!(bench.answered(), [first, second]);
}

#[test]
fn a_fenced_mapping_past_its_deadline_fails_and_is_undone_when_it_ends() {
    let mut bench = Bench::with_blobs(2);
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::Global(1));
    bench.pass_ms(10_000);
    assert_eq!(
        bench.response(map),
        Some(Response::Err(ResponseError::Unspec))
    );
    // Until then its place is taken.
    assert_eq!(bench.refused(&GuestCommand::map(2, 0)), INVALID);
    assert_eq!(bench.refused(&GuestCommand::map(1, 0)), INVALID);
    bench.job(0, Ok(()));
    assert_eq!(
        bench.tasks()[1],
        Task::Unmap {
            offset: 0,
            size: 16 * PAGE
        }
    );
    bench.job(1, Ok(()));
    let again = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(2, Ok(()));
    assert_eq!(bench.response(again), Some(MAPPED));
}

#[test]
fn commands_without_a_fence_fail_when_the_front_end_hangs_for_the_deadline_of_a_fence() {
    let mut bench = Bench::with_blobs(3);
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    let map = bench.send(&GuestCommand::map(2, 16 * PAGE), Fenced::No);
    bench.pass_ms(1);
    let uuid = bench.send(&GuestCommand::assign_uuid(3), Fenced::No);
    bench.pass_ms(9_998);
    assert!([unmap, map, uuid].iter().all(|one| bench.is_pending(*one)));
    let failed = || Some(Response::Err(ResponseError::Unspec));
    bench.pass_ms(1);
    assert_eq!(
        [unmap, map].map(|one| bench.response(one)),
        [failed(), failed()]
    );
    assert!(bench.is_pending(uuid));
    bench.pass_ms(1);
    assert_eq!(bench.response(uuid), failed());
    assert_eq!(bench.device.next_deadline_ns(), None);
    assert_eq!(bench.device.counters().commands_overdue, 3);
    // Late ends are told to nobody: what has been mapped is unmapped again, the rest holds.
    for job in 1..=3 {
        bench.job(job, Ok(()));
    }
    assert_eq!(bench.tasks().len(), 5);
    bench.job(4, Ok(()));
    assert!(bench.sim.mapped().is_empty());
    let known = Response::Uuid([1; 16]);
    assert_eq!(bench.now(&GuestCommand::assign_uuid(3)), known);
    for resource in 1..=2 {
        bench.send(
            &GuestCommand::map(resource, u64::from(resource) * 16 * PAGE),
            Fenced::No,
        );
    }
    assert_eq!(bench.tasks().len(), 7);
}

#[test]
fn jobs_that_end_after_their_fences_were_answered_answer_nobody() {
    let mut bench = Bench::with_blobs(1);
    let first = bench.send(&GuestCommand::map(1, 0), Fenced::Global(1));
    bench.pass_ms(1);
    let second = bench.send(&GuestCommand::assign_uuid(1), Fenced::Global(2));
    bench.pass_ms(9_999);
    let failed = Some(Response::Err(ResponseError::Unspec));
    assert_eq!(bench.response(first), failed);
    bench.pass_ms(1);
    assert_eq!(bench.response(second), failed);
    bench.job(1, Ok(()));
    bench.job(0, Ok(()));
    assert_eq!(bench.sim.outstanding.len(), 0);
}

#[test]
fn a_blob_destroyed_while_it_is_being_mapped_is_unmapped_afterwards() {
    let mut bench = Bench::with_blobs(1);
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.ok(&GuestCommand::unref(1));
    // Its id may come back meanwhile, as another blob.
    bench.ok(&GuestCommand::blob(1, PAGE));
    bench.job(0, Ok(()));
    assert_eq!(bench.response(map), Some(Response::Err(UNKNOWN)));
    assert_eq!(
        bench.tasks()[1..],
        [Task::Unmap {
            offset: 0,
            size: 16 * PAGE
        }]
    );
    assert_eq!(bench.refused(&GuestCommand::unmap(1)), INVALID);
    bench.job(1, Ok(()));
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(2, Ok(()));
    assert_eq!(bench.response(map), Some(MAPPED));
}

#[test]
fn a_blob_destroyed_while_its_mapping_fails_leaves_its_place() {
    let mut bench = Bench::with_blobs(2);
    let map = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.ok(&GuestCommand::unref(1));
    assert_eq!(bench.refused(&GuestCommand::map(2, 0)), INVALID);
    bench.job(0, Err(errno::ENOMEM));
    assert_eq!(bench.response(map), Some(Response::Err(UNKNOWN)));
    bench.send(&GuestCommand::map(2, 0), Fenced::No);
    assert_eq!(bench.tasks().len(), 2);
}

#[test]
fn a_blob_destroyed_while_it_is_mapped_is_unmapped() {
    let mut bench = Bench::with_blobs(1);
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    bench.ok(&GuestCommand::unref(1));
    assert_eq!(
        bench.tasks()[1..],
        [Task::Unmap {
            offset: 0,
            size: 16 * PAGE
        }]
    );
    bench.job(1, Ok(()));
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.sim.assert_empty();
}

#[test]
fn a_place_is_free_once_its_unmapping_was_asked_for() {
    // Linux gives the place to the next blob when its unref is answered, which is at once.
    let mut bench = Bench::with_blobs(2);
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    bench.ok(&GuestCommand::unref(1));
    let map = bench.send(&GuestCommand::map(2, 0), Fenced::No);
    assert!(bench.is_pending(unmap) && bench.is_pending(map));
    bench.job(1, Ok(()));
    assert_eq!(bench.response(unmap), Some(Response::Ok));
    bench.job(2, Ok(()));
    assert_eq!(bench.response(map), Some(MAPPED));
    assert_eq!(bench.sim.mapped(), BTreeMap::from([(0, 16 * PAGE)]));
}

#[test]
fn two_blobs_do_not_overlap_in_the_hostmem_region() {
    let mut bench = Bench::with_blobs(2);
    bench.send(&GuestCommand::map(1, 16 * PAGE), Fenced::No);
    let end = bench.device.limits().hostmem_bytes;
    for offset in [
        PAGE,
        16 * PAGE,
        31 * PAGE,
        1,
        end,
        end - 15 * PAGE,
        u64::MAX - 4095,
    ] {
        assert_eq!(
            bench.refused(&GuestCommand::map(2, offset)),
            INVALID,
            "{offset:#x}"
        );
    }
    bench.job(0, Ok(()));
    assert_eq!(bench.refused(&GuestCommand::map(2, 17 * PAGE)), INVALID);
    assert_eq!(
        bench.refused(&GuestCommand::map(1, 64 * PAGE)),
        INVALID,
        "mapped already"
    );
    for (nth, offset) in [0, 32 * PAGE, end - 16 * PAGE].into_iter().enumerate() {
        bench.send(&GuestCommand::map(2, offset), Fenced::No);
        bench.job(1 + 2 * nth, Ok(()));
        bench.send(&GuestCommand::unmap(2), Fenced::No);
        bench.job(2 + 2 * nth, Ok(()));
    }
}

#[test]
fn what_is_unmapped_has_the_size_that_was_mapped() {
    for destroy in [false, true] {
        let mut bench = Bench::with_blobs(0);
        bench.ok(&GuestCommand::blob(1, PAGE + 1));
        bench.send(&GuestCommand::map(1, 0), Fenced::No);
        bench.job(0, Ok(()));
        let unmap = if destroy {
            GuestCommand::unref(1)
        } else {
            GuestCommand::unmap(1)
        };
        bench.send(&unmap, Fenced::No);
        let size = 2 * PAGE;
        assert_eq!(
            bench.tasks(),
            [
                Task::Map { offset: 0, size },
                Task::Unmap { offset: 0, size }
            ]
        );
    }
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let mut bench = Bench::with_blobs(0);
    bench.ok(&GuestCommand::create_blob(1, HOST3D, 0, PAGE, 0));
    bench.ok(&GuestCommand::create_blob(2, GUEST, 1, PAGE, 4096));
    bench.ok(&GuestCommand::create_blob(3, HOST3D_GUEST, 1, PAGE, 4096));
    assert_eq!(bench.refused(&GuestCommand::map(1, 0)), INVALID);
    assert_eq!(bench.refused(&GuestCommand::map(2, 0)), INVALID);
    assert_eq!(bench.refused(&GuestCommand::map(4, 0)), UNKNOWN);
    assert_eq!(bench.refused(&GuestCommand::unmap(3)), INVALID);
    assert_eq!(bench.refused(&GuestCommand::unmap(4)), UNKNOWN);
    let map = bench.send(&GuestCommand::map(3, 0), Fenced::No);
    assert_eq!(
        bench.refused(&GuestCommand::unmap(3)),
        INVALID,
        "not mapped yet"
    );
    bench.job(0, Ok(()));
    assert_eq!(bench.response(map), Some(MAPPED));
    let mut bench = Bench::new(Limits {
        hostmem_bytes: 0,
        ..Limits::default()
    });
    bench.ok(&GuestCommand::blob(1, PAGE));
    assert_eq!(bench.refused(&GuestCommand::map(1, 0)), INVALID);
}

#[test]
fn a_blob_needs_a_new_id_a_size_and_the_pages_of_its_kind() {
    let mut bench = Bench::with_blobs(1);
    for (id, mem, size, backed, error) in [
        (0, HOST3D, PAGE, 0, UNKNOWN),
        (1, HOST3D, PAGE, 0, UNKNOWN),
        (2, HOST3D, 0, 0, INVALID),
        (2, HOST3D, PAGE, 4096, INVALID),
        (2, GUEST, PAGE, 0, INVALID),
        (2, GUEST, PAGE, 4095, INVALID),
        (2, HOST3D_GUEST, PAGE, 0, INVALID),
        (2, 0, PAGE, 0, INVALID),
        (2, 4, PAGE, 0, INVALID),
        (2, HOST3D, u64::MAX, 0, MEMORY),
    ] {
        let command = GuestCommand::create_blob(id, mem, 0, size, backed);
        assert_eq!(bench.refused(&command), error, "{id} {mem} {size} {backed}");
    }
    let flags = GuestCommand::create_blob(2, HOST3D, 8, PAGE, 0);
    assert_eq!(bench.refused(&flags), INVALID);
    assert_eq!(bench.device.population(), (1, 1, 0));
}

#[test]
fn entries_are_whole_pages_but_for_the_blobs_end_whatever_they_are_for() {
    let (base, page) = (0x10_0000, 4096);
    for mem in [GUEST, HOST3D_GUEST] {
        let mut bench = Bench::with_blobs(0);
        let blob =
            |size, entries: &[(u64, u32)]| GuestCommand::create_blob_of(1, mem, 1, size, entries);
        for (size, entries) in [
            (PAGE, &[(base + 8, page)][..]),
            (PAGE, &[(base + 2048, 2048), (base, 4096)]),
            (2 * PAGE, &[(base, page), (base + 1, page)]),
            (2 * PAGE, &[(base, 2048), (base, page), (base, page)]),
            (PAGE, &[(base, page), (base + 1, page)]),
        ] {
            let refused = bench.refused(&blob(size, entries));
            assert_eq!(refused, INVALID, "{mem} {size} {entries:?}");
        }
        for (size, entries) in [
            (PAGE, &[(base, page)][..]),
            (PAGE + 9, &[(base, page), (2 * base, 9)]),
            (PAGE + 8, &[(base, page), (2 * base, 9)]),
            (1, &[(base, 1), (2 * base, 7)]),
        ] {
            bench.ok(&blob(size, entries));
            bench.ok(&GuestCommand::unref(1));
        }
    }
}

#[test]
fn host_memory_has_a_quota_and_guest_memory_does_not_count_for_it() {
    let mut bench = Bench::new(Limits {
        host_bytes: 4 * PAGE,
        ..Limits::default()
    });
    bench.ok(&GuestCommand::blob(1, 3 * PAGE));
    assert_eq!(bench.refused(&GuestCommand::blob(2, 2 * PAGE)), MEMORY);
    bench.ok(&GuestCommand::create_blob(2, GUEST, 0, 9 * PAGE, 9 * 4096));
    bench.ok(&GuestCommand::create_blob(3, HOST3D_GUEST, 0, PAGE, 4096));
    assert_eq!(bench.refused(&GuestCommand::blob(4, 1)), MEMORY);
    bench.ok(&GuestCommand::unref(1));
    bench.ok(&GuestCommand::blob(4, 3 * PAGE));
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    bench.ok(&GuestCommand::unref(4));
    assert_eq!(bench.refused(&GuestCommand::blob(4, PAGE)), MEMORY);
    bench.ok(&GuestCommand::blob(4, 3 * PAGE));
    assert_eq!(bench.device.counters().over_quota, 2);
}

#[test]
fn guest_pages_have_a_quota_however_often_they_are_named() {
    let mut bench = Bench::new(Limits {
        guest_bytes: 4 * PAGE,
        host_bytes: 2 * PAGE,
        ..Limits::default()
    });
    // All of them name the same pages.
    let blob = |id, mem, pages: u32| {
        GuestCommand::create_blob(id, mem, 0, u64::from(pages) * PAGE, pages * 4096)
    };
    bench.ok(&blob(1, GUEST, 2));
    bench.ok(&blob(2, HOST3D_GUEST, 1));
    assert_eq!(bench.refused(&blob(3, GUEST, 2)), MEMORY);
    bench.ok(&blob(3, GUEST, 1));
    assert_eq!(bench.refused(&blob(4, HOST3D_GUEST, 1)), MEMORY);
    assert_eq!(bench.device.counters().over_quota, 2);
    // Host memory is counted by itself.
    bench.ok(&GuestCommand::blob(4, PAGE));
    bench.ok(&GuestCommand::unref(2));
    // What the host refuses does not count.
    bench.sim.fails = HostFails::now(errno::EINVAL);
    assert_eq!(bench.refused(&blob(2, GUEST, 1)), INVALID);
    bench.ok(&blob(2, GUEST, 1));
    bench.reset();
    bench.ok(&blob(1, GUEST, 4));
}

#[test]
fn a_mapping_that_cannot_be_asked_for_is_answered_in_its_order() {
    let mut bench = Bench::with_blobs(2);
    bench.sim.fails = HostFails::now(errno::EOPNOTSUPP);
    assert_eq!(
        bench.refused(&GuestCommand::map(1, 0)),
        ResponseError::Unspec
    );
    let work = bench.writer(1);
    let export = encode_export(3, 0, 1, Access::READ, 0).to_vec();
    let held = bench.fenced(3, 1, &[export]);
    bench.sim.fails = HostFails::now(errno::ENOMEM);
    let map = bench.send(&GuestCommand::map(1, 0).of(1), Fenced::Ring(3, 2));
    assert!(bench.is_pending(map));
    // Neither the blob nor the place is taken.
    assert_eq!(bench.tasks(), []);
    let again = bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    assert_eq!(bench.response(again), Some(MAPPED));
    bench.answered();
    bench.signal(work);
    assert_eq!(bench.response(map), Some(Response::Err(MEMORY)));
    assert_eq!(bench.answered(), [held, map]);
}

#[test]
fn blobs_contexts_and_mappings_have_quotas() {
    let limits = Limits {
        resources: 2,
        contexts: 1,
        maps: 1,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, [1, 2]);
    assert_eq!(bench.refused(&GuestCommand::blob(3, PAGE)), MEMORY);
    assert_eq!(bench.refused(&GuestCommand::context(2)), MEMORY);
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    assert_eq!(bench.refused(&GuestCommand::map(2, 16 * PAGE)), MEMORY);
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.ok(&GuestCommand::context(2));
}

#[test]
fn a_uuid_is_given_once_and_answered_when_it_is_known() {
    let mut bench = Bench::with_blobs(2);
    let uuid = bench.send(&GuestCommand::assign_uuid(1), Fenced::No);
    assert!(bench.is_pending(uuid));
    assert_eq!(bench.tasks(), [Task::Share { uuid: [1; 16] }]);
    bench.job(0, Ok(()));
    assert_eq!(bench.response(uuid), Some(Response::Uuid([1; 16])));
    assert_eq!(
        bench.now(&GuestCommand::assign_uuid(1)),
        Response::Uuid([1; 16])
    );
    assert_eq!(bench.sim.published[&1].0, Some([1; 16]));
    // A front end that knows no shared objects does not keep it from the bridge.
    let uuid = bench.send(&GuestCommand::assign_uuid(2), Fenced::No);
    bench.job(1, Err(errno::EOPNOTSUPP));
    assert_eq!(bench.response(uuid), Some(Response::Uuid([2; 16])));
    assert_eq!(bench.refused(&GuestCommand::assign_uuid(3)), UNKNOWN);
    bench.ok(&GuestCommand::unref(1));
    bench.ok(&GuestCommand::unref(2));
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.sim.assert_empty();
}

#[test]
fn a_blob_destroyed_while_it_is_being_named_is_unshared() {
    let mut bench = Bench::with_blobs(1);
    let uuid = bench.send(&GuestCommand::assign_uuid(1), Fenced::Global(1));
    bench.ok(&GuestCommand::unref(1));
    bench.job(0, Ok(()));
    assert_eq!(bench.response(uuid), Some(Response::Uuid([1; 16])));
    bench.ok(&GuestCommand::ctx_destroy(1));
    bench.sim.assert_empty();
}

#[test]
fn a_blob_is_attached_until_it_is_detached_however_often() {
    let mut bench = Bench::with_blobs(1);
    bench.ok(&GuestCommand::attach(1, 1));
    bench.ok(&GuestCommand::detach(1, 1));
    assert_eq!(bench.refused(&GuestCommand::detach(1, 1)), UNKNOWN);
    assert_eq!(bench.refused(&GuestCommand::attach(1, 7)), UNKNOWN);
    let no_context = ResponseError::InvalidContextId;
    assert_eq!(bench.refused(&GuestCommand::attach(2, 1)), no_context);
    assert_eq!(bench.refused(&GuestCommand::detach(2, 1)), no_context);
    assert_eq!(bench.refused(&GuestCommand::unref(7)), UNKNOWN);
}
