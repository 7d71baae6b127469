//! An archive of a release as it lies on disk, or what a file is that is none.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use super::{Part, Role};
use crate::compression::Compression;
use crate::lockfile::Name;
use crate::target::Triple;
use crate::tree::{Defect, Limits, Reader, TreeError};

/// How many bytes tell what a file is.
const SAMPLE: u64 = 512;

/// A compressed or plain tar with one top-level directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    path: PathBuf,
    compression: Compression,
    name: Name,
}

/// Why a file is no archive of a release.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ReleaseError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no archive of a release but {what}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// It begins as an archive and goes wrong.
    #[error("{path} is damaged or was not downloaded to its end")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: TreeError,
    },
    /// Its top-level directory cannot be the name of a release.
    #[error(
        "{path} is no archive of a release: its first entry is {entry:?}, not in a top-level directory with a plain name"
    )]
    TopLevel {
        /// The file.
        path: PathBuf,
        /// Its first entry.
        entry: String,
    },
}

impl Release {
    /// Looks at the beginning of a file. What it is called does not matter.
    pub fn open(path: &Path) -> Result<Self, ReleaseError> {
        let unreadable = |source| ReleaseError::Unreadable { path: path.to_owned(), source };
        let other = |what: String| ReleaseError::Other { path: path.to_owned(), what };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(other("a directory".to_owned()));
        }
        if !metadata.is_file() {
            return Err(other("a device, pipe or socket".to_owned()));
        }
        let damaged = |source| ReleaseError::Damaged { path: path.to_owned(), source };
        let raw = sample(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
        let compression = Compression::of(&raw);
        let read = |source| damaged(TreeError::Read { source });
        let mut reader = compression.reader(File::open(path).map_err(unreadable)?).map_err(read)?;
        let plain = sample(&mut reader).map_err(read)?;
        let is_like = |what: &str| match compression {
            Compression::None => other(what.to_owned()),
            Compression::Gzip | Compression::Bzip2 | Compression::Xz | Compression::Zstd => {
                other(format!("{what}, compressed with {compression}"))
            }
        };
        if plain.is_empty() {
            return Err(is_like(what_is(&plain)));
        }
        let mut reader = Reader::new(Cursor::new(&plain).chain(reader), Limits::OUTPUT);
        let entry = match reader.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Err(is_like("an empty tar archive")),
            Err(TreeError::Malformed { offset: 0, defect: Defect::Header | Defect::Truncated }) => {
                return Err(is_like(what_is(&plain)));
            }
            Err(error) => return Err(damaged(error)),
        };
        let top = entry.path.components().next().unwrap_or_default();
        let name = std::str::from_utf8(top).ok().and_then(|name| name.parse().ok());
        let name = name.ok_or_else(|| ReleaseError::TopLevel {
            path: path.to_owned(),
            entry: super::printable(entry.path.as_bytes()),
        })?;
        Ok(Self { path: path.to_owned(), compression, name })
    }

    /// Its top-level directory.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// What it is in the release.
    pub fn role(&self) -> Role {
        Role::of(&self.name)
    }

    /// The platform that its name ends in, before what tells its role.
    pub fn triple(&self) -> Option<Triple> {
        Triple::ALL.into_iter().find(|triple| self.stem().ends_with(triple.as_str()))
    }

    /// Its name without what tells its role: the name of the main archive.
    pub fn stem(&self) -> &str {
        let name = self.name.as_str();
        ["-client", "-debug", "-pl"].iter().find_map(|role| name.strip_suffix(role)).unwrap_or(name)
    }

    /// Opens it to be checked.
    pub fn part(&self) -> Result<Part<Box<dyn Read>>, ReleaseError> {
        let unreadable = |source| ReleaseError::Unreadable { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(unreadable)?;
        let tar = self.compression.reader(file).map_err(unreadable)?;
        Ok(Part { name: self.name.clone(), role: self.role(), tar })
    }
}

fn sample(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut sample = Vec::new();
    reader.take(SAMPLE).read_to_end(&mut sample)?;
    Ok(sample)
}

/// What begins so, most telling first.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x7fELF", "an ELF file: a program, library or core dump"),
    (b"MZ", "a program for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program or library for macOS"),
    (b"\xca\xfe\xba\xbe", "a program for macOS, or a Java class"),
    (b"!<arch>\ndebian-binary", "a Debian package"),
    (b"!<arch>\n", "a static library"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"PGDMP", "a dump of a PostgreSQL database in pg_dump's custom format"),
    (b"%PDF-", "a PDF document"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "a picture"),
    (b"-----BEGIN PGP", "an OpenPGP signature or key"),
    (b"#!", "a script"),
];

/// What a file is that is no archive, by its first bytes.
pub(crate) fn what_is(sample: &[u8]) -> &'static str {
    if sample.is_empty() {
        return "an empty file";
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| sample.starts_with(magic)) {
        return what;
    }
    if sample.iter().all(|&byte| byte == 0) {
        return "nothing but zeros";
    }
    let text = String::from_utf8_lossy(sample);
    let start = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        "an HTML page: a server sent that in its place"
    } else if start.starts_with("<?xml") {
        "an XML document"
    } else if start.starts_with("-- postgresql database") || start.contains("\n-- postgresql database") {
        "an SQL dump of a PostgreSQL database"
    } else if start.starts_with('{') || start.starts_with('[') {
        "a JSON document"
    } else if start.len() > 66
        && start.as_bytes()[..64].iter().all(u8::is_ascii_hexdigit)
        && start[64..].starts_with(' ')
    {
        "a list of digests: name the archive that it belongs to"
    } else if text.chars().all(|character| !character.is_control() || character.is_ascii_whitespace())
        && !text.contains('\u{fffd}')
    {
        "a text"
    } else {
        "something that pgproof does not know"
    }
}
