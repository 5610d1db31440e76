//! The check that what the documents link to, and the files that they name, are there.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::output_of;
use crate::workspace::Workspace;

/// Says what is missing, a line each.
pub(super) fn check(workspace: &Workspace) -> Result<Result<(), String>> {
    let mut list = Command::new("git");
    list.args(["ls-files"]).current_dir(&workspace.root);
    let files = output_of(&mut list)?;
    let files: Vec<&str> = files.lines().collect();
    let mut missing = Vec::new();
    for document in files.iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(workspace.root.join(document))?;
        let folder = workspace.root.join(document);
        let folder = folder.parent().unwrap_or(&workspace.root);
        for link in links(&text).filter(|link| !is_there(folder, link)) {
            missing.push(format!("{document} links to {link}"));
        }
        for name in names(&text).filter(|name| !is_one_of(&files, name)) {
            missing.push(format!("{document} names {name}"));
        }
    }
    Ok(if missing.is_empty() {
        Ok(())
    } else {
        Err(missing.join("\n"))
    })
}

/// The targets of links that are files: `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty())
}

/// The source files that are named as code: `` `device/ring.rs` ``.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|word| word.ends_with(".rs") && !word.contains(char::is_whitespace))
        .filter(|word| !word.contains(['{', '*']))
}

fn is_there(folder: &Path, link: &str) -> bool {
    folder.join(link).exists()
}

/// Whether the name is a file's, or the end of one's.
fn is_one_of(files: &[&str], name: &str) -> bool {
    files.iter().any(|file| {
        *file == name
            || file
                .strip_suffix(name)
                .is_some_and(|rest| rest.ends_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_names_are_found() {
        let text = "[a](b/c.md#part), [web](https://example.org), [here](#part), `d/e.rs`, `f()`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b/c.md"]);
        assert_eq!(names(text).collect::<Vec<_>>(), ["d/e.rs"]);
    }

    #[test]
    fn a_file_is_known_by_the_end_of_its_path() {
        let files = ["crates/one/src/list.rs"];
        assert!(is_one_of(&files, "one/src/list.rs"));
        assert!(is_one_of(&files, "list.rs"));
        assert!(!is_one_of(&files, "ist.rs"));
        assert!(!is_one_of(&files, "two/list.rs"));
    }
}
