//! Buffers that the host moves to other memory while the guest has them mapped and in use.

use guest_tests::gpu::{Gpu, HostBuffer, Use, pattern};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Blob, BlobOptions, BlobUse, FenceOptions, Submission};

use super::mapping::difference;
use crate::stage::{Guest, PAGE, PATIENCE, Result, cookie_of};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a mapped buffer that the host moves is mapped again in its place, with the new bytes",
        run: a_mapped_buffer_moves,
    },
    Case {
        name: "the fences of a pending writer and reader move with their buffer",
        run: fences_move_with_their_buffer,
    },
    Case {
        name: "a memory fence is looked at where its buffer has moved to",
        run: counters_move_with_their_buffer,
    },
    Case {
        name: "a move to what cannot take a buffer's place is refused, and changes nothing",
        run: moves_that_are_refused,
    },
];

const EBUSY: u32 = 16;
const EINVAL: u32 = 22;
const EOPNOTSUPP: u32 = 95;

/// Moves a buffer to new memory of the same size that holds a pattern already.
fn moved<'a>(
    gpu: &'a Gpu,
    host: &HostBuffer<'_>,
    memory: &str,
    seed: u64,
) -> Result<HostBuffer<'a>> {
    let new = gpu.make(host.taken.size, memory)?;
    new.fill(seed)?;
    assert_eq!(host.replace(&new)?, 0);
    Ok(new)
}

fn a_mapped_buffer_moves() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let guest = Guest::new(&gpu)?;
    let options = BlobOptions::host(3 * PAGE).used(BlobUse::all());
    let buffer = guest.blob(&options)?;
    // One that lies beside it in the hostmem region.
    let neighbour = guest.blob(&BlobOptions::host(2 * PAGE))?;
    let (memory, beside) = (buffer.map()?, neighbour.map()?);
    guest.settle()?;
    let host_beside = gpu.take(neighbour.resource_id())?;
    host_beside.fill(99)?;

    let mut host = gpu.take(buffer.resource_id())?;
    let uuid = host.taken.uuid;
    assert!(uuid.is_some(), "it has no UUID");
    host.fill(0)?;
    for (kind, (seed, theirs)) in
        ["udmabuf", "heap", "vgem"]
            .into_iter()
            .zip([(1, 2), (11, 12), (21, 22)])
    {
        let old = host;
        moved(&gpu, &old, kind, seed)?;
        assert_eq!(difference(&memory, seed)?, None, "{kind}: the new bytes");
        // The host finds the resource there, and what the guest writes is there for it.
        host = gpu.take(buffer.resource_id())?;
        assert_ne!(host.taken.inode, old.taken.inode);
        assert_eq!(host.taken.uuid, uuid);
        memory.write(0, &pattern::bytes(theirs, memory.len()))?;
        assert_eq!(host.difference(theirs)?, None, "{kind}: the guest's bytes");
        // A second mapping is one of the same memory.
        assert_eq!(difference(&buffer.map()?, theirs)?, None, "{kind}");
        // The old memory is not the guest's any more.
        host.fill(seed)?;
        assert!(old.difference(seed)?.is_some(), "{kind}: the old memory");
        assert_eq!(difference(&beside, 99)?, None, "{kind}: the neighbour's");
    }
    // Not mapped, it moves as well, and is mapped where it is.
    drop(memory);
    moved(&gpu, &host, "udmabuf", 31)?;
    assert_eq!(difference(&buffer.map()?, 31)?, None);
    Ok(())
}

