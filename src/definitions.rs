//! What is asked for: the files under `sysroots/`, `toolchains/` and `lockfiles/`.
//!
//! pgproof carries the committed files within itself, so that an installed binary rebuilds what a checkout rebuilds. A
//! directory takes their place as a whole when one is named; the two are never mixed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::lockfile::{Archive, Fingerprint, Lockfile, LockfileError, Name, Origin};
use crate::target::{Floor, Triple, Version};

/// A definition file of this many bytes or more is refused.
const SIZE_LIMIT: u64 = 1 << 20;

/// Where the definitions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definitions {
    /// The files that this binary was built with.
    BuiltIn,
    /// A directory with `sysroots/`, `toolchains/` and `lockfiles/`.
    Directory(PathBuf),
    /// The files that a statement carries, by path: `sysroots/bookworm-amd64.toml`.
    Carried(BTreeMap<String, String>),
}

/// `sysroots/<name>.toml`: what to resolve into `lockfiles/<name>.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Definition {
    /// The archives whose signed indices are read.
    #[serde(rename = "index")]
    pub indices: Vec<IndexRequest>,
    /// A root file system to compose from packages.
    #[serde(default)]
    pub compose: Option<Compose>,
    /// PostgreSQL release tarballs to lock.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceRequest>,
}

/// A signed Debian index to read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IndexRequest {
    /// `bookworm`: the directory below `dists/`, and the index's `Codename`.
    pub suite: Name,
    /// The archive that has it.
    pub archive: Archive,
    /// `main`, ….
    pub components: Vec<Name>,
    /// The OpenPGP keys that may sign it: a file below `sysroots/`.
    pub keyring: PathBuf,
    /// The fingerprints that the keyring must have: no other key in it counts.
    pub fingerprints: Vec<Fingerprint>,
    /// How many of these keys must have signed the index.
    pub signatures: u8,
}

/// A root file system made of packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Compose {
    /// The platform.
    pub target: Triple,
    /// Digest of the OCI image manifest that composing must give. `pgproof lock` writes it.
    pub manifest: Digest,
    /// Whether every package that the index marks `Essential: yes` is asked for too.
    pub essential: bool,
    /// The packages asked for, without what they depend on.
    pub packages: Vec<Name>,
    /// Symbolic links that maintainer scripts would make, from path to target: `usr/bin/awk = "mawk"`.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Small files, from path to content: `etc/passwd = "…"`. What starts with `#!` can be executed.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Globs of package entries to leave out: `*` stays within a component, `**` does not. Each must match something.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Globs of package entries that stay although `exclude` matches them. Each must match something.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// A PostgreSQL release tarball that Debian's signed index vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceRequest {
    /// The PostgreSQL version.
    pub version: Version,
    /// The suite whose `Sources` has it.
    pub suite: Name,
    /// The Debian source package.
    pub package: Name,
    /// Origins that come before Debian's.
    #[serde(default)]
    pub origins: Vec<Origin>,
}

/// `toolchains/<name>.toml`: which compiler, with which flags, in which sysroot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Toolchain {
    /// The platform that it builds for.
    pub target: Triple,
    /// The sysroot that has it.
    pub sysroot: Name,
    /// The oldest host that what it builds must run on.
    pub floor: Floor,
    /// The environment of every step: `PATH`, `CC`, `CFLAGS`, ….
    pub environment: BTreeMap<String, String>,
}

/// What is wrong with a definition.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum DefinitionsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files of the binary, and those of a statement, cannot be changed.
    #[error("the definitions are {whose}: name a directory with --definitions DIR")]
    Fixed {
        /// Whose they are.
        whose: &'static str,
    },
    /// There is no line for the pin.
    #[error("{path} does not have exactly one line manifest = \"…\"")]
    NoPin {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any definition.
    #[error("{path} is larger than {SIZE_LIMIT} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is not of its format.
    #[error("{path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// There is no such definition.
    #[error("there is no {path}; there are {known}")]
    Unknown {
        /// The file that was looked for.
        path: PathBuf,
        /// The names that are there.
        known: String,
    },
    /// The definition has no root file system.
    #[error("sysroots/{name}.toml has no [compose]: it is no root file system")]
    NoSysroot {
        /// The definition.
        name: Name,
    },
    /// No toolchain builds for the platform.
    #[error("no toolchain under toolchains/ builds for {target}; there are {known}")]
    NoToolchain {
        /// The platform.
        target: Triple,
        /// The toolchains that are there.
        known: String,
    },
    /// A lockfile is not of its format.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
}

macro_rules! built_in {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../", $path)))),*]
    };
}

/// Every committed definition and lockfile, by path. A test compares this list with what is there.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "lockfiles/bookworm-amd64.lock",
    "lockfiles/minimal-amd64.lock",
    "lockfiles/postgresql.lock",
    "sysroots/bookworm-amd64.toml",
    "sysroots/keyrings/debian-archive.asc",
    "sysroots/minimal-amd64.toml",
    "sysroots/postgresql.toml",
    "toolchains/bookworm-gcc.toml",
];

impl Definitions {
    /// The definition `sysroots/<name>.toml`.
    pub fn definition(&self, name: &Name) -> Result<Definition, DefinitionsError> {
        self.parse("sysroots", name, "toml")
    }

    /// What the sysroot `name` is composed of.
    pub fn compose(&self, name: &Name) -> Result<Compose, DefinitionsError> {
        self.definition(name)?.compose.ok_or_else(|| DefinitionsError::NoSysroot { name: name.clone() })
    }

