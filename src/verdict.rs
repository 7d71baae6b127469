//! Compares what two builds made: reproduced, or what differs. Pure.
//!
//! A difference is an answer, not an error. What it was caused by is not said here.
//!
//! # Why
//!
//! [`Reproduced`] has no other maker than [`Comparison::verdict`]: who holds one holds outputs that were made twice. Equal
//! file lists in equal tars cannot give different archives; all three digests are compared nevertheless, because what cannot
//! happen is a fault that a proof must not hide.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use crate::digest::Digest;
use crate::lockfile::Name;
use crate::output::{Content, Listed, Output};

/// What two builds of one plan made, compared.
#[derive(Debug)]
pub struct Comparison<'a> {
    first: &'a [Output],
    second: &'a [Output],
    entries: Vec<Difference>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Both are the same, byte for byte.
    Reproduced(Reproduced),
    /// They are not.
    Different(Differences),
}

/// Outputs that were made twice with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproduced {
    outputs: Vec<Output>,
}

/// How what two builds made differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// The digests of every archive, equal ones too.
    pub archives: Vec<Pair>,
    /// How many entries both have together, equal ones counted once.
    pub compared: usize,
    /// The entries that differ, in the order of the archives. Empty only if the digests differ without any entry differing.
    pub entries: Vec<Difference>,
}

/// The digests of an archive in both builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The archive's stem.
    pub name: Name,
    /// In the first build.
    pub first: Digests,
    /// In the second build.
    pub second: Digests,
}

/// The digests of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Digests {
    /// Of the file list.
    pub list: Digest,
    /// Of the plain tar.
    pub tar: Digest,
    /// Of the compressed archive.
    pub archive: Digest,
}

/// An entry that is not in both outputs as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where it is, from the top-level directory.
    pub path: String,
    /// How it differs.
    #[serde(flatten)]
    pub change: Change,
}

/// How an entry differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is in the first output only.
    OnlyInFirst(Content),
    /// It is in the second output only.
    OnlyInSecond(Content),
    /// It is in both, but not the same.
    Changed {
        /// What it is in the first output.
        first: Content,
        /// What it is in the second output.
        second: Content,
    },
}

/// [`Differences`] for a person to read, with so many entries at most.
#[derive(Debug, Clone, Copy)]
pub struct Limited<'a> {
    differences: &'a Differences,
    limit: usize,
}

impl<'a> Comparison<'a> {
    /// Compares the outputs of two builds of one plan, entry by entry. Both have the plan's archives in one order.
    pub fn between(first: &'a [Output], second: &'a [Output]) -> Self {
        let entries = first.iter().zip(second).flat_map(|(one, other)| Self::entries(one, other)).collect();
        Self { first, second, entries }
    }

    fn entries(first: &Output, second: &Output) -> Vec<Difference> {
        let (mut ours, mut theirs) = (first.files().iter().peekable(), second.files().iter().peekable());
        let mut entries = Vec::new();
        loop {
            // Both are sorted: the smaller path of the two is missing on the other side.
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return entries,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.path.split('/').cmp(other.path.split('/')),
            };
            let one = ours.next_if(|_| order.is_le());
            let other = theirs.next_if(|_| order.is_ge());
            entries.extend(Difference::between(one, other));
        }
    }

    /// Says what the comparison found.
    pub fn verdict(self) -> Verdict {
        let name = |output: &Output| (output.name().clone(), Digests::of(output));
        if self.entries.is_empty() && self.first.iter().map(name).eq(self.second.iter().map(name)) {
            return Verdict::Reproduced(Reproduced { outputs: self.first.to_vec() });
        }
        let added = self.entries.iter().filter(|entry| matches!(entry.change, Change::OnlyInSecond(_))).count();
        let compared = self.first.iter().map(|output| output.files().len()).sum::<usize>() + added;
        let pair = |(first, second): (&Output, &Output)| Pair {
            name: first.name().clone(),
            first: Digests::of(first),
            second: Digests::of(second),
        };
        let archives = self.first.iter().zip(self.second).map(pair).collect();
        Verdict::Different(Differences { archives, compared, entries: self.entries })
    }
}

