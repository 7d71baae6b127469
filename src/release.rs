//! A published release, wherever it lies: its archives, and what was said of them.
//!
//! ```text
//! dist/                                    a directory with one release
//! dist/NAME.tar.gz                         an archive; what was said of it lies beside it
//! dist/NAME.provenance.sigstore.json       a signed statement; the archives lie beside it
//! https://host/releases/download/TAG/…     the same, on a server
//! ```
//!
//! It finds and reads documents, and believes none: whether they are signed by whom they should be is for
//! [`crate::bundle::verify()`], and an archive is one only if it has the digest that a believed statement gives.
//!
//! # Why
//!
//! Statements lie beside the archive as plain files, so that a directory, a web server or a page of release assets is enough to
//! publish with; there is no index to trust. On a server only names that pgproof itself writes are asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use url::Url;

use crate::fetch::{FetchError, Network};
use crate::lockfile::Name;

/// The ending of an archive.
pub const ARCHIVE: &str = ".tar.gz";

/// The endings of files with signed statements or signatures, cosign's and in-toto's included.
const SIGNED: [&str; 6] =
    [".sigstore.json", ".sigstore.jsonl", ".sigstore", ".intoto.jsonl", ".intoto.sigstore", ".bundle"];

/// The endings of statements that nobody signed.
const UNSIGNED: [&str; 2] = [".provenance.json", ".rebuild.json"];

/// A document of this many bytes or more is refused.
const DOCUMENT_LIMIT: u64 = 16 << 20;

/// How many documents may lie beside an archive.
const DOCUMENTS_LIMIT: usize = 256;

/// The largest `SHA256SUMS` that is read from a server, in bytes.
const SUMS_LIMIT: u64 = 1 << 20;

/// Where a release lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a directory.
    Directory(PathBuf),
    /// Below a URL that ends in `/`.
    Url(Url),
}

/// What a person named.
#[derive(Debug, Clone)]
pub struct Published {
    /// Where it lies.
    pub place: Place,
    /// The archive's file name, if one was named.
    pub archive: Option<String>,
    /// All that may have been said of it, sorted by file name.
    pub documents: Vec<Document>,
}

/// A file that may say something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its file name.
    pub name: String,
    /// Whether its name says that it is signed.
    pub signed: bool,
    /// What is in it; nothing is known of it.
    pub bytes: Vec<u8>,
}

/// Why a release cannot be read.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PublishedError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How many it may have.
        limit: u64,
    },
    /// There are more documents than anybody wrote.
    #[error("more than {DOCUMENTS_LIMIT} statements lie in {0}")]
    TooMany(PathBuf),
    /// The server did not give it.
    #[error("the release cannot be had")]
    Fetch(#[from] FetchError),
    /// It is asked for and the network may not be used.
    #[error("{0} is on a server, and the network may not be used")]
    Offline(Url),
    /// There are several, or there is none.
    #[error("{place} has {} with a plan: name one archive", if names.is_empty() { "no release".to_owned() } else { names.join(", ") })]
    Which {
        /// Where.
        place: String,
        /// What there is.
        names: Vec<String>,
    },
}

impl Published {
    /// Finds what `text` names: a directory, an archive, a statement or a URL of one of them.
    pub fn find(text: &str, network: Option<&Network>) -> Result<Self, PublishedError> {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                let network = network.ok_or_else(|| PublishedError::Offline(url.clone()))?;
                Self::at(&download(url), network)
            }
            // `C:` and its like are files here.
            _ => Self::in_directory(Path::new(text)),
        }
    }

    fn in_directory(path: &Path) -> Result<Self, PublishedError> {
        let metadata =
            std::fs::metadata(path).map_err(|source| PublishedError::Unreadable { path: path.to_owned(), source })?;
        if metadata.is_dir() {
            let documents = beside(path, |_| true)?;
            return Ok(Self { place: Place::Directory(path.to_owned()), archive: None, documents });
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let place = Place::Directory(parent.to_owned());
        if is_document(&name) {
            let document = Document { signed: !is_unsigned(&name), bytes: read(path)?, name };
            return Ok(Self { place, archive: None, documents: vec![document] });
        }
        let documents = Self::beside(path)?;
        Ok(Self { place, archive: Some(name), documents })
    }

    /// What lies beside the file `path` and may be about it.
    pub fn beside(path: &Path) -> Result<Vec<Document>, PublishedError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let stem = name.strip_suffix(ARCHIVE).unwrap_or(&name);
        beside(parent, |document| tells_of(document, stem))
    }

    fn at(url: &Url, network: &Network) -> Result<Self, PublishedError> {
        let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        let mut base = url.clone();
        if let Ok(mut parts) = base.path_segments_mut() {
            parts.pop_if_empty();
            if !name.is_empty() {
                parts.pop();
            }
            parts.push("");
        }
        let get = |name: &str| -> Result<Option<Document>, PublishedError> {
            let Ok(at) = base.join(name) else { return Ok(None) };
            match network.find(&at, DOCUMENT_LIMIT)? {
                Some(bytes) => Ok(Some(Document { name: name.to_owned(), signed: !is_unsigned(name), bytes })),
                None => Ok(None),
            }
        };
        if is_document(&name) {
            let documents = get(&name)?.into_iter().collect();
            return Ok(Self { place: Place::Url(base), archive: None, documents });
        }
        let stem = match name.strip_suffix(ARCHIVE) {
            Some(stem) => stem.to_owned(),
            None if name.is_empty() => only_release(&base, network)?,
            None => name.clone(),
        };
        let mut documents = Vec::new();
        // What is said of a part's archive is said in the statements of the whole.
        for stem in std::iter::successors(Some(stem.as_str()), |stem| Some(stem.rsplit_once('-')?.0)).take(2) {
            for kind in ["provenance", "rebuild"] {
                let signed = get(&format!("{stem}.{kind}.sigstore.json"))?;
                documents.extend(match signed {
                    Some(signed) => Some(signed),
                    None => get(&format!("{stem}.{kind}.json"))?,
                });
            }
            if !documents.is_empty() {
                break;
            }
        }
        let archive = Some(name).filter(|name| !name.is_empty());
        Ok(Self { place: Place::Url(base), archive, documents })
    }
}

