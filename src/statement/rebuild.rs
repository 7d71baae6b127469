//! What building something again came to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Identifier, Occasion, Origin, StatementError, Subject, Tool, json};
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::output::Output;
use crate::plan::{Plan, Sysroot};
use crate::sandbox::{Medium, Outcome, Wall};
use crate::variation::{Axis, Label};
use crate::verdict::{self, Differences};

/// How many differing entries, and how many causes, are stated.
pub const LISTED: usize = 100;

/// How many archives a plan makes at most.
const ARCHIVE_LIMIT: usize = 32;

/// How many bytes a text may have.
const TEXT_LIMIT: usize = 4096;

/// What building something again came to. What it holds belongs together: it is reproduced if, and only if, all digests agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// What it came to.
    pub verdict: Verdict,
    /// What was built: the plan's name.
    pub name: Name,
    /// The plan's digest.
    pub plan: Digest,
    /// The root file system that it was built in.
    pub sysroot: Sysroot,
    /// The archives that were compared.
    pub archives: Vec<Archive>,
    /// How it was built here: the plain build, and the shaken one if there was one.
    pub builds: Vec<Conditions>,
    /// What differs, if it is known and something does.
    pub found: Option<Found>,
    /// Why, as far as it is known.
    pub causes: Vec<Cause>,
    /// Who built again, with what, when.
    pub origin: Origin,
}

/// Whether what was built again is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Byte for byte.
    Reproduced,
    /// It is not.
    NotReproduced,
}

/// An archive wherever there is one of the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Archive {
    /// Its stem.
    pub name: Name,
    /// What somebody published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<ArchiveDigests>,
    /// What the plain build made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<ArchiveDigests>,
    /// What the shaken build made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shaken: Option<ArchiveDigests>,
}

/// An archive's digests, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ArchiveDigests {
    /// Of the compressed archive.
    pub archive: Digest,
    /// Of the plain tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar: Option<Digest>,
    /// Of the file list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Digest>,
}

/// How a build was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Conditions {
    /// Which build.
    pub label: Label,
    /// The axes on which it was to differ from the plain one, and whether it did.
    pub axes: BTreeMap<Axis, Outcome>,
    /// The walls that stood.
    pub walls: Vec<Wall>,
    /// Where files lay.
    pub medium: Medium,
    /// The digest of what it printed.
    pub log: Digest,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Found {
    /// How many entries both have together.
    pub compared: u64,
    /// How many of them differ.
    pub different: u64,
    /// The first [`LISTED`] of these.
    pub entries: Vec<Differing>,
}

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Differing {
    /// Where it is, from the top-level directory.
    pub path: String,
    /// How it differs.
    pub change: Change,
}

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is in the first only.
    OnlyInFirst,
    /// It is in the second only.
    OnlyInSecond,
    /// It is in both, but not the same.
    Changed,
}

/// Why entries differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cause {
    /// What it is called: `host-name`.
    pub cause: Name,
    /// Some of the entries.
    pub files: Vec<String>,
    /// How many there are in all.
    pub total: u64,
    /// What happened, for a person.
    pub explanation: String,
}

/// The predicate's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    verdict: Verdict,
    name: Name,
    plan: Digest,
    sysroot: Sysroot,
    archives: Vec<Archive>,
    builds: Vec<Conditions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    builder: Builder,
    pgproof: Tool,
    metadata: Occasion,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Builder {
    id: Identifier,
}

impl Rebuild {
    /// Whether something that somebody published was compared with.
    pub fn is_of_published(&self) -> bool {
        self.archives.iter().any(|archive| archive.published.is_some())
    }

    /// The axes on which two builds differed here, and whether they did; nothing if there was one build.
    pub fn axes(&self) -> Option<&BTreeMap<Axis, Outcome>> {
        self.builds.iter().find(|build| build.label == Label::Shaken).map(|build| &build.axes)
    }