    /// The toolchain `toolchains/<name>.toml`.
    pub fn toolchain(&self, name: &Name) -> Result<Toolchain, DefinitionsError> {
        self.parse("toolchains", name, "toml")
    }

    /// The first toolchain, in the order of names, that builds for `target`, and its name.
    pub fn toolchain_for(&self, target: Triple) -> Result<(Name, Toolchain), DefinitionsError> {
        let mut known = Vec::new();
        for name in self.names("toolchains", "toml")? {
            let toolchain = self.toolchain(&name)?;
            if toolchain.target == target {
                return Ok((name, toolchain));
            }
            known.push(format!("{name} for {}", toolchain.target));
        }
        Err(DefinitionsError::NoToolchain { target, known: known.join(", ") })
    }

    /// The lockfile `lockfiles/<name>.lock`.
    pub fn lockfile(&self, name: &Name) -> Result<Lockfile, DefinitionsError> {
        let (path, text) = self.text("lockfiles", name, "lock")?;
        Ok(Lockfile::parse(&path.display().to_string(), &text)?)
    }

    /// Writes `manifest` into `sysroots/<name>.toml` as the pin, and leaves the rest of the file as people wrote it.
    pub fn pin(&self, name: &Name, manifest: Digest) -> Result<(), DefinitionsError> {
        let (path, text) = self.text("sysroots", name, "toml")?;
        let root = match self {
            Self::Directory(root) => root,
            Self::BuiltIn => return Err(DefinitionsError::Fixed { whose: "those that pgproof was built with" }),
            Self::Carried(_) => return Err(DefinitionsError::Fixed { whose: "those that a statement carries" }),
        };
        let is_pin = |line: &&str| line.trim_start().starts_with("manifest = \"");
        let mut pins = text.lines().filter(is_pin);
        let (Some(pin), None) = (pins.next(), pins.next()) else { return Err(DefinitionsError::NoPin { path }) };
        let failed = |source| DefinitionsError::Unwritable { path: path.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(root.join("sysroots")).map_err(failed)?;
        file.write_all(text.replacen(pin, &format!("manifest = \"{manifest}\""), 1).as_bytes()).map_err(failed)?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The names of the files in `folder` that end in `.extension`, sorted.
    pub fn names(&self, folder: &str, extension: &str) -> Result<Vec<Name>, DefinitionsError> {
        let mut names: Vec<Name> = match self {
            Self::BuiltIn => stems(BUILT_IN.iter().map(|(path, _)| *path), folder, extension),
            Self::Carried(files) => stems(files.keys().map(String::as_str), folder, extension),
            Self::Directory(root) => {
                let path = root.join(folder);
                let unreadable = |source| DefinitionsError::Unreadable { path: path.clone(), source };
                #[expect(clippy::disallowed_methods, reason = "sorted below")]
                let entries = std::fs::read_dir(&path).map_err(unreadable)?;
                let mut names = Vec::new();
                for entry in entries {
                    let file_name = entry.map_err(unreadable)?.file_name();
                    let stem = file_name.to_str().and_then(|name| name.strip_suffix(extension)?.strip_suffix('.'));
                    names.extend(stem.and_then(|stem| stem.parse::<Name>().ok()));
                }
                names
            }
        };
        names.sort();
        Ok(names)
    }

    /// The bytes of a file that a definition names: a keyring.
    pub fn file(&self, path: &Path) -> Result<Vec<u8>, DefinitionsError> {
        match self {
            Self::BuiltIn => BUILT_IN
                .iter()
                .find(|(known, _)| Path::new(known) == path)
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| DefinitionsError::Unknown { path: path.to_owned(), known: String::new() }),
            Self::Directory(root) => read(&root.join(path)),
            Self::Carried(files) => files
                .iter()
                .find(|(known, _)| Path::new(known) == path)
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| DefinitionsError::Unknown { path: path.to_owned(), known: String::new() }),
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        folder: &str,
        name: &Name,
        extension: &str,
    ) -> Result<T, DefinitionsError> {
        let (path, text) = self.text(folder, name, extension)?;
        toml::from_str(&text).map_err(|source| DefinitionsError::Malformed { path, source: Box::new(source) })
    }

    /// A file's path, as a person finds it, and its text.
    fn text(&self, folder: &str, name: &Name, extension: &str) -> Result<(PathBuf, String), DefinitionsError> {
        let relative = Path::new(folder).join(format!("{name}.{extension}"));
        let path = match self {
            Self::BuiltIn | Self::Carried(_) => relative.clone(),
            Self::Directory(root) => root.join(&relative),
        };
        let known = self.names(folder, extension)?;
        if !known.contains(name) {
            let known = known.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
            return Err(DefinitionsError::Unknown { path, known });
        }
        let bytes = self.file(&relative)?;
        let text = String::from_utf8(bytes).map_err(|error| DefinitionsError::Unreadable {
            path: path.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        Ok((path, text))
    }
}

/// The names of those of `paths` that are `folder/<name>.extension`.
fn stems<'a>(paths: impl Iterator<Item = &'a str>, folder: &str, extension: &str) -> Vec<Name> {
    let stem = |path: &'a str| {
        let file = path.strip_prefix(folder)?.strip_prefix('/')?;
        file.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
    };
    paths.filter_map(stem).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, DefinitionsError> {
    let unreadable = |source| DefinitionsError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() >= SIZE_LIMIT {
        return Err(DefinitionsError::TooLarge { path: path.to_owned() });
    }
    std::fs::read(path).map_err(unreadable)
}
