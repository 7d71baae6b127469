//! What a statement is about: files, by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StatementError;
use crate::digest::{Digest, Sha512};
use crate::lockfile::Name;
use crate::text::is_obeyed;

/// How many subjects a statement may have: a release of PostgreSQL has about twenty.
pub const SUBJECT_LIMIT: usize = 1000;

/// How many bytes a subject's name may have.
const NAME_LIMIT: usize = 1024;

/// A file that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name, which leads nowhere out: no `..`, not absolute, nothing that a terminal obeys. Those of pgproof's own
    /// statements are plain file names.
    pub name: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its SHA-512, where it was stated.
    pub sha512: Option<Sha512>,
}

/// A subject as in-toto writes it: a resource descriptor (in-toto attestation framework v1, `resource_descriptor.md`).
#[expect(dead_code, reason = "fields that others may state are known, so that all others are refused, and not read")]
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Wire {
    name: String,
    digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing)]
    uri: serde::de::IgnoredAny,
    #[serde(default, skip_serializing)]
    content: serde::de::IgnoredAny,
    #[serde(default, skip_serializing)]
    download_location: serde::de::IgnoredAny,
    #[serde(default, skip_serializing)]
    media_type: serde::de::IgnoredAny,
    #[serde(default, skip_serializing)]
    annotations: serde::de::IgnoredAny,
}

impl Subject {
    /// The file `name` with these digests.
    pub fn new(name: &Name, sha256: Digest, sha512: Option<Sha512>) -> Self {
        Self { name: name.to_string(), sha256, sha512 }
    }

    /// Whether its name is a plain file name, as pgproof's own are.
    pub fn is_plain(&self) -> bool {
        self.name.parse::<Name>().is_ok()
    }

    pub(super) fn read(wire: Wire) -> Result<Self, StatementError> {
        let shown = || wire.name.chars().take(80).collect::<String>();
        let wrong = |what| StatementError::Subject { name: shown(), what };
        let components = || wire.name.split(['/', '\\']);
        if wire.name.is_empty() || wire.name.len() > NAME_LIMIT || wire.name.chars().any(is_obeyed) {
            return Err(wrong("its name is empty, too long or has control characters"));
        }
        if wire.name.starts_with(['/', '\\']) || components().any(|component| component == "..") {
            return Err(wrong("its name leads out"));
        }
        let sha256 = wire.digest.get("sha256").ok_or_else(|| wrong("it has no sha256"))?;
        let sha256 = Digest::from_hex(sha256).map_err(|source| StatementError::Digest { of: shown(), source })?;
        let sha512 = wire.digest.get("sha512").map(|hex| Sha512::from_hex(hex)).transpose();
        let sha512 = sha512.map_err(|source| StatementError::Digest { of: shown(), source })?;
        Ok(Self { name: wire.name, sha256, sha512 })
    }

    pub(super) fn write(&self) -> Wire {
        let sha256 = ("sha256".to_owned(), self.sha256.hex());
        let sha512 = self.sha512.as_ref().map(|digest| ("sha512".to_owned(), digest.hex()));
        Wire {
            name: self.name.clone(),
            digest: std::iter::once(sha256).chain(sha512).collect(),
            uri: serde::de::IgnoredAny,
            content: serde::de::IgnoredAny,
            download_location: serde::de::IgnoredAny,
            media_type: serde::de::IgnoredAny,
            annotations: serde::de::IgnoredAny,
        }
    }
}
