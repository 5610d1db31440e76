//! `stile run`: a script, a command a line.

mod step;

use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::args::{Args, Run};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::output;

use step::{Step, parse};

/// `stile run`
pub(crate) fn run(args: &Args, options: &Run) -> Result<(), Failure> {
    let mut machine = Machine::open(args)?;
    let source: Box<dyn BufRead> = match &options.file {
        None => Box::new(std::io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).map_err(Failure::io(path.display().to_string()))?;
            Box::new(BufReader::new(file))
        }
    };
    let mut failed: Option<(u64, u8)> = None;
    for line in source.lines() {
        let line = line.map_err(Failure::io("The script"))?;
        let done = parse(&line).and_then(|step| match step {
            Some(step) => act(&mut machine, &step),
            None => Ok(()),
        });
        match done {
            Ok(()) => {}
            Err(failure) if options.stop => return Err(failure),
            Err(failure) => {
                output::complain(&failure);
                let (count, code) = failed.unwrap_or((0, failure.code()));
                failed = Some((count.saturating_add(1), code));
            }
        }
    }
    failed.map_or(Ok(()), |(count, code)| Err(Failure::Script { count, code }))
}

fn act(machine: &mut Machine, step: &Step<'_>) -> Result<(), Failure> {
    match *step {
        Step::Create(name, bytes, memory) => machine.create(name, bytes, memory),
        Step::Open(name, fd) => machine.adopt(name, fd),
        Step::Close(name) => machine.close(name),
        Step::Fill(name, byte) => machine.fill(name, byte),
        Step::Check(name, byte) => machine.check(name, byte),
        Step::Export {
            buffer,
            access,
            cookie,
            onto,
        } => machine.export(buffer, access, cookie, onto),
        Step::Import(buffer, access, cookie) => machine.import(buffer, access, cookie),
        Step::Merge(first, second, cookie) => machine.merge(first, second, cookie),
        Step::Wait(cookie, timeout) => machine.wait(cookie, timeout),
        Step::Finish(cookie, timeout) => machine.finish(cookie, timeout),
        Step::Drop(cookie) => machine.forget(cookie),
        Step::Guest(name, access) => machine.look(name, access),
        Step::Begin(what, buffer, access, mark) => machine.begin(what, buffer, access, mark),
        Step::Deadline(cookie, after) => machine.deadline(cookie, after),
        Step::Snapshot(buffer, cookie) => machine.snapshot(buffer, cookie),
        Step::FromRing(ring, cookie) => machine.ring_to_cookie(ring, cookie),
        Step::Timeline(name, flags) => machine.create_timeline(name, flags),
        Step::Destroy(name) => machine.destroy_timeline(name),
        Step::Signal(name, point) => machine.signal_point(name, point),
        Step::Reset(name) => machine.reset_timeline(name),
        Step::ToPoint(name, point, cookie) => machine.cookie_to_point(name, point, cookie),
        Step::ToCookie(name, point, cookie) => machine.point_to_cookie(name, point, cookie),
        Step::Share(name, uuid) => machine.share(name, uuid),
        Step::Adopt(name, uuid) => machine.adopt_timeline(name, uuid),
        Step::Watch {
            event,
            timeline,
            point,
            until,
            timeout,
        } => machine.watch(event, (timeline, point), until, timeout),
        Step::MemWait {
            event,
            buffer,
            offset,
            value,
            timeout,
        } => machine.wait_memory(event, (buffer, offset), value, timeout),
        Step::MemSignal(buffer, offset, value) => machine.signal_memory(buffer, offset, value),
        Step::Counter(buffer, offset) => machine.counter(buffer, offset),
        Step::Cancel(event) => machine.cancel(event),
        Step::Event(timeout) => machine.event(timeout),
        Step::Clock => machine.show_clock(),
        Step::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}
