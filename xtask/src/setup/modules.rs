//! Kernel modules: finding them by name, with what they depend on, in the order to load them in.
//! Debian's packages carry no modules.dep (their scripts make it), but every module says itself what
//! it depends on.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::rootfs::Rootfs;
use crate::process::bytes_of;

/// A module, uncompressed.
pub(crate) struct Module {
    /// Its name as the kernel shows it, with underscores.
    pub(crate) name: String,
    /// The ELF file.
    pub(crate) content: Vec<u8>,
}

/// The modules of one kernel.
pub(crate) struct Modules<'a> {
    rootfs: &'a Rootfs,
    paths: HashMap<String, PathBuf>,
    built_in: HashSet<String>,
}

impl<'a> Modules<'a> {
    /// Looks through `lib/modules/VERSION`.
    pub(crate) fn of(rootfs: &'a Rootfs, directory: &Path) -> Result<Self> {
        let mut paths = HashMap::new();
        walk(&directory.join("kernel"), &mut paths)?;
        let list = directory.join("modules.builtin");
        let built_in = std::fs::read_to_string(&list)
            .with_context(|| format!("{} could not be read", list.display()))?
            .lines()
            .filter_map(|line| name_of(Path::new(line)))
            .collect();
        Ok(Self {
            rootfs,
            paths,
            built_in,
        })
    }

    /// These modules and all that they need, in the order to load them in. What is built into the
    /// kernel is left out.
    pub(crate) fn in_load_order(&self, wanted: &[&str]) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in wanted {
            self.add(name, &mut order, &mut seen)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<Module>, seen: &mut HashSet<String>) -> Result<()> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.paths.get(&name) else {
            bail!("The kernel has no module `{name}`, neither built in nor as a file.");
        };
        let content = self.read(path)?;
        for needed in dependencies(&content) {
            self.add(&needed, order, seen)
                .with_context(|| format!("The module `{name}` needs `{needed}`"))?;
        }
        order.push(Module { name, content });
        Ok(())
    }

    /// Reads a module, unpacked: the kernel would do that, too, but slower.
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let unpacker = match path.extension().and_then(|extension| extension.to_str()) {
            Some("ko") => {
                return std::fs::read(path)
                    .with_context(|| format!("{} could not be read", path.display()));
            }
            Some("xz") => "xz",
            Some("zst") => "zstd",
            _ => bail!(
                "{} is compressed in a way that is not known here.",
                path.display()
            ),
        };
        bytes_of(
            self.rootfs
                .command(unpacker)
                .args(["--decompress", "--stdout"])
                .arg(path),
        )
    }
}

fn walk(directory: &Path, paths: &mut HashMap<String, PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} could not be listed", directory.display()))?;
    for entry in entries {
        let entry = entry.context("A directory could not be listed")?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, paths)?;
        } else if let Some(name) = name_of(&path) {
            paths.insert(name, path);
        }
    }
    Ok(())
}

/// `…/virtio-gpu.ko.xz` is the module `virtio_gpu`.
fn name_of(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// The `depends=a,b,c` string of a module's .modinfo section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        let module = b"\x7fELF...\0license=GPL\0depends=drm,virtio_dma_buf\0name=virtio_gpu\0";
        assert_eq!(dependencies(module), ["drm", "virtio_dma_buf"]);
    }

    #[test]
    fn a_module_without_dependencies_has_an_empty_list() {
        assert!(dependencies(b"\x7fELF...\0depends=\0name=x\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn a_file_name_becomes_the_name_that_the_kernel_uses() {
        let path = Path::new("kernel/drivers/gpu/drm/virtio/virtio-gpu.ko.xz");
        assert_eq!(name_of(path).as_deref(), Some("virtio_gpu"));
        assert_eq!(name_of(Path::new("kernel/configfs")), None);
    }
}
