//! Resolves a definition into a lockfile, on the word of signed indices.
//!
//! Every byte is believed only through a chain that starts at the fingerprints in the definition: signature → `Release`
//! → `Packages` or `Sources`, by SHA-256 → the digest of a `.deb` or tarball. Runs nothing and unpacks no package.
//!
//! # Why
//!
//! What is written down is a function of the definition and the indices alone: locking twice gives the same bytes.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Write as _};

use jiff::Timestamp;

use crate::definitions::{Compose, Definition, Definitions, DefinitionsError, IndexRequest, SourceRequest};
use crate::digest::Digest;
use crate::lock::openpgp::{Keyring, KeyringError, SignatureError};
use crate::lock::packages::{PackagesError, Universe};
use crate::lock::release::{Listed, Release, ReleaseError};
use crate::lock::resolve::ResolveError;
use crate::lock::sources::{SourcesError, Tarball};
use crate::lockfile::{FORMAT, Index, Lockfile, Name, Origin, OriginError, Package, Pin, Source};
use crate::store::{Blob, Store, StoreError};

pub mod control;
pub mod openpgp;
pub mod packages;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;

/// An index that is larger than this once decompressed is refused; Debian's largest has 60 MB.
const INDEX_LIMIT: u64 = 1 << 30;

/// A tarball that is larger than this once decompressed is refused; PostgreSQL's have 150 MB.
const TAR_LIMIT: u64 = 2 << 30;

/// Memory for an `.xz` decoder in KiB: what `xz -9` needs.
const XZ_MEMORY_LIMIT_KIB: u32 = 66 << 10;

/// Permission to reach the network.
pub trait Network {
    /// What `origin` has, at most `limit` bytes. The caller has to doubt it.
    fn get(&self, origin: &Origin, limit: u64) -> Result<Vec<u8>, NetworkError>;

    /// Brings bytes that are known by digest into `store`.
    fn bring(&self, pin: &Pin, store: &Store) -> Result<Blob, NetworkError>;
}

/// What went wrong out there.
pub type NetworkError = Box<dyn std::error::Error + Send + Sync>;

/// What to lock, and by which rules.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Where the definition and its keyrings are.
    pub definitions: &'a Definitions,
    /// The definition's name.
    pub name: &'a Name,
    /// The lockfile that is to be replaced: no index may be older than it.
    pub previous: Option<&'a Lockfile>,
    /// Suites whose index may be used although its `Valid-Until` is past.
    pub allow_expired: &'a [Name],
    /// The clock.
    pub now: Timestamp,
}

