//! `stile export`, `stile import`, `stile wait`: one job a call.

use std::io::{BufRead, Read};
use std::time::Duration;

use stile_guest::Access;

use crate::args::{Args, Export, Import, Moment, Wait};
use crate::failure::Failure;
use crate::machine::Machine;

/// `stile export`
pub(crate) fn export(args: &Args, options: &Export) -> Result<(), Failure> {
    let mut machine = Machine::open(args)?;
    match options.dma_buf {
        Some(fd) => machine.adopt("A", fd)?,
        None => machine.create("A", options.buffer.size, options.buffer.memory.into())?,
    }
    begin(&options.moment)?;
    machine.export("A", access(options.write), "a", options.onto)?;
    end(
        &options.moment,
        machine.finish("a", patience(&options.moment)),
    )
}

/// `stile import`
pub(crate) fn import(args: &Args, options: &Import) -> Result<(), Failure> {
    let mut machine = Machine::open(args)?;
    for name in ["A", "B"] {
        machine.create(name, options.buffer.size, options.buffer.memory.into())?;
    }
    begin(&options.moment)?;
    machine.export("A", options.from.into(), "a", false)?;
    machine.import("B", options.to.into(), "a")?;
    end(
        &options.moment,
        machine.finish("a", patience(&options.moment)),
    )
}

/// `stile wait`
pub(crate) fn wait(args: &Args, options: &Wait) -> Result<(), Failure> {
    let mut machine = Machine::open(args)?;
    let names: Vec<_> = (1..=options.buffers).map(|n| n.to_string()).collect();
    for name in &names {
        machine.create(name, options.buffer.size, options.buffer.memory.into())?;
    }
    begin(&options.moment)?;
    for name in &names {
        machine.export(name, access(options.write), name, false)?;
    }
    let mut all = "1".to_owned();
    for name in names.iter().skip(1) {
        let merged = format!("{all}+{name}");
        machine.merge(&all, name, &merged)?;
        all = merged;
    }
    end(
        &options.moment,
        machine.wait(&all, patience(&options.moment)),
    )
}

/// `stile clock`
pub(crate) fn clock(args: &Args) -> Result<(), Failure> {
    Machine::open(args)?.show_clock()
}

fn access(write: bool) -> Access {
    if write { Access::WRITE } else { Access::READ }
}

fn patience(moment: &Moment) -> Option<Duration> {
    moment.timeout.map(Duration::from_millis)
}

fn begin(moment: &Moment) -> Result<(), Failure> {
    if moment.line {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map_err(Failure::io("Standard input"))?;
    }
    if let Some(ms) = moment.delay {
        std::thread::sleep(Duration::from_millis(ms));
    }
    Ok(())
}

/// Holds the buffers if that is wanted, whatever the job's result is.
fn end(moment: &Moment, result: Result<(), Failure>) -> Result<(), Failure> {
    if moment.hold {
        let mut rest = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut rest);
        read.map_err(Failure::io("Standard input"))?;
    }
    result
}
