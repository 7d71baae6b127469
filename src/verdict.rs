//! Compares two outputs: reproduced, or what differs. Pure.
//!
//! A difference is an answer, not an error. What it was caused by is not said here.
//!
//! # Why
//!
//! [`Reproduced`] has no other maker than [`Comparison::verdict`]: who holds one holds an output that was made twice, and
//! only such an output can be published or stated. Equal file lists in equal tars cannot give different archives; all three
//! digests are compared nevertheless, because what cannot happen is a fault that a proof must not hide.

use std::cmp::Ordering;
use std::fmt;

use serde::Serialize;

use crate::digest::Digest;
use crate::output::{Content, Listed, Output};

/// Two outputs, compared.
#[derive(Debug)]
pub struct Comparison<'a> {
    first: &'a Output,
    second: &'a Output,
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

/// An output that was made twice with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproduced {
    output: Output,
}

/// How two outputs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// The first output's digests.
    pub first: Digests,
    /// The second output's digests.
    pub second: Digests,
    /// How many entries both have together, equal ones counted once.
    pub compared: usize,
    /// The entries that differ, in the order of the archive. Empty only if the digests differ without any entry differing.
    pub entries: Vec<Difference>,
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
    /// Compares two outputs, entry by entry.
    pub fn between(first: &'a Output, second: &'a Output) -> Self {
        let (mut ours, mut theirs) = (first.files().iter().peekable(), second.files().iter().peekable());
        let mut entries = Vec::new();
        loop {
            // Both are sorted: the smaller path of the two is missing on the other side.
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return Self { first, second, entries },
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
        let (first, second) = (Digests::of(self.first), Digests::of(self.second));
        if self.entries.is_empty() && first == second && self.first.name() == self.second.name() {
            return Verdict::Reproduced(Reproduced { output: self.first.clone() });
        }
        let added = self.entries.iter().filter(|entry| matches!(entry.change, Change::OnlyInSecond(_))).count();
        let compared = self.first.files().len() + added;
        Verdict::Different(Differences { first, second, compared, entries: self.entries })
    }
}

impl Reproduced {
    /// The output that both builds made.
    pub fn output(&self) -> &Output {
        &self.output
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
        let Differences { first, second, compared, entries } = self.differences;
        if entries.is_empty() {
            writeln!(f, "all {compared} entries are equal, but the digests are not:")?;
            for (name, first, second) in [
                ("file list", first.list, second.list),
                ("tar", first.tar, second.tar),
                ("archive", first.archive, second.archive),
            ] {
                writeln!(f, "  {name}: {first} in the first build, {second} in the second")?;
            }
            return Ok(());
        }
        writeln!(f, "{} of {compared} entries differ:", entries.len())?;
        for entry in entries.iter().take(self.limit) {
            writeln!(f, "  {entry}")?;
        }
        if entries.len() > self.limit {
            writeln!(f, "  and {} more", entries.len() - self.limit)?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of an archive is below one directory: its name would tell nothing, and push what does out of sight.
        let path = self.path.split_once('/').map_or(self.path.as_str(), |(_top, inside)| inside);
        match &self.change {
            Change::OnlyInFirst(content) => write!(f, "{path}: only in the first build ({})", Described(content)),
            Change::OnlyInSecond(content) => write!(f, "{path}: only in the second build ({})", Described(content)),
            Change::Changed { first, second } => {
                write!(f, "{path}: ")?;
                changed(f, first, second)
            }
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
