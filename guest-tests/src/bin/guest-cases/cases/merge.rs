//! MERGE, WAIT and DROP: cookies.

use guest_tests::gpu::{Fence, Gpu};
use guest_tests::outcome::Outcome;
use guest_tests::payload::Case;
use stile_guest::{Blob, Cookie};

use crate::stage::{Guest, Result};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a merge of two signals with the later one, whichever it is",
        run: a_merge_signals_with_the_later_one,
    },
    Case {
        name: "a merge of a signalled and a pending fence waits for the pending one",
        run: a_merge_with_a_signalled_fence_waits_for_the_other,
    },
    Case {
        name: "a merge of signalled fences is signalled",
        run: a_merge_of_signalled_fences_is_signalled,
    },
    Case {
        name: "a merge of a fence with itself signals with it",
        run: a_merge_of_a_fence_with_itself,
    },
    Case {
        name: "a merge waits for its parts after their cookies are dropped",
        run: a_merge_outlives_its_parts,
    },
    Case {
        name: "a wait goes on when its cookie is dropped",
        run: a_wait_outlives_its_cookie,
    },
];

/// A busy buffer and the name of its fence in the guest.
fn busy<'a>(gpu: &'a Gpu, guest: &mut Guest) -> Result<(Blob, Fence<'a>, Cookie)> {
    let work = guest.work(gpu)?;
    Ok((work.target, work.fence, work.cookie))
}

fn a_merge_signals_with_the_later_one() -> Outcome {
    for second_comes_first in [false, true] {
        let gpu = Gpu::in_guest()?;
        let mut guest = Guest::new(&gpu)?;
        let (_a, first, cookie_a) = busy(&gpu, &mut guest)?;
        let (_b, second, cookie_b) = busy(&gpu, &mut guest)?;
        let merged = guest.session.merge(cookie_a, cookie_b)?;
        let waiting = guest.session.wait(merged)?;
        guest.pending(&waiting)?;
        let (sooner, later) = if second_comes_first {
            (second, first)
        } else {
            (first, second)
        };
        sooner.signal()?;
        guest.pending(&waiting)?;
        let signalled = later.signal()?;
        guest.signals(&waiting, &signalled)?;
    }
    Ok(())
}

fn a_merge_with_a_signalled_fence_waits_for_the_other() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (_a, done, cookie_a) = busy(&gpu, &mut guest)?;
    let (_b, fence, cookie_b) = busy(&gpu, &mut guest)?;
    done.signal()?;
    let merges = [
        guest.session.merge(cookie_a, cookie_b)?,
        guest.session.merge(cookie_b, cookie_a)?,
    ];
    let mut waiting = Vec::new();
    for merged in merges {
        waiting.push(guest.session.wait(merged)?);
    }
    for one in &waiting {
        guest.pending(one)?;
    }
    let signalled = fence.signal()?;
    for one in &waiting {
        guest.signals(one, &signalled)?;
    }
    Ok(())
}

fn a_merge_of_signalled_fences_is_signalled() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (_a, first, cookie_a) = busy(&gpu, &mut guest)?;
    let (_b, second, cookie_b) = busy(&gpu, &mut guest)?;
    first.signal()?;
    second.signal()?;
    let merged = guest.session.merge(cookie_a, cookie_b)?;
    let waiting = guest.session.wait(merged)?;
    guest.at_once(&waiting)?;
    Ok(())
}

fn a_merge_of_a_fence_with_itself() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (_a, fence, cookie) = busy(&gpu, &mut guest)?;
    let merged = guest.session.merge(cookie, cookie)?;
    let again = guest.session.merge(merged, cookie)?;
    let waiting = [guest.session.wait(merged)?, guest.session.wait(again)?];
    for one in &waiting {
        guest.pending(one)?;
    }
    let signalled = fence.signal()?;
    for one in &waiting {
        guest.signals(one, &signalled)?;
    }
    Ok(())
}

fn a_merge_outlives_its_parts() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (a, first, cookie_a) = busy(&gpu, &mut guest)?;
    let (b, second, cookie_b) = busy(&gpu, &mut guest)?;
    let merged = guest.session.merge(cookie_a, cookie_b)?;
    guest.session.drop_cookie(cookie_a)?;
    guest.session.drop_cookie(cookie_b)?;
    drop((a, b));
    let waiting = guest.session.wait(merged)?;
    guest.pending(&waiting)?;
    second.signal()?;
    guest.pending(&waiting)?;
    let signalled = first.signal()?;
    guest.signals(&waiting, &signalled)?;
    Ok(())
}

fn a_wait_outlives_its_cookie() -> Outcome {
    let gpu = Gpu::in_guest()?;
    let mut guest = Guest::new(&gpu)?;
    let (_a, fence, cookie) = busy(&gpu, &mut guest)?;
    let waiting = guest.session.wait(cookie)?;
    guest.session.drop_cookie(cookie)?;
    guest.pending(&waiting)?;
    let signalled = fence.signal()?;
    guest.signals(&waiting, &signalled)?;
    Ok(())
}