    /// Whether this very archive is what building gave again; nothing if it is none of those that were compared.
    pub fn says_of(&self, archive: Digest) -> Option<bool> {
        let of = |known: &&Archive| {
            let all = [known.published, known.plain, known.shaken];
            all.into_iter().flatten().any(|digests| digests.archive == archive)
        };
        self.archives.iter().find(of).map(Archive::agrees)
    }

    pub(super) fn new(
        plan: &Plan,
        archives: Vec<Archive>,
        builds: Vec<Conditions>,
        found: Option<Found>,
        causes: Vec<Cause>,
        origin: Origin,
    ) -> Self {
        let agree = archives.iter().all(Archive::agrees);
        Self {
            verdict: if agree { Verdict::Reproduced } else { Verdict::NotReproduced },
            name: plan.name.clone(),
            plan: plan.digest(),
            sysroot: plan.sysroot.clone(),
            archives,
            builds,
            found: found.filter(|_| !agree),
            causes: if agree { Vec::new() } else { causes },
            origin,
        }
    }

    pub(super) fn read(body: Value) -> Result<Self, StatementError> {
        let malformed = |source| StatementError::Malformed { what: "the statement of a rebuild", source };
        let Wire { verdict, name, plan, sysroot, archives, builds, found, causes, builder, pgproof, metadata } =
            json::typed(body).map_err(malformed)?;
        let origin = Origin { builder: builder.id, tool: pgproof, occasion: metadata };
        let rebuild = Self { verdict, name, plan, sysroot, archives, builds, found, causes, origin };
        rebuild.check()?;
        Ok(rebuild)
    }

    pub(super) fn write(&self) -> Value {
        let Self { verdict, name, plan, sysroot, archives, builds, found, causes, origin } = self.clone();
        let Origin { builder, tool, occasion } = origin;
        let wire = Wire {
            verdict,
            name,
            plan,
            sysroot,
            archives,
            builds,
            found,
            causes,
            builder: Builder { id: builder },
            pgproof: tool,
            metadata: occasion,
        };
        serde_json::to_value(wire).expect("maps have strings for keys")
    }

    pub(super) fn check(&self) -> Result<(), StatementError> {
        let no = |what: &str| Err(StatementError::contradiction(what));
        let labels: Vec<_> = self.builds.iter().map(|build| build.label).collect();
        let twice = match labels.as_slice() {
            [Label::Plain] => false,
            [Label::Plain, Label::Shaken] => true,
            _ => return no("its builds are neither a plain one nor a plain and a shaken one"),
        };
        if self.builds[0].axes.values().next().is_some() {
            return no("the plain build is said to differ from itself");
        }
        if self.archives.is_empty() || self.archives.len() > ARCHIVE_LIMIT {
            return no("it compares no archive, or too many");
        }
        let names: BTreeSet<_> = self.archives.iter().map(|archive| &archive.name).collect();
        if names.len() != self.archives.len() {
            return no("it compares an archive twice");
        }
        let of_published = self.is_of_published();
        if !twice && !of_published {
            return no("it compares one build with nothing");
        }
        for archive in &self.archives {
            if archive.published.is_some() != of_published {
                return no("some archives are compared with what was published, others are not");
            }
            if archive.plain.is_none() && (!of_published || archive.shaken.is_some()) {
                return no("an archive is compared that the plain build did not make");
            }
            if archive.plain.is_some() && archive.shaken.is_some() != twice {
                return no("the archives are not those of its builds");
            }
        }
        let agree = self.archives.iter().all(Archive::agrees);
        match self.verdict {
            Verdict::Reproduced if !agree => return no("it says reproduced, but its digests differ"),
            Verdict::Reproduced if self.found.is_some() || !self.causes.is_empty() => {
                return no("it says reproduced, but tells what differs");
            }
            Verdict::NotReproduced if agree => return no("it says not reproduced, but all its digests agree"),
            Verdict::Reproduced | Verdict::NotReproduced => {}
        }
        self.check_sizes()?;
        self.origin.occasion.check()
    }

