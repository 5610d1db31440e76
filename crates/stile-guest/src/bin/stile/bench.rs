//! `stile bench`: the round trip of an idle EXPORT, as a guest program sees it.

use std::time::{Duration, Instant};

use stile_guest::{Access, BlobOptions, Session, SessionOptions, Submission};

use crate::args::{Args, Bench};
use crate::failure::Failure;
use crate::output::{Output, Value};

/// `stile bench`
pub(crate) fn bench(args: &Args, options: &Bench) -> Result<(), Failure> {
    let mut session = Session::open(crate::node(args)?, &SessionOptions::default())?;
    let blob = session.create_blob(&BlobOptions::host(4096))?;
    let ring = session.ring_of(&blob);
    // That it works at all is seen once; the rounds look at the fence only.
    let first = session.export(&blob, Access::WRITE)?;
    session.finish(&first, Some(Duration::from_secs(10)))?;
    // No cookie, so that nothing is left behind.
    let idle = Submission::on_ring(ring)
        .export(&blob, Access::WRITE, 0_u64, 0)
        .out_fence();
    let round = || -> Result<[Duration; 2], Failure> {
        let begun = Instant::now();
        let submitted = session.submit(&idle)?;
        let queued = begun.elapsed();
        if let Some(fence) = submitted.fence {
            fence.wait(None)?;
        }
        Ok([queued, begun.elapsed()])
    };
    for _ in 0..options.warm_up {
        round()?;
    }
    let (mut queued, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..options.count {
        let [first, second] = round()?;
        queued.push(first);
        whole.push(second);
    }
    let mut fields = vec![("count", Value::from(options.count))];
    fields.extend(quantiles(&mut whole, ["p50_us", "p99_us", "max_us"]));
    fields.extend(quantiles(
        &mut queued,
        ["submit_p50_us", "submit_p99_us", "submit_max_us"],
    ));
    Output { json: args.json }.event("bench", "idle-export", &fields)
}

/// The median, the 99th percentile and the largest, in microseconds.
fn quantiles(
    times: &mut [Duration],
    names: [&'static str; 3],
) -> impl Iterator<Item = (&'static str, Value)> {
    times.sort_unstable();
    let at = |percent: usize| {
        // The smallest time that at least so many percent of all are not above.
        let rank = times.len().saturating_mul(percent).div_ceil(100);
        times
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    };
    let values = [50, 99, 100].map(|percent| Value::Real(at(percent).as_secs_f64() * 1e6));
    names.into_iter().zip(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_micros).collect();
        let found: Vec<_> = quantiles(&mut times, ["a", "b", "c"]).collect();
        assert_eq!(found.first(), Some(&("a", Value::Real(100.0))));
        assert_eq!(found.get(1), Some(&("b", Value::Real(198.0))));
        assert_eq!(found.get(2), Some(&("c", Value::Real(200.0))));
        let mut one = [Duration::from_micros(7)];
        for (_, value) in quantiles(&mut one, ["a", "b", "c"]) {
            assert_eq!(value, Value::Real(7.0));
        }
    }
}
