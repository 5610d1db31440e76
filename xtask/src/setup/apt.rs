//! Debian packages, through the machine's own apt with a configuration, package lists and a package
//! database of our own: the machine's packages are neither looked at nor changed, no root is needed,
//! and the mirror, proxies and credentials are those the machine already uses.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{cannot_start, last_lines, output_of, run_logged, shown};
use crate::progress::Progress;

/// The Debian release that the lab is made from.
pub(crate) const RELEASE: &str = "trixie";
/// Where newer packages for it come from.
pub(crate) const BACKPORTS: &str = "trixie-backports";
/// Where packages come from that no release has.
pub(crate) const UNSTABLE: &str = "sid";

/// The Debian project's keys; the second name is the one that newer releases use.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// apt with lists and a database in the lab.
pub(crate) struct Apt {
    directory: PathBuf,
    /// Where packages come from; those of the last one are preferred.
    suites: &'static [&'static str],
    /// Set once the lists are there: nothing is asked of the network before something is missing.
    ready: OnceCell<()>,
}

impl Apt {
    /// apt in this directory, with these suites. Does nothing yet.
    pub(crate) fn new(directory: PathBuf, suites: &'static [&'static str]) -> Self {
        Self {
            directory,
            suites,
            ready: OnceCell::new(),
        }
    }

    /// Downloads `packages` and what they depend on, the newest of all suites. Gives the package
    /// files.
    pub(crate) fn download_with_dependencies(
        &self,
        packages: &[&str],
        progress: &Progress,
    ) -> Result<Vec<PathBuf>> {
        self.prepare(progress)?;
        let archives = self.directory.join("cache/archives");
        let mut command = self.command("apt-get")?;
        command
            .args([
                "install",
                "--yes",
                "--no-install-recommends",
                "--download-only",
            ])
            .args(packages);
        if let Some(preferred) = self.suites.last() {
            command.args(["--target-release", preferred]);
        }
        self.fetch(command, progress)?;
        package_files(&archives)
    }

    /// Downloads exactly these packages (`name=version`), into a directory that is emptied first.
    pub(crate) fn download_only(
        &self,
        packages: &[String],
        into: &Path,
        progress: &Progress,
    ) -> Result<Vec<PathBuf>> {
        self.prepare(progress)?;
        fresh_directory(into)?;
        let mut command = self.command("apt-get")?;
        command.arg("download").args(packages).current_dir(into);
        self.fetch(command, progress)?;
        package_files(into)
    }

    /// The newest version of `package` in `suite`.
    pub(crate) fn newest(&self, package: &str, suite: &str, progress: &Progress) -> Result<String> {
        self.prepare(progress)?;
        // "linux-image-amd64 | 6.12.107-1 | http://… trixie/main amd64 Packages", newest first.
        let table = output_of(self.command("apt-cache")?.args(["madison", package]))?;
        let component = format!("{suite}/main");
        table
            .lines()
            .filter_map(|line| {
                let mut columns = line.split('|').map(str::trim);
                let (_, version, source) = (columns.next()?, columns.next()?, columns.next()?);
                source
                    .split(' ')
                    .any(|word| word == component)
                    .then(|| version.to_owned())
            })
            .next()
            .with_context(|| format!("The mirror has no package {package} in {suite}."))
    }

    /// What `package` (`name=version`) depends on directly, the first of each choice.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache")?;
        command.args(["show", package]);
        let described = output_of(&mut command)?;
        Ok(described
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.strip_prefix("Depends: "))
            .flat_map(|names| names.split(','))
            .filter_map(|choice| choice.split(['|', '(']).next())
            .map(|name| name.trim().to_owned())
            .collect())
    }

    /// Frees the space of the downloaded packages, which are unpacked by now.
    pub(crate) fn forget_downloads(&self) -> Result<()> {
        if self.ready.get().is_some() {
            fresh_directory(&self.directory.join("cache/archives"))?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.directory.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        Ok(command)
    }

    /// Writes the configuration and fetches the package lists, once.
    fn prepare(&self, progress: &Progress) -> Result<()> {
        if self.ready.get().is_some() {
            return Ok(());
        }
        let mirror = mirror()?;
        let keyring = KEYRINGS
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context(
                "The Debian project's keys are missing, so packages could not be checked. \
             `apt-get install debian-archive-keyring` brings them.",
            )?;
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = self.directory.join(part);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("{} could not be made", path.display()))?;
        }
        let suites = self.suites.join(" ");
        let sources = format!(
            "Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\n\
             Architectures: amd64\nSigned-By: {keyring}\n"
        );
        self.write("lab.sources", &sources)?;
        // An empty database: nothing is installed, so everything is downloaded.
        self.write("status", "")?;
        self.write("apt.conf", &self.configuration()?)?;

        progress.say(format!("asking {mirror} for the package lists of {suites}"));
        let log = self.directory.join("update.log");
        run_logged(
            self.command("apt-get")?.args(["update", "--error-on=any"]),
            &log,
        )
        .context(
            "The package lists could not be fetched. The lab needs the machine's own Debian mirror \
             to be reachable and to carry Debian 13 (trixie) and sid, and on Debian 12 a \
             debian-archive-keyring new enough to know it (`apt-get install \
             debian-archive-keyring`).",
        )?;
        let _ = self.ready.set(());
        Ok(())
    }

    /// How the machine's apt reaches the network, with every path replaced by one of ours.
    fn configuration(&self) -> Result<String> {
        let machine = output_of(Command::new("apt-config").args([
            "dump",
            "--no-empty",
            "--format",
            "%F \"%v\";%n",
            "Acquire",
        ]))?;
        let mut text: String = machine
            .lines()
            .filter(|line| !line.starts_with("Acquire::IndexTargets"))
            .map(|line| format!("{line}\n"))
            .collect();
        let own = self.directory.display();
        text.push_str(&format!(
            r#"Acquire::Languages "none";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
Dir::Cache "{own}/cache";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{own}/lab.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{own}/state";
Dir::State::status "{own}/status";
"#
        ));
        Ok(text)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("{} could not be written", path.display()))
    }

    /// Runs an apt command that downloads, and shows how far it is.
    fn fetch(&self, mut command: Command, progress: &Progress) -> Result<()> {
        command.args(["-o", "APT::Status-Fd=1", "--quiet"]);
        let log = self.directory.join("download.log");
        let errors = std::fs::File::create(&log)
            .with_context(|| format!("{} could not be made", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| cannot_start(&command, error))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // "dlstatus:12:34.5:Retrieving file 12 of 115"
                let mut fields = line.splitn(4, ':');
                if let (Some("dlstatus"), _, Some(percent), Some(what)) =
                    (fields.next(), fields.next(), fields.next(), fields.next())
                {
                    let percent = percent.split('.').next().unwrap_or(percent);
                    progress.update(format!("downloading: {percent} %, {what}"));
                }
            }
        }
        let status = child.wait().context("apt-get could not be waited for")?;
        if !status.success() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!(
                "`{}` failed ({status}):\n{}",
                shown(&command),
                last_lines(&said, 20)
            );
        }
        Ok(())
    }
}

/// The Debian mirror that this machine itself uses.
fn mirror() -> Result<String> {
    let targets = output_of(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(LABEL) $(CODENAME)",
        "Created-By: Packages",
    ]))?;
    let repositories = || {
        targets
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
    };
    // The label is known only where the machine's own lists have been fetched; before that, the
    // security archive is told apart by its address.
    let labelled = repositories().find(|words| words.get(1) == Some(&"Debian"));
    let first = || {
        repositories().find(|words| {
            words
                .first()
                .is_some_and(|uri| uri.contains("debian") && !uri.contains("security"))
        })
    };
    let uri = labelled
        .or_else(first)
        .and_then(|words| words.first().map(|uri| (*uri).to_owned()));
    uri.context(
        "This machine's apt knows no Debian mirror (`apt-get indextargets` names none). The lab \
         needs one in /etc/apt/sources.list.d.",
    )
}

fn package_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} could not be listed", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.context("A directory could not be listed")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("apt downloaded no packages into {}.", directory.display());
    }
    files.sort();
    Ok(files)
}

/// An empty directory at this path, whatever was there.
pub(crate) fn fresh_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{} could not be removed", path.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(path).with_context(|| format!("{} could not be made", path.display()))
}
