//! Stamps: a text file beside each thing that was made, saying what it was made from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const SUFFIX: &str = "stamp";

fn path(directory: &Path, step: &str) -> PathBuf {
    directory.join(format!("{step}.{SUFFIX}"))
}

/// Whether the step was last done from the same things.
pub(crate) fn holds(directory: &Path, step: &str, made_from: &str) -> bool {
    std::fs::read_to_string(path(directory, step)).is_ok_and(|text| text == made_from)
}

/// Notes, after the step is done, what it was done from.
pub(crate) fn set(directory: &Path, step: &str, made_from: &str) -> Result<()> {
    let path = path(directory, step);
    std::fs::write(&path, made_from)
        .with_context(|| format!("{} could not be written", path.display()))
}

/// Forgets one step, before it is done again: an interrupted step must not look done.
pub(crate) fn clear(directory: &Path, step: &str) -> Result<()> {
    remove(&path(directory, step))
}

/// Forgets all of them, so that everything is made again.
pub(crate) fn forget_all(directory: &Path) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} could not be listed", directory.display()))?;
    for entry in entries {
        let path = entry.context("A directory could not be listed")?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == SUFFIX)
        {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} could not be removed", path.display()))
        }
        _ => Ok(()),
    }
}
