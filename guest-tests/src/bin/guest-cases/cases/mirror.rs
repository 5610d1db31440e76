//! A buffer whose guest dma-buf and host dma-buf tell the same story.

use guest_tests::gpu::{Gpu, HostBuffer, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, DmaBufAccess, Error, Mirror, Pushed, SyncFile};
use stile_host::VgemGpu;

use crate::stage::{Guest, PATIENCE, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the host's writers are writers on the guest's own dma-buf",
        run: the_hosts_writers,
    },
    Case {
        name: "the host's readers are readers there: the guest's readers need not wait for them",
        run: the_hosts_readers,
    },
    Case {
        name: "of the host's users a guest's reader waits for the writer, and its writer for all",
        run: writers_and_readers,
    },
    Case {
        name: "a buffer that nobody uses on the host is idle in the guest, and the other way round",
        run: nobody_uses_it,
    },
    Case {
        name: "a cookie is on both sides at once, and the host need not be told again",
        run: a_cookie_is_on_both_sides,
    },
    Case {
        name: "a reader's cookie lets readers of both sides begin",
        run: a_readers_cookie,
    },
    Case {
        name: "a fence of another device of the guest can be polled until the host may be told",
        run: a_foreign_fence,
    },
    Case {
        name: "a foreign fence among the host's own is waited for, and those are not told back",
        run: foreign_among_the_hosts_own,
    },
    Case {
        name: "a mirror takes its own context's session, and no other",
        run: another_contexts_session,
    },
];

/// A ring that no mirror has: of 63 they take two each, and this one is left over.
const OTHER_RING: u8 = 63;

fn mirrored<'a>(gpu: &'a Gpu, guest: &Guest) -> Result<(Mirror, HostBuffer<'a>)> {
    let buffer = guest.buffer()?;
    let host = gpu.take(buffer.resource_id())?;
    Ok((Mirror::new(buffer)?, host))
}

/// What the guest's own readers and writers have to wait for.
fn as_the_guest_sees_it(mirror: &Mirror) -> Result<[SyncFile; 2]> {
    let dma_buf = mirror.dma_buf();
    let reader = dma_buf.export_sync_file(DmaBufAccess::READ)?;
    let writer = dma_buf.export_sync_file(DmaBufAccess::WRITE)?;
    // poll(2) on it says the same.
    assert_eq!(reader.signalled()?, dma_buf.poll(DmaBufAccess::READ)?);
    assert_eq!(writer.signalled()?, dma_buf.poll(DmaBufAccess::WRITE)?);
    Ok([reader, writer])
}

/// The host may use the buffer.
fn done(mirror: &Mirror, access: Access) -> Result {
    match mirror.push(access)? {
        Pushed::Done => Ok(()),
        Pushed::Unfinished(fence) => {
            Err(format!("{access:?} waits for {:?}", fence.fences()?).into())
        }
    }
}

/// The host may not use the buffer yet.
fn unfinished(mirror: &Mirror, access: Access) -> Result<SyncFile> {
    match mirror.push(access)? {
        Pushed::Unfinished(fence) => {
            assert!(!fence.signalled()?, "there is nothing to wait for");
            Ok(fence)
        }
        Pushed::Done => Err(format!("{access:?} waits for nothing").into()),
    }
}

fn the_hosts_writers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let fence = host.begin_by_driver(Use::Write)?;
    let pulled = mirror.pull(&mut guest.session)?;
    let writers = pulled.writers.ok_or("the writer is not seen")?;
    guest.pending(&writers)?;
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    guest.fence_pending(&reader)?;
    guest.fence_pending(&writer)?;
    let signalled = fence.signal()?;
    guest.not_before(&reader, &signalled)?;
    guest.not_before(&writer, &signalled)?;
    guest.signals(&writers, &signalled)?;
    Ok(())
}

fn the_hosts_readers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let fence = host.begin_by_driver(Use::Read)?;
    let pulled = mirror.pull(&mut guest.session)?;
    assert!(pulled.writers.is_none(), "{pulled:?}");
    let everybody = pulled.everybody.ok_or("the reader is not seen")?;
    guest.pending(&everybody)?;
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    assert!(reader.signalled()?, "readers are made to wait for readers");
    guest.fence_pending(&writer)?;

    // A second reader, of another device of the guest, begins at once, and so does a third.
    let other = VgemGpu::find()?;
    let second = other.attach(mirror.dma_buf(), DmaBufAccess::READ)?;
    let [reader, both] = as_the_guest_sees_it(&mirror)?;
    assert!(reader.signalled()?, "readers are made to wait for readers");
    let signalled = fence.signal()?;
    guest.not_before(&writer, &signalled)?;
    guest.signals(&everybody, &signalled)?;
    assert!(!both.signalled()?, "the second reader still reads");
    second.signal()?;
    assert!(both.wait(Some(PATIENCE))?);
    Ok(())
}

fn writers_and_readers() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let (writing, reading) = (host.begin(Use::Write)?, host.begin(Use::Read)?);
    mirror.pull(&mut guest.session)?;
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    guest.fence_pending(&reader)?;
    let written = writing.signal()?;
    guest.not_before(&reader, &written)?;
    guest.fence_pending(&writer)?;
    let read = reading.signal()?;
    guest.not_before(&writer, &read)?;
    Ok(())
}

