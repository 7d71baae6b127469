//! Every input by digest, size and origins: the files under `lockfiles/`.
//!
//! A lockfile may come from a stranger. It is parsed once, into types that cannot hold a path with `..`, a digest that is
//! none or a field that nobody knows; what is not there cannot be fetched.
//!
//! # Why
//!
//! TOML arrays of tables, one value a line, sorted: a new package version is a diff of four lines.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::digest::Digest;
use crate::target::{Target, Version};

pub use debian_version::DebianVersion;
pub use fingerprint::Fingerprint;

mod debian_version;
mod fingerprint;

/// The format's version: the `version` field of every lockfile.
pub const FORMAT: u32 = 1;

/// A lockfile of this many bytes or more is refused: 190 packages take 60 KiB.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// A lockfile of a build environment or of PostgreSQL sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lockfile {
    /// [`FORMAT`].
    pub version: u32,
    /// The name of the definition under `sysroots/` that it was resolved from.
    pub name: Name,
    /// The signed indices that vouch for the entries, sorted by suite.
    #[serde(default, rename = "index", skip_serializing_if = "Vec::is_empty")]
    pub indices: Vec<Index>,
    /// Binary packages, sorted by name.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// PostgreSQL release tarballs, sorted by version.
    #[serde(default, rename = "source", skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// A Debian index whose signature was checked when the lock was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Index {
    /// `bookworm`.
    pub suite: Name,
    /// The archive that has it.
    pub archive: Archive,
    /// The `Date` field of the signed index.
    pub date: Timestamp,
    /// The digest of the `InRelease` file as it was received.
    pub in_release: Digest,
    /// Fingerprints of the primary keys whose signatures were verified, sorted.
    pub signed_by: Vec<Fingerprint>,
}

/// An archive that mirrors carry and that the snapshot service keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// Debian's main archive, the one of [`Origin::Debian`].
    Debian,
}

/// A `.deb` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    /// `libicu-dev`.
    pub name: Name,
    /// Its version, epoch included.
    pub version: DebianVersion,
    /// `amd64` or `all`.
    pub architecture: Name,
    /// The source package.
    pub source: Name,
    /// The source package's version.
    pub source_version: DebianVersion,
    /// Digest of the `.deb`.
    pub digest: Digest,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// Where it can be had.
    pub origins: Vec<Origin>,
    /// The suite of the [`Index`] that vouched for it.
    pub index: Name,
}

/// A PostgreSQL release tarball.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// The PostgreSQL version.
    pub version: Version,
    /// Digest of the compressed tarball.
    pub digest: Digest,
    /// Size of the compressed tarball in bytes.
    pub size: u64,
    /// Digest of the tarball once decompressed, so that it can be decompressed once and verified at every use.
    pub tar_digest: Digest,
    /// Size of the decompressed tarball in bytes.
    pub tar_size: u64,
    /// The newest modification time in the tarball: the `SOURCE_DATE_EPOCH` of its builds.
    pub released: Timestamp,
    /// Where it can be had; on the internet the canonical origin comes first.
    pub origins: Vec<Origin>,
    /// The suite of the [`Index`] that vouched for it.
    pub index: Name,
}

/// Bytes to fetch: all that [`crate::fetch`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What to call it to a person: a file name.
    pub name: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// Where they can be had, in the order to try.
    pub origins: Vec<Origin>,
    /// When the index that vouched for it was made: the snapshot service is asked for this instant. `None` where no
    /// index did.
    pub seen: Option<Timestamp>,
}

/// Where bytes can be had. The bytes are known by digest, so any origin will do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Origin {
    /// `debian:pool/main/…`: a path below the root of any mirror of Debian's archive.
    Debian(PoolPath),
    /// `https://…` or `http://…`.
    Url(Url),
}

/// A relative path of plain components: no `..`, no `.`, no empty ones, none that a URL or shell reads otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolPath(String);

