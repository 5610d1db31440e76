//! Fences of the host that do not signal. (Those that signal with an error cannot be tested here:
//! vgem has none, also when it gives a fence up.)

use std::time::{Duration, Instant};

use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{encode_export, encode_wait};

use crate::rig::{READ, Rig};

const ETIMEDOUT: u32 = 110;
const DEADLINE: u16 = 1;

#[test]
fn a_fence_that_never_signals_is_answered_at_the_deadline_and_the_device_goes_on() {
    let mut rig = Rig::new(&["--fence-deadline-ms=300"]);
    let (one, _two) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&one, Access::WRITE);
    let begin = Instant::now();
    let payload = [
        encode_export(3, 1, 1, READ, 10),
        encode_export(3, 2, 2, READ, 0),
    ];
    let overdue = rig.submit(3, &payload.concat());
    let behind = rig.export(3, 2, READ, 0);
    rig.assert_pending(overdue);
    rig.assert_signals(overdue);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    rig.assert_signals(behind);
    let records = rig.status.records(&rig.vm.ram);
    let record = records.iter().find(|record| record.tag.get() == 1).unwrap();
    assert_eq!(record.errno.get(), ETIMEDOUT);
    assert_eq!(record.flags.get(), DEADLINE);
    assert!(record.done_ns.get() - record.taken_ns.get() >= 300_000_000);
    assert_eq!(rig.status.errnos(&rig.vm.ram, 2), [0, 0]);
    // The cookie is as good as it was.
    let used = rig.vm.control.used_index();
    let waits = rig.submit(4, &encode_wait(4, 5, 10));
    fence.signal().unwrap();
    rig.assert_signals(waits);
    assert_eq!(rig.vm.control.used_index(), used.wrapping_add(1));
}

#[test]
fn deadlines_of_many_fences_end_them_all() {
    let mut rig = Rig::new(&["--fence-deadline-ms=300", "--max-pending-fences=64"]);
    let buffer = rig.blob(1);
    let _fence = rig.busy(&buffer, Access::WRITE);
    let tickets: Vec<_> = (0..60).map(|ring| rig.export(ring, 1, READ, 0)).collect();
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
    assert_eq!(rig.status.errnos(&rig.vm.ram, 1), [ETIMEDOUT; 60]);
    // All of them are over: there is room for as many.
    let ticket = rig.export(0, 1, READ, 0);
    assert_eq!(rig.vm.wait(ticket).kind(), RESP_OK_NODATA);
}
