//! DEADLINE, and the host's clock that its times are of.
//!
//! What a driver makes of a deadline is its own matter, and vgem makes nothing of it: so these cases
//! are about who takes one, and that it changes no fence.

use guest_tests::gpu::{Clock, Gpu, now_ns};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Access, Cookie, Errno, Error, OpCode, Submission};

use super::bad_input::Prober;
use crate::stage::{Guest, cookie_of, refused};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "DEADLINE is offered where the host's kernel takes deadlines, and nowhere else",
        run: offered_where_the_kernel_takes_them,
    },
    Case {
        name: "a deadline is taken for every kind of fence, and signals none of them",
        run: taken_for_every_kind_of_fence,
    },
    Case {
        name: "the host's time, as a guest knows it, is right to the error that is told",
        run: the_hosts_time,
    },
];

const ENOENT: u32 = 2;
const ENOSYS: u32 = 38;

fn offered_where_the_kernel_takes_them() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let takes = gpu.takes_deadlines()?;
    assert_eq!(guest.session.context().offers(OpCode::Deadline), takes);
    let cookie = Cookie::new(77).ok_or("it is not 0")?;
    let named = guest.session.deadline(cookie, 1);
    let raw = Submission::on_ring(1).deadline(cookie, 1, 0);
    let mut prober = Prober::new()?;
    if takes {
        refused(named, Errno::NOENT);
        prober.refused(ENOENT, raw)?;
    } else {
        let not_offered = matches!(
            named,
            Err(Error::NotOffered {
                op: OpCode::Deadline
            })
        );
        assert!(not_offered, "{named:?}");
        prober.refused(ENOSYS, raw)?;
    }
    Ok(())
}

fn taken_for_every_kind_of_fence() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (one, two) = (guest.work_on(&gpu, 1)?, guest.work_on(&gpu, 2)?);
    let buffer = guest.buffer()?;
    let idle = guest.session.export(&buffer, Access::WRITE)?;
    guest.at_once(&idle)?;
    let merged = guest.session.merge(one.cookie, two.cookie)?;
    let clock = guest.session.clock(8)?;
    let frame = clock.now_ns().saturating_add(16_000_000);
    for cookie in [one.cookie, merged, cookie_of(&idle)?] {
        // Of the next frame, of the past, and of never.
        for deadline_ns in [frame, 0, 1, u64::MAX] {
            guest.session.deadline(cookie, deadline_ns)?;
        }
    }
    guest.pending(&one.pending)?;
    guest.pending(&two.pending)?;
    let waiting = guest.session.wait_on(merged, 3)?;
    guest.pending(&waiting)?;
    let signalled = one.fence.signal()?;
    guest.signals(&one.pending, &signalled)?;
    guest.session.deadline(one.cookie, frame)?;
    guest.pending(&waiting)?;
    let signalled = two.fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    guest.session.deadline(merged, frame)?;
    Ok(())
}

fn the_hosts_time() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    refused_clock(&mut guest);
    let clock = guest.session.clock(16)?;
    assert!(clock.error_ns() > 0, "nothing is known so well: {clock:?}");
    // The host is asked for its time by a way that has nothing to do with the device.
    let before = now_ns();
    let host = gpu.clock_ns()?;
    let after = now_ns();
    let earliest = clock.host_ns(before).saturating_sub(clock.error_ns());
    let latest = clock.host_ns(after).saturating_add(clock.error_ns());
    assert!(
        (earliest..=latest).contains(&host),
        "the host says {host}, the guest {earliest} to {latest}: {clock:?}"
    );
    // Both ways say the same, as far as each can.
    let other = Clock::compare(&gpu)?;
    let here = now_ns();
    let (told, error) = (clock.host_ns(here), clock.error_ns());
    assert!(
        told.saturating_add(error) >= other.earliest_ns(here)
            && told.saturating_sub(error) <= other.latest_ns(here),
        "{clock:?}, {other:?}"
    );
    Ok(())
}

fn refused_clock(guest: &mut Guest) {
    let none = guest.session.clock(0);
    assert!(matches!(none, Err(Error::NoClock)), "{none:?}");
}
