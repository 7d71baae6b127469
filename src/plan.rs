//! Everything that decides the output's bytes, and nothing else.
//!
//! A [`Plan`] is one canonical JSON text (RFC 8785); its SHA-256 is the build's identity. It holds no shell text: steps
//! are argument vectors. It may come from a stranger, so parsing it checks it: a plan that exists is safe to run in the
//! box, though what it builds may be worthless.
//!
//! # The box that a plan sees
//!
//! ```text
//! /                        the sysroot's one layer, read-only
//! <build root>/            writable; where steps run; its path differs from build to build, so no plan can name it
//! <build root>/<into>/     an input that is unpacked
//! /pgproof/inputs/<name>   an input that is not
//! /pgproof/out/            writable; what is under /pgproof/out/<output> becomes the archive
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::lockfile::{Name, Origin};

/// The plan format's version: the `version` field of every plan.
pub const FORMAT: u32 = 1;

/// A build: inputs, environment and steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// [`FORMAT`].
    pub version: u32,
    /// The archive's stem and its one top-level directory.
    pub name: Name,
    /// Seconds since 1970 that every time in the output is set to.
    pub source_date_epoch: u32,
    /// The root file system.
    pub sysroot: Sysroot,
    /// What is built, sorted by name.
    pub inputs: Vec<Input>,
    /// The environment of every step; the box adds what must not matter (`HOME`, `MAKEFLAGS`, …).
    pub environment: BTreeMap<String, String>,
    /// What is run, in order.
    pub steps: Vec<Step>,
    /// The directory below `/pgproof/out` whose content becomes the archive; `.` for all of it.
    pub output: RelativePath,
}

/// The root file system of the box, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sysroot {
    /// The name of the definition under `sysroots/`.
    pub name: Name,
    /// Digest of the OCI image manifest.
    pub manifest: Digest,
}

/// A file that the build reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// Its file name.
    pub name: Name,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How to unpack it; `None`: it is put into `/pgproof/inputs` as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<Unpack>,
    /// Where it can be had if the store does not have it. Not part of the plan's identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
}

/// A tar archive to unpack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Unpack {
    /// How the tar is compressed.
    pub compression: Compression,
    /// The directory below the build root that receives its entries.
    pub into: RelativePath,
    /// How many leading components of each entry's path to drop.
    #[serde(default)]
    pub strip: u32,
    /// The digest of the decompressed tar: with it, decompressing is done once and verified at every use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_digest: Option<Digest>,
}

/// How a tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The .xz format.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// A program run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// What to call it to a person: `configure`.
    pub name: Name,
    /// The program, looked up in the plan's `PATH` unless it has a `/`, and its arguments.
    pub argv: Vec<String>,
    /// The working directory below the build root; `.` for the build root itself.
    pub directory: RelativePath,
}

/// A relative path without `..`: `.`, or components that are non-empty, not `.` or `..`, and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// What is wrong with a plan.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PlanError {
    /// A path that is absolute, or has `..` or control characters.
    #[error("{0:?} is not a plain relative path")]
    Path(String),
}

impl RelativePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let plain = |component: &str| {
            !component.is_empty() && component != "." && component != ".." && !component.chars().any(char::is_control)
        };
        if text == "." || (text.len() <= 1024 && text.split('/').all(plain)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PlanError::Path(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PlanError;

    fn try_from(text: String) -> Result<Self, PlanError> {
        text.parse()
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
