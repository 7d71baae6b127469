//! Reads what packages say of each other: `Depends: a (>= 1) | b, c:any`.

use std::cmp::Ordering;

use crate::lockfile::{DebianVersion, OriginError};

/// A value with more relations than this is refused; Debian's largest has 630.
const RELATIONS_LIMIT: usize = 20_000;

/// One package name in a relation, and the versions of it that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The name, with `:any` or another architecture if one is stated.
    pub name: &'a str,
    /// The versions; `None`: every version.
    pub versions: Option<Versions>,
}

/// A range of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    operator: Operator,
    version: DebianVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// Why a text is not a list of relations.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum RelationError {
    /// Not of the form `name (operator version)`.
    #[error("{0:?} is not a package name, with a range of versions or without")]
    Malformed(String),
    /// Not a version.
    #[error("a relation has a malformed version")]
    Version(#[source] OriginError),
    /// More than any package has.
    #[error("more than {RELATIONS_LIMIT} relations")]
    TooMany,
}

/// The groups of a list of relations: any one of a group will do.
pub fn groups(text: &str) -> Result<Vec<Vec<Relation<'_>>>, RelationError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.bytes().filter(|byte| matches!(byte, b',' | b'|')).count() >= RELATIONS_LIMIT {
        return Err(RelationError::TooMany);
    }
    text.split(',').map(|group| group.split('|').map(relation).collect()).collect()
}

fn relation(text: &str) -> Result<Relation<'_>, RelationError> {
    let text = text.trim();
    let malformed = || RelationError::Malformed(text.chars().take(120).collect());
    let (name, versions) = match text.split_once('(') {
        Some((name, range)) => {
            let range = range.strip_suffix(')').ok_or_else(malformed)?.trim();
            let end = range.bytes().position(|byte| !b"<>=".contains(&byte)).ok_or_else(malformed)?;
            let (operator, version) = range.split_at(end);
            let operator = match operator {
                "<<" => Operator::Earlier,
                // The single signs are old and mean what apt takes them for.
                "<=" | "<" => Operator::EarlierOrEqual,
                "=" => Operator::Equal,
                ">=" | ">" => Operator::LaterOrEqual,
                ">>" => Operator::Later,
                _ => return Err(malformed()),
            };
            let version = version.trim().parse().map_err(RelationError::Version)?;
            (name.trim_end(), Some(Versions { operator, version }))
        }
        None => (text, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:_".contains(&byte);
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(plain) {
        Ok(Relation { name, versions })
    } else {
        Err(malformed())
    }
}

impl Relation<'_> {
    /// For `Provides`: the version that is provided. `None` where that is a range, which nobody can provide.
    pub fn provided(self) -> Option<Option<DebianVersion>> {
        match self.versions {
            None => Some(None),
            Some(Versions { operator: Operator::Equal, version }) => Some(Some(version)),
            Some(_) => None,
        }
    }
}

impl Versions {
    /// Whether `version` is one of them.
    pub fn contain(&self, version: &DebianVersion) -> bool {
        let order = version.compare(&self.version);
        match self.operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operator = match self.operator {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        };
        write!(f, "{operator} {}", self.version)
    }
}
