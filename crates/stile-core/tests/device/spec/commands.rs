//! The table of what commands are answered that cannot be done.

use stile_core::{Chain, Errno, Limits, errno};
use stile_wire::gpu::{MAX_RESPONSE_BYTES, types};
use stile_wire::sync::{Access, encode_export};

use crate::sim::{Bench, Fenced, GuestCommand, HostFails};
use crate::spec_table::{named_numbers, number, table};

const PAGE: u64 = 4096;
const GUEST: u32 = 1;
const HOST3D: u32 = 2;
const HOST3D_GUEST: u32 = 3;
/// Contexts, resources and so on that do not exist.
pub(super) const NONE: u32 = 99;
/// ENOSPC, EFBIG and EIO of the host.
const FULL: Errno = Errno(28);
const TOO_LARGE: Errno = Errno(27);
const REFUSED: Errno = Errno(5);

/// The type of a response, and whether it signals a fence.
pub(super) fn kind(bench: &Bench, chain: Chain) -> (u32, bool) {
    let answer = bench.answer(chain).expect("an answer");
    let mut out = [0; MAX_RESPONSE_BYTES];
    answer.encode(&mut out);
    let word = |at: usize| u32::from_le_bytes(out[at..at + 4].try_into().unwrap());
    (word(0), word(4) & 1 == 1)
}

fn words(kind: u32, words: &[u32]) -> GuestCommand {
    let body = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let ctx_id = 0;
    GuestCommand { kind, ctx_id, body }
}

fn blob(id: u32, mem: u32, flags: u32, size: u64, entries: &[(u64, u32)]) -> GuestCommand {
    GuestCommand::create_blob_of(id, mem, flags, size, entries)
}

/// How a command comes to be answered.
enum Way {
    /// At once.
    Now,
    /// With a fence, while there are as many as may be.
    Crowded,
    /// The host cannot begin to make the blob.
    Unbegun(Errno),
    /// The host cannot make the blob.
    Unmade(Errno),
    /// Its deadline passes.
    Late,
    /// The front end refuses.
    Refused,
    /// The resource is destroyed before the front end answers.
    Destroyed,
}

/// Context 1 with the blobs 1, which is mapped, 2, 3, which is the guest's, and 4, which cannot be
/// mapped; of everything there is as much as may be, if `full`.
fn scene(full: bool) -> Bench {
    let mut limits = Limits {
        pending_fences: 1,
        ..Limits::default()
    };
    if full {
        limits.contexts = 1;
        limits.resources = 4;
        limits.maps = 1;
    }
    let mut bench = Bench::new(limits);
    bench.context_with_blobs(1, [1, 2]);
    let pages = [(0x10_0000, 4096)];
    bench.ok(&blob(3, GUEST, 1, PAGE, &pages));
    bench.ok(&blob(4, HOST3D, 0, PAGE, &[]));
    bench.send(&GuestCommand::map(1, 0), Fenced::No);
    bench.job(0, Ok(()));
    bench
}

