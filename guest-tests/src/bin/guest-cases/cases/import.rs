//! IMPORT: one buffer's fences on another, for the host to wait for.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Cookie, Pending};

use crate::stage::{Guest, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a fence imported as a reader's holds writers on the host and no reader",
        run: imported_as_a_readers_it_holds_writers,
    },
    Case {
        name: "a fence imported as a writer's holds everybody on the host",
        run: imported_as_a_writers_it_holds_everybody,
    },
    Case {
        name: "a cookie that has signalled is imported without effect",
        run: a_signalled_cookie_has_no_effect,
    },
    Case {
        name: "what is imported stays when cookie, source and context are gone",
        run: what_is_imported_stays,
    },
];

fn cookie_of(pending: &Pending) -> Result<Cookie> {
    Ok(pending.cookie().ok_or("an EXPORT has a cookie")?)
}

fn imported_as_a_readers_it_holds_writers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (a, b) = (guest.buffer()?, guest.buffer()?);
    let [host_a, host_b] = [gpu.take(a.resource_id())?, gpu.take(b.resource_id())?];
    let fence = host_a.begin_by_driver(Use::Write)?;

    let exported = guest.session.export(&a, Access::READ)?;
    guest
        .session
        .import(&b, Access::READ, cookie_of(&exported)?)?;
    assert!(host_b.idle(Use::Read)?, "a reader waits for a reader");
    assert!(!host_b.idle(Use::Write)?, "a writer does not wait");
    let reader = guest.session.export(&b, Access::READ)?;
    guest.at_once(&reader)?;
    let writer = guest.session.export(&b, Access::WRITE)?;
    guest.pending(&writer)?;

    let signalled = fence.signal()?;
    guest.signals(&writer, &signalled)?;
    guest.signals(&exported, &signalled)?;
    assert!(host_b.idle(Use::Write)?);
    Ok(())
}

fn imported_as_a_writers_it_holds_everybody() -> Outcome {
    for access in [Access::WRITE, Access::all()] {
        let gpu = Gpu::in_guest()?;
        let mut guest = Guest::new(&gpu)?;
        let (a, b) = (guest.buffer()?, guest.buffer()?);
        let [host_a, host_b] = [gpu.take(a.resource_id())?, gpu.take(b.resource_id())?];
        // A reader of A: for the writer of A to come, whose fence goes on B.
        let fence = host_a.begin_by_driver(Use::Read)?;

        let exported = guest.session.export(&a, Access::WRITE)?;
        guest.session.import(&b, access, cookie_of(&exported)?)?;
        assert!(!host_b.idle(Use::Read)?, "a reader does not wait");
        assert!(!host_b.idle(Use::Write)?, "a writer does not wait");
        let reader = guest.session.export(&b, Access::READ)?;
        let writer = guest.session.export(&b, Access::WRITE)?;
        guest.pending(&reader)?;
        guest.pending(&writer)?;

        let signalled = fence.signal()?;
        guest.signals(&reader, &signalled)?;
        guest.signals(&writer, &signalled)?;
        assert!(host_b.idle(Use::Write)?);
    }
    Ok(())
}

fn a_signalled_cookie_has_no_effect() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (a, b) = (guest.buffer()?, guest.buffer()?);
    let [host_a, host_b] = [gpu.take(a.resource_id())?, gpu.take(b.resource_id())?];
    // One that never had to wait, and one that had.
    let idle = guest.session.export(&a, Access::WRITE)?;
    let fence = host_a.begin(Use::Write)?;
    let done = guest.session.export(&a, Access::WRITE)?;
    guest.pending(&done)?;
    let signalled = fence.signal()?;
    guest.signals(&done, &signalled)?;
    for exported in [idle, done] {
        guest
            .session
            .import(&b, Access::WRITE, cookie_of(&exported)?)?;
        assert!(host_b.idle(Use::Write)?);
    }
    Ok(())
}

fn what_is_imported_stays() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut keeper = Guest::new(&gpu)?;
    let b = keeper.buffer()?;
    let host_b = gpu.take(b.resource_id())?;
    let fence = {
        let mut passer = Guest::new(&gpu)?;
        let a = passer.buffer()?;
        let fence = gpu.take(a.resource_id())?.begin_by_driver(Use::Write)?;
        let exported = passer.session.export(&a, Access::READ)?;
        let cookie = cookie_of(&exported)?;
        // The same buffer in the other context.
        let shared = passer.session.context().import_blob(&b.dma_buf()?)?;
        assert_eq!(shared.resource_id(), b.resource_id());
        passer.session.import(&shared, Access::WRITE, cookie)?;
        passer.session.drop_cookie(cookie)?;
        fence
    };
    keeper.settle()?;
    assert!(!host_b.idle(Use::Read)?, "the fence went with its context");
    let exported = keeper.session.export(&b, Access::READ)?;
    keeper.pending(&exported)?;
    let signalled = fence.signal()?;
    keeper.signals(&exported, &signalled)?;
    assert!(host_b.idle(Use::Write)?);
    Ok(())
}
