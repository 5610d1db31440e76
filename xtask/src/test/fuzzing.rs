//! The fuzz targets, all at once and for a time: each is a case.

use std::time::Instant;

use super::report::{Case, Suite};
use super::{Options, broken};
use crate::fuzz::{Fuzzer, TARGETS};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// How long they run.
const SECONDS: u32 = 120;
/// With `--quick`: time for the inputs of the tree, and to see that it all works.
const QUICK_SECONDS: u32 = 5;

/// Runs the targets whose name or sentence contains the filter.
pub(super) fn run(workspace: &Workspace, progress: &Progress, options: &Options) -> Suite {
    let begin = Instant::now();
    let name = |target: &crate::fuzz::Target| format!("{}: {}", target.name, target.holds);
    let chosen: Vec<_> = TARGETS
        .into_iter()
        .filter(|target| name(target).contains(&options.filter))
        .collect();
    let mut cases = Vec::new();
    if !chosen.is_empty() {
        progress.say("building the fuzz targets");
        let fuzzer = match Fuzzer::build(workspace) {
            Ok(fuzzer) => fuzzer,
            Err(error) => return broken("fuzz", "the fuzz targets build", &error),
        };
        let seconds = if options.quick {
            QUICK_SECONDS
        } else {
            SECONDS
        };
        for (target, ended) in fuzzer.fuzz(&chosen, seconds, progress) {
            let name = name(&target);
            cases.push(match ended {
                Err(error) => Case::failed(&name, format!("{error:#}")),
                Ok(ended) => {
                    progress.say(format!("fuzz {}: {}", target.name, ended.counts));
                    let case = match ended.failure {
                        None => Case::passed(&name),
                        Some(failure) => Case::failed(&name, failure),
                    };
                    case.took(ended.time)
                }
            });
        }
    }
    Suite {
        name: "fuzz".to_owned(),
        cases,
        time: begin.elapsed(),
    }
}