/// A name that is safe as a file name: ASCII letters, digits and `+-.:~_`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// What is wrong with a lockfile.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum LockfileError {
    /// It cannot be read.
    #[error("lockfile {path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any lockfile.
    #[error("lockfile {path} is larger than {SIZE_LIMIT} bytes")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It is not a lockfile.
    #[error("lockfile {path} is malformed")]
    Malformed {
        /// The file.
        path: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It is of another version of the format.
    #[error("lockfile {path} has format version {found}, this pgproof reads {FORMAT}")]
    Format {
        /// The file.
        path: String,
        /// The version it states.
        found: u32,
    },
    /// An entry names an index that the lockfile does not have.
    #[error("lockfile {path}: {entry} names the index {index}, which is not in the file")]
    UnknownIndex {
        /// The file.
        path: String,
        /// The entry.
        entry: String,
        /// The index that is not there.
        index: Name,
    },
    /// An entry has nowhere to be had.
    #[error("lockfile {path}: {entry} has no origin")]
    NoOrigin {
        /// The file.
        path: String,
        /// The entry.
        entry: String,
    },
    /// Two entries are of one name.
    #[error("lockfile {path}: {entry} is there twice")]
    Duplicate {
        /// The file.
        path: String,
        /// The entry.
        entry: String,
    },
    /// It cannot be written.
    #[error("lockfile {path} cannot be written")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It has a value that TOML cannot hold.
    #[error("lockfile {path} cannot be put into words")]
    Unspeakable {
        /// The file.
        path: String,
        /// The value, and why.
        source: Box<toml::ser::Error>,
    },
    /// The version asked for is not in the lockfile.
    #[error("{target} is not locked; locked are {locked}")]
    NotLocked {
        /// What was asked for.
        target: Target,
        /// The versions that are locked.
        locked: String,
    },
}

/// Why a text is no name, version, fingerprint, pool path or origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum OriginError {
    /// Characters that no name has.
    #[error("{0:?} is not a name: letters, digits and +-.:~_ only, starting with a letter or digit")]
    Name(String),
    /// Not a Debian version.
    #[error("{0:?} is not a Debian version: [epoch:]upstream[-revision]")]
    Version(String),
    /// Not a fingerprint.
    #[error("{0:?} is not an OpenPGP fingerprint: 40 or 64 upper-case hexadecimal digits without spaces")]
    Fingerprint(String),
    /// A path that is absolute, or steps out of the archive, or is not plain.
    #[error("{0:?} is not a plain relative path")]
    Path(String),
    /// Neither `debian:`, `https:` nor `http:`.
    #[error("{0:?} is not an origin: it starts with neither debian:, https:// nor http://")]
    Scheme(String),
    /// Not a URL.
    #[error("{text:?} is not a URL")]
    Url {
        /// The text.
        text: String,
        /// Why.
        source: url::ParseError,
    },
}

impl Lockfile {
    /// Reads a lockfile.
    pub fn load(path: &Path) -> Result<Self, LockfileError> {
        let shown = path.display().to_string();
        let unreadable = |source| LockfileError::Unreadable { path: shown.clone(), source };
        // Not the size that the file system states: a pipe has none.
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(SIZE_LIMIT).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 >= SIZE_LIMIT {
            return Err(LockfileError::TooLarge { path: shown });
        }
        Self::parse(&shown, &text)
    }

