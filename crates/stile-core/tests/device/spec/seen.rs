//! What lives that are drawn at random see: every errno is one that the table has for its operation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use stile_core::Limits;
use stile_wire::sync::OpCode;

use crate::life::{Life, small};
use crate::model::{Ending, Step, event_step, step};
use crate::spec_table::{errnos, number, table};

/// The errnos that an operation may be refused with, and those that it or its event ends with.
fn specified() -> BTreeMap<u8, [BTreeSet<u32>; 2]> {
    let values = table("errno").rows;
    let values = |cell: &str| -> BTreeSet<u32> {
        let errnos = errnos(cell).into_iter();
        errnos
            .map(|(errno, _)| {
                let row = values.iter().find(|row| row[0] == errno);
                number(&row.expect("an errno of the table")[1]) as u32
            })
            .collect()
    };
    let rows = table("operation").rows;
    let every = values(&rows[0][1]);
    let mut specified = BTreeMap::new();
    for row in &rows[1..] {
        let name = row[0].split(',').next();
        let op = OpCode::ALL.into_iter().find(|op| Some(op.name()) == name);
        let code = op.expect("an operation").code();
        let [refusals, ends]: &mut [BTreeSet<u32>; 2] = specified.entry(code).or_default();
        refusals.extend(&every);
        refusals.extend(values(&row[1]));
        ends.extend(values(&row[2]));
    }
    specified
}

/// Of submissions: E2BIG and EBADMSG.
const OF_SUBMISSIONS: [u32; 2] = [7, 74];
const ENOSYS: u32 = 38;

/// Whether the host itself makes no errors.
fn is_well(step: &Step) -> bool {
    !matches!(
        step,
        Step::HostFails { .. }
            | Step::WatchFails { .. }
            | Step::Accessed { errno: Some(_), .. }
            | Step::Signal { error: true, .. }
    )
}

fn live(limits: Limits, steps: &[Step], ending: Ending) -> BTreeSet<(bool, u8, u32)> {
    let mut life = Life::new(limits, 256);
    life.run_all(&[Step::Boot]);
    life.run_all(steps);
    life.end(ending);
    life.outcomes()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    #[test]
    fn no_operation_ends_with_an_errno_that_its_row_does_not_have(
        steps in prop_oneof![vec(step(), 1..60), vec(event_step(), 1..60)],
        ending in prop_oneof![Just(Ending::Signals), Just(Ending::Deadlines)],
    ) {
        let steps: Vec<_> = steps.into_iter().filter(is_well).collect();
        let limits = Limits { events: 4, fds: 30, ..small() };
        let specified = specified();
        for (event, cmd, errno) in live(limits, &steps, ending) {
            if errno == 0 || !event && OF_SUBMISSIONS.contains(&errno) {
                continue;
            }
            let row = specified.get(&cmd);
            let Some([refusals, ends]) = row else {
                prop_assert_eq!(errno, ENOSYS, "{:#x}", cmd);
                continue;
            };
            let known = ends.contains(&errno) || !event && refusals.contains(&errno);
            prop_assert!(known, "{:#x} ends with {}, event: {}", cmd, errno, event);
        }
    }
}
