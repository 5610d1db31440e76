//! IMPORT: one buffer's fences on another, for the host to wait for.

use guest_tests::gpu::{Fence, Gpu, HostBuffer, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Blob, BlobOptions, FenceOptions, Submission};

use crate::stage::{Guest, PAGE, Result, cookie_of};

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
        name: "many fences imported as readers' hold writers until the last of them, and no reader",
        run: || many_imported(Among::Readers),
    },
    Case {
        name: "a fence imported as a writer's among many readers' holds everybody until it signals",
        run: || many_imported(Among::ReadersAndAWriter),
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

/// As whose fences they are imported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Readers,
    ReadersAndAWriter,
}

/// A fence of the host on each source, imported onto the buffer in one submission: the host's
/// fences are made to last for ten seconds, so there are few round trips.
fn import_all<'a>(
    guest: &mut Guest,
    sources: &[(HostBuffer<'a>, Blob)],
    onto: &Blob,
    access: Access,
) -> Result<Vec<Fence<'a>>> {
    let mut fences = Vec::new();
    let mut submission = Submission::on_ring(0);
    let mut tags = Vec::new();
    for (host, source) in sources {
        fences.push(host.begin(Use::Write)?);
        let cookie = guest.session.cookie();
        tags.extend([guest.session.tag(), guest.session.tag()]);
        if let [.., export, import] = tags[..] {
            submission = submission
                .export(source, Access::READ, cookie, export)
                .import(onto, access, cookie, import);
        }
    }
    guest.session.submit(&submission)?;
    guest.settle()?;
    for tag in tags {
        let record = guest.session.result(tag)?;
        assert_eq!(record.errno, 0, "{record:?}");
    }
    Ok(fences)
}

/// As IGT's dmabuf_sync_file has it: so many readers, of which the last signals first, a writer
/// after them, and what was exported before says the same as the buffer.
fn many_imported(among: Among) -> Outcome {
    const READERS: usize = 32;
    /// The status blob holds the records of so many imports, and the host's view is asked for after
    /// as many signals.
    const AT_ONCE: usize = 8;
    let written = among == Among::ReadersAndAWriter;
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let b = guest.buffer()?;
    let host_b = gpu.take(b.resource_id())?;
    let mut buffers = Vec::new();
    for _ in 0..=READERS {
        buffers.push(guest.session.create_blob(&BlobOptions::host(PAGE))?);
    }
    guest.settle()?;
    let mut sources = Vec::new();
    for a in buffers {
        sources.push((gpu.take(a.resource_id())?, a));
    }
    let writer = sources.split_off(READERS);

    let mut readers = Vec::new();
    for sources in sources.chunks(AT_ONCE) {
        readers.extend(import_all(&mut guest, sources, &b, Access::READ)?);
    }
    let writer = match among {
        Among::Readers => Vec::new(),
        Among::ReadersAndAWriter => import_all(&mut guest, &writer, &b, Access::WRITE)?,
    };
    let on = |ring| FenceOptions {
        ring: Some(ring),
        ..FenceOptions::default()
    };
    let to_read = guest.session.export_with(&b, Access::READ, on(1))?;
    let to_write = guest.session.export_with(&b, Access::WRITE, on(2))?;

    let mut last = None;
    for (left, fence) in readers.iter().enumerate().rev() {
        guest.session.settle_for(&[&to_read.fence])?;
        assert_eq!(to_read.fence.signalled()?, !written);
        assert!(!to_write.fence.signalled()?, "a writer need not wait");
        if left % AT_ONCE == 0 {
            assert_eq!(host_b.idle(Use::Read)?, !written);
            assert!(!host_b.idle(Use::Write)?, "a writer need not wait");
        }
        last = Some(fence.signal()?);
    }
    for fence in &writer {
        assert!(!host_b.idle(Use::Read)? && !host_b.idle(Use::Write)?);
        guest.pending(&to_read)?;
        guest.pending(&to_write)?;
        let signalled = fence.signal()?;
        guest.signals(&to_read, &signalled)?;
        last = Some(signalled);
    }
    let last = last.ok_or("there are fences")?;
    guest.signals(&to_write, &last)?;
    assert!(host_b.idle(Use::Read)? && host_b.idle(Use::Write)?);
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
