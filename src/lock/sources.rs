//! Reads `Sources`: the upstream tarballs of a suite's source packages.

use std::io::BufRead;

use crate::digest::{Digest, DigestError};
use crate::lock::control::{ControlError, Stanza, Stanzas};
use crate::lockfile::{Name, OriginError, PoolPath};
use crate::target::Version;

/// An upstream tarball that an index vouches for.
#[derive(Debug, PartialEq, Eq)]
pub struct Tarball {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its path below the mirror's root.
    pub path: PoolPath,
}

/// Why an index of sources does not give a tarball.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SourcesError {
    /// Not control data.
    #[error("it is malformed")]
    Control(#[from] ControlError),
    /// A field that has to be there is not.
    #[error("{package} has no {field} field")]
    Lacks {
        /// The source package.
        package: Name,
        /// The field.
        field: &'static str,
    },
    /// A line of the list of files is malformed.
    #[error("{package} has the line {line:?}, which is not a digest, a size and a name")]
    Line {
        /// The source package.
        package: Name,
        /// The line.
        line: String,
    },
    /// The digest is malformed.
    #[error("{package} has a malformed digest")]
    Digest {
        /// The source package.
        package: Name,
        /// Why.
        source: DigestError,
    },
    /// The path is malformed.
    #[error("{package} has a malformed path")]
    Path {
        /// The source package.
        package: Name,
        /// Why.
        source: OriginError,
    },
    /// Two stanzas give one file two digests.
    #[error("{file} is there twice, with different digests")]
    Twice {
        /// The file.
        file: String,
    },
    /// The tarball is not there.
    #[error(
        "it has no {file}; of {package} it has {there}. To lock another release, change the version in the definition; \
         to keep this one, keep its entry: its digest holds as long as any origin has the file"
    )]
    NotThere {
        /// The file.
        file: String,
        /// The source package.
        package: Name,
        /// The upstream tarballs that are there.
        there: String,
    },
}

impl Tarball {
    /// The tarball of PostgreSQL `version` in `index`, from the source package `package`.
    pub fn find(index: impl BufRead, package: &Name, version: Version) -> Result<Self, SourcesError> {
        let file = format!("{package}_{version}.orig.tar.bz2");
        let mut found: Option<Self> = None;
        let mut there = std::collections::BTreeSet::new();
        let mut stanzas = Stanzas::new(index);
        while let Some(stanza) = stanzas.next_stanza()? {
            if stanza.get("Package") != Some(package.as_str()) {
                continue;
            }
            for line in field(package, stanza, "Checksums-Sha256")?.lines().filter(|line| !line.trim().is_empty()) {
                let (digest, size, name) = listed(package, line)?;
                if name.strip_suffix(".orig.tar.bz2").is_some() {
                    there.insert(name.to_owned());
                }
                if name != file {
                    continue;
                }
                let path = format!("{}/{name}", field(package, stanza, "Directory")?);
                let path = path.parse().map_err(|source| SourcesError::Path { package: package.clone(), source })?;
                let tarball = Self { digest, size, path };
                if found.as_ref().is_some_and(|other| *other != tarball) {
                    return Err(SourcesError::Twice { file });
                }
                found = Some(tarball);
            }
        }
        found.ok_or_else(|| {
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "nothing".to_owned() } else { there };
            SourcesError::NotThere { file, package: package.clone(), there }
        })
    }
}

fn field<'a>(package: &Name, stanza: Stanza<'a>, field: &'static str) -> Result<&'a str, SourcesError> {
    stanza.get(field).ok_or_else(|| SourcesError::Lacks { package: package.clone(), field })
}

fn listed<'a>(package: &Name, line: &'a str) -> Result<(Digest, u64, &'a str), SourcesError> {
    let malformed = || SourcesError::Line { package: package.clone(), line: line.trim().chars().take(200).collect() };
    let mut words = line.split_ascii_whitespace();
    let (Some(digest), Some(size), Some(name), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(malformed());
    };
    let digest =
        Digest::from_hex(digest).map_err(|source| SourcesError::Digest { package: package.clone(), source })?;
    let size = size.parse().ok().ok_or_else(malformed)?;
    Ok((digest, size, name))
}
