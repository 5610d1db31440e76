//! Buffers that move, by example.

use std::rc::Rc;

use stile_core::{Errno, Replacement, Request, RequestId, ResourceName, errno};
use stile_wire::gpu::{MAP_CACHE_CACHED, Response};
use stile_wire::sync::{Access, Op};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails, Kernel, Reservation, Task, operation};

const SIZE: u64 = 16 * 4096;
const SECOND: u64 = 1_000_000_000;
const EIO: Errno = Errno(5);

fn replace(bench: &mut Bench, resource_id: u32) -> RequestId {
    replace_with(bench, ResourceName::Id(resource_id), SIZE, None, SECOND)
}

fn replace_with(
    bench: &mut Bench,
    resource: ResourceName,
    size: u64,
    work: Option<Access>,
    timeout_ns: u64,
) -> RequestId {
    let id = bench.sim.open_request();
    let buffer = bench.sim.new_buffer_with(size, work, &[(0, 7), (16, 9)]);
    let replacement = Replacement {
        resource,
        buffer,
        timeout_ns,
    };
    let (sim, now_ns) = (&mut bench.sim, bench.now_ns);
    bench.device.replace(sim, now_ns, id, replacement);
    bench.device.check().expect("the device is whole");
    id
}

/// With blob 1, mapped at `0x10000`.
fn mapped() -> Bench {
    let mut bench = Bench::with_blobs(2);
    let map = bench.send(&GuestCommand::map(1, 0x10000), Fenced::No);
    bench.job(0, Ok(()));
    assert_eq!(
        bench.response(map),
        Some(Response::MapInfo(MAP_CACHE_CACHED))
    );
    bench
}

const UNMAP: Task = Task::Unmap {
    offset: 0x10000,
    size: SIZE,
};
const MAP: Task = Task::Map {
    offset: 0x10000,
    size: SIZE,
};

fn waits_for(bench: &Bench, resource_id: u32, access: Access) -> usize {
    let storage = bench.sim.storage(resource_id);
    let reservation: &Reservation = &storage.reservation.borrow();
    let kernel: &Kernel = &bench.sim.kernel;
    reservation.export(kernel, access).len()
}

#[test]
fn fences_move_with_their_buffer_and_stay_what_they_are() {
    let mut bench = Bench::with_blobs(1);
    let old = bench.sim.storage(1);
    bench.reader(1);
    bench.reader(1);
    let writer = bench.writer(1);
    let moved = replace_with(
        &mut bench,
        ResourceName::Id(1),
        SIZE,
        Some(Access::READ),
        SECOND,
    );
    assert_eq!(bench.told(moved), Some(Ok(0)));
    assert!(!Rc::ptr_eq(&old, &bench.sim.storage(1)));
    assert_eq!(bench.sim.storage(1).load(0), 7);
    // A reader waits for the writer, a writer for all four.
    assert_eq!(waits_for(&bench, 1, Access::READ), 1);
    assert_eq!(waits_for(&bench, 1, Access::WRITE), 4);
    bench.signal(writer);
    assert_eq!(waits_for(&bench, 1, Access::READ), 0);
    assert_eq!(waits_for(&bench, 1, Access::WRITE), 3);
}

#[test]
fn later_operations_are_about_the_new_buffer_and_earlier_ones_stay_with_the_old() {
    let mut bench = Bench::with_blobs(1);
    let export = |id: u64| {
        let op = Op::Export {
            resource_id: 1,
            access: Access::READ,
            cookie: id,
        };
        [op.encode(id as u8, 0).to_vec()]
    };
    let writer = bench.writer(1);
    let before = bench.fenced(1, 1, &export(1));
    replace(&mut bench, 1);
    // The host begins on the new one, which the first EXPORT does not wait for.
    let later = bench.writer(1);
    let after = bench.fenced(2, 2, &export(2));
    bench.signal(writer);
    assert!(!bench.is_pending(before));
    assert!(bench.is_pending(after));
    bench.signal(later);
    assert!(!bench.is_pending(after));
}

#[test]
fn the_request_is_answered_when_the_guest_sees_the_new_buffer() {
    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    assert_eq!(bench.tasks()[1..], [UNMAP, MAP]);
    assert!(bench.sim.shows(0x10000, 1));
    bench.job(1, Ok(()));
    assert_eq!(bench.told(moved), None);
    bench.job(2, Ok(()));
    assert_eq!(bench.told(moved), Some(Ok(0)));
    // It moves again, and is unmapped like any.
    let moved = replace(&mut bench, 1);
    for nth in [3, 4] {
        bench.job(nth, Ok(()));
    }
    assert_eq!(bench.told(moved), Some(Ok(0)));
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    bench.job(5, Ok(()));
    assert_eq!(bench.response(unmap), Some(Response::Ok));
}

