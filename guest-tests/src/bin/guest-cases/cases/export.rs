//! EXPORT: the host's fences as the guest's.

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, BlobMemory, BlobOptions, Submission};

use crate::stage::{Guest, PAGE, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a writer on the host holds the guest's reader until it signals",
        run: a_writer_on_the_host_holds_the_guests_reader,
    },
    Case {
        name: "a writer on the host holds the guest's writer, too",
        run: a_writer_on_the_host_holds_the_guests_writer,
    },
    Case {
        name: "a reader on the host holds the guest's writer and no reader",
        run: a_reader_on_the_host_holds_writers_only,
    },
    Case {
        name: "an idle buffer is signalled at once, without a round of the event loop",
        run: an_idle_buffer_is_signalled_at_once,
    },
    Case {
        name: "fences that the host adds after an export do not delay it",
        run: later_fences_do_not_delay_an_export,
    },
    Case {
        name: "a guest that sleeps on a fence is woken when the host signals",
        run: a_sleeping_guest_is_woken,
    },
    Case {
        name: "several fences on a buffer are waited for together",
        run: several_fences_are_waited_for_together,
    },
    Case {
        name: "a host fence crosses for a buffer of the guest's own pages",
        run: a_fence_crosses_for_guest_pages,
    },
    Case {
        name: "a host fence crosses for a host buffer with guest pages beside it",
        run: a_fence_crosses_for_both_kinds_of_pages,
    },
    Case {
        name: "an export that nobody waits for keeps a cookie to wait for later",
        run: a_cookie_is_waited_for_later,
    },
];

fn a_writer_on_the_host_holds_the_guests_reader() -> Outcome {
    a_writer_holds(Access::READ)
}

fn a_writer_on_the_host_holds_the_guests_writer() -> Outcome {
    a_writer_holds(Access::WRITE)?;
    a_writer_holds(Access::all())
}

fn a_writer_holds(access: Access) -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fence = host.begin_by_driver(Use::Write)?;

    let exported = guest.session.export(&buffer, access)?;
    guest.pending(&exported)?;
    // Still so, after the host has looked around.
    assert!(!host.idle(Use::Read)?);
    guest.pending(&exported)?;

    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    assert!(host.idle(Use::Write)?);
    Ok(())
}

fn a_reader_on_the_host_holds_writers_only() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fence = host.begin_by_driver(Use::Read)?;

    let reader = guest.session.export(&buffer, Access::READ)?;
    guest.at_once(&reader)?;
    let writer = guest.session.export(&buffer, Access::WRITE)?;
    let both = guest.session.export(&buffer, Access::all())?;
    guest.pending(&writer)?;
    guest.pending(&both)?;

    let signalled = fence.signal()?;
    guest.signals(&writer, &signalled)?;
    guest.signals(&both, &signalled)?;
    Ok(())
}

fn an_idle_buffer_is_signalled_at_once() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    for access in [Access::READ, Access::WRITE, Access::all()] {
        let exported = guest.session.export(&buffer, access)?;
        guest.at_once(&exported)?;
    }
    // A buffer whose fence has signalled is idle again.
    let host = gpu.take(buffer.resource_id())?;
    host.begin(Use::Write)?.signal()?;
    let exported = guest.session.export(&buffer, Access::WRITE)?;
    guest.at_once(&exported)?;
    Ok(())
}

fn later_fences_do_not_delay_an_export() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let first = host.begin(Use::Write)?;

    let reader = guest.session.export(&buffer, Access::READ)?;
    let writer = guest.session.export(&buffer, Access::WRITE)?;
    guest.settle()?;
    let second = host.begin(Use::Write)?;
    let third = host.begin(Use::Read)?;
    guest.pending(&reader)?;
    guest.pending(&writer)?;

    let signalled = first.signal()?;
    assert!(!host.idle(Use::Read)?, "the second writer is at work");
    guest.signals(&reader, &signalled)?;
    guest.signals(&writer, &signalled)?;

    // Who asks now waits for those.
    let later = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&later)?;
    let signalled = second.signal()?;
    guest.signals(&later, &signalled)?;
    third.signal()?;
    Ok(())
}

fn a_sleeping_guest_is_woken() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fence = host.begin(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    fence.signal_after(300)?;
    assert!(exported.fence.wait(Some(PATIENCE))?, "nobody woke it");
    let signalled = fence.signalled()?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}

fn several_fences_are_waited_for_together() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fences = [
        host.begin(Use::Read)?,
        host.begin(Use::Write)?,
        host.begin(Use::Read)?,
    ];
    let exported = guest.session.export(&buffer, Access::WRITE)?;
    guest.pending(&exported)?;
    let [first, second, third] = fences;
    second.signal()?;
    guest.pending(&exported)?;
    third.signal()?;
    guest.pending(&exported)?;
    let last = first.signal()?;
    guest.signals(&exported, &last)?;
    Ok(())
}

fn a_fence_crosses_for_guest_pages() -> Outcome {
    a_fence_crosses_for(BlobMemory::Guest)
}

fn a_fence_crosses_for_both_kinds_of_pages() -> Outcome {
    a_fence_crosses_for(BlobMemory::Host3dGuest)
}

fn a_fence_crosses_for(memory: BlobMemory) -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let options = BlobOptions::host(4 * PAGE).in_memory(memory);
    let buffer = guest.blob(&options)?;
    let host = gpu.take(buffer.resource_id())?;
    assert_eq!(host.taken.size, buffer.size());
    let fence = host.begin(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&exported)?;
    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    Ok(())
}

fn a_cookie_is_waited_for_later() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    let fence = host.begin(Use::Write)?;

    let (cookie, tag) = (guest.session.cookie(), guest.session.tag());
    let submission = Submission::on_ring(1).export(&buffer, Access::READ, cookie, tag);
    let submitted = guest.session.submit(&submission)?;
    assert!(submitted.fence.is_none());
    guest.settle()?;
    let record = guest.session.result(tag)?;
    assert_eq!(record.errno, 0);

    // Another writer comes, whom the cookie does not know.
    let later = host.begin(Use::Write)?;
    let waiting = guest.session.wait(cookie)?;
    guest.pending(&waiting)?;
    let signalled = fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    later.signal()?;

    // A cookie that has signalled stays, and is waited for at once.
    let again = guest.session.wait(cookie)?;
    guest.at_once(&again)?;
    guest.session.drop_cookie(cookie)?;
    Ok(())
}
