//! Proves that the wire and core crates need no operating system, with the one target that every
//! toolchain has: a program without std, without a C library and without start files, with both
//! crates in it whole, must link. A use of std brings std's panic handler, which the program already
//! has; a call into a C library finds nobody to answer it. Then the program runs, which shows that
//! it is one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::checks::complains;
use crate::process::{bytes_of, cannot_start};
use crate::workspace::{Workspace, cargo};

const CRATES: [(&str, &str); 2] = [("stile-wire", "stile_wire"), ("stile-core", "stile_core")];
/// Named, so that flags for it are kept from build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "xtask/freestanding/main.rs";

/// Builds the crates, links the program, runs it.
pub(crate) fn check(workspace: &Workspace) -> Result<Result<(), String>> {
    let target = workspace.target.join("freestanding");
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--lib",
        "--message-format=json",
        "--target",
        TARGET,
    ]);
    build
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_PROFILE_DEV_PANIC", "abort");
    for (package, _) in CRATES {
        build.args(["--package", package]);
    }
    let libraries = libraries(&bytes_of(&mut build)?)?;

    // First one archive of everything, then a link that takes all of it: what no call leads to is
    // not left out, so that nothing hides in an unused function.
    let archive = target.join("program.a");
    let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compile
        .current_dir(&workspace.root)
        .args(["--edition=2024", "--crate-type=staticlib"]);
    compile.args([
        PROGRAM,
        "--target",
        TARGET,
        "-Cpanic=abort",
        "-Crelocation-model=static",
    ]);
    compile.arg("-o").arg(&archive);
    // The crates' own dependencies, and the macros that those were made with.
    for directory in [target.join(TARGET), target.clone()] {
        compile.arg("-L").arg(directory.join("debug/deps"));
    }
    for ((_, name), path) in CRATES.iter().zip(&libraries) {
        compile
            .arg("--extern")
            .arg(format!("{name}={}", path.display()));
    }
    if let Err(complaint) = complains(&mut compile)? {
        return Ok(Err(complaint));
    }

    let program = target.join("program");
    let mut link = Command::new("cc");
    link.args([
        "-nostdlib",
        "-nostartfiles",
        "-static",
        "-no-pie",
        "-Wl,--whole-archive",
    ]);
    link.arg(&archive).arg("-o").arg(&program);
    if let Err(complaint) = complains(&mut link)? {
        return Ok(Err(complaint));
    }
    let mut run = Command::new(&program);
    let status = run.status().map_err(|error| cannot_start(&run, error))?;
    Ok(if status.success() {
        Ok(())
    } else {
        Err(format!("The program ended with {status}."))
    })
}

/// Where cargo put the crates, in the order of [`CRATES`].
fn libraries(messages: &[u8]) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        target: Option<Target>,
        #[serde(default)]
        filenames: Vec<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let messages: Vec<Message> = messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    CRATES
        .iter()
        .map(|(_, name)| {
            messages
                .iter()
                .filter(|message| {
                    message
                        .target
                        .as_ref()
                        .is_some_and(|found| found.name == *name)
                })
                .flat_map(|message| &message.filenames)
                .find(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "rlib")
                })
                .cloned()
                .with_context(|| format!("Cargo did not say where it put the crate {name}."))
        })
        .collect()
}
