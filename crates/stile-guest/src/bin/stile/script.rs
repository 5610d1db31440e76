//! `stile run`: a script, a command a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use stile_guest::{Access, BlobMemory};

use crate::args::{self, Args, Run};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::output;

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

/// A line of a script.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Create(&'a str, u64, BlobMemory),
    Open(&'a str, i32),
    Close(&'a str),
    Fill(&'a str, u8),
    Check(&'a str, u8),
    Export {
        buffer: &'a str,
        access: Access,
        cookie: &'a str,
        onto: bool,
    },
    Import(&'a str, Access, &'a str),
    Merge(&'a str, &'a str, &'a str),
    Wait(&'a str, Option<Duration>),
    Finish(&'a str, Option<Duration>),
    Drop(&'a str),
    Poll(&'a str, Access),
    Sleep(Duration),
}

fn parse(line: &str) -> Result<Option<Step<'_>>, Failure> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    let step = match *words.as_slice() {
        [] => return Ok(None),
        ["create", name] => Step::Create(name, 4096, BlobMemory::Host3d),
        ["create", name, size] => Step::Create(name, bytes(size)?, BlobMemory::Host3d),
        ["create", name, size, place] => Step::Create(name, bytes(size)?, memory(place)?),
        ["open", name, fd] => Step::Open(name, number(fd)?),
        ["close", name] => Step::Close(name),
        ["fill", name, byte] => Step::Fill(name, number(byte)?),
        ["check", name, byte] => Step::Check(name, number(byte)?),
        ["export", buffer, how, ref rest @ ..] => {
            let (cookie, onto) = match *rest {
                [] => (buffer, false),
                ["onto"] => (buffer, true),
                [cookie] => (cookie, false),
                [cookie, "onto"] => (cookie, true),
                _ => return Err(unknown(line)),
            };
            Step::Export {
                buffer,
                access: access(how)?,
                cookie,
                onto,
            }
        }
        ["import", buffer, how, cookie] => Step::Import(buffer, access(how)?, cookie),
        ["merge", first, second, cookie] => Step::Merge(first, second, cookie),
        ["wait", cookie] => Step::Wait(cookie, None),
        ["wait", cookie, ms] => Step::Wait(cookie, Some(milliseconds(ms)?)),
        ["finish", cookie] => Step::Finish(cookie, None),
        ["finish", cookie, ms] => Step::Finish(cookie, Some(milliseconds(ms)?)),
        ["drop", cookie] => Step::Drop(cookie),
        ["poll", name, how] => Step::Poll(name, access(how)?),
        ["sleep", ms] => Step::Sleep(milliseconds(ms)?),
        _ => return Err(unknown(line)),
    };
    Ok(Some(step))
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
        Step::Poll(name, access) => machine.poll(name, access),
        Step::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

fn unknown(line: &str) -> Failure {
    Failure::Usage(format!(
        "{:?} is no command, see `stile run --help`",
        line.trim()
    ))
}

fn bytes(text: &str) -> Result<u64, Failure> {
    args::bytes(text).map_err(Failure::Usage)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|_| Failure::Usage(format!("{text:?} is not a number that fits here")))
}

fn milliseconds(text: &str) -> Result<Duration, Failure> {
    number(text).map(Duration::from_millis)
}

fn access(text: &str) -> Result<Access, Failure> {
    match text {
        "read" => Ok(Access::READ),
        "write" => Ok(Access::WRITE),
        _ => Err(Failure::Usage(format!(
            "{text:?} is neither read nor write"
        ))),
    }
}

fn memory(text: &str) -> Result<BlobMemory, Failure> {
    match text {
        "host" => Ok(BlobMemory::Host3d),
        "guest" => Ok(BlobMemory::Guest),
        "both" => Ok(BlobMemory::Host3dGuest),
        _ => Err(Failure::Usage(format!(
            "{text:?} is not host, guest or both"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_do_nothing() {
        for line in ["", "   ", "# create A", "  # x"] {
            assert_eq!(parse(line).unwrap(), None);
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        assert_eq!(
            parse("create A # a page").unwrap(),
            Some(Step::Create("A", 4096, BlobMemory::Host3d))
        );
        assert_eq!(
            parse("create A 64k guest").unwrap(),
            Some(Step::Create("A", 65536, BlobMemory::Guest))
        );
        let export = |cookie, onto| Step::Export {
            buffer: "A",
            access: Access::READ,
            cookie,
            onto,
        };
        assert_eq!(parse("export A read").unwrap(), Some(export("A", false)));
        assert_eq!(
            parse("export A read onto").unwrap(),
            Some(export("A", true))
        );
        assert_eq!(parse("export A read c").unwrap(), Some(export("c", false)));
        assert_eq!(
            parse("export A read c onto").unwrap(),
            Some(export("c", true))
        );
    }

    #[test]
    fn a_wrong_line_is_a_usage_error() {
        for line in [
            "creat A",
            "create",
            "create A 0",
            "create A 4096 elsewhere",
            "fill A 256",
            "export A both c",
            "export A read c d e",
            "merge a b",
            "sleep -1",
        ] {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.code(), 2, "{line}: {failure}");
        }
    }
}
