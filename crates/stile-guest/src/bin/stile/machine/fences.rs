//! Cookies of other kinds, deadlines, and the host's clock.

use std::time::Duration;

use stile_guest::HostClock;

use super::{Machine, no_buffer};
use crate::failure::Failure;
use crate::output::Value;

/// Exchanges of times from which the best is taken.
const EXCHANGES: u32 = 16;

impl Machine {
    /// CLOCK: how the host's clock stands.
    pub(crate) fn show_clock(&mut self) -> Result<(), Failure> {
        self.clock = None;
        let clock = self.host_clock()?;
        let fields = [
            ("offset_ns", clock.offset_ns().into()),
            ("error_ns", clock.error_ns().into()),
            ("host_ns", clock.now_ns().into()),
        ];
        self.output.event("clock", "host", &fields)
    }

    /// DEADLINE: the fences are wanted in so much time from now.
    pub(crate) fn deadline(&mut self, cookie: &str, after: Duration) -> Result<(), Failure> {
        let named = self.cookie(cookie)?;
        let clock = self.host_clock()?;
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let at = clock.now_ns().saturating_add(after);
        self.session.deadline(named, at)?;
        let fields = [
            ("deadline_ns", at.into()),
            ("error_ns", clock.error_ns().into()),
        ];
        self.output.event("deadline", cookie, &fields)
    }

    /// SNAPSHOT.
    pub(crate) fn snapshot(&mut self, buffer: &str, cookie: &str) -> Result<(), Failure> {
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        let made = self.session.snapshot(blob)?;
        self.cookies.insert(cookie.into(), made);
        let fields = [("buffer", buffer.into())];
        self.output.event("snapshot", cookie, &fields)
    }

    /// FROM_RING.
    pub(crate) fn ring_to_cookie(&mut self, ring: u8, cookie: &str) -> Result<(), Failure> {
        let made = self.session.from_ring(ring)?;
        self.cookies.insert(cookie.into(), made);
        let fields: [(&'static str, Value); 1] = [("ring", ring.into())];
        self.output.event("from-ring", cookie, &fields)
    }

    fn host_clock(&mut self) -> Result<HostClock, Failure> {
        let clock = match self.clock {
            Some(clock) => clock,
            None => self.session.clock(EXCHANGES)?,
        };
        self.clock = Some(clock);
        Ok(clock)
    }
}
