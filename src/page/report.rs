//! A report as it is in the file: JSON of a stranger, read into types that hold no more than a page can show.
//!
//! # Why
//!
//! Fields that are not known here are passed over, because a report of a later pgproof says more; a field that is known and has
//! another form is an error. Lists have limits, so that a small file cannot fill the memory. A report that contradicts itself
//! is refused: who reads "reproduced" on a page must not have to compare the digests below it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::said::Said;
use super::{Contradiction, PageError};
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::sandbox::{Exit, Medium, Outcome, Wall};
use crate::variation::{Axis, Label};

mod written;

use written::{Written, WrittenContent, WrittenExcerpt};

/// The version of the format that is read.
const FORMAT: u32 = 1;

/// The report of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub(super) version: u32,
    pub(super) pgproof: Said,
    pub(super) name: Name,
    pub(super) plan: Digest,
    pub(super) sysroot: Sysroot,
    /// Who built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) builder: Option<Said>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 1000>")]
    pub(super) inputs: Vec<Input>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<Judgement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) order: Option<Order>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 2>")]
    pub(super) builds: Vec<Build>,
    /// Of trees that somebody else's runtime built.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 100>")]
    pub(super) archives: Vec<Archive>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) check: Option<Check>,
    /// Why the builds differ, those that explain most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 100>")]
    pub(super) causes: Vec<Cause>,
    /// How many builds it took to find the causes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) more_builds: u64,
}

/// The root file system that the box had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sysroot {
    pub(super) name: Name,
    pub(super) manifest: Digest,
}

/// A file that the build read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) name: Name,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What was found when two builds were compared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judgement {
    pub(super) reproduced: bool,
    /// How many entries both have together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) compared: u64,
    /// How many differ; [`Judgement::differences`] may have fewer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) different: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 20_000>")]
    pub(super) differences: Vec<Difference>,
}

/// Whether both builds ran at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    Together,
    InTurn,
}

/// An entry that is not the same in both.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Difference {
    pub(super) path: Said,
    pub(super) change: Change,
    /// Where in it, and what is there.
    pub(super) details: Vec<Detail>,
    /// How many details there are more.
    pub(super) more: u64,
}

/// A place within an entry where both builds differ.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Detail {
    /// The way to it, from the outside: a member, what is in it when it is decompressed, a section, ….
    pub(super) place: Said,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Excerpt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second: Option<Excerpt>,
    /// What would take the difference away, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) normaliser: Option<Said>,
}

/// What is at a place, or the part of it that differs with what is around it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "WrittenExcerpt", into = "WrittenExcerpt")]
pub(super) struct Excerpt {
    /// Where the excerpt begins, in bytes.
    pub(super) offset: u64,
    pub(super) content: Bytes,
    /// Which of its bytes the other excerpt has not, if that is told: from, and up to.
    pub(super) differing: Option<(usize, usize)>,
    /// How many bytes differ there in all, those that the excerpt has not included.
    pub(super) length: Option<u64>,
}

/// The content of an excerpt.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    Text(Said),
    Binary(Vec<u8>),
}

/// How it differs.
#[derive(Debug, Clone)]
pub(super) enum Change {
    OnlyInFirst(Content),
    OnlyInSecond(Content),
    Changed { first: Content, second: Content },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenContent", into = "WrittenContent")]
pub(super) enum Content {
    Directory,
    File { size: u64, digest: Digest, executable: bool, format: Said },
    Symlink { target: Said },
}

/// Why builds differ.
#[expect(clippy::struct_field_names, reason = "the report's names")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cause {
    /// An axis, or a cause that is none.
    pub(super) cause: Said,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sureness: Option<Sureness>,
    pub(super) explanation: Said,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 100>")]
    pub(super) fixes: Vec<Said>,
    /// The files that show it, or the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 1000>")]
    pub(super) files: Vec<Said>,
    /// How many there are.
    #[serde(default)]
    pub(super) count: u64,
    /// Files that differ only because others do.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 1000>")]
    pub(super) consequences: Vec<Said>,
    /// The steps in which it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "few::<_, _, 1000>")]
    pub(super) steps: Vec<Said>,
}

/// How well a cause is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sureness {
    Sure,
    Rebuilt,
    Likely,
}

/// One build.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Build {
    pub(super) variation: Conditions,
    #[serde(default)]
    pub(super) axes: BTreeMap<Axis, Outcome>,
    #[serde(default, deserialize_with = "few::<_, _, 100>")]
    pub(super) walls: Vec<Wall>,
    #[serde(default)]
    pub(super) medium: Option<Medium>,
    #[serde(default, deserialize_with = "few::<_, _, 1000>")]
    pub(super) steps: Vec<Step>,
    pub(super) prepared_seconds: Seconds,
    pub(super) elapsed_seconds: Seconds,
    #[serde(default)]
    pub(super) peak_memory: Option<u64>,
    #[serde(default)]
    pub(super) log: Option<Digest>,
    #[serde(deserialize_with = "few::<_, _, 100>")]
    pub(super) archives: Vec<Archive>,
}

