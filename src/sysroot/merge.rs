//! Everything in one layer: the definition's own entries first, then package by package.
//!
//! Knows every path written so far, so that no two packages write one file and nothing is written through a link.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::package::{Contents, Entry, Node};
use super::path::{NameError, Place};
use crate::tree;

const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;
const DIRECTORY_MODE: u32 = 0o755;
const SHARED_DIRECTORY_MODE: u32 = 0o1777;

/// A layer on its way out.
pub(super) struct Merge<W: Write> {
    writer: tree::Writer<W>,
    known: BTreeMap<String, Known>,
    /// Who brings entries: the definition, then packages.
    owners: Vec<String>,
}

struct Known {
    node: KnownNode,
    owner: usize,
}

#[derive(PartialEq, Eq)]
enum KnownNode {
    Directory { shared: bool },
    File,
    Symlink { target: String },
}

/// Why two packages do not fit into one root file system, or the layer cannot be written.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum MergeError {
    /// Two bring the same path.
    #[error("both {first} and {second} have {path:?}")]
    Conflict {
        /// The path.
        path: String,
        /// Who brought it first.
        first: String,
        /// Who brings it too.
        second: String,
    },
    /// One brings the same path twice.
    #[error("{owner} has {path:?} twice")]
    Twice {
        /// The path.
        path: String,
        /// Who brings it.
        owner: String,
    },
    /// An entry lies below something that is no directory: writing it would follow a link.
    #[error("{second} has {path:?}, but {parent:?} of {first} is no directory")]
    BelowNoDirectory {
        /// The entry.
        path: String,
        /// Which of its parents is none.
        parent: String,
        /// Who brought the parent.
        first: String,
        /// Who brings the entry.
        second: String,
    },
    /// A package's name makes no file name.
    #[error("{path:?} {problem}")]
    Name {
        /// The file that would have it.
        path: String,
        /// Which rule it breaks.
        problem: NameError,
    },
    /// The layer cannot be written.
    #[error("the layer cannot be written to the store")]
    Write(#[from] io::Error),
}

impl<W: Write> Merge<W> {
    /// Writes to `out`. `epoch` is every entry's time, in seconds since 1970.
    pub(super) fn new(out: W, epoch: u32) -> Self {
        Self { writer: tree::Writer::new(out, epoch), known: BTreeMap::new(), owners: Vec::new() }
    }

    /// The entries that follow are those of `owner`.
    pub(super) fn start(&mut self, owner: String) {
        self.owners.push(owner);
    }

    /// Adds a package.
    pub(super) fn package(&mut self, contents: &Contents) -> Result<(), MergeError> {
        let mut reader = contents.reader();
        for Entry { place, node } in &contents.entries {
            match node {
                Node::Directory { shared } => self.directory(place, *shared)?,
                Node::Symlink { target } => self.symlink(place, target)?,
                Node::File(content) => self.file(place, content.executable, content.size, reader.read(*content))?,
            }
        }
        Ok(())
    }

    /// Adds a directory.
    pub(super) fn directory(&mut self, place: &Place, shared: bool) -> Result<(), MergeError> {
        if self.is_new(place, KnownNode::Directory { shared })? {
            let mode = if shared { SHARED_DIRECTORY_MODE } else { DIRECTORY_MODE };
            self.writer.append(place.as_str().as_bytes(), &tree::Kind::Directory, mode, io::empty())?;
        }
        Ok(())
    }

    /// Adds a symbolic link.
    pub(super) fn symlink(&mut self, place: &Place, target: &str) -> Result<(), MergeError> {
        if self.is_new(place, KnownNode::Symlink { target: target.to_owned() })? {
            let kind = tree::Kind::Symlink { target: target.as_bytes().to_vec() };
            self.writer.append(place.as_str().as_bytes(), &kind, 0o777, io::empty())?;
        }
        Ok(())
    }

    /// Adds a file of `size` bytes.
    pub(super) fn file(
        &mut self,
        place: &Place,
        executable: bool,
        size: u64,
        content: impl io::Read,
    ) -> Result<(), MergeError> {
        if !self.is_new(place, KnownNode::File)? {
            return Err(self.conflict(place));
        }
        let mode = if executable { EXECUTABLE_MODE } else { FILE_MODE };
        Ok(self.writer.append(place.as_str().as_bytes(), &tree::Kind::File { size }, mode, content)?)
    }

    /// What each owner brought first, in the order in which they were started: absolute paths, sorted.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = vec![Vec::new(); self.owners.len()];
        for (path, known) in &self.known {
            paths[known.owner].push(format!("/{path}"));
        }
        paths
    }

    /// Writes the end of the layer.
    pub(super) fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }

    /// Notes that there is `node` at `path`: false if just that is there already.
    fn is_new(&mut self, place: &Place, node: KnownNode) -> Result<bool, MergeError> {
        let owner = self.owners.len() - 1;
        if let Some(known) = self.known.get(place.as_str()) {
            return if known.node == node { Ok(false) } else { Err(self.conflict(place)) };
        }
        for parent in place.ancestors() {
            match self.known.get(parent) {
                Some(Known { node: KnownNode::Directory { .. }, .. }) => {}
                Some(Known { owner, .. }) => {
                    return Err(MergeError::BelowNoDirectory {
                        path: place.as_str().to_owned(),
                        parent: parent.to_owned(),
                        first: self.owners[*owner].clone(),
                        second: self.newest_owner(),
                    });
                }
                // Left out by the definition, but something below stays.
                None => {
                    let node = KnownNode::Directory { shared: false };
                    self.known.insert(parent.to_owned(), Known { node, owner });
                    self.writer.append(parent.as_bytes(), &tree::Kind::Directory, DIRECTORY_MODE, io::empty())?;
                }
            }
        }
        self.known.insert(place.as_str().to_owned(), Known { node, owner });
        Ok(true)
    }

    fn conflict(&self, place: &Place) -> MergeError {
        let path = place.as_str().to_owned();
        let second = self.newest_owner();
        match self.known.get(&path) {
            Some(Known { owner, .. }) if owner + 1 < self.owners.len() => {
                MergeError::Conflict { path, first: self.owners[*owner].clone(), second }
            }
            _ => MergeError::Twice { path, owner: second },
        }
    }

    fn newest_owner(&self) -> String {
        self.owners.last().cloned().unwrap_or_default()
    }
}
