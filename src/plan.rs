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
//! /pgproof/out/            writable; what is under /pgproof/out/<output> becomes the archive, and each part one more
//! ```
//!
//! The environment variable `PGPROOF_BUILD_ROOT` has the build root's path, for compilers that are told to leave it out of what
//! they make.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::compression::Compression;
use crate::digest::Digest;
use crate::lockfile::{Name, Origin, OriginError};

pub mod postgresql;

/// The plan format's version: the `version` field of every plan.
pub const FORMAT: u32 = 1;

/// A plan of this many bytes or more is refused: PostgreSQL's takes 4 KiB.
pub const SIZE_LIMIT: u64 = 4 << 20;

/// How many bytes a plan's name may have: file names are made of it, which file systems limit to 255.
const NAME_LIMIT: usize = 200;

/// How many inputs, and how many steps, a plan may have.
const ENTRY_LIMIT: usize = 1024;

/// How many parts a plan may have: each is a pipe out of the box.
const PART_LIMIT: usize = 16;

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
    /// Further archives: `debug` becomes `<name>-debug`, of the directory below `/pgproof/out` that it names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<Name, RelativePath>,
}

/// A directory that becomes an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its stem and its one top-level directory.
    pub name: Name,
    /// The directory below `/pgproof/out`.
    pub directory: RelativePath,
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
    /// The file cannot be read.
    #[error("plan {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any plan.
    #[error("plan {path} is larger than {SIZE_LIMIT} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not of the format.
    #[error("the plan is malformed")]
    Malformed {
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is of another version of the format.
    #[error("the plan has format version {found}, this pgproof reads {FORMAT}")]
    Format {
        /// The version it states.
        found: u32,
    },
    /// A path that is absolute, or has `..` or control characters.
    #[error("{0:?} is not a plain relative path")]
    Path(String),
    /// The name makes too long file names.
    #[error("the plan's name has more than {limit} bytes")]
    Name {
        /// How many it may have.
        limit: usize,
    },
    /// The plan's name and a part's make no name.
    #[error("the plan's name with its part {part} is no name")]
    Part {
        /// The part.
        part: Name,
        /// Why.
        source: OriginError,
    },
    /// There are more entries than any plan needs, or none where one is needed.
    #[error("the plan has {found} {what}; 1 to {limit} are allowed")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Two entries have one name, or they are not sorted.
    #[error("the plan's {what} {name:?} is there twice or out of order")]
    Order {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two inputs are unpacked into each other.
    #[error("the inputs {first} and {second} are unpacked into one directory")]
    Overlap {
        /// The first input.
        first: Name,
        /// The second input.
        second: Name,
    },
    /// A word that no program can be given, or an empty argument vector.
    #[error("step {step}: {what}")]
    Step {
        /// The step.
        step: Name,
        /// What is wrong.
        what: &'static str,
    },
    /// Not the name or value of an environment variable.
    #[error("{0:?} is not the name of an environment variable, or its value has a NUL")]
    Variable(String),
}

impl Plan {
    /// Reads a plan.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let unreadable = |source| PlanError::Unreadable { path: path.to_owned(), source };
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(SIZE_LIMIT).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 == SIZE_LIMIT {
            return Err(PlanError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text)
    }

    /// Parses and checks a plan's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_slice(json).map_err(|source| PlanError::Malformed { source })?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan's canonical JSON (RFC 8785), without the inputs' origins: they decide nothing.
    pub fn canonical(&self) -> Vec<u8> {
        let mut identity = self.clone();
        for input in &mut identity.inputs {
            input.origins.clear();
        }
        identity.canonical_with_origins()
    }

    /// The plan's canonical JSON with the inputs' origins: what somebody with an empty store needs.
    ///
    /// # Panics
    ///
    /// Never: a plan has no map with other keys than strings and no number but integers.
    pub fn canonical_with_origins(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a plan is JSON")
    }

    /// The build's identity: the digest of [`Plan::canonical`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    /// The archives that come out: the plan's own first, then its parts.
    ///
    /// # Panics
    ///
    /// Never: a plan whose parts make no names is refused when it is parsed.
    pub fn archives(&self) -> Vec<Archive> {
        let own = Archive { name: self.name.clone(), directory: self.output.clone() };
        let parts = self.parts.iter().map(|(part, directory)| {
            let name = self.part_name(part).expect("checked when the plan was parsed");
            Archive { name, directory: directory.clone() }
        });
        std::iter::once(own).chain(parts).collect()
    }

    fn part_name(&self, part: &Name) -> Result<Name, OriginError> {
        format!("{}-{part}", self.name).parse()
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.version != FORMAT {
            return Err(PlanError::Format { found: self.version });
        }
        if self.name.as_str().len() > NAME_LIMIT {
            return Err(PlanError::Name { limit: NAME_LIMIT });
        }
        if self.parts.len() > PART_LIMIT {
            return Err(PlanError::Count { what: "parts", found: self.parts.len(), limit: PART_LIMIT });
        }
        for part in self.parts.keys() {
            let name = self.part_name(part).map_err(|source| PlanError::Part { part: part.clone(), source })?;
            if name.as_str().len() > NAME_LIMIT {
                return Err(PlanError::Name { limit: NAME_LIMIT });
            }
        }
        if self.inputs.len() > ENTRY_LIMIT {
            return Err(PlanError::Count { what: "inputs", found: self.inputs.len(), limit: ENTRY_LIMIT });
        }
        if self.steps.is_empty() || self.steps.len() > ENTRY_LIMIT {
            return Err(PlanError::Count { what: "steps", found: self.steps.len(), limit: ENTRY_LIMIT });
        }
        for pair in self.inputs.windows(2) {
            if pair[0].name >= pair[1].name {
                return Err(PlanError::Order { what: "input", name: pair[1].name.to_string() });
            }
        }
        self.check_unpacking()?;
        let mut seen = BTreeSet::new();
        for step in &self.steps {
            if !seen.insert(&step.name) {
                return Err(PlanError::Order { what: "step", name: step.name.to_string() });
            }
            step.check(self.environment.contains_key("PATH"))?;
        }
        for (name, value) in &self.environment {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let starts = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
            if !starts || !name.bytes().all(plain) || value.contains('\0') {
                return Err(PlanError::Variable(name.chars().take(80).collect()));
            }
        }
        Ok(())
    }

    /// An input that is unpacked into another's directory could replace its files, so none may.
    fn check_unpacking(&self) -> Result<(), PlanError> {
        let unpacked: Vec<_> =
            self.inputs.iter().filter_map(|input| Some((&input.name, &input.unpack.as_ref()?.into))).collect();
        for (index, (first, into)) in unpacked.iter().enumerate() {
            for (second, other) in &unpacked[index + 1..] {
                if into.contains(other) || other.contains(into) {
                    return Err(PlanError::Overlap { first: (*first).clone(), second: (*second).clone() });
                }
            }
        }
        Ok(())
    }
}

impl Step {
    fn check(&self, has_path: bool) -> Result<(), PlanError> {
        let wrong = |what| Err(PlanError::Step { step: self.name.clone(), what });
        let Some(program) = self.argv.first().filter(|program| !program.is_empty()) else {
            return wrong("it names no program");
        };
        if self.argv.iter().any(|word| word.contains('\0')) {
            return wrong("an argument has a NUL");
        }
        if !program.contains('/') && !has_path {
            return wrong("its program has no / and the plan sets no PATH");
        }
        Ok(())
    }
}

impl RelativePath {
    /// Whether `other` is this path or below it.
    fn contains(&self, other: &Self) -> bool {
        self.0 == "." || Path::new(&other.0).starts_with(&self.0)
    }

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