#[test]
fn the_guest_may_unmap_what_moves() {
    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    assert_eq!(
        bench.refused(&GuestCommand::map(1, 0)),
        stile_wire::gpu::ResponseError::InvalidParameter,
        "the guest knows of no second place"
    );
    let unmap = bench.send(&GuestCommand::unmap(1), Fenced::No);
    assert_eq!(bench.tasks()[1..], [UNMAP, MAP, UNMAP]);
    // The place may be used again: the front end hears of that in order.
    let other = bench.send(&GuestCommand::map(2, 0x10000), Fenced::No);
    for nth in 1..=4 {
        bench.job(nth, Ok(()));
    }
    assert_eq!(bench.told(moved), Some(Ok(0)));
    assert_eq!(bench.response(unmap), Some(Response::Ok));
    let mapped = Some(Response::MapInfo(MAP_CACHE_CACHED));
    assert_eq!(bench.response(other), mapped);
}

#[test]
fn what_the_guest_is_mapping_moves_behind_that() {
    let mut bench = Bench::with_blobs(1);
    let map = bench.send(&GuestCommand::map(1, 0x10000), Fenced::No);
    let moved = replace(&mut bench, 1);
    assert_eq!(bench.tasks(), [MAP]);
    bench.job(0, Ok(()));
    let info = Some(Response::MapInfo(MAP_CACHE_CACHED));
    assert_eq!(bench.response(map), info);
    assert_eq!(bench.tasks()[1..], [UNMAP, MAP]);
    assert_eq!(bench.told(moved), None);
    bench.job(1, Ok(()));
    bench.job(2, Ok(()));
    assert_eq!(bench.told(moved), Some(Ok(0)));
    // What it is unmapping has moved when that is done.
    bench.send(&GuestCommand::unmap(1), Fenced::No);
    let moved = replace(&mut bench, 1);
    assert_eq!(bench.told(moved), None);
    bench.job(3, Ok(()));
    assert_eq!(bench.told(moved), Some(Ok(0)));
    assert_eq!(bench.tasks().len(), 4);
    // And what it could not map.
    bench.send(&GuestCommand::map(1, 0x10000), Fenced::No);
    let moved = replace(&mut bench, 1);
    bench.job(4, Err(EIO));
    assert_eq!(bench.told(moved), Some(Ok(0)));
}

#[test]
fn a_front_end_that_does_not_map_it_leaves_the_place_free() {
    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    bench.job(1, Ok(()));
    bench.job(2, Err(EIO));
    assert_eq!(bench.told(moved), Some(Err(EIO)));
    assert_eq!(bench.sim.storage(1).load(0), 7, "it has moved");
    bench.send(&GuestCommand::map(1, 0x10000), Fenced::No);
    bench.job(3, Ok(()));
    // One that cannot even be asked.
    bench.sim.fails = HostFails {
        after: 4,
        error: Some(errno::EMFILE),
    };
    let moved = replace(&mut bench, 1);
    assert_eq!(bench.told(moved), Some(Err(errno::EMFILE)));
    assert_eq!(bench.tasks()[4..], [UNMAP]);
    bench.send(&GuestCommand::map(2, 0x10000), Fenced::No);
    assert_eq!(bench.tasks()[5..], [MAP]);
}

#[test]
fn a_blob_that_goes_and_a_device_that_is_reset_answer_while_it_moves() {
    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    bench.ok(&GuestCommand::unref(1));
    assert_eq!(bench.told(moved), Some(Err(errno::ECANCELED)));
    assert_eq!(bench.tasks()[1..], [UNMAP, MAP, UNMAP]);
    for nth in 1..=3 {
        bench.job(nth, Ok(()));
    }
    assert!(bench.sim.mapped().is_empty());

    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    bench.reset();
    assert_eq!(bench.told(moved), Some(Err(errno::ECANCELED)));
    assert_eq!(bench.tasks()[1..], [UNMAP, MAP, UNMAP]);
    for nth in 1..=3 {
        bench.job(nth, Ok(()));
    }
    bench.sim.assert_empty();

    // While it waits for the guest's own mapping.
    let mut bench = Bench::with_blobs(1);
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    let moved = replace(&mut bench, 1);
    bench.ok(&GuestCommand::unref(1));
    assert_eq!(bench.told(moved), Some(Err(errno::ECANCELED)));
    bench.job(0, Ok(()));
    bench.job(1, Ok(()));
    assert!(bench.sim.mapped().is_empty());
}

