//! The tables of what is refused, and how that is told. The core's tests run them.

use stile_wire::gpu::types;

use crate::operations::OPERATIONS;
use crate::spec_table::{errnos, named_numbers, number, table};

/// Errnos that are of submissions, or of whatever the host can say.
const OF_NO_OPERATION: [&str; 3] = ["E2BIG", "EBADMSG", "ENOMEM"];

#[test]
fn every_operation_has_its_errnos_and_every_errno_an_operation() {
    let known = table("errno").rows;
    let rows = table("operation").rows;
    let names = rows.iter().map(|row| row[0].split(',').next().unwrap());
    let mut names: Vec<_> = names.collect();
    names.dedup();
    let operations = OPERATIONS.map(|(name, _)| name);
    let every = std::iter::once("every operation");
    assert!(every.chain(operations).eq(names));
    let mut used = Vec::new();
    for row in &rows {
        for (errno, word) in errnos(&row[1]) {
            let known = known.iter().find(|known| known[0] == errno);
            let meaning = &known.unwrap_or_else(|| panic!("what is {errno}?"))[2];
            let mut words = meaning.split(['.', ':', ',']).map(str::trim);
            assert!(
                words.any(|other| other == word),
                "{}: which {errno} is `{word}`?",
                row[0]
            );
            used.push(errno);
        }
        for (errno, _) in errnos(&row[2]) {
            assert!(known.iter().any(|known| known[0] == errno), "{errno}");
            used.push(errno);
        }
    }
    for known in known {
        let used = used.contains(&known[0]) || OF_NO_OPERATION.contains(&&*known[0]);
        assert!(used, "no operation has {}", known[0]);
    }
}

const RESPONSES: [(&str, u32); 6] = [
    ("RESP_OK_NODATA", types::RESP_OK_NODATA),
    ("RESP_ERR_UNSPEC", types::RESP_ERR_UNSPEC),
    ("RESP_ERR_OUT_OF_MEMORY", types::RESP_ERR_OUT_OF_MEMORY),
    (
        "RESP_ERR_INVALID_RESOURCE_ID",
        types::RESP_ERR_INVALID_RESOURCE_ID,
    ),
    (
        "RESP_ERR_INVALID_CONTEXT_ID",
        types::RESP_ERR_INVALID_CONTEXT_ID,
    ),
    (
        "RESP_ERR_INVALID_PARAMETER",
        types::RESP_ERR_INVALID_PARAMETER,
    ),
];

#[test]
fn responses_have_their_numbers() {
    let known = RESPONSES.map(|(name, value)| (name.to_owned(), u64::from(value)));
    let mut named = 0;
    for what in ["response to `SUBMIT_3D`", "response to any command"] {
        for row in table(what).rows {
            for response in named_numbers(&row[0]) {
                assert!(known.contains(&response), "{response:?}");
                named += 1;
            }
        }
    }
    assert_eq!(named, 13);
}

#[test]
fn commands_have_their_numbers() {
    let commands = [
        ("GET_CAPSET_INFO", types::CMD_GET_CAPSET_INFO),
        ("GET_CAPSET", types::CMD_GET_CAPSET),
        ("CTX_CREATE", types::CMD_CTX_CREATE),
        ("CTX_DESTROY", types::CMD_CTX_DESTROY),
        ("CTX_ATTACH_RESOURCE", types::CMD_CTX_ATTACH_RESOURCE),
        ("CTX_DETACH_RESOURCE", types::CMD_CTX_DETACH_RESOURCE),
        ("RESOURCE_CREATE_BLOB", types::CMD_RESOURCE_CREATE_BLOB),
        ("RESOURCE_UNREF", types::CMD_RESOURCE_UNREF),
        ("RESOURCE_ASSIGN_UUID", types::CMD_RESOURCE_ASSIGN_UUID),
        ("RESOURCE_MAP_BLOB", types::CMD_RESOURCE_MAP_BLOB),
        ("RESOURCE_UNMAP_BLOB", types::CMD_RESOURCE_UNMAP_BLOB),
        ("RESOURCE_CREATE_2D", types::CMD_RESOURCE_CREATE_2D),
        ("RESOURCE_CREATE_3D", types::CMD_RESOURCE_CREATE_3D),
        ("GET_EDID", types::CMD_GET_EDID),
        ("RESOURCE_FLUSH", types::CMD_RESOURCE_FLUSH),
    ];
    let commands = commands.map(|(name, value)| (name.to_owned(), u64::from(value)));
    let rows = table("command").rows;
    let mut named: Vec<_> = rows.iter().flat_map(|row| named_numbers(&row[0])).collect();
    assert_eq!(named.len(), rows.len());
    named.dedup();
    assert_eq!(named, commands);
    for row in rows {
        let response = u32::try_from(number(&row[1])).unwrap();
        let (first, last) = (types::RESP_ERR_UNSPEC, types::RESP_ERR_INVALID_PARAMETER);
        assert!((first..=last).contains(&response), "{row:?}");
    }
}
