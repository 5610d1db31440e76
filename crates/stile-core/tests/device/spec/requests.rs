//! The table of what host processes' requests are refused with, as far as the device refuses them:
//! what the bridge sees itself stands before.

use stile_core::{Errno, Replacement, Request, ResourceName, errno};

use super::operations::{Cause, has};
use crate::sim::{Bench, Fenced, GuestCommand, HostFails};
use crate::spec_table::{errnos, number, tables_of};

const BRIDGE: &str = include_str!("../../../../../docs/spec/bridge.md");
const SIZE: u64 = 16 * 4096;
const SECOND_NS: u64 = 1_000_000_000;
/// A blob, one of guest pages, and none.
const BLOB: u32 = 1;
const PAGES: u32 = 2;
const NONE: u32 = 99;

fn rows(first: &str) -> Vec<Vec<String>> {
    let mut tables = tables_of(BRIDGE).into_iter();
    let table = tables.find(|table| table.heading[0] == first);
    table.expect("a table of the bridge's").rows
}

fn refused(name: &str, causes: &[Cause]) -> Option<Errno> {
    let is = |errno: &str, word: &str| has(causes, errno, word);
    let mut bench = Bench::with_blobs(1);
    let entry = [(0x10_0000, 4096)];
    bench.ok(&GuestCommand::create_blob_of(PAGES, 1, 1, 4096, &entry));
    let id = if is("ENOENT", "resource") {
        NONE
    } else if is("EOPNOTSUPP", "pages") {
        PAGES
    } else {
        BLOB
    };
    let resource = ResourceName::Id(id);
    let offset = if is("EINVAL", "counter") { 4 } else { 8 };
    let timeout_ns = if is("EINVAL", "timeout") {
        0
    } else {
        SECOND_NS
    };
    let replacement = |bench: &Bench, size| Replacement {
        resource,
        buffer: bench.sim.new_buffer(size),
        timeout_ns,
    };
    if is("EBUSY", "moving") {
        bench.send(&GuestCommand::map(BLOB, 0), Fenced::No);
        bench.job(0, Ok(()));
        let first = Replacement {
            resource: ResourceName::Id(BLOB),
            timeout_ns: SECOND_NS,
            ..replacement(&bench, SIZE)
        };
        let id = bench.sim.open_request();
        bench
            .device
            .replace(&mut bench.sim, bench.now_ns, id, first);
        assert_eq!(bench.told(id), None);
    }
    if is("EFAULT", "pages") {
        bench.sim.fails = HostFails::now(errno::EFAULT);
    } else if is("EAGAIN", "contended") {
        bench.sim.fails = HostFails::now(errno::EAGAIN);
    }
    let value = 1;
    let asked = match name {
        "MEM_SIGNAL" => bench.ask(Request::Signal {
            resource,
            offset,
            value,
        }),
        "MEM_WAIT" => bench.ask(Request::Wait {
            resource,
            offset,
            value,
            timeout_ns,
        }),
        "REPLACE" => {
            let wrong = is("EINVAL", "size");
            let new = replacement(&bench, if wrong { SIZE + 4096 } else { SIZE });
            let id = bench.sim.open_request();
            bench.device.replace(&mut bench.sim, bench.now_ns, id, new);
            id
        }
        unknown => panic!("the test does not know {unknown}"),
    };
    bench.told(asked).and_then(Result::err)
}

#[test]
fn a_request_is_refused_with_the_first_of_its_causes() {
    let values = rows("reply errno");
    let value = |errno: &str| {
        let known = values.iter().find(|row| row[0] == errno);
        Errno(number(&known.expect("an errno of the table")[1]) as u32)
    };
    let mut refusals = 0;
    for row in rows("request") {
        let name = row[0].as_str();
        let mut causes = errnos(&row[1]);
        for (errno, word) in &causes {
            let meaning = values.iter().find(|row| row[0] == *errno);
            let meaning = &meaning.expect("an errno of the table")[2];
            assert!(meaning.contains(&format!("{word}:")), "{errno} {word}");
        }
        if name == "CANCEL" {
            continue;
        }
        let bridges = causes.iter().position(|(_, word)| word == "requests");
        causes.drain(..=bridges.expect("what the bridge sees itself"));
        assert_eq!(refused(name, &[]), None, "{name} with nothing wrong");
        for (nth, cause) in causes.iter().enumerate() {
            let expected = Some(value(&cause.0));
            let alone = std::slice::from_ref(cause);
            assert_eq!(refused(name, alone), expected, "{name}: {alone:?}");
            let all = &causes[nth..];
            assert_eq!(refused(name, all), expected, "{name}: {all:?}");
            refusals += 1;
        }
    }
    assert_eq!(refusals, 14);
}
