//! Over a quota there is a clear error, no stall and no lost fence, and everything else goes on.

use stile_frontend::gpu::{HOST3D, create_blob, unref};
use stile_host::Access;
use stile_wire::gpu::types::*;
use stile_wire::sync::{encode_drop, encode_export, encode_wait};

use crate::rig::{READ, Rig};

const EMFILE: u32 = 24;
const EDQUOT: u32 = 122;

#[test]
fn a_thousand_cookies_are_refused_from_the_quota_on() {
    let mut rig = Rig::new(&["--max-cookies=100"]);
    let buffer = rig.blob(1);
    let before = rig.daemon.quiet_fds().len();
    for batch in 0..10_u64 {
        let payload: Vec<u8> = (1..=100)
            .flat_map(|number| encode_export(0, 5, 1, READ, batch * 100 + number))
            .collect();
        let errno = if batch == 0 { 0 } else { EDQUOT };
        assert_eq!(rig.errnos(&payload), [errno; 100]);
    }
    assert_eq!(rig.daemon.quiet_fds().len(), before + 100);
    // A refused one says so in its response too, and its fence is there.
    let ticket = rig.export(3, 1, READ, 5000);
    let answer = rig.vm.wait(ticket);
    assert_eq!(answer.kind(), RESP_ERR_OUT_OF_MEMORY);
    assert!(answer.fence().is_some());
    // Everything else goes on, the cookies that are there included.
    let fence = rig.busy(&buffer, Access::WRITE);
    let export = rig.export(3, 1, READ, 0);
    let wait = rig.submit(4, &encode_wait(4, 6, 100));
    rig.assert_signals(wait);
    rig.assert_pending(export);
    fence.signal().unwrap();
    rig.assert_signals(export);
    let drops: Vec<u8> = (1..=100)
        .flat_map(|cookie| encode_drop(0, 7, cookie))
        .collect();
    rig.run(&drops);
    assert_eq!(rig.daemon.quiet_fds().len(), before);
    rig.run(&encode_export(0, 8, 1, READ, 5000));
}

#[test]
fn pending_fences_are_refused_from_the_quota_on_and_those_before_are_unharmed() {
    let mut rig = Rig::new(&["--max-pending-fences=8"]);
    let (busy, _idle) = (rig.blob(1), rig.blob(2));
    let fence = rig.busy(&busy, Access::WRITE);
    let pending: Vec<_> = (0..8).map(|ring| rig.export(ring, 1, READ, 0)).collect();
    for ring in [20, 21, 22] {
        let refused = rig.export(ring, 1, READ, 0);
        let answer = rig.vm.wait(refused);
        assert_eq!(answer.kind(), RESP_ERR_OUT_OF_MEMORY);
        assert!(answer.fence().is_some());
        assert_eq!(rig.last().errno.get(), EDQUOT);
    }
    // Nothing to wait for is no pending fence.
    let empty = rig.submit(23, &[]);
    rig.assert_signals(empty);
    for ticket in &pending {
        rig.assert_pending(*ticket);
    }
    fence.signal().unwrap();
    for ticket in pending {
        rig.assert_signals(ticket);
    }
    let again = rig.export(20, 1, READ, 0);
    rig.assert_signals(again);
}

#[test]
fn signalled_fences_do_not_count_however_many_come_at_once() {
    let mut rig = Rig::new(&["--max-pending-fences=4"]);
    rig.blob(1);
    let tickets: Vec<_> = (0..60)
        .map(|ring| {
            let id = rig.id();
            let export = encode_export(ring, 5, 1, READ, 0);
            let command = stile_frontend::gpu::submit(1, &export).ring_fence(ring, id);
            rig.vm.put(&command.bytes())
        })
        .collect();
    rig.vm.control.show();
    rig.vm.control.kick();
    for ticket in tickets {
        rig.assert_signals(ticket);
    }
}

#[test]
fn descriptors_are_refused_from_the_quota_on() {
    let mut rig = Rig::new(&["--max-fds=20"]);
    rig.blob(1);
    let mut made = 0;
    let mut cookies = 0..;
    loop {
        let cookie = cookies.next().unwrap() + 1;
        match rig.errnos(&encode_export(0, 5, 1, READ, cookie))[..] {
            [0] => made += 1,
            [EMFILE] => break,
            ref other => panic!("{other:?}"),
        }
    }
    // A status blob, a blob, and the rest.
    assert_eq!(made, 18);
    let one_more = create_blob(2, HOST3D, 0, 4096, &[]);
    rig.vm.expect(&one_more, RESP_ERR_OUT_OF_MEMORY);
    rig.run(&encode_drop(0, 6, 1));
    rig.vm.expect(&one_more, RESP_OK_NODATA);
}

#[test]
fn host_memory_is_refused_from_the_quota_on() {
    let mut rig = Rig::new(&["--max-host-mib=1"]);
    let half = |id| create_blob(id, HOST3D, 0, 512 << 10, &[]);
    rig.vm.expect(&half(1), RESP_OK_NODATA);
    rig.vm.expect(&half(2), RESP_OK_NODATA);
    let page = create_blob(3, HOST3D, 0, 1, &[]);
    rig.vm.expect(&page, RESP_ERR_OUT_OF_MEMORY);
    rig.vm.expect(&unref(1), RESP_OK_NODATA);
    rig.vm.expect(&page, RESP_OK_NODATA);
}