#[test]
fn whoever_does_not_want_to_wait_lets_it_move() {
    let mut bench = mapped();
    let moved = replace(&mut bench, 1);
    bench.pass_ms(999);
    assert_eq!(bench.told(moved), None);
    bench.pass_ms(1);
    assert_eq!(bench.told(moved), Some(Err(errno::ETIMEDOUT)));
    let again = replace(&mut bench, 1);
    assert_eq!(bench.told(again), Some(Err(errno::EBUSY)));
    bench.job(1, Ok(()));
    bench.job(2, Ok(()));
    let again = replace(&mut bench, 1);
    bench.withdraw(again);
    bench.job(3, Ok(()));
    bench.job(4, Ok(()));
    let again = replace(&mut bench, 1);
    assert_eq!(bench.told(again), None);
    assert_eq!(bench.device.next_deadline_ns(), Some(bench.now_ns + SECOND));
}

#[test]
fn what_cannot_move_is_refused_and_stays_where_it_is() {
    let mut bench = mapped();
    bench.ok(&GuestCommand::create_blob(8, 1, 0, 4096, 4096));
    bench.reader(1);
    let old = bench.sim.storage(1);
    let cases = [
        (ResourceName::Id(9), SIZE, SECOND, errno::ENOENT),
        (ResourceName::Uuid([9; 16]), SIZE, SECOND, errno::ENOENT),
        (ResourceName::Id(8), 4096, SECOND, errno::EOPNOTSUPP),
        (ResourceName::Id(1), SIZE - 4096, SECOND, errno::EINVAL),
        (ResourceName::Id(1), SIZE + 4096, SECOND, errno::EINVAL),
        (ResourceName::Id(1), SIZE, 0, errno::EINVAL),
        (ResourceName::Id(1), SIZE, u64::MAX, errno::EINVAL),
    ];
    for (resource, size, timeout_ns, error) in cases {
        let refused = replace_with(&mut bench, resource, size, None, timeout_ns);
        assert_eq!(bench.told(refused), Some(Err(error)), "{resource:?}");
    }
    for after in 0..4 {
        let error = Some(errno::ENOMEM);
        bench.sim.fails = HostFails { after, error };
        let refused = replace(&mut bench, 1);
        assert_eq!(bench.told(refused), Some(Err(errno::ENOMEM)), "{after}");
    }
    let place = |resource_id| Op::Status {
        resource_id,
        offset: 0,
        size: 128,
    };
    let events = |resource_id| Op::Events {
        resource_id,
        offset: 0,
        size: 128,
    };
    for (bind, unbind) in [(place(1), place(0)), (events(1), events(0))] {
        bench.unfenced(&[operation(0, bind)]);
        let refused = replace(&mut bench, 1);
        assert_eq!(bench.told(refused), Some(Err(errno::EBUSY)), "{bind:?}");
        bench.unfenced(&[operation(0, unbind)]);
    }
    assert!(Rc::ptr_eq(&old, &bench.sim.storage(1)));
    assert_eq!(bench.tasks().len(), 1, "it is mapped as it was");
    assert_eq!(bench.device.next_deadline_ns(), None);
    let moved = replace(&mut bench, 1);
    bench.job(1, Ok(()));
    bench.job(2, Ok(()));
    assert_eq!(bench.told(moved), Some(Ok(0)));
}

#[test]
fn whoever_waits_for_a_counter_finds_it_in_the_new_buffer() {
    let mut bench = Bench::with_blobs(1);
    let wait = |bench: &mut Bench, offset, value| {
        bench.ask(Request::Wait {
            resource: ResourceName::Id(1),
            offset,
            value,
            timeout_ns: SECOND,
        })
    };
    let (there, not_yet) = (wait(&mut bench, 0, 7), wait(&mut bench, 8, 1));
    let higher = wait(&mut bench, 0, 8);
    let another = wait(&mut bench, 16, 9);
    let old = bench.sim.storage(1);
    replace(&mut bench, 1);
    assert_eq!(bench.told(there), Some(Ok(7)));
    assert_eq!(bench.told(another), Some(Ok(9)));
    assert_eq!((bench.told(not_yet), bench.told(higher)), (None, None));
    let signal = |bench: &mut Bench, offset, value| {
        bench.ask(Request::Signal {
            resource: ResourceName::Id(1),
            offset,
            value,
        })
    };
    signal(&mut bench, 8, 1);
    assert_eq!(bench.told(not_yet), Some(Ok(1)));
    assert_eq!((old.load(8), bench.sim.storage(1).load(8)), (0, 1));
}
