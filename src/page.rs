//! Shows what runs came to: reads reports and makes of them one HTML page, or Markdown, or JSON again. Pure but for reading.
//!
//! It never lets anything that a report says become markup, and the page asks nobody for anything: it has one style sheet
//! and one small script, both its own and both named by their digest in its content security policy, and works without
//! the script.
//!
//! # Why
//!
//! *Reports are strangers'.* A rebuilder publishes one, and somebody else opens the page on it. Each text in it is a
//! [`Said`], which has no way out but those that escape it. The page's markup comes from `maud`'s macro, which is checked when
//! it is compiled and escapes whatever is put into it: a template in Rust, so that a page and its types change together. What
//! else is well kept, `askama` and `minijinja`, has templates in a language of its own, with a filter that turns escaping
//! off; here a test holds that one function does, for two constants.
//!
//! *A page has an end.* A report may tell of ten thousand differences. What is left out is counted and said.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::store::Store;

mod said;
mod report;
mod list;
mod outline;
mod words;
mod mood;
mod grid;
mod html;
mod markdown;

pub use report::Report;
pub use said::Said;

/// The largest report that is read, in bytes. One of PostgreSQL has 40 KB, one with ten thousand differences 20 MB.
const REPORT_SIZE: u64 = 64 << 20;

/// The largest file list that is read, in bytes. PostgreSQL's have 600 KB.
const LIST_SIZE: u64 = 64 << 20;

/// How many reports make one page.
pub const RUNS: usize = 1000;

/// A report, and what is known beside it.
#[derive(Debug)]
pub struct Run {
    report: Report,
    /// Who built.
    rebuilder: Said,
    /// The first build's entries, all archives together; nothing where their lists are not to be had.
    files: Vec<list::Entry>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PageError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any that pgproof writes.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        limit: u64,
    },
    /// It is not of the format.
    #[error("it is not the report of a build")]
    Malformed {
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is of another version of the format.
    #[error("the report has format version {found}, this pgproof reads 1")]
    Format {
        /// The version it states.
        found: u32,
    },
    /// What it says cannot all be so.
    #[error("the report contradicts itself: {0}")]
    Contradiction(Contradiction),
    /// A file list is not of the format.
    #[error("line {line} of the file list is none of a file list")]
    List {
        /// Where, from 1.
        line: usize,
    },
    /// Something is wrong with the file of this name.
    #[error("{path} cannot be shown")]
    Of {
        /// The file.
        path: PathBuf,
        /// What.
        source: Box<PageError>,
    },
    /// More reports than make one page.
    #[error("{found} reports are more than the {RUNS} that make one page")]
    TooMany {
        /// How many there are.
        found: usize,
    },
}

/// Things in a report of which only one can be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two builds of one kind.
    #[error("both builds have the same label")]
    Labels,
    /// Compared with nothing.
    #[error("it has a verdict, and not two builds")]
    OneBuild,
    /// "Reproduced", with other digests.
    #[error("it says reproduced, and the builds' archives have different digests")]
    Different,
    /// "Not reproduced", with the same digests.
    #[error("it says not reproduced, and the builds' archives have the same digests")]
    Same,
    /// "Reproduced", without an archive.
    #[error("it says reproduced, and there is no archive")]
    Nothing,
    /// Differences where there are none, or more than there are.
    #[error("it lists more differences than it counts")]
    Differences,
    /// More entries differ than there are.
    #[error("more entries differ than were compared")]
    Counts,
    /// An entry that is in no build, or both changed and missing.
    #[error("an entry has to be in the first build only, in the second only, or changed")]
    Change,
    /// A directory with a size, or the like.
    #[error("an entry has fields of another kind of entry")]
    Content,
    /// Neither text nor digits, or both.
    #[error("an excerpt has to be either text or an even number of hexadecimal digits")]
    Excerpt,
    /// A negative duration, or one of more than a year.
    #[error("no build takes that long")]
    Duration,
}

impl Run {
    /// Reads a report and, where they are to be had, the lists of its first build's files: from beside the report or from the
    /// store, and only with the digests that the report states.
    pub fn read(path: &Path, store: Option<&Store>) -> Result<Self, PageError> {
        let bytes = read(path, REPORT_SIZE)?;
        let of = |source: PageError| PageError::Of { path: path.to_owned(), source: Box::new(source) };
        let report = Report::parse(&bytes).map_err(of)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut files = Vec::new();
        for archive in report.first_archives() {
            let beside = directory.join(format!("{}.files", archive.name));
            let Some(text) = list_of(archive.list, &beside, store) else { continue };
            files.extend(list::parse(&text).map_err(of)?);
        }
        let rebuilder = report.builder.clone().unwrap_or_else(|| home_of(path));
        Ok(Self { report, rebuilder, files })
    }

    /// A report without anything beside it, of this rebuilder.
    pub fn of(report: Report, rebuilder: Said) -> Self {
        Self { report, rebuilder, files: Vec::new() }
    }
}

/// One HTML file of all runs.
pub fn html(runs: &[Run]) -> String {
    html::document(runs)
}

/// Markdown of all runs that fits a comment on a pull request.
pub fn markdown(runs: &[Run]) -> String {
    markdown::document(runs)
}

/// All runs as they were understood.
pub fn json(runs: &[Run]) -> Value {
    let runs: Vec<_> = runs.iter().map(|run| json!({ "rebuilder": run.rebuilder, "report": run.report })).collect();
    json!({ "version": 1, "runs": runs })
}

/// The bytes of a file that is not larger than `limit`.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PageError> {
    let unreadable = |source| PageError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(PageError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// The file list of this digest, if it is to be had. That it is not is no error: a page without equal files is a page.
fn list_of(digest: Digest, beside: &Path, store: Option<&Store>) -> Option<Vec<u8>> {
    if let Some(bytes) = read(beside, LIST_SIZE).ok().filter(|bytes| Digest::of(bytes) == digest) {
        return Some(bytes);
    }
    let store = store?;
    let blob = store.find(digest).ok()?.filter(|blob| blob.size() <= LIST_SIZE)?;
    let mut bytes = Vec::new();
    let mut reader = store.read(blob).ok()?;
    reader.read_to_end(&mut bytes).ok()?;
    // Reading to the end is what verifies.
    (Digest::of(&bytes) == digest).then_some(bytes)
}

/// The name of the directory that a report lies in: where reports of several rebuilders are gathered, it tells them apart.
fn home_of(path: &Path) -> Said {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Said::new(&name.unwrap_or_default())
}
