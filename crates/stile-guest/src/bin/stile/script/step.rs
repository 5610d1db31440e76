//! A line of a script, and what it asks for.

use std::time::Duration;

use stile_guest::{Access, BlobMemory, PointEvent, TimelineFlags};

use crate::args;
use crate::failure::Failure;
use crate::machine::Use;
use crate::uuid::Uuid;

/// A line of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Create(&'a str, u64, BlobMemory),
    Open(&'a str, i32),
    Close(&'a str),
    Fill(&'a str, u8),
    Check(&'a str, u8),
    /// The guest's own dma-buf.
    Guest(&'a str, Access),
    Export {
        buffer: &'a str,
        access: Access,
        cookie: &'a str,
        onto: bool,
    },
    /// What, the buffer, how, and the name to finish it by.
    Begin(Use, &'a str, Access, &'a str),
    Finish(&'a str, Option<Duration>),
    Import(&'a str, Access, &'a str),
    Merge(&'a str, &'a str, &'a str),
    Wait(&'a str, Option<Duration>),
    Drop(&'a str),
    Deadline(&'a str, Duration),
    Snapshot(&'a str, &'a str),
    FromRing(u8, &'a str),
    Timeline(&'a str, TimelineFlags),
    Destroy(&'a str),
    Signal(&'a str, u64),
    Reset(&'a str),
    ToPoint(&'a str, u64, &'a str),
    ToCookie(&'a str, u64, &'a str),
    Share(&'a str, Uuid),
    Adopt(&'a str, Uuid),
    Watch {
        event: &'a str,
        timeline: &'a str,
        point: u64,
        until: PointEvent,
        timeout: Option<Duration>,
    },
    MemWait {
        event: &'a str,
        buffer: &'a str,
        offset: u64,
        value: u64,
        timeout: Duration,
    },
    MemSignal(&'a str, u64, u64),
    Counter(&'a str, u64),
    Cancel(&'a str),
    Event(Option<Duration>),
    Clock,
    Sleep(Duration),
}

/// A line without its comment; `None` where nothing is left.
pub(super) fn parse(line: &str) -> Result<Option<Step<'_>>, Failure> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    if words.is_empty() {
        return Ok(None);
    }
    for kind in [buffers, fences, timelines, events] {
        if let Some(step) = kind(&words)? {
            return Ok(Some(step));
        }
    }
    Err(Failure::Usage(format!(
        "{:?} is no command, see `stile run --help`",
        line.trim()
    )))
}

fn buffers<'a>(words: &[&'a str]) -> Result<Option<Step<'a>>, Failure> {
    Ok(Some(match *words {
        ["create", name] => Step::Create(name, 4096, BlobMemory::Host3d),
        ["create", name, size] => Step::Create(name, bytes(size)?, BlobMemory::Host3d),
        ["create", name, size, place] => Step::Create(name, bytes(size)?, memory(place)?),
        ["open", name, fd] => Step::Open(name, number(fd)?),
        ["close", name] => Step::Close(name),
        ["fill", name, byte] => Step::Fill(name, number(byte)?),
        ["check", name, byte] => Step::Check(name, number(byte)?),
        ["guest", name, how] => Step::Guest(name, access(how)?),
        _ => return Ok(None),
    }))
}

fn fences<'a>(words: &[&'a str]) -> Result<Option<Step<'a>>, Failure> {
    let export = |buffer, how, cookie, onto| -> Result<_, Failure> {
        Ok(Step::Export {
            buffer,
            access: access(how)?,
            cookie,
            onto,
        })
    };
    let begin = |what, buffer, how, mark| Ok(Step::Begin(what, buffer, access(how)?, mark));
    let step: Result<_, Failure> = match *words {
        ["export", buffer, how] => export(buffer, how, buffer, false),
        ["export", buffer, how, "onto"] => export(buffer, how, buffer, true),
        ["export", buffer, how, cookie] => export(buffer, how, cookie, false),
        ["export", buffer, how, cookie, "onto"] => export(buffer, how, cookie, true),
        ["poll", buffer, how] => begin(Use::Poll, buffer, how, buffer),
        ["poll", buffer, how, mark] => begin(Use::Poll, buffer, how, mark),
        ["cpu-begin", buffer, how] => begin(Use::CpuBegin, buffer, how, buffer),
        ["cpu-begin", buffer, how, mark] => begin(Use::CpuBegin, buffer, how, mark),
        ["cpu-end", buffer, how] => begin(Use::CpuEnd, buffer, how, buffer),
        ["cpu-end", buffer, how, mark] => begin(Use::CpuEnd, buffer, how, mark),
        ["finish", name, ref ms @ ..] => Ok(Step::Finish(name, timeout(ms)?)),
        ["import", buffer, how, cookie] => Ok(Step::Import(buffer, access(how)?, cookie)),
        ["merge", first, second, cookie] => Ok(Step::Merge(first, second, cookie)),
        ["wait", cookie, ref ms @ ..] => Ok(Step::Wait(cookie, timeout(ms)?)),
        ["drop", cookie] => Ok(Step::Drop(cookie)),
        ["deadline", cookie, ms] => Ok(Step::Deadline(cookie, milliseconds(ms)?)),
        ["snapshot", buffer, cookie] => Ok(Step::Snapshot(buffer, cookie)),
        ["from-ring", ring, cookie] => Ok(Step::FromRing(number(ring)?, cookie)),
        _ => return Ok(None),
    };
    step.map(Some)
}

fn timelines<'a>(words: &[&'a str]) -> Result<Option<Step<'a>>, Failure> {
    let signalled = TimelineFlags::BINARY.union(TimelineFlags::SIGNALLED);
    Ok(Some(match *words {
        ["timeline", name] => Step::Timeline(name, TimelineFlags::empty()),
        ["timeline", name, "binary"] => Step::Timeline(name, TimelineFlags::BINARY),
        ["timeline", name, "binary", "signalled"] => Step::Timeline(name, signalled),
        ["destroy", name] => Step::Destroy(name),
        ["signal", name, point] => Step::Signal(name, number(point)?),
        ["reset", name] => Step::Reset(name),
        ["to-point", name, point, cookie] => Step::ToPoint(name, number(point)?, cookie),
        ["to-cookie", name, point, cookie] => Step::ToCookie(name, number(point)?, cookie),
        ["share", name, uuid] => Step::Share(name, self::uuid(uuid)?),
        ["adopt", name, uuid] => Step::Adopt(name, self::uuid(uuid)?),
        _ => return Ok(None),
    }))
}

fn events<'a>(words: &[&'a str]) -> Result<Option<Step<'a>>, Failure> {
    Ok(Some(match *words {
        ["watch", event, timeline, point, until, ref ms @ ..] => Step::Watch {
            event,
            timeline,
            point: number(point)?,
            until: self::until(until)?,
            timeout: timeout(ms)?,
        },
        ["mem-wait", event, buffer, offset, value, ms] => Step::MemWait {
            event,
            buffer,
            offset: number(offset)?,
            value: number(value)?,
            timeout: milliseconds(ms)?,
        },
        ["mem-signal", buffer, offset] => Step::MemSignal(buffer, number(offset)?, 0),
        ["mem-signal", buffer, offset, value] => {
            Step::MemSignal(buffer, number(offset)?, number(value)?)
        }
        ["counter", buffer, offset] => Step::Counter(buffer, number(offset)?),
        ["cancel", event] => Step::Cancel(event),
        ["event", ref ms @ ..] => Step::Event(timeout(ms)?),
        ["clock"] => Step::Clock,
        ["sleep", ms] => Step::Sleep(milliseconds(ms)?),
        _ => return Ok(None),
    }))
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

/// Milliseconds that may be left out.
fn timeout(words: &[&str]) -> Result<Option<Duration>, Failure> {
    match *words {
        [] => Ok(None),
        [ms] => milliseconds(ms).map(Some),
        _ => Err(Failure::Usage(format!("{:?} is too much", words.join(" ")))),
    }
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

fn until(text: &str) -> Result<PointEvent, Failure> {
    match text {
        "available" => Ok(PointEvent::Available),
        "signalled" => Ok(PointEvent::Signalled),
        _ => Err(Failure::Usage(format!(
            "{text:?} is neither available nor signalled"
        ))),
    }
}

fn uuid(text: &str) -> Result<Uuid, Failure> {
    text.parse().map_err(Failure::Usage)
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
        let millisecond = Some(Duration::from_millis(1));
        let export = |cookie, onto| Step::Export {
            buffer: "A",
            access: Access::READ,
            cookie,
            onto,
        };
        let watch = |timeout| Step::Watch {
            event: "e",
            timeline: "t",
            point: 3,
            until: PointEvent::Available,
            timeout,
        };
        let both = TimelineFlags::all();
        for (line, step) in [
            (
                "create A # a page",
                Step::Create("A", 4096, BlobMemory::Host3d),
            ),
            (
                "create A 64k guest",
                Step::Create("A", 65536, BlobMemory::Guest),
            ),
            ("export A read", export("A", false)),
            ("export A read onto", export("A", true)),
            ("export A read c", export("c", false)),
            ("export A read c onto", export("c", true)),
            (
                "poll A write",
                Step::Begin(Use::Poll, "A", Access::WRITE, "A"),
            ),
            (
                "cpu-begin A read m",
                Step::Begin(Use::CpuBegin, "A", Access::READ, "m"),
            ),
            ("finish A", Step::Finish("A", None)),
            ("finish A 1", Step::Finish("A", millisecond)),
            ("event", Step::Event(None)),
            ("event 1", Step::Event(millisecond)),
            ("timeline t binary signalled", Step::Timeline("t", both)),
            ("watch e t 3 available", watch(None)),
            ("watch e t 3 available 1", watch(millisecond)),
            ("mem-signal A 8", Step::MemSignal("A", 8, 0)),
        ] {
            assert_eq!(parse(line).unwrap(), Some(step), "{line}");
        }
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
            "finish A 1 2",
            "from-ring 256 c",
            "timeline t signalled",
            "watch e t 3 soon",
            "adopt t 1234",
            "mem-wait e A 0 1",
        ] {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.code(), 2, "{line}: {failure}");
        }
    }
}