    fn check_sizes(&self) -> Result<(), StatementError> {
        let entries = self.found.iter().flat_map(|found| &found.entries);
        let count = self.found.as_ref().map_or(0, |found| found.entries.len());
        let lists = self.causes.iter().map(|cause| cause.files.len()).chain([count, self.causes.len()]);
        if lists.max() > Some(LISTED) {
            return Err(StatementError::contradiction(format!("it lists more than {LISTED} entries or causes")));
        }
        if self.found.as_ref().is_some_and(|found| found.entries.len() as u64 > found.different) {
            return Err(StatementError::contradiction("it lists more entries than differ"));
        }
        let causes = self.causes.iter().flat_map(|cause| cause.files.iter().chain([&cause.explanation]));
        let reasons = self.builds.iter().flat_map(|build| build.axes.values()).filter_map(|outcome| match outcome {
            Outcome::Held => None,
            Outcome::NotHeld(why) => Some(why),
        });
        let mut texts = entries.map(|entry| &entry.path).chain(causes).chain(reasons);
        if texts.any(|text| text.len() > TEXT_LIMIT) {
            return Err(StatementError::contradiction(format!("it has a text of more than {TEXT_LIMIT} bytes")));
        }
        Ok(())
    }

    /// Whether the archives that it is about are its subjects.
    pub(super) fn check_subjects(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        for archive in &self.archives {
            let Some(digests) = archive.published.or(archive.plain) else { continue };
            let file = format!("{}.tar.gz", archive.name);
            let known = subjects.iter().find(|subject| subject.name == file);
            if known.is_none_or(|subject| subject.sha256 != digests.archive) {
                return Err(StatementError::contradiction(format!("{file} is no subject, or with another digest")));
            }
        }
        Ok(())
    }
}

impl Archive {
    /// Whether it is the same wherever it is to be.
    pub fn agrees(&self) -> bool {
        let all = [self.published, self.plain, self.shaken];
        let mut there = all.into_iter().flatten();
        let Some(first) = there.next() else { return false };
        self.plain.is_some() && there.all(|other| first.agrees(other))
    }
}

impl ArchiveDigests {
    /// The digests of `output`.
    pub fn of(output: &Output) -> Self {
        verdict::Digests::of(output).into()
    }

    /// Whether all that is known of both is equal.
    fn agrees(self, other: Self) -> bool {
        let same = |one: Option<Digest>, other: Option<Digest>| one.zip(other).is_none_or(|(one, other)| one == other);
        self.archive == other.archive && same(self.tar, other.tar) && same(self.list, other.list)
    }
}

impl From<verdict::Digests> for ArchiveDigests {
    fn from(digests: verdict::Digests) -> Self {
        Self { archive: digests.archive, tar: Some(digests.tar), list: Some(digests.list) }
    }
}

impl Found {
    /// What a comparison found, with the first [`LISTED`] entries.
    pub fn of(differences: &Differences) -> Self {
        let entry = |entry: &verdict::Difference| Differing {
            path: text(&entry.path),
            change: match entry.change {
                verdict::Change::OnlyInFirst(_) => Change::OnlyInFirst,
                verdict::Change::OnlyInSecond(_) => Change::OnlyInSecond,
                verdict::Change::Changed { .. } => Change::Changed,
            },
        };
        Self {
            compared: differences.compared as u64,
            different: differences.entries.len() as u64,
            entries: differences.entries.iter().take(LISTED).map(entry).collect(),
        }
    }
}

impl Cause {
    /// A cause of what differs in `files`, of which the first [`LISTED`] are kept.
    pub fn new<'a>(cause: Name, files: impl IntoIterator<Item = &'a str>, explanation: &str) -> Self {
        let mut all = files.into_iter();
        let files: Vec<String> = all.by_ref().take(LISTED).map(text).collect();
        let total = files.len() as u64 + all.count() as u64;
        Self { cause, files, total, explanation: text(explanation) }
    }
}

/// As much of `text` as is stated.
fn text(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_LIMIT)].to_owned()
}
