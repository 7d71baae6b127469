//! Which entries of the packages are left out, by the definition's globs.

use std::sync::atomic::{AtomicBool, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// `exclude` and `keep` of a definition, compiled.
pub(super) struct Selection {
    exclude: Globs,
    keep: Globs,
}

struct Globs {
    texts: Vec<String>,
    set: GlobSet,
    /// Whether a glob has matched anything yet.
    used: Vec<AtomicBool>,
}

/// What is wrong with a definition's globs.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SelectionError {
    /// It is not a glob.
    #[error("the definition's pattern {pattern:?} is not a glob")]
    Malformed {
        /// The pattern.
        pattern: String,
        /// Why.
        source: globset::Error,
    },
    /// It matches no entry of any package.
    #[error("the definition's pattern {pattern:?} matches nothing in the packages: correct or remove it")]
    Unused {
        /// The pattern.
        pattern: String,
    },
}

impl Selection {
    pub(super) fn new(exclude: &[String], keep: &[String]) -> Result<Self, SelectionError> {
        Ok(Self { exclude: Globs::new(exclude)?, keep: Globs::new(keep)? })
    }

    /// Whether the entry at `path` goes into the root file system.
    pub(super) fn takes(&self, path: &str) -> bool {
        !self.exclude.matches(path) || self.keep.matches(path)
    }

    /// Whether every glob has matched something: one that does not is out of date, and what it was to leave out is in.
    pub(super) fn check_used(&self) -> Result<(), SelectionError> {
        for globs in [&self.exclude, &self.keep] {
            if let Some(unused) = globs.used.iter().position(|used| !used.load(Ordering::Relaxed)) {
                return Err(SelectionError::Unused { pattern: globs.texts[unused].clone() });
            }
        }
        Ok(())
    }
}

impl Globs {
    fn new(texts: &[String]) -> Result<Self, SelectionError> {
        let malformed = |pattern: &str, source| SelectionError::Malformed { pattern: pattern.to_owned(), source };
        let mut set = GlobSetBuilder::new();
        for text in texts {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            set.add(glob.map_err(|source| malformed(text, source))?);
        }
        Ok(Self {
            texts: texts.to_vec(),
            set: set.build().map_err(|source| malformed(&texts.join(" "), source))?,
            used: texts.iter().map(|_| AtomicBool::new(false)).collect(),
        })
    }

    fn matches(&self, path: &str) -> bool {
        let matches = self.set.matches(path);
        for index in &matches {
            self.used[*index].store(true, Ordering::Relaxed);
        }
        !matches.is_empty()
    }
}