impl Place {
    /// All of the file `name` of the release, of at most `limit` bytes; `None` if it is not there.
    pub fn file(&self, name: &Name, limit: u64, network: Option<&Network>) -> Result<Option<Vec<u8>>, PublishedError> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name.as_str());
                match File::open(&path) {
                    Ok(file) => bounded(&path, file, limit).map(Some),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(PublishedError::Unreadable { path, source }),
                }
            }
            Self::Url(base) => {
                let network = network.ok_or_else(|| PublishedError::Offline(base.clone()))?;
                let Ok(url) = base.join(name.as_str()) else { return Ok(None) };
                Ok(network.find(&url, limit)?)
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

/// A page of a release on GitHub is for people; the files lie elsewhere below the same repository.
fn download(mut url: Url) -> Url {
    let path = url.path().to_owned();
    if let Some((repository, tag)) = path.split_once("/releases/tag/") {
        url.set_path(&format!("{repository}/releases/download/{}/", tag.trim_end_matches('/')));
    }
    url
}

/// The release that `SHA256SUMS` tells of: each has one plan.
fn only_release(base: &Url, network: &Network) -> Result<String, PublishedError> {
    let which = |names| PublishedError::Which { place: base.to_string(), names };
    let sums = base.join("SHA256SUMS").map_err(|_no_base| which(Vec::new()))?;
    let sums = network.find(&sums, SUMS_LIMIT)?.unwrap_or_default();
    let sums = String::from_utf8_lossy(&sums).into_owned();
    let plans = sums.lines().filter_map(|line| line.split_once("  ")?.1.strip_suffix(".plan.json"));
    let mut names: Vec<String> = plans.filter(|name| name.parse::<Name>().is_ok()).map(str::to_owned).collect();
    match names.pop() {
        Some(only) if names.is_empty() => Ok(only),
        last => {
            names.extend(last);
            Err(which(names))
        }
    }
}

/// Whether what a document of this name says may be about the archive with this stem: of a part of a release, or any other
/// file of it, is said what is said of the whole.
fn tells_of(document: &str, stem: &str) -> bool {
    let whole = [".provenance.", ".rebuild."].iter().find_map(|kind| Some(document.split_once(kind)?.0));
    document.starts_with(stem)
        || whole.is_some_and(|whole| stem.strip_prefix(whole).is_some_and(|part| part.starts_with(['-', '.'])))
}

fn is_document(name: &str) -> bool {
    is_unsigned(name) || SIGNED.iter().any(|ending| name.ends_with(ending))
}

fn is_unsigned(name: &str) -> bool {
    UNSIGNED.iter().any(|ending| name.ends_with(ending))
}

/// The documents of a directory whose names are `wanted`, sorted.
fn beside(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Document>, PublishedError> {
    let unreadable = |source| PublishedError::Unreadable { path: directory.to_owned(), source };
    let mut names = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.extend(name.to_str().filter(|name| is_document(name) && wanted(name)).map(str::to_owned));
        if names.len() > DOCUMENTS_LIMIT {
            return Err(PublishedError::TooMany(directory.to_owned()));
        }
    }
    names.sort();
    let document =
        |name: String| Ok(Document { signed: !is_unsigned(&name), bytes: read(&directory.join(&name))?, name });
    names.into_iter().map(document).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, PublishedError> {
    let file = File::open(path).map_err(|source| PublishedError::Unreadable { path: path.to_owned(), source })?;
    bounded(path, file, DOCUMENT_LIMIT)
}

fn bounded(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, PublishedError> {
    let mut bytes = Vec::new();
    let unreadable = |source| PublishedError::Unreadable { path: path.to_owned(), source };
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(PublishedError::TooLarge { path: path.to_owned(), limit }) } else { Ok(bytes) }
}
