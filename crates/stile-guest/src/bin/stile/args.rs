//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use stile_guest::{Access, BlobMemory};

/// Uses the fences of the host's buffers from inside a guest.
///
/// The device is a virtio-gpu that offers capset stile-sync. Buffers and cookies live as long as
/// the process, so whatever takes several steps is one call of `stile run`.
///
/// What happens is told on standard output, an event a line; what fails, on standard error.
#[derive(Debug, Parser)]
#[command(name = "stile", version, after_help = EXIT_CODES, after_long_help = LONG_HELP)]
pub(crate) struct Args {
    /// The render node; without it, the first one that offers stile-sync
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) device: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Machine-readable output: one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  done
  1  the kernel or the device failed
  2  the command line or a line of a script is wrong
  3  the device refused an operation or does not offer it, or a fence or an event came with an error
  4  a fence or an event did not come in the time given
  5  no device offers stile-sync"
    };
}

const EXIT_CODES: &str = exit_codes!();

const LONG_HELP: &str = concat!(
    "\
Events, without --json:
  buffer NAME resource=ID bytes=BYTES memory=host|guest|both
  export COOKIE buffer=NAME state=pending|signalled ring=RING
  signalled COOKIE after_ms=MS errno=ERRNO cause=deadline|host|- \
taken_ns=NS done_ns=NS signalled_ns=NS|-
  import COOKIE buffer=NAME errno=0
  merge COOKIE first=COOKIE second=COOKIE
  guest NAME state=idle|busy
  event EVENT op=TL_WATCH|MEM_WAIT errno=ERRNO value=VALUE time_ns=NS
  clock host offset_ns=NS error_ns=NS host_ns=NS
  bench idle-export count=COUNT p50_us=US p99_us=US max_us=US submit_p50_us=US …
after_ms is the guest's time since the submission; taken_ns, done_ns and signalled_ns are nanoseconds
of the host's CLOCK_MONOTONIC: when the device took the operation up, when it was done, and when the
host's own fence signalled. Other commands of a script print themselves and what they are about.
A guest's CLOCK_MONOTONIC and offset_ns make the host's time, right to error_ns. With --json the same names are the keys of an object, and \"event\" and
\"name\" are the first two words.

",
    exit_codes!()
);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Says what the device, its driver and its capset can do
    Info,
    /// Makes a buffer, and waits for the fences that the host has put on it
    ///
    /// Prints the buffer's resource id first, so that a process of the host can take it from the
    /// device's bridge and put fences on it; then (after --line or --delay) exports, and prints when
    /// the fence has signalled.
    Export(Export),
    /// Exports the fences of one buffer, and puts them on another
    ///
    /// Makes two buffers, A and B, and prints their resource ids; then (after --line or --delay)
    /// exports A's fences and imports them on B, where the host's users of B wait for them.
    Import(Import),
    /// Waits for the fences of several buffers at once, merged on the host
    Wait(Wait),
    /// Runs a script
    ///
    /// One command a line; what is in brackets may be left out, and # begins a comment.
    ///
    ///   create NAME [BYTES] [host|guest|both]   a buffer; prints its resource id
    ///   open NAME FD                            a buffer from an inherited dma-buf
    ///   close NAME                              gives the buffer up
    ///   fill NAME BYTE                          writes the whole buffer
    ///   check NAME BYTE                         fails (1) where it has another byte
    ///   guest NAME read|write                   the guest's own dma-buf: idle or busy
    ///
    ///   export NAME read|write [COOKIE] [onto]  begins an EXPORT, prints pending or signalled;
    ///                                           with onto, for the guest's own dma-buf as well
    ///   poll NAME read|write [MARK]             begins a POLL
    ///   cpu-begin NAME read|write [MARK]        begins a CPU_BEGIN
    ///   cpu-end NAME read|write [MARK]          begins a CPU_END
    ///   finish COOKIE|MARK [MS]                 until the fence of what began has signalled
    ///   import NAME read|write COOKIE
    ///   merge COOKIE COOKIE COOKIE              the third is the new one
    ///   wait COOKIE [MS]                        WAIT, until its fence has signalled
    ///   drop COOKIE
    ///   deadline COOKIE MS                      the fences are wanted in MS from now
    ///   snapshot NAME COOKIE                    what the buffer's contexts have queued
    ///   from-ring RING COOKIE                   what was queued last on the ring
    ///
    ///   timeline NAME [binary [signalled]]      a drm_syncobj of the host
    ///   destroy NAME
    ///   signal NAME POINT
    ///   reset NAME
    ///   to-point NAME POINT COOKIE              TL_TRANSFER; the point materialises
    ///   to-cookie NAME POINT COOKIE             TL_TRANSFER; the cookie is new
    ///   share NAME UUID                         for processes of the host, at the bridge
    ///   adopt NAME UUID                         from a process of the host, at the bridge
    ///
    ///   watch EVENT NAME POINT available|signalled [MS]
    ///   mem-wait EVENT NAME OFFSET VALUE MS     until the counter in the buffer is so much
    ///   mem-signal NAME OFFSET [VALUE]          raises it, or says that it was raised
    ///   counter NAME OFFSET                     prints it
    ///   cancel EVENT
    ///   event [MS]                              waits for the next event
    ///
    ///   clock                                   how the host's clock stands
    ///   sleep MS
    ///
    /// Names, cookies, marks and events are any words; points are 1 and more, of a binary
    /// timeline 0. A line that fails is reported, and the script goes on,
    /// unless --stop is given; the exit code is that of the first failure.
    #[command(verbatim_doc_comment)]
    Run(Run),
    /// Says how the host's clock stands to the guest's
    Clock,
    /// Measures EXPORT of an idle buffer: guest, device, guest
    Bench(Bench),
}

