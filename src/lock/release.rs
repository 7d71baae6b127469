//! Reads a `Release` file: which indices a suite has, by SHA-256.
//!
//! Takes text whose signature holds. Of the digests in it only SHA-256 is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::digest::{Digest, DigestError};
use crate::lock::control::{ControlError, Stanzas};
use crate::lockfile::Name;

/// A suite as its signed `Release` describes it.
#[derive(Debug)]
pub struct Release {
    /// When it was made.
    pub date: Timestamp,
    /// When it must no longer be used; released versions of Debian have no such date.
    pub valid_until: Option<Timestamp>,
    /// Whether mirrors keep each index under its digest too, where it survives an update of the suite.
    pub by_hash: bool,
    files: BTreeMap<String, Listed>,
}

/// An index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why a signed text is not the `Release` that was asked for.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ReleaseError {
    /// Not control data.
    #[error("it is malformed")]
    Control(#[from] ControlError),
    /// Not one stanza.
    #[error("it has {0} stanza where one is expected")]
    Stanzas(&'static str),
    /// A field that has to be there is not.
    #[error("it has no {0} field")]
    Lacks(&'static str),
    /// A date that is none.
    #[error("its {field} {text:?} is not a date such as \"Sat, 11 Jul 2026 10:16:37 UTC\"")]
    Date {
        /// The field.
        field: &'static str,
        /// Its value.
        text: String,
        /// Why.
        source: jiff::Error,
    },
    /// It describes something else.
    #[error("its {field} is {found:?}, asked for was {asked}")]
    Other {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it should have been.
        asked: Name,
    },
    /// A line of the list of files is malformed.
    #[error("its SHA256 field has the line {0:?}, which is not a digest, a size and a path")]
    Line(String),
    /// A digest is malformed.
    #[error("its SHA256 field has a malformed digest")]
    Digest(#[from] DigestError),
    /// Two digests for one file.
    #[error("its SHA256 field has {0:?} twice")]
    Twice(String),
    /// An index is not there.
    #[error("it lists no {0}")]
    NotListed(String),
}

impl Release {
    /// Reads the `Release` of the suite whose `Codename` is `suite`.
    pub fn parse(text: &str, suite: &Name) -> Result<Self, ReleaseError> {
        let mut stanzas = Stanzas::new(text.as_bytes());
        let release = {
            let stanza = stanzas.next_stanza()?.ok_or(ReleaseError::Stanzas("no"))?;
            let field = |name| stanza.get(name).ok_or(ReleaseError::Lacks(name));
            let codename = field("Codename")?;
            if codename != suite.as_str() {
                return Err(ReleaseError::Other {
                    field: "Codename",
                    found: codename.chars().take(80).collect(),
                    asked: suite.clone(),
                });
            }
            Self {
                date: date("Date", field("Date")?)?,
                valid_until: stanza.get("Valid-Until").map(|text| date("Valid-Until", text)).transpose()?,
                by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
                files: files(field("SHA256")?)?,
            }
        };
        match stanzas.next_stanza()? {
            Some(_) => Err(ReleaseError::Stanzas("a second")),
            None => Ok(release),
        }
    }

    /// The file at `path`, below the suite's directory.
    pub fn file(&self, path: &str) -> Result<Listed, ReleaseError> {
        self.files.get(path).copied().ok_or_else(|| ReleaseError::NotListed(path.to_owned()))
    }
}

fn date(field: &'static str, text: &str) -> Result<Timestamp, ReleaseError> {
    let local = ["UTC", "GMT", "+0000"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text);
    DateTime::strptime("%a, %d %b %Y %H:%M:%S", local.trim_end())
        .and_then(|instant| Ok(instant.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp()))
        .map_err(|source| ReleaseError::Date { field, text: text.chars().take(80).collect(), source })
}

fn files(list: &str) -> Result<BTreeMap<String, Listed>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in list.lines() {
        let malformed = || ReleaseError::Line(line.trim().chars().take(200).collect());
        let mut words = line.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed());
        };
        let listed = Listed {
            digest: Digest::from_hex(digest)?,
            size: if size.bytes().all(|byte| byte.is_ascii_digit()) { size.parse().ok() } else { None }
                .ok_or_else(malformed)?,
        };
        if files.insert(path.to_owned(), listed).is_some_and(|other| other != listed) {
            return Err(ReleaseError::Twice(path.chars().take(200).collect()));
        }
    }
    Ok(files)
}