    /// Parses a lockfile's text; `path` is what to call it in an error.
    pub fn parse(path: &str, text: &str) -> Result<Self, LockfileError> {
        let lockfile: Self = toml::from_str(text)
            .map_err(|source| LockfileError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        if lockfile.version != FORMAT {
            return Err(LockfileError::Format { path: path.to_owned(), found: lockfile.version });
        }
        lockfile.check_entries(path)?;
        Ok(lockfile)
    }

    /// The lockfile's text: equal lockfiles give equal bytes.
    pub fn to_text(&self) -> Result<String, LockfileError> {
        let body = toml::to_string(self).map_err(|source| LockfileError::Unspeakable {
            path: format!("{}.lock", self.name),
            source: Box::new(source),
        })?;
        let name = &self.name;
        Ok(format!(
            "# Written by `pgproof lock {name}` from sysroots/{name}.toml and the signed indices named below. Do not edit.\n\
             {body}"
        ))
    }

    /// Writes the lockfile in one step: whoever reads `path` finds the old file or the new one, never a part.
    pub fn save(&self, path: &Path) -> Result<(), LockfileError> {
        use std::os::unix::fs::PermissionsExt as _;
        let text = self.to_text()?;
        let unwritable = |source| LockfileError::Unwritable { path: path.display().to_string(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            // A lockfile is for everybody to read, as far as the umask allows.
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(unwritable)?;
        file.write_all(text.as_bytes()).map_err(unwritable)?;
        file.as_file().sync_all().map_err(unwritable)?;
        file.persist(path).map_err(|error| unwritable(error.error))?;
        Ok(())
    }

    fn check_entries(&self, path: &str) -> Result<(), LockfileError> {
        let path = || path.to_owned();
        let packages = self.packages.iter().map(|package| {
            (format!("package {}:{}", package.name, package.architecture), &package.index, &package.origins)
        });
        let sources =
            self.sources.iter().map(|source| (format!("source {}", source.version), &source.index, &source.origins));
        let mut seen = std::collections::BTreeSet::new();
        for index in &self.indices {
            let entry = format!("index {}", index.suite);
            if !seen.insert(entry.clone()) {
                return Err(LockfileError::Duplicate { path: path(), entry });
            }
        }
        for (entry, index, origins) in packages.chain(sources) {
            if !self.indices.iter().any(|known| known.suite == *index) {
                return Err(LockfileError::UnknownIndex { path: path(), entry, index: index.clone() });
            }
            if origins.is_empty() {
                return Err(LockfileError::NoOrigin { path: path(), entry });
            }
            if !seen.insert(entry.clone()) {
                return Err(LockfileError::Duplicate { path: path(), entry });
            }
        }
        Ok(())
    }

    /// The source of `target`.
    pub fn source(&self, target: Target) -> Result<&Source, LockfileError> {
        self.sources.iter().find(|source| source.version == target.version).ok_or_else(|| LockfileError::NotLocked {
            target,
            locked: self.sources.iter().map(|source| source.version.to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// All packages as pins.
    pub fn package_pins(&self) -> Vec<Pin> {
        self.packages
            .iter()
            .map(|package| Pin {
                name: format!("{}_{}_{}.deb", package.name, package.version, package.architecture),
                digest: package.digest,
                size: package.size,
                origins: package.origins.clone(),
                seen: self.date_of(&package.index),
            })
            .collect()
    }

    /// `source` as a pin.
    pub fn source_pin(&self, source: &Source) -> Pin {
        Pin {
            name: format!("postgresql-{}.tar.bz2", source.version),
            digest: source.digest,
            size: source.size,
            origins: source.origins.clone(),
            seen: self.date_of(&source.index),
        }
    }

    fn date_of(&self, suite: &Name) -> Option<Timestamp> {
        self.indices.iter().find(|index| index.suite == *suite).map(|index| index.date)
    }
}

impl PoolPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolPath {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let plain = |component: &str| component.parse::<Name>().is_ok();
        if text.len() <= 512 && text.split('/').all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError::Path(text.chars().take(120).collect()))
        }
    }
}

impl fmt::Display for PoolPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:~_".contains(&byte);
        if starts && text.len() <= 255 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError::Name(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if let Some(path) = text.strip_prefix("debian:") {
            return Ok(Self::Debian(path.parse()?));
        }
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err(OriginError::Scheme(text.chars().take(120).collect()));
        }
        Url::parse(text)
            .map(Self::Url)
            .map_err(|source| OriginError::Url { text: text.chars().take(120).collect(), source })
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(path) => write!(f, "debian:{path}"),
            Self::Url(url) => f.write_str(url.as_str()),
        }
    }
}