/// Which buffer.
#[derive(Debug, clap::Args)]
pub(crate) struct Buffer {
    /// Bytes of a new buffer; k, M and G stand for powers of 1024
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = bytes)]
    pub(crate) size: u64,
    /// Where a new buffer's memory is
    #[arg(long, value_enum, default_value = "host")]
    pub(crate) memory: Memory,
}

/// When the operation begins, and what comes after it.
#[derive(Debug, clap::Args)]
pub(crate) struct Moment {
    /// Begin when a line has come on standard input
    #[arg(long)]
    pub(crate) line: bool,
    /// Begin after so many milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) delay: Option<u64>,
    /// Give up after so many milliseconds; without it, 5 s after the device's own deadline
    #[arg(long, value_name = "MS")]
    pub(crate) timeout: Option<u64>,
    /// Keep the buffers until standard input ends
    #[arg(long)]
    pub(crate) hold: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) buffer: Buffer,
    /// Use an inherited dma-buf of the same device instead of a new buffer
    #[arg(long, value_name = "FD", conflicts_with_all = ["size", "memory"])]
    pub(crate) dma_buf: Option<i32>,
    /// Wait for everybody, as a writer does; without it, for the writers
    #[arg(long)]
    pub(crate) write: bool,
    /// Put the fence on the guest's own dma-buf as well
    #[arg(long)]
    pub(crate) onto: bool,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) buffer: Buffer,
    /// Whose fences of A: of its writers (read) or of everybody (write)
    #[arg(long, value_enum, default_value = "read")]
    pub(crate) from: Direction,
    /// How they go on B: as a reader's (read) or as a writer's (write)
    #[arg(long, value_enum, default_value = "write")]
    pub(crate) to: Direction,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) buffer: Buffer,
    /// How many buffers
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) buffers: u32,
    /// Wait for everybody, as a writer does; without it, for the writers
    #[arg(long)]
    pub(crate) write: bool,
    #[command(flatten)]
    pub(crate) moment: Moment,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The script; without it, standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stop at the first failure
    #[arg(long)]
    pub(crate) stop: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Round trips that are measured
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Round trips before them
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub(crate) warm_up: u32,
}

/// Where a buffer's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Memory {
    /// A dma-buf of the host (HOST3D)
    Host,
    /// The guest's own pages (GUEST)
    Guest,
    /// A dma-buf of the host, with pages of the guest beside it (HOST3D_GUEST)
    Both,
}

impl From<Memory> for BlobMemory {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Host => Self::Host3d,
            Memory::Guest => Self::Guest,
            Memory::Both => Self::Host3dGuest,
        }
    }
}

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// The access is a read
    Read,
    /// The access is a write
    Write,
}

impl From<Direction> for Access {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Read => Self::READ,
            Direction::Write => Self::WRITE,
        }
    }
}

/// A number of bytes, with k, M or G.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['k', 'K', 'M', 'G']);
    let shift = match text.get(digits.len()..) {
        Some("") => Some(0),
        Some("k" | "K") => Some(10),
        Some("M") => Some(20),
        Some("G") => Some(30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    shift
        .zip(number)
        .and_then(|(shift, number)| number.checked_mul(1_u64.checked_shl(shift)?))
        .ok_or_else(|| format!("{text:?} is no number of bytes, such as 4096, 64k or 8M"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64k"), Ok(65536));
        assert_eq!(bytes("8M"), Ok(8 << 20));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        for wrong in ["", "0", "k", "1T", "1kk", "-1", "99999999999G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
