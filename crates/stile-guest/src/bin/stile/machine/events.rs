//! Watches, counters in memory, and the events that come of them.

use std::time::Duration;

use stile_guest::{Error, Event, EventNumber, OpCode, PointEvent};

use super::{Machine, no_buffer};
use crate::failure::Failure;

impl Machine {
    /// TL_WATCH.
    pub(crate) fn watch(
        &mut self,
        event: &str,
        (timeline, point): (&str, u64),
        until: PointEvent,
        timeout: Option<Duration>,
    ) -> Result<(), Failure> {
        let named = self.timeline(timeline)?;
        let number = self.session.watch_point(named, point, until, timeout)?;
        self.events.insert(number.get(), event.into());
        let until = match until {
            PointEvent::Available => "available",
            PointEvent::Signalled => "signalled",
        };
        let fields = [
            ("timeline", timeline.into()),
            ("point", point.into()),
            ("until", until.into()),
        ];
        self.output.event("watch", event, &fields)
    }

    /// MEM_WAIT.
    pub(crate) fn wait_memory(
        &mut self,
        event: &str,
        (buffer, offset): (&str, u64),
        value: u64,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        let number = self.session.wait_memory(blob, offset, value, timeout)?;
        self.events.insert(number.get(), event.into());
        let fields = [
            ("buffer", buffer.into()),
            ("offset", offset.into()),
            ("value", value.into()),
        ];
        self.output.event("mem-wait", event, &fields)
    }

    /// MEM_SIGNAL.
    pub(crate) fn signal_memory(
        &mut self,
        buffer: &str,
        offset: u64,
        value: u64,
    ) -> Result<(), Failure> {
        let blob = self.buffers.get(buffer).ok_or_else(|| no_buffer(buffer))?;
        self.session.signal_memory(blob, offset, value)?;
        let fields = [("offset", offset.into()), ("value", value.into())];
        self.output.event("mem-signal", buffer, &fields)
    }

    /// What a counter holds.
    pub(crate) fn counter(&mut self, buffer: &str, offset: u64) -> Result<(), Failure> {
        let memory = self.buffer(buffer)?.map()?;
        // One that does not fit is outside of every buffer.
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let value = u64::from_le(memory.load_u64(at)?);
        let fields = [("offset", offset.into()), ("value", value.into())];
        self.output.event("counter", buffer, &fields)
    }

    /// CANCEL.
    pub(crate) fn cancel(&mut self, event: &str) -> Result<(), Failure> {
        let number = self.events.iter().find(|(_, name)| *name == event);
        let number = number.and_then(|(number, _)| EventNumber::new(*number));
        let text = || Failure::Usage(format!("Nothing waits for the event {event}"));
        let number = number.ok_or_else(text)?;
        self.session.cancel(number)?;
        self.events.remove(&number.get());
        self.output.event("cancelled", event, &[])
    }

    /// Waits for the next event, and says what it was.
    pub(crate) fn event(&mut self, timeout: Option<Duration>) -> Result<(), Failure> {
        let timeout = timeout.unwrap_or_else(|| self.patience());
        let Some(event) = self.session.wait_event(Some(timeout))? else {
            let waited_ms = timeout.as_millis();
            return Err(Error::Timeout { waited_ms }.into());
        };
        let name = self.events.remove(&event.number);
        let name = name.unwrap_or_else(|| event.number.to_string());
        self.tell(&name, &event)
    }

    fn tell(&self, name: &str, event: &Event) -> Result<(), Failure> {
        let op = OpCode::from_code(event.cmd);
        let fields = [
            ("op", op.map(OpCode::name).into()),
            ("errno", event.errno.into()),
            ("value", event.value.into()),
            ("time_ns", event.time_ns.into()),
        ];
        self.output.event("event", name, &fields)?;
        match (op, event.errno) {
            (Some(op), errno) if errno != 0 => Err(Error::Refused { op, errno }.into()),
            _ => Ok(()),
        }
    }
}
