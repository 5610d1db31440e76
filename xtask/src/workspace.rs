//! Where things are: the tree, cargo's target directory, and which programs the packages have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::output_of;

/// The feature that a test target requires when it needs a host kernel with dma-bufs, vgem and
/// drm_syncobj, so that a plain `cargo test` leaves it out.
const LAB: &str = "lab";

/// The tree and what cargo says about it.
pub(crate) struct Workspace {
    /// The root of the tree.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, which CARGO_TARGET_DIR may have moved out of the tree.
    pub(crate) target: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    features: BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Target {
    name: String,
    kind: Vec<String>,
    #[serde(default)]
    required_features: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let output = output_of(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: Metadata =
            serde_json::from_str(&output).context("Cargo's metadata could not be read")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: metadata.packages,
        })
    }

    /// Everything of the lab that is kept between runs.
    pub(crate) fn lab(&self) -> PathBuf {
        self.target.join("lab")
    }

    /// Whether `package` has a target `name` of this `kind` ("bin", "test", …).
    pub(crate) fn has_target(&self, package: &str, kind: &str, name: &str) -> bool {
        self.packages
            .iter()
            .filter(|found| found.name == package)
            .any(|found| {
                found
                    .targets
                    .iter()
                    .any(|target| target.name == name && target.kind.iter().any(|k| k == kind))
            })
    }

    /// Cargo's arguments that switch on the tests for the host VM, in every package that has some.
    pub(crate) fn lab_features(&self) -> Vec<String> {
        let with_tests = self
            .packages
            .iter()
            .filter(|found| found.features.contains_key(LAB));
        with_tests
            .map(|found| format!("--features={}/{LAB}", found.name))
            .collect()
    }

    /// The package whose manifest this is, and whether its test `target` is one for the host VM:
    /// whether it requires the feature "lab".
    pub(crate) fn test_target(&self, manifest: &Path, target: &str) -> Option<(&str, bool)> {
        let package = self
            .packages
            .iter()
            .find(|found| found.manifest_path == manifest)?;
        let lab = package.targets.iter().any(|found| {
            found.name == target && found.required_features.iter().any(|feature| feature == LAB)
        });
        Some((&package.name, lab))
    }

    /// The directories that a program in the host VM needs to find under the same names: the tree,
    /// and the target directory where it is elsewhere.
    pub(crate) fn shared_directories(&self) -> Vec<&Path> {
        let mut shared = vec![self.root.as_path()];
        if !self.target.starts_with(&self.root) {
            shared.push(&self.target);
        }
        shared
    }
}

/// The cargo that runs this program, in the tree's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Where the command was typed does not matter: this crate's folder is in the workspace.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    command.current_dir(
        here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
            .join(".."),
    );
    // What cargo set for this program is not meant for the cargo that it starts.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    command
}
