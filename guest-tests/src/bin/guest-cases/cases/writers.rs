//! Writers who do not know of each other.

use std::sync::Barrier;

use guest_tests::gpu::{Gpu, Use};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Blob, Cookie, Submission, SyncFile};

use crate::stage::{Guest, PATIENCE};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "of two writers that race, neither waits for the other, and who comes after for both",
        run: two_writers_race,
    },
    Case {
        name: "between two imports on one buffer, an export has the first one's fence alone",
        run: between_two_imports,
    },
    Case {
        name: "writers that export and import in one submission come one after the other",
        run: writers_in_one_submission_come_in_order,
    },
];

/// Both look at the buffer before either has put its fence there, as racing programs do.
fn two_writers_race() -> Outcome {
    for second_is_quicker in [false, true] {
        let gpu = Gpu::in_guest()?;
        let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
        let buffer = one.buffer()?;
        let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
        let host = gpu.take(buffer.resource_id())?;
        let begins = [
            one.session.export(&buffer, Access::WRITE)?,
            two.session.export(&shared, Access::WRITE)?,
        ];
        one.at_once(&begins[0])?;
        two.at_once(&begins[1])?;
        let (first, second) = (one.work(&gpu)?, two.work(&gpu)?);
        one.session.import(&buffer, Access::WRITE, first.cookie)?;
        two.session.import(&shared, Access::WRITE, second.cookie)?;
        assert_eq!(host.export(Use::Read)?.look()?.fences, 2);

        let reader = one.session.export(&buffer, Access::READ)?;
        let writer = two.session.export(&shared, Access::WRITE)?;
        one.pending(&reader)?;
        two.pending(&writer)?;
        let (quick, slow) = if second_is_quicker {
            (second, first)
        } else {
            (first, second)
        };
        // Its own fence signals without the other's.
        let done = quick.fence.signal()?;
        assert!(quick.pending.fence.wait(Some(PATIENCE))?);
        assert!(!slow.pending.fence.signalled()?);
        one.pending(&reader)?;
        two.pending(&writer)?;
        assert!(!host.idle(Use::Read)?);
        let last = slow.fence.signal()?;
        assert!(done.after_ns <= last.before_ns);
        one.signals(&reader, &last)?;
        two.signals(&writer, &last)?;
        assert!(host.idle(Use::Write)?);
    }
    Ok(())
}

fn between_two_imports() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
    let buffer = one.buffer()?;
    let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
    let (first, second) = (one.work(&gpu)?, two.work(&gpu)?);
    one.session.import(&buffer, Access::WRITE, first.cookie)?;
    let between = one.session.export(&buffer, Access::WRITE)?;
    one.pending(&between)?;
    two.session.import(&shared, Access::WRITE, second.cookie)?;
    let after = two.session.export(&shared, Access::READ)?;
    two.pending(&after)?;

    let done = first.fence.signal()?;
    one.signals(&between, &done)?;
    two.pending(&after)?;
    let last = second.fence.signal()?;
    two.signals(&after, &last)?;
    Ok(())
}

/// The device takes a submission up as a whole, so no other writer of the guest comes in between.
fn writers_in_one_submission_come_in_order() -> Outcome {
    for _ in 0..2 {
        let gpu = Gpu::in_guest()?;
        let (mut one, mut two) = (Guest::new(&gpu)?, Guest::new(&gpu)?);
        let buffer = one.buffer()?;
        let shared = two.session.context().import_blob(&buffer.dma_buf()?)?;
        let works = [one.work(&gpu)?, two.work(&gpu)?];
        let cookies = [works[0].cookie, works[1].cookie];
        let barrier = Barrier::new(2);
        let turns = std::thread::scope(|scope| {
            let one = scope.spawn(|| take_turn(&mut one, &buffer, cookies[0], &barrier));
            let two = scope.spawn(|| take_turn(&mut two, &shared, cookies[1], &barrier));
            [one.join(), two.join()]
        });
        let [Ok(turn_one), Ok(turn_two)] = turns else {
            return Err("a writer panicked".into());
        };
        let mut turns = [(turn_one?, &one, &works[0]), (turn_two?, &two, &works[1])];
        turns.sort_by_key(|(turn, ..)| turn.taken_ns);
        let [
            (first, guest_one, first_work),
            (second, guest_two, second_work),
        ] = turns;

        guest_one.fence_at_once(&first.before)?;
        guest_two.fence_pending(&second.before)?;
        let done = first_work.fence.signal()?;
        guest_two.not_before(&second.before, &done)?;
        second_work.fence.signal()?;
    }
    Ok(())
}

struct Turn {
    /// Signals when those are done who were on the buffer before.
    before: SyncFile,
    /// When the device took it up.
    taken_ns: u64,
}

fn take_turn(
    guest: &mut Guest,
    buffer: &Blob,
    work: Cookie,
    barrier: &Barrier,
) -> std::result::Result<Turn, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let (ring, tag) = (guest.session.ring_of(buffer), guest.session.tag());
    let submission = Submission::on_ring(ring)
        .export(buffer, Access::WRITE, 0_u64, 0)
        .import(buffer, Access::WRITE, work, tag);
    barrier.wait();
    let before = guest.submit(submission).map_err(|error| said(&error))?;
    guest.settle().map_err(|error| said(&error))?;
    let import = guest.session.result(tag).map_err(|error| said(&error))?;
    if import.errno != 0 {
        return Err(format!("the import failed: {import:?}"));
    }
    Ok(Turn {
        before,
        taken_ns: import.taken_ns,
    })
}