/// The conditions of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conditions {
    pub(super) label: Label,
    #[serde(default)]
    pub(super) axes: BTreeSet<Axis>,
    #[serde(default)]
    pub(super) host_name: Said,
    #[serde(default)]
    pub(super) domain_name: Said,
    #[serde(default)]
    pub(super) user_name: Said,
    #[serde(default)]
    pub(super) group_name: Said,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    #[serde(default)]
    pub(super) home: Said,
    #[serde(default)]
    pub(super) build_root: Said,
    #[serde(default)]
    pub(super) umask: u32,
    #[serde(default, deserialize_with = "few::<_, _, 1000>")]
    pub(super) environment: Vec<(Said, Said)>,
    #[serde(default)]
    pub(super) cpus: u64,
    #[serde(default)]
    pub(super) jobs: u64,
    #[serde(default)]
    pub(super) boot_offset_s: i64,
    #[serde(default)]
    pub(super) clock_offset_s: i64,
    #[serde(default)]
    pub(super) source_time_offset_s: i64,
    #[serde(default)]
    pub(super) skipped_pids: u32,
}

/// A step of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) name: Name,
    pub(super) exit: Exit,
    pub(super) elapsed_seconds: Seconds,
    pub(super) cpu_seconds: Seconds,
    pub(super) peak_memory: u64,
}

/// A duration that a build can have had.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub(super) struct Seconds(f64);

/// An archive that a build made.
#[expect(clippy::struct_field_names, reason = "the report's names")]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Archive {
    pub(super) name: Name,
    pub(super) archive: Digest,
    pub(super) archive_size: u64,
    pub(super) tar: Digest,
    pub(super) list: Digest,
    pub(super) entries: u64,
}

/// What became of checking the archives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Check {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clean: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) found: Option<Found>,
}

/// What checking found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Found {
    #[serde(deserialize_with = "few::<_, _, 100>")]
    pub(super) parts: Vec<Part>,
}

/// What checking found in an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) name: Name,
    pub(super) files: u64,
    pub(super) elf_files: u64,
    #[serde(deserialize_with = "few::<_, _, 2000>")]
    pub(super) findings: Vec<Finding>,
    #[serde(deserialize_with = "few::<_, _, 2000>")]
    pub(super) excepted: Vec<Finding>,
    pub(super) unlisted: u64,
}

/// Something that is wrong with a file of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) file: Said,
    pub(super) kind: Said,
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub(super) about: Said,
    #[serde(default, skip_serializing_if = "Said::is_empty")]
    pub(super) reason: Said,
}

impl Report {
    /// Reads a report.
    pub fn parse(text: &[u8]) -> Result<Self, PageError> {
        let report: Self = serde_json::from_slice(text).map_err(|source| PageError::Malformed { source })?;
        if report.version != FORMAT {
            return Err(PageError::Format { found: report.version });
        }
        report.hold_together().map_err(PageError::Contradiction)?;
        Ok(report)
    }

    /// Whether what it says can all be so.
    fn hold_together(&self) -> Result<(), Contradiction> {
        let labels: Vec<_> = self.builds.iter().map(|build| build.variation.label).collect();
        if labels == [Label::Plain, Label::Plain] || labels == [Label::Shaken, Label::Shaken] {
            return Err(Contradiction::Labels);
        }
        let Some(judgement) = &self.verdict else { return Ok(()) };
        let [first, second] = &self.builds[..] else { return Err(Contradiction::OneBuild) };
        let digests = |build: &Build| -> Vec<_> {
            let of = |archive: &Archive| (archive.name.clone(), archive.archive, archive.tar, archive.list);
            build.archives.iter().map(of).collect()
        };
        let same = digests(first) == digests(second);
        match (judgement.reproduced, same) {
            (true, false) => Err(Contradiction::Different),
            (false, true) => Err(Contradiction::Same),
            (true, true) if !judgement.differences.is_empty() || judgement.different > 0 => {
                Err(Contradiction::Differences)
            }
            (true, true) if first.archives.is_empty() => Err(Contradiction::Nothing),
            (false, false) if judgement.compared < judgement.different => Err(Contradiction::Counts),
            (false, false) if judgement.different < judgement.differences.len() as u64 => {
                Err(Contradiction::Differences)
            }
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// The archives of the first build, or of the trees that were packed.
    pub(super) fn first_archives(&self) -> &[Archive] {
        self.builds.first().map_or(&self.archives, |build| &build.archives)
    }
}

impl Seconds {
    pub(super) const ZERO: Self = Self(0.0);

    /// The longest that is believed: a year.
    const LONGEST: f64 = 366.0 * 86_400.0;

    pub(super) fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = Contradiction;

    fn try_from(seconds: f64) -> Result<Self, Contradiction> {
        if (0.0..=Self::LONGEST).contains(&seconds) { Ok(Self(seconds)) } else { Err(Contradiction::Duration) }
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Reads a list of at most `LIMIT` things.
pub(super) fn few<'de, D, T, const LIMIT: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Few<T, const LIMIT: usize>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for Few<T, LIMIT> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {LIMIT}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut few = Vec::new();
            while let Some(one) = list.next_element()? {
                if few.len() == LIMIT {
                    return Err(A::Error::custom(format_args!("more than {LIMIT} in a list")));
                }
                few.push(one);
            }
            Ok(few)
        }
    }
    deserializer.deserialize_seq(Few::<T, LIMIT>(std::marker::PhantomData))
}
