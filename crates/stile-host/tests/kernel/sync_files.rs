//! sync_files: state, time, merging.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stile_host::{Access, Status, poll_many};

use crate::{LONG, buffer, gpu};

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

#[test]
fn a_fence_is_active_until_it_signals_and_then_has_a_time() {
    let fence = gpu().fence().unwrap();
    let file = fence.sync_file();
    assert_eq!(file.status().unwrap(), Status::Active);
    assert_eq!(file.timestamp_ns().unwrap(), None);
    assert!(!file.signalled().unwrap());
    let before = now_ns();
    fence.signal().unwrap();
    let after = now_ns();
    assert_eq!(file.status().unwrap(), Status::Signalled);
    assert!(file.signalled().unwrap());
    let at = file.timestamp_ns().unwrap().unwrap();
    assert!(
        (before..=after).contains(&at),
        "{at} is not in {before}..={after}"
    );
    let outcome = file.outcome().unwrap();
    assert_eq!(
        (outcome.status, outcome.timestamp_ns),
        (Status::Signalled, Some(at))
    );
}

#[test]
fn waiting_ends_with_the_signal_or_with_the_time() {
    let fence = gpu().fence().unwrap();
    let begin = Instant::now();
    assert!(
        !fence
            .sync_file()
            .wait(Some(Duration::from_millis(100)))
            .unwrap()
    );
    assert!(begin.elapsed() >= Duration::from_millis(100));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| fence.sync_file().wait(Some(LONG)).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        fence.signal().unwrap();
        assert!(waiter.join().unwrap());
    });
    assert!(fence.sync_file().wait(None).unwrap());
}

#[test]
fn two_that_are_merged_are_both_waited_for() {
    for first in [0, 1] {
        let gpu = gpu();
        let fences = [gpu.fence().unwrap(), gpu.fence().unwrap()];
        let merged = fences[0]
            .sync_file()
            .merge(fences[1].sync_file(), "both")
            .unwrap();
        assert_eq!(merged.fences().unwrap().len(), 2);
        assert_eq!(merged.status().unwrap(), Status::Active);
        fences[first].signal().unwrap();
        assert!(!merged.signalled().unwrap());
        assert_eq!(merged.status().unwrap(), Status::Active);
        assert_eq!(merged.timestamp_ns().unwrap(), None);
        fences[1 - first].signal().unwrap();
        assert!(merged.wait(Some(LONG)).unwrap());
        assert_eq!(merged.status().unwrap(), Status::Signalled);
        let last = fences[1 - first].sync_file().timestamp_ns().unwrap();
        assert_eq!(
            merged.timestamp_ns().unwrap(),
            last,
            "the time is the later one"
        );
    }
}

#[test]
fn merging_with_one_that_is_signalled_leaves_the_other() {
    let gpu = gpu();
    let (done, pending) = (gpu.fence().unwrap(), gpu.fence().unwrap());
    done.signal().unwrap();
    let merged = done
        .sync_file()
        .merge(pending.sync_file(), "one is done")
        .unwrap();
    assert_eq!(merged.status().unwrap(), Status::Active);
    assert_eq!(merged.fences().unwrap().len(), 1);
    pending.signal().unwrap();
    assert_eq!(merged.status().unwrap(), Status::Signalled);
}

#[test]
fn merging_two_that_are_signalled_is_signalled() {
    let gpu = gpu();
    let (one, other) = (gpu.fence().unwrap(), gpu.fence().unwrap());
    one.signal().unwrap();
    other.signal().unwrap();
    let merged = one
        .sync_file()
        .merge(other.sync_file(), "all are done")
        .unwrap();
    assert_eq!(merged.status().unwrap(), Status::Signalled);
    assert!(merged.timestamp_ns().unwrap().is_some());
}

#[test]
fn merging_the_same_twice_is_the_same() {
    let fence = gpu().fence().unwrap();
    let merged = fence.sync_file().merge(fence.sync_file(), "twice").unwrap();
    assert_eq!(merged.fences().unwrap().len(), 1);
    assert!(!merged.signalled().unwrap());
    fence.signal().unwrap();
    assert!(merged.signalled().unwrap());
}

#[test]
fn a_long_name_or_none_does_no_harm() {
    let fence = gpu().fence().unwrap();
    for name in ["", "a\0b", &"long".repeat(100)] {
        fence.sync_file().merge(fence.sync_file(), name).unwrap();
    }
}

#[test]
fn many_fences_are_listed_one_by_one() {
    for count in [1, 3, 4, 5, 40] {
        let gpu = gpu();
        let buffer = buffer();
        let fences: Vec<_> = (0..count)
            .map(|_| gpu.attach(&buffer, Access::WRITE).unwrap())
            .collect();
        let all = buffer.export_sync_file(Access::READ).unwrap();
        let listed = all.fences().unwrap();
        assert_eq!(listed.len(), count);
        assert!(
            listed
                .iter()
                .all(|one| one.status == Status::Active && one.timestamp_ns == 0)
        );
        for fence in &fences[1..] {
            fence.signal().unwrap();
        }
        assert_eq!(all.outcome().unwrap().status, Status::Active);
        fences[0].signal().unwrap();
        assert!(all.wait(Some(LONG)).unwrap());
        let outcome = all.outcome().unwrap();
        assert_eq!(outcome.status, Status::Signalled);
        assert_eq!(
            outcome.timestamp_ns,
            fences[0].sync_file().timestamp_ns().unwrap()
        );
    }
}

#[test]
fn many_sync_files_are_asked_at_once() {
    let gpu = gpu();
    let fences: Vec<_> = (0..200).map(|_| gpu.fence().unwrap()).collect();
    let fds: Vec<_> = fences
        .iter()
        .map(|fence| fence.sync_file().as_fd())
        .collect();
    let mut ready = Vec::new();
    assert_eq!(poll_many(&fds, &mut ready).unwrap(), 0);
    assert!(ready.iter().all(|ready| !ready));
    for fence in fences.iter().step_by(3) {
        fence.signal().unwrap();
    }
    assert_eq!(poll_many(&fds, &mut ready).unwrap(), 67);
    assert_eq!(ready.len(), 200);
    assert!(
        ready
            .iter()
            .enumerate()
            .all(|(number, ready)| *ready == (number % 3 == 0))
    );
}

#[test]
fn a_deadline_is_a_hint() {
    let fence = gpu().fence().unwrap();
    let file = fence.sync_file();
    assert!(
        file.takes_deadlines().unwrap(),
        "Linux 6.12 and newer have it"
    );
    file.set_deadline(now_ns() + 1_000_000).unwrap();
    assert_eq!(file.status().unwrap(), Status::Active);
    fence.signal().unwrap();
    file.set_deadline(0).unwrap();
}
