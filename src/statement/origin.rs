//! Who states something, made with what, and when.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::text::is_obeyed;

/// How many bytes an identifier may have.
const URI_LIMIT: usize = 2048;

/// The URI by which a builder, or one run of it, is known. What it says is worth what the signature on the statement is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identifier(String);

/// Which pgproof made a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tool {
    /// Its version: `0.1.0`.
    pub version: ToolVersion,
    /// What it was built from.
    pub commit: Commit,
    /// The digest of its program.
    pub binary: Digest,
}

/// A version of pgproof: ASCII letters, digits and `.+-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolVersion(String);

/// The commit that a program was built from: 40 or 64 hexadecimal digits; with `-dirty` if something was changed; `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Commit {
    /// This one.
    Clean(String),
    /// This one, with changes that nobody committed.
    Dirty(String),
    /// Nobody knows.
    Unknown,
}

/// When something was run, and as part of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Occasion {
    /// The run of the builder, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<Identifier>,
    /// When it began.
    pub started_on: Timestamp,
    /// When it ended.
    pub finished_on: Timestamp,
}

/// Who states something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The builder.
    pub builder: Identifier,
    /// With which pgproof.
    pub tool: Tool,
    /// When.
    pub occasion: Occasion,
}

/// Why a text names no builder, run, version or commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum OriginError {
    /// Not a URI.
    #[error("{text:?} is not a URI")]
    Uri {
        /// The text.
        text: String,
        /// Why.
        source: Option<url::ParseError>,
    },
    /// Not a version.
    #[error("{0:?} is not a version: letters, digits and .+- only")]
    Version(String),
    /// Not a commit.
    #[error("{0:?} is not a commit: 40 or 64 lower-case hexadecimal digits, perhaps with -dirty, or unknown")]
    Commit(String),
}

impl Identifier {
    /// The builder that nobody has named.
    pub const UNNAMED: &str = "urn:pgproof:builder:unnamed";

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ToolVersion {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Commit {
    /// The commit's digits, if it is known and nothing was changed.
    pub fn clean(&self) -> Option<&str> {
        match self {
            Self::Clean(hex) => Some(hex),
            Self::Dirty(_) | Self::Unknown => None,
        }
    }
}

impl Occasion {
    /// From `started` to `finished`, to the second.
    pub fn new(invocation_id: Option<Identifier>, started: Timestamp, finished: Timestamp) -> Self {
        // A fraction of a second tells more of the machine than of the build.
        let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
        Self { invocation_id, started_on: whole(started), finished_on: whole(finished) }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

impl FromStr for Identifier {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let wrong = |source| OriginError::Uri { text: shown(text), source };
        if text.len() > URI_LIMIT || text.chars().any(|character| character.is_whitespace() || is_obeyed(character)) {
            return Err(wrong(None));
        }
        url::Url::parse(text).map_err(|source| wrong(Some(source)))?;
        // As it was written: identifiers are compared as text.
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ToolVersion {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError::Version(shown(text)))
        }
    }
}

impl FromStr for Commit {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let is_hex = |hex: &str| {
            [40, 64].contains(&hex.len())
                && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        match text.strip_suffix("-dirty") {
            Some(hex) if is_hex(hex) => Ok(Self::Dirty(hex.to_owned())),
            None if is_hex(text) => Ok(Self::Clean(text.to_owned())),
            None if text == "unknown" => Ok(Self::Unknown),
            _ => Err(OriginError::Commit(shown(text))),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ToolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean(hex) => f.write_str(hex),
            Self::Dirty(hex) => write!(f, "{hex}-dirty"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(impl TryFrom<String> for $type {
            type Error = OriginError;

            fn try_from(text: String) -> Result<Self, OriginError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        })*
    };
}

as_text!(Identifier, ToolVersion, Commit);
