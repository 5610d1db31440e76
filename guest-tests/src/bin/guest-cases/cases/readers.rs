//! Readers: they do not wait for each other, and writers wait for all of them.

use guest_tests::gpu::{Gpu, Use, pattern};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Mapping};

use crate::stage::{Guest, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a second reader starts while the first one reads, and a writer waits for both",
        run: a_second_reader_starts_at_once,
    },
    Case {
        name: "readers behind a writer wait for it and not for each other",
        run: readers_behind_a_writer,
    },
    Case {
        name: "while a media pipeline on the host reads, the producer may read and must not write",
        run: a_pipeline_on_the_host_reads,
    },
    Case {
        name: "while a media pipeline in the guest reads, the host may read and must not write",
        run: a_pipeline_in_the_guest_reads,
    },
    Case {
        name: "buffers come back from a media pipeline in any order, each when it is done with",
        run: buffers_come_back_in_any_order,
    },
];

fn a_second_reader_starts_at_once() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let buffer = one.buffer()?;
    let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
    let host = gpu.take(buffer.resource_id())?;
    let (first, second) = (one.work(&gpu)?, two.work(&gpu)?);

    one.session.import(&buffer, Access::READ, first.cookie)?;
    // In another context, and on the host.
    let begin = two.session.export(&shared, Access::READ)?;
    two.at_once(&begin)?;
    two.session.import(&shared, Access::READ, second.cookie)?;
    assert!(host.idle(Use::Read)?, "a reader on the host has to wait");
    // The driver refuses a use that has to wait for another one.
    let third = host.begin_by_driver(Use::Read)?;

    let writer = one.session.export(&buffer, Access::WRITE)?;
    let sleeper = host.sleeper(Use::Write)?;
    one.pending(&writer)?;
    second.fence.signal()?;
    one.pending(&writer)?;
    third.signal()?;
    one.pending(&writer)?;
    assert!(!host.idle(Use::Write)?);
    let last = first.fence.signal()?;
    one.signals(&writer, &last)?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= last.before_ns, "{woken} is before {last:?}");
    Ok(())
}

fn readers_behind_a_writer() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let buffer = one.buffer()?;
    let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
    let writing = gpu
        .take(buffer.resource_id())?
        .begin_by_driver(Use::Write)?;
    let reading = one.work(&gpu)?;

    let first = one.session.export(&buffer, Access::READ)?;
    one.session.import(&buffer, Access::READ, reading.cookie)?;
    let second = two.session.export(&shared, Access::READ)?;
    let writer = two.session.export(&shared, Access::WRITE)?;
    one.pending(&first)?;
    two.pending(&second)?;

    let written = writing.signal()?;
    one.signals(&first, &written)?;
    two.signals(&second, &written)?;
    one.pending(&reading.pending)?;
    two.pending(&writer)?;
    let read = reading.fence.signal()?;
    two.signals(&writer, &read)?;
    Ok(())
}

/// Where the guest sees another pattern.
pub(super) fn contents(memory: &Mapping, seed: u64) -> Result<Option<String>> {
    let mut found = vec![0; memory.len()];
    memory.read(0, &mut found)?;
    Ok(pattern::difference(seed, &found))
}

fn a_pipeline_on_the_host_reads() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut producer = Guest::new(&gpu)?;
    let buffer = producer.buffer()?;
    let memory = buffer.map()?;
    let pipeline = gpu.take(buffer.resource_id())?;

    // A frame is handed over before it is finished. The pipeline waits for it, and begins to read.
    let drawing = producer.work(&gpu)?;
    memory.write(0, &pattern::bytes(1, memory.len()))?;
    producer
        .session
        .import(&buffer, Access::WRITE, drawing.cookie)?;
    let sleeper = pipeline.sleeper(Use::Read)?;
    let drawn = drawing.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= drawn.before_ns, "{woken} is before {drawn:?}");
    let encoding = pipeline.begin_by_driver(Use::Read)?;

    // A reference frame is read back meanwhile.
    let reader = producer.session.export(&buffer, Access::READ)?;
    producer.at_once(&reader)?;
    assert_eq!(contents(&memory, 1)?, None);
    let writer = producer.session.export(&buffer, Access::WRITE)?;
    let both = producer.session.export(&buffer, Access::all())?;
    producer.pending(&writer)?;
    producer.pending(&both)?;
    assert_eq!(pipeline.difference(1)?, None);

    let encoded = encoding.signal()?;
    producer.signals(&writer, &encoded)?;
    producer.signals(&both, &encoded)?;
    memory.write(0, &pattern::bytes(2, memory.len()))?;
    assert_eq!(pipeline.difference(2)?, None);
    Ok(())
}

fn a_pipeline_in_the_guest_reads() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut pipeline = Guest::new(&gpu)?;
    let buffer = pipeline.buffer()?;
    let memory = buffer.map()?;
    let producer = gpu.take(buffer.resource_id())?;

    let drawing = producer.begin_by_driver(Use::Write)?;
    let frame = pipeline.session.export(&buffer, Access::READ)?;
    pipeline.pending(&frame)?;
    let drawn = drawing.signal()?;
    pipeline.signals(&frame, &drawn)?;
    producer.fill(1)?;
    let encoding = pipeline.work(&gpu)?;
    pipeline
        .session
        .import(&buffer, Access::READ, encoding.cookie)?;

    assert!(producer.idle(Use::Read)?, "the producer must not read");
    assert!(!producer.idle(Use::Write)?, "the producer may write");
    assert_eq!(producer.difference(1)?, None);
    let sleeper = producer.sleeper(Use::Write)?;
    assert_eq!(contents(&memory, 1)?, None);

    let encoded = encoding.fence.signal()?;
    let woken = sleeper.woken_ns()?;
    assert!(woken >= encoded.before_ns, "{woken} is before {encoded:?}");
    assert!(producer.idle(Use::Write)?);
    Ok(())
}

fn buffers_come_back_in_any_order() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut producer = Guest::new(&gpu)?;
    let mut queued = Vec::new();
    for _ in 0..3 {
        let buffer = producer.buffer()?;
        let use_of_it = gpu.take(buffer.resource_id())?.begin_by_driver(Use::Read)?;
        let writer = producer.session.export(&buffer, Access::WRITE)?;
        producer.pending(&writer)?;
        queued.push((buffer, use_of_it, writer));
    }
    for index in [1, 1, 0] {
        let (_buffer, use_of_it, writer) = queued.remove(index);
        producer.pending(&writer)?;
        let done = use_of_it.signal()?;
        producer.signals(&writer, &done)?;
        for (_, _, other) in &queued {
            producer.pending(other)?;
        }
    }
    Ok(())
}