fn fences_move_with_their_buffer() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let buffer = guest.buffer()?;
    let memory = buffer.map()?;
    let old = gpu.take(buffer.resource_id())?;
    // The host writes, and the guest has put the fence of somebody who reads beside.
    let writer = old.begin(Use::Write)?;
    let reader = guest.work(&gpu)?;
    guest.session.import(&buffer, Access::READ, reader.cookie)?;
    let before = guest.session.export(&buffer, Access::READ)?;
    guest.pending(&before)?;

    // The host has begun to copy, too.
    let new = gpu.make(old.taken.size, "udmabuf")?;
    new.fill(7)?;
    let copy = new.begin(Use::Write)?;
    assert_eq!(old.replace(&new)?, 0);
    assert_eq!(difference(&memory, 7)?, None);
    assert_eq!(new.export(Use::Write)?.look()?.fences, 3);

    let reads = guest.session.export(&buffer, Access::READ)?;
    let writes = guest.session.export(&buffer, Access::WRITE)?;
    let apart = FenceOptions {
        ring: Some(61),
        ..FenceOptions::default()
    };
    let polled = guest.session.poll_with(&buffer, Access::READ, apart)?;
    let sleeper = new.sleeper(Use::Read)?;
    for pending in [&before, &reads, &writes, &polled] {
        guest.pending(pending)?;
    }
    // What begins on the old memory from now on is nobody's here.
    let stray = old.begin(Use::Write)?;

    let written = writer.signal()?;
    guest.signals(&before, &written)?;
    guest.pending(&reads)?;
    guest.pending(&polled)?;
    assert!(!new.idle(Use::Read)?, "the copy is under way");
    let copied = copy.signal()?;
    guest.signals(&reads, &copied)?;
    guest.signals(&polled, &copied)?;
    guest.pending(&writes)?;
    assert!(new.idle(Use::Read)?);
    assert!(sleeper.woken_ns()? >= copied.before_ns);
    let read = reader.fence.signal()?;
    guest.signals(&writes, &read)?;
    assert!(new.idle(Use::Write)?);

    // And the guest's own fences go where the buffer is.
    let work = guest.work(&gpu)?;
    guest.session.import(&buffer, Access::WRITE, work.cookie)?;
    assert!(!new.idle(Use::Read)?);
    let done = work.fence.signal()?;
    assert!(new.idle(Use::Write)?);
    guest.signals(&work.pending, &done)?;
    stray.signal()?;
    Ok(())
}

fn counters_move_with_their_buffer() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let buffer = guest.buffer()?;
    let old = gpu.take(buffer.resource_id())?;
    let [three, four] = [3, 4].map(|value| guest.session.wait_memory(&buffer, 16, value, PATIENCE));
    guest.no_event()?;
    let new = gpu.make(old.taken.size, "udmabuf")?;
    new.store(16, 3)?;
    assert_eq!(old.replace(&new)?, 0);
    let event = guest.event()?;
    assert!(event.happened(), "{event:?}");
    assert_eq!((event.number, event.value), (three?.get(), 3));
    guest.no_event()?;
    guest.session.signal_memory(&buffer, 16, 4)?;
    let event = guest.event()?;
    assert_eq!((event.number, event.value), (four?.get(), 4));
    assert_eq!((new.load(16)?, old.load(16)?), (4, 0));
    Ok(())
}

fn moves_that_are_refused() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::with_events(&gpu)?;
    let buffer = guest.blob(&BlobOptions::host(2 * PAGE))?;
    let memory = buffer.map()?;
    let host = gpu.take(buffer.resource_id())?;
    host.fill(1)?;
    let fence = host.begin(Use::Write)?;
    let exported = guest.session.export(&buffer, Access::READ)?;

    // Another size.
    for bytes in [PAGE, 3 * PAGE] {
        let other = gpu.make(bytes, "udmabuf")?;
        assert_eq!(host.replace(&other)?, EINVAL);
    }
    // The guest's own pages.
    let pages = guest.blob(&BlobOptions::guest(2 * PAGE))?;
    let new = gpu.make(2 * PAGE, "udmabuf")?;
    assert_eq!(gpu.take(pages.resource_id())?.replace(&new)?, EOPNOTSUPP);
    // Where the device writes.
    let status = guest.session.status_blob().blob();
    let taken = gpu.take(status.resource_id())?;
    let other = gpu.make(status.size(), "udmabuf")?;
    assert_eq!(taken.replace(&other)?, EBUSY);
    let events = event_ring(&guest, PAGE)?;
    let taken = gpu.take(events.resource_id())?;
    assert_eq!(taken.replace(&gpu.make(PAGE, "udmabuf")?)?, EBUSY);

    // Everything is as it was: bytes, memory, fences, results.
    assert_eq!(
        gpu.take(buffer.resource_id())?.taken.inode,
        host.taken.inode
    );
    assert_eq!(difference(&memory, 1)?, None);
    guest.pending(&exported)?;
    assert!(new.idle(Use::Write)?);
    let signalled = fence.signal()?;
    guest.signals(&exported, &signalled)?;
    assert_eq!(host.replace(&new)?, 0);
    guest.session.drop_cookie(cookie_of(&exported)?)?;
    Ok(())
}

/// Another event ring for the guest, in a blob of its own.
fn event_ring(guest: &Guest, bytes: u64) -> Result<Blob> {
    let blob = guest.blob(&BlobOptions::host(bytes))?;
    let fence = guest.submit(Submission::on_ring(0).events(&blob, 0, bytes, 0))?;
    assert!(fence.wait(Some(PATIENCE))?);
    Ok(blob)
}