impl Reproduced {
    /// What both builds made: the plan's archive first, then its parts.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }
}

impl Digests {
    /// The digests of `output`.
    pub fn of(output: &Output) -> Self {
        Self { list: output.list().digest(), tar: output.tar().digest(), archive: output.archive().digest() }
    }
}

impl Difference {
    fn between(first: Option<&Listed>, second: Option<&Listed>) -> Option<Self> {
        let (path, change) = match (first, second) {
            (Some(first), None) => (&first.path, Change::OnlyInFirst(first.content.clone())),
            (None, Some(second)) => (&second.path, Change::OnlyInSecond(second.content.clone())),
            (Some(first), Some(second)) if first.content != second.content => {
                (&first.path, Change::Changed { first: first.content.clone(), second: second.content.clone() })
            }
            _ => return None,
        };
        Some(Self { path: path.clone(), change })
    }
}

impl Differences {
    /// The differences for a person to read: a line for each of the first `limit` entries, and how many more there are.
    pub fn limited(&self, limit: usize) -> Limited<'_> {
        Limited { differences: self, limit }
    }
}

impl fmt::Display for Limited<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Differences { archives, compared, entries } = self.differences;
        if entries.is_empty() {
            writeln!(f, "all {compared} entries are equal, but the digests are not:")?;
            for Pair { name, first, second } in archives.iter().filter(|pair| pair.first != pair.second) {
                writeln!(f, "{name}")?;
                for (what, first, second) in [
                    ("file list", first.list, second.list),
                    ("tar", first.tar, second.tar),
                    ("archive", first.archive, second.archive),
                ] {
                    writeln!(f, "  {what}: {first} in the first build, {second} in the second")?;
                }
            }
            return Ok(());
        }
        writeln!(f, "{} of {compared} entries differ:", entries.len())?;
        // Nearly all is below the first archive's directory: its name would tell nothing, and push what does out of sight.
        let top = archives.first().map(|pair| format!("{}/", pair.name)).unwrap_or_default();
        for entry in entries.iter().take(self.limit) {
            let path = entry.path.strip_prefix(&top).unwrap_or(&entry.path);
            writeln!(f, "  {path}: {}", entry.change)?;
        }
        if entries.len() > self.limit {
            writeln!(f, "  and {} more", entries.len() - self.limit)?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyInFirst(content) => write!(f, "only in the first build ({})", Described(content)),
            Self::OnlyInSecond(content) => write!(f, "only in the second build ({})", Described(content)),
            Self::Changed { first, second } => changed(f, first, second),
        }
    }
}

/// Says of an entry that is in both outputs what about it differs.
fn changed(f: &mut fmt::Formatter<'_>, first: &Content, second: &Content) -> fmt::Result {
    match (first, second) {
        (
            Content::File { size, digest, executable, format },
            Content::File { size: size_2, digest: digest_2, executable: executable_2, format: format_2 },
        ) => {
            if format == format_2 {
                write!(f, "{format}")?;
            } else {
                write!(f, "{format} → {format_2}")?;
            }
            if size != size_2 {
                write!(f, ", {size} → {size_2} bytes")?;
            } else if digest != digest_2 {
                write!(f, ", other content in the same {size} bytes")?;
            }
            if executable != executable_2 {
                write!(f, ", mode {:04o} → {:04o}", first.mode(), second.mode())?;
            }
            Ok(())
        }
        _ => write!(f, "{} → {}", Described(first), Described(second)),
    }
}

/// What an entry is, in words.
struct Described<'a>(&'a Content);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Content::Directory => f.write_str("directory"),
            Content::File { size, format, .. } => write!(f, "{format}, {size} bytes"),
            Content::Symlink { target } => write!(f, "symbolic link to {target}"),
        }
    }
}