/// Why there is no lockfile.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum LockError {
    /// The definition or its keyring cannot be had.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The definition asks for packages and names no index, or more than one.
    #[error("packages are resolved on one index, the definition has {found}")]
    Indices {
        /// How many it names.
        found: usize,
    },
    /// The definition asks for a source of a suite whose index it does not have.
    #[error("the source of PostgreSQL {source_version} is to come from {suite}, but the definition has no such index")]
    NoIndex {
        /// The PostgreSQL version.
        source_version: crate::target::Version,
        /// The suite.
        suite: Name,
    },
    /// The keyring is of no use.
    #[error("{path} cannot be used")]
    Keyring {
        /// The keyring.
        path: String,
        /// Why.
        source: KeyringError,
    },
    /// A file is not text.
    #[error("{file} is not UTF-8")]
    NotText {
        /// The file.
        file: String,
        /// Why.
        source: std::string::FromUtf8Error,
    },
    /// A file cannot be had.
    #[error("{file} cannot be fetched")]
    Network {
        /// The file.
        file: String,
        /// Why.
        source: NetworkError,
    },
    /// A signature does not hold.
    #[error("{file} is refused")]
    Signature {
        /// The file.
        file: String,
        /// Why.
        source: SignatureError,
    },
    /// A signed file is not what was asked for.
    #[error("{file} is not usable")]
    Release {
        /// The file.
        file: String,
        /// Why.
        source: ReleaseError,
    },
    /// The index may no longer be used.
    #[error(
        "the index of {suite} was to be used until {until}, now it is {now}: the mirror may be out of date. \
         To lock what it has all the same, allow an expired index for {suite} by name"
    )]
    Expired {
        /// The suite.
        suite: Name,
        /// Its `Valid-Until`.
        until: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The index is of a time that has not come.
    #[error("the index of {suite} is of {date}, which is in the future: now it is {now}")]
    Future {
        /// The suite.
        suite: Name,
        /// Its `Date`.
        date: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The mirror has an older index than the lockfile.
    #[error("the index of {suite} is of {date}, the lockfile's is of {locked}: use a mirror that is up to date")]
    Older {
        /// The suite.
        suite: Name,
        /// Its `Date`.
        date: Timestamp,
        /// The date in the lockfile.
        locked: Timestamp,
    },
    /// An index is larger than any.
    #[error("{file} is of {size} bytes, more than {INDEX_LIMIT}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A file cannot be decompressed.
    #[error("{file} cannot be decompressed")]
    Compression {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not a tarball of a release.
    #[error("{file} is not a usable tar archive: {reason}")]
    Tar {
        /// The file.
        file: String,
        /// Why.
        reason: &'static str,
    },
    /// An index of packages is of no use.
    #[error("{file} is not usable")]
    Packages {
        /// The file.
        file: String,
        /// Why.
        source: PackagesError,
    },
    /// An index of sources does not have what was asked for.
    #[error("{file} does not help")]
    Sources {
        /// The file.
        file: String,
        /// Why.
        source: SourcesError,
    },
    /// The packages asked for cannot be had.
    #[error("the request cannot be met")]
    Resolve(#[from] ResolveError),
    /// A definition asks for a path that is none.
    #[error("the definition names an index that is no path")]
    Path(#[from] OriginError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Resolves `request`. What is downloaded on the way stays in `store`, for the fetch that follows.
pub fn lock(request: &Request<'_>, store: &Store, network: &dyn Network) -> Result<Lockfile, LockError> {
    let definition = request.definitions.definition(request.name)?;
    let mut suites = Vec::new();
    for index in &definition.indices {
        suites.push(Suite::open(index, request, store, network)?);
    }
    let packages = match &definition.compose {
        Some(compose) => match &*suites {
            [suite] => suite.packages(compose)?,
            _ => return Err(LockError::Indices { found: suites.len() }),
        },
        None => Vec::new(),
    };
    let mut sources = sources(&definition, &suites)?;
    sources.sort_by_key(|source| source.version);
    let mut indices: Vec<_> = suites.into_iter().map(|suite| suite.index).collect();
    indices.sort_by(|left, right| left.suite.cmp(&right.suite));
    Ok(Lockfile { version: FORMAT, name: request.name.clone(), indices, packages, sources })
}

/// A suite whose signature was verified.
struct Suite<'a> {
    request: &'a IndexRequest,
    index: Index,
    release: Release,
    store: &'a Store,
    network: &'a dyn Network,
}

impl<'a> Suite<'a> {
    fn open(
        index: &'a IndexRequest,
        request: &Request<'_>,
        store: &'a Store,
        network: &'a dyn Network,
    ) -> Result<Self, LockError> {
        let path = index.keyring.display().to_string();
        let armored = String::from_utf8(request.definitions.file(&index.keyring)?)
            .map_err(|source| LockError::NotText { file: path.clone(), source })?;
        let keyring =
            Keyring::parse(&armored, &index.fingerprints).map_err(|source| LockError::Keyring { path, source })?;

        let suite = &index.suite;
        let file = format!("dists/{suite}/InRelease");
        let in_release = network
            .get(&Origin::Debian(file.parse()?), openpgp::SIZE_LIMIT)
            .map_err(|source| LockError::Network { file: file.clone(), source })?;
        let digest = Digest::of(&in_release);
        let text = String::from_utf8(in_release).map_err(|source| LockError::NotText { file: file.clone(), source })?;
        let verified = keyring
            .verify(&text, index.signatures, request.now)
            .map_err(|source| LockError::Signature { file: file.clone(), source })?;
        let release = Release::parse(verified.text(), suite)
            .map_err(|source| LockError::Release { file: file.clone(), source })?;
        check_dates(suite, &release, request)?;
        // So that anybody can later ask what the lock was made from.
        store.admit(text.as_bytes())?;
        let index_entry = Index {
            suite: suite.clone(),
            archive: index.archive,
            date: release.date,
            in_release: digest,
            signed_by: verified.signers().cloned().collect(),
        };
        Ok(Self { request: index, index: index_entry, release, store, network })
    }

    fn packages(&self, compose: &Compose) -> Result<Vec<Package>, LockError> {
        let architecture: Name = compose.target.debian_architecture().parse()?;
        let mut universe = Universe::new(architecture.clone());
        for component in &self.request.components {
            let file = format!("{component}/binary-{architecture}/Packages");
            let index = self.index_file(&file)?;
            universe
                .read(BufReader::new(self.store.read(index)?))
                .map_err(|source| LockError::Packages { file, source })?;
        }
        universe.link();
        let mut request: BTreeSet<Name> = compose.packages.iter().cloned().collect();
        if compose.essential {
            request.extend(universe.essential());
        }
        let chosen = resolve::resolve(&universe, &request)?;
        let all: Name = "all".parse()?;
        let package = |chosen: &packages::Candidate| {
            let (source, source_version) = chosen.source();
            Package {
                name: chosen.name.clone(),
                version: chosen.version.clone(),
                architecture: if chosen.for_all { all.clone() } else { architecture.clone() },
                source: source.clone(),
                source_version: source_version.clone(),
                digest: chosen.digest,
                size: chosen.size,
                origins: vec![Origin::Debian(chosen.path.clone())],
                index: self.request.suite.clone(),
            }
        };
        Ok(chosen.into_iter().map(package).collect())
    }

    fn source(&self, source: &SourceRequest) -> Result<Source, LockError> {
        let mut missing = None;
        for component in &self.request.components {
            let file = format!("{component}/source/Sources");
            let index = self.index_file(&file)?;
            match Tarball::find(BufReader::new(self.store.read(index)?), &source.package, source.version) {
                Ok(tarball) => return self.tarball(source, tarball),
                Err(error @ SourcesError::NotThere { .. }) => {
                    missing.get_or_insert(LockError::Sources { file, source: error });
                }
                Err(error) => return Err(LockError::Sources { file, source: error }),
            }
        }
        Err(missing.unwrap_or(LockError::Indices { found: 0 }))
    }

    /// Downloads a tarball, to learn what only its content says.
    fn tarball(&self, source: &SourceRequest, tarball: Tarball) -> Result<Source, LockError> {
        let mut origins = source.origins.clone();
        origins.push(Origin::Debian(tarball.path));
        let file = format!("postgresql-{}.tar.bz2", source.version);
        let blob = self.bring(file.clone(), Listed { digest: tarball.digest, size: tarball.size }, origins.clone())?;

        let decompressed = bzip2::read::MultiBzDecoder::new(BufReader::new(self.store.read(blob)?));
        let tar = self.decompress(&file, decompressed.take(TAR_LIMIT + 1), None)?;
        if tar.size() > TAR_LIMIT {
            return Err(LockError::Tar { file, reason: "it is larger than any release of PostgreSQL" });
        }
        Ok(Source {
            version: source.version,
            digest: tarball.digest,
            size: tarball.size,
            tar_digest: tar.digest(),
            tar_size: tar.size(),
            released: newest(&file, self.store.read(tar)?)?,
            origins,
            index: self.request.suite.clone(),
        })
    }

    /// The index at `path`, decompressed.
    fn index_file(&self, path: &str) -> Result<Blob, LockError> {
        let listed = |path: &str| {
            self.release.file(path).map_err(|source| LockError::Release {
                file: format!("dists/{}/InRelease", self.request.suite),
                source,
            })
        };
        let plain = listed(path)?;
        if plain.size > INDEX_LIMIT {
            return Err(LockError::TooLarge { file: path.to_owned(), size: plain.size });
        }
        if let Some(blob) = self.store.find(plain.digest)? {
            return Ok(blob);
        }
        let compressed_path = format!("{path}.xz");
        let compressed = listed(&compressed_path)?;
        let below = format!("dists/{}/{compressed_path}", self.request.suite);
        let mut origins = Vec::new();
        if self.release.by_hash {
            let folder = below.rsplit_once('/').map_or("", |(folder, _)| folder);
            let by_hash = format!("{folder}/by-hash/SHA256/{}", compressed.digest.hex());
            origins.push(Origin::Debian(by_hash.parse()?));
        }
        origins.push(Origin::Debian(below.parse()?));
        let blob = self.bring(below.clone(), compressed, origins)?;

        let inner = BufReader::new(self.store.read(blob)?);
        let reader = lzma_rust2::XzReader::new_mem_limit(inner, true, XZ_MEMORY_LIMIT_KIB);
        self.decompress(&below, reader.take(plain.size + 1), Some(plain))
    }

    fn bring(&self, name: String, listed: Listed, origins: Vec<Origin>) -> Result<Blob, LockError> {
        let pin = Pin { name, digest: listed.digest, size: listed.size, origins, seen: Some(self.release.date) };
        self.network.bring(&pin, self.store).map_err(|source| LockError::Network { file: pin.name, source })
    }

    /// Puts what `reader` gives into the store, if it is what was `expected`.
    fn decompress(&self, file: &str, mut reader: impl Read, expected: Option<Listed>) -> Result<Blob, LockError> {
        let mut incoming = self.store.incoming()?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LockError::Compression { file: file.to_owned(), source }),
            };
            incoming.write_all(&buffer[..count]).map_err(|source| {
                LockError::Store(StoreError::Io { action: "written to", path: self.store.root().to_owned(), source })
            })?;
        }
        Ok(match expected {
            Some(expected) => incoming.commit_as(expected.digest, expected.size)?,
            None => incoming.commit()?,
        })
    }
}

fn check_dates(suite: &Name, release: &Release, request: &Request<'_>) -> Result<(), LockError> {
    let (suite, now, date) = (suite.clone(), request.now, release.date);
    if date > now {
        return Err(LockError::Future { suite, date, now });
    }
    if let Some(until) = release.valid_until
        && until < now
        && !request.allow_expired.contains(&suite)
    {
        return Err(LockError::Expired { suite, until, now });
    }
    // Else a mirror could take an old index, of packages whose faults are known by now, for the current one.
    let locked = request.previous.and_then(|previous| previous.indices.iter().find(|index| index.suite == suite));
    match locked.map(|index| index.date).filter(|locked| date < *locked) {
        Some(locked) => Err(LockError::Older { suite, date, locked }),
        None => Ok(()),
    }
}

fn sources(definition: &Definition, suites: &[Suite<'_>]) -> Result<Vec<Source>, LockError> {
    let find = |source: &SourceRequest| {
        let suite = suites.iter().find(|suite| suite.request.suite == source.suite);
        let suite =
            suite.ok_or_else(|| LockError::NoIndex { source_version: source.version, suite: source.suite.clone() })?;
        suite.source(source)
    };
    definition.sources.iter().map(find).collect()
}

/// The newest modification time of a tar archive's entries.
fn newest(file: &str, tar: impl Read) -> Result<Timestamp, LockError> {
    let unreadable = |source| LockError::Compression { file: file.to_owned(), source };
    let mut archive = tar::Archive::new(tar);
    let mut newest: Option<u64> = None;
    // Raw: the extensions of other entries are not collected in memory, and what they say is not needed.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let entry = entry.map_err(unreadable)?;
        let header = entry.header();
        let kind = header.entry_type();
        if kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() {
            newest = newest.max(Some(header.mtime().map_err(unreadable)?));
        }
    }
    // The store's check of the digest comes at the end of the bytes.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
    let seconds = newest.ok_or_else(|| LockError::Tar { file: file.to_owned(), reason: "it has no files" })?;
    // SOURCE_DATE_EPOCH has 32 bits in too many tools.
    u32::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds.into()).ok())
        .ok_or_else(|| LockError::Tar { file: file.to_owned(), reason: "it has a file from after the year 2106" })
}