/// A row: the command, the response, and what leads to it. `true` for a scene that is full.
type Row = (&'static str, u32, Vec<(bool, GuestCommand, Way)>);

/// Each row's causes. Those of the rows before are not there, those of the rows behind where they
/// can be.
fn cases() -> Vec<Row> {
    use Way::{Crowded, Destroyed, Late, Now, Refused, Unbegun, Unmade};
    let pages: &[(u64, u32)] = &[(0x10_0000, 4096)];
    let host = |id, size| blob(id, HOST3D, 0, size, &[]);
    let map = GuestCommand::map;
    vec![
        (
            "GET_CAPSET_INFO",
            0x1205,
            vec![(false, words(types::CMD_GET_CAPSET_INFO, &[1, 0]), Now)],
        ),
        (
            "GET_CAPSET",
            0x1205,
            vec![
                (false, words(types::CMD_GET_CAPSET, &[5, 1]), Now),
                (false, words(types::CMD_GET_CAPSET, &[30, 2]), Now),
            ],
        ),
        (
            "CTX_CREATE",
            0x1204,
            vec![
                (true, GuestCommand::ctx_create(0, 5), Now),
                (true, GuestCommand::ctx_create(1, 5), Now),
            ],
        ),
        (
            "CTX_CREATE",
            0x1205,
            vec![(true, GuestCommand::ctx_create(2, 5), Now)],
        ),
        (
            "CTX_CREATE",
            0x1201,
            vec![(true, GuestCommand::context(2), Now)],
        ),
        (
            "CTX_DESTROY",
            0x1204,
            vec![(false, GuestCommand::ctx_destroy(NONE), Now)],
        ),
        (
            "CTX_ATTACH_RESOURCE",
            0x1204,
            vec![(false, GuestCommand::attach(NONE, NONE), Now)],
        ),
        (
            "CTX_ATTACH_RESOURCE",
            0x1203,
            vec![(false, GuestCommand::attach(1, NONE), Now)],
        ),
        (
            "CTX_DETACH_RESOURCE",
            0x1204,
            vec![(false, GuestCommand::detach(NONE, NONE), Now)],
        ),
        (
            "CTX_DETACH_RESOURCE",
            0x1203,
            vec![
                (false, GuestCommand::detach(1, NONE), Now),
                (false, GuestCommand::detach(1, 3), Now),
            ],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1205,
            vec![
                (true, blob(0, 0, 0, 0, &[]), Now),
                (true, blob(0, 4, 0, 0, &[]), Now),
                (true, blob(0, HOST3D, 8, 0, &[]), Now),
                (
                    true,
                    words(
                        types::CMD_RESOURCE_CREATE_BLOB,
                        &[0, GUEST, 0, 1, 0, 0, 4096, 0],
                    ),
                    Now,
                ),
            ],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1203,
            vec![(true, host(0, 0), Now), (true, host(1, 0), Now)],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1205,
            vec![
                (true, host(9, 0), Now),
                (true, blob(9, HOST3D, 0, PAGE, pages), Now),
                (true, blob(9, GUEST, 0, PAGE, &[]), Now),
                (true, blob(9, HOST3D_GUEST, 0, PAGE, &[]), Now),
                (true, blob(9, GUEST, 0, PAGE + 1, pages), Now),
                (
                    true,
                    blob(9, HOST3D_GUEST, 0, PAGE, &[(0x10_0001, 4096)]),
                    Now,
                ),
            ],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1201,
            vec![
                (true, host(9, PAGE), Now),
                (false, host(9, 1 << 40), Unbegun(REFUSED)),
                (
                    false,
                    blob(9, GUEST, 0, 5 << 30, &[(0, u32::MAX - 4095); 2]),
                    Unbegun(REFUSED),
                ),
            ],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1205,
            vec![(
                false,
                blob(9, GUEST, 0, PAGE, pages),
                Unbegun(errno::EINVAL),
            )],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1201,
            vec![
                (false, host(9, PAGE), Unmade(errno::ENOMEM)),
                (false, host(9, PAGE), Unmade(errno::EMFILE)),
                (false, host(9, PAGE), Unmade(FULL)),
                (false, host(9, PAGE), Late),
            ],
        ),
        (
            "RESOURCE_CREATE_BLOB",
            0x1200,
            vec![
                (false, host(9, PAGE), Unmade(errno::EOPNOTSUPP)),
                (false, host(9, PAGE), Unmade(TOO_LARGE)),
            ],
        ),
        (
            "RESOURCE_UNREF",
            0x1203,
            vec![(false, GuestCommand::unref(NONE), Now)],
        ),
        (
            "RESOURCE_ASSIGN_UUID",
            0x1203,
            vec![(false, GuestCommand::assign_uuid(NONE), Crowded)],
        ),
        (
            "RESOURCE_ASSIGN_UUID",
            0x1201,
            vec![(false, GuestCommand::assign_uuid(1), Crowded)],
        ),
        (
            "RESOURCE_ASSIGN_UUID",
            0x1200,
            vec![(false, GuestCommand::assign_uuid(1), Late)],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1203,
            vec![(true, map(NONE, 1), Crowded)],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1205,
            vec![
                (true, map(3, 1), Crowded),
                (true, map(4, 1), Crowded),
                (true, map(1, 1), Crowded),
            ],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1201,
            vec![(true, map(2, 1), Now), (false, map(2, 1), Crowded)],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1205,
            vec![
                (false, map(2, (1 << 20) + 1), Now),
                (false, map(2, 1 << 40), Now),
                (false, map(2, (1 << 30) - PAGE), Now),
                (false, map(2, 15 * PAGE), Now),
            ],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1200,
            vec![
                (false, map(2, 1 << 20), Refused),
                (false, map(2, 1 << 20), Late),
            ],
        ),
        (
            "RESOURCE_MAP_BLOB",
            0x1203,
            vec![(false, map(2, 1 << 20), Destroyed)],
        ),
        (
            "RESOURCE_UNMAP_BLOB",
            0x1203,
            vec![(false, GuestCommand::unmap(NONE), Crowded)],
        ),
        (
            "RESOURCE_UNMAP_BLOB",
            0x1205,
            vec![(false, GuestCommand::unmap(2), Crowded)],
        ),
        (
            "RESOURCE_UNMAP_BLOB",
            0x1201,
            vec![(false, GuestCommand::unmap(1), Crowded)],
        ),
        (
            "RESOURCE_UNMAP_BLOB",
            0x1200,
            vec![
                (false, GuestCommand::unmap(1), Refused),
                (false, GuestCommand::unmap(1), Late),
            ],
        ),
        (
            "RESOURCE_CREATE_2D",
            0x1200,
            vec![(false, words(types::CMD_RESOURCE_CREATE_2D, &[9; 4]), Now)],
        ),
        (
            "RESOURCE_CREATE_3D",
            0x1200,
            vec![(false, words(types::CMD_RESOURCE_CREATE_3D, &[9; 12]), Now)],
        ),
        (
            "GET_EDID",
            0x1202,
            vec![
                (false, words(types::CMD_GET_EDID, &[0, 0]), Now),
                (false, words(types::CMD_SET_SCANOUT, &[0; 6]), Now),
                (false, words(types::CMD_SET_SCANOUT_BLOB, &[0; 24]), Now),
                (false, words(types::CMD_UPDATE_CURSOR, &[0; 8]), Now),
                (false, words(types::CMD_MOVE_CURSOR, &[0; 8]), Now),
            ],
        ),
        (
            "RESOURCE_FLUSH",
            0x1203,
            vec![
                (false, words(types::CMD_RESOURCE_FLUSH, &[NONE; 6]), Now),
                (
                    false,
                    words(types::CMD_TRANSFER_TO_HOST_2D, &[NONE; 8]),
                    Now,
                ),
                (
                    false,
                    words(types::CMD_TRANSFER_FROM_HOST_3D, &[NONE; 12]),
                    Now,
                ),
                (
                    false,
                    words(types::CMD_RESOURCE_DETACH_BACKING, &[NONE; 2]),
                    Now,
                ),
            ],
        ),
        (
            "RESOURCE_FLUSH",
            0x1200,
            vec![(false, words(types::CMD_RESOURCE_FLUSH, &[1; 6]), Now)],
        ),
    ]
}

fn response(full: bool, command: &GuestCommand, way: &Way) -> u32 {
    let mut bench = scene(full);
    let now = |bench: &mut Bench| bench.send(command, Fenced::No);
    let jobs = bench.tasks().len();
    let chain = match way {
        Way::Now => now(&mut bench),
        Way::Crowded => {
            bench.writer(1);
            let export = encode_export(0, 0, 1, Access::READ, 0).to_vec();
            bench.fenced(0, 1, &[export]);
            bench.send(command, Fenced::Global(1))
        }
        Way::Unbegun(error) => {
            bench.sim.fails = HostFails::now(*error);
            now(&mut bench)
        }
        Way::Unmade(error) => {
            bench.slow = true;
            let chain = now(&mut bench);
            bench.fail_buffer(*error);
            chain
        }
        Way::Late => {
            bench.slow = true;
            let chain = now(&mut bench);
            assert!(bench.is_pending(chain));
            bench.pass_ms(10_000);
            chain
        }
        Way::Refused => {
            let chain = now(&mut bench);
            bench.job(jobs, Err(REFUSED));
            chain
        }
        Way::Destroyed => {
            let chain = now(&mut bench);
            bench.ok(&GuestCommand::unref(2));
            bench.job(jobs, Ok(()));
            chain
        }
    };
    kind(&bench, chain).0
}

#[test]
fn commands_are_answered_as_their_table_says() {
    let rows = table("command").rows;
    let specified = rows.iter().map(|row| {
        let (name, _) = named_numbers(&row[0]).remove(0);
        (name, number(&row[1]) as u32)
    });
    let cases = cases();
    let ours = cases
        .iter()
        .map(|(name, kind, _)| ((*name).to_owned(), *kind));
    assert!(specified.eq(ours), "the rows, in their order");
    for (name, kind, ways) in cases {
        assert!(!ways.is_empty(), "{name}");
        for (nth, (full, command, way)) in ways.iter().enumerate() {
            let found = response(*full, command, way);
            assert_eq!(found, kind, "{name}, cause {nth} of {kind:#x}");
        }
    }
}