fn nobody_uses_it() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    for _ in 0..2 {
        let pulled = mirror.pull(&mut guest.session)?;
        assert!(pulled.writers.is_none(), "{pulled:?}");
        assert!(pulled.everybody.is_none(), "{pulled:?}");
        for fence in as_the_guest_sees_it(&mirror)? {
            assert!(fence.signalled()?);
        }
        done(&mirror, Access::READ)?;
        done(&mirror, Access::WRITE)?;
        assert!(host.idle(Use::Write)?);
        // Once more when it was used, and is not any more.
        let fence = host.begin_by_driver(Use::Write)?;
        mirror.pull(&mut guest.session)?;
        fence.signal()?;
        let [_, writer] = as_the_guest_sees_it(&mirror)?;
        assert!(writer.wait(Some(PATIENCE))?);
    }
    Ok(())
}

fn a_cookie_is_on_both_sides() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let work = guest.work_on(&gpu, OTHER_RING)?;
    mirror.attach(&mut guest.session, Access::WRITE, work.cookie)?;
    guest.pending(&work.pending)?;
    assert!(!host.idle(Use::Read)?, "the host is not told");
    let sleeper = host.sleeper(Use::Read)?;
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    guest.fence_pending(&reader)?;
    // The host's kernel knows: nobody has to hold the buffer back.
    done(&mirror, Access::READ)?;
    done(&mirror, Access::WRITE)?;

    let signalled = work.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= signalled.before_ns, "{woken}, {signalled:?}");
    guest.not_before(&reader, &signalled)?;
    guest.not_before(&writer, &signalled)?;
    assert!(host.idle(Use::Write)?);
    Ok(())
}

fn a_readers_cookie() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let work = guest.work_on(&gpu, OTHER_RING)?;
    mirror.attach(&mut guest.session, Access::READ, work.cookie)?;
    assert!(host.idle(Use::Read)?, "a reader of the host has to wait");
    assert!(!host.idle(Use::Write)?, "a writer of the host need not");
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    assert!(reader.signalled()?, "a reader of the guest has to wait");
    guest.fence_pending(&writer)?;
    done(&mirror, Access::READ)?;
    done(&mirror, Access::WRITE)?;
    // The driver begins only what need not wait.
    let reading = host.begin_by_driver(Use::Read)?;
    let signalled = work.fence.signal()?;
    guest.not_before(&writer, &signalled)?;
    assert!(!host.idle(Use::Write)?, "the host still reads");
    reading.signal()?;
    Ok(())
}

fn a_foreign_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let other = VgemGpu::find()?;
    for access in [DmaBufAccess::WRITE, DmaBufAccess::READ] {
        let work = other.attach(mirror.dma_buf(), access)?;
        // This comes back while the fence is pending, and the device hears nothing of it.
        let fence = unfinished(&mirror, Access::WRITE)?;
        if access == DmaBufAccess::WRITE {
            unfinished(&mirror, Access::READ)?;
        } else {
            done(&mirror, Access::READ)?;
        }
        assert!(host.idle(Use::Write)?, "the host waits for a guest");
        guest.fence_pending(&fence)?;
        work.signal()?;
        assert!(fence.wait(Some(PATIENCE))?);
        done(&mirror, Access::WRITE)?;
    }
    let pulled = mirror.pull(&mut guest.session)?;
    assert!(pulled.everybody.is_none(), "{pulled:?}");
    Ok(())
}

fn foreign_among_the_hosts_own() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let drawing = guest.work_on(&gpu, OTHER_RING)?;
    let reading = host.begin_by_driver(Use::Read)?;
    mirror.pull(&mut guest.session)?;
    mirror.attach(&mut guest.session, Access::WRITE, drawing.cookie)?;
    // What came from the host, or the host has, is not told it.
    done(&mirror, Access::WRITE)?;
    let other = VgemGpu::find()?;
    let foreign = other.attach(mirror.dma_buf(), DmaBufAccess::WRITE)?;
    unfinished(&mirror, Access::WRITE)?;
    let fence = unfinished(&mirror, Access::READ)?;
    guest.fence_pending(&fence)?;
    foreign.signal()?;
    // The others go on, and are the host's own affair.
    done(&mirror, Access::WRITE)?;
    done(&mirror, Access::READ)?;
    let [reader, writer] = as_the_guest_sees_it(&mirror)?;
    let drawn = drawing.fence.signal()?;
    guest.not_before(&reader, &drawn)?;
    guest.fence_pending(&writer)?;
    let read = reading.signal()?;
    guest.not_before(&writer, &read)?;
    Ok(())
}

fn another_contexts_session() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut guest, mut other) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let (mut mirror, host) = mirrored(&gpu, &guest)?;
    let fence = host.begin_by_driver(Use::Write)?;
    let strange = mirror.pull(&mut other.session);
    assert!(
        matches!(strange, Err(Error::OtherContext { .. })),
        "{strange:?}"
    );
    let [reader, _] = as_the_guest_sees_it(&mirror)?;
    assert!(reader.signalled()?, "what was refused has left a fence");
    assert!(mirror.pull(&mut guest.session)?.writers.is_some());
    fence.signal()?;
    Ok(())
}
