//! A file tree as one normalised stream, and back.
//!
//! ```text
//! walk    a directory         -> tar     sorted, normalised; no link is followed
//! unpack  tar                 -> a directory; nothing is written outside of it
//! Reader  tar                 -> entries, each checked
//! Writer  entries             -> tar     in the order given
//! ```
//!
//! Writing never follows a link; unpacking never leaves its directory. Both treat every name and size as hostile. Nothing
//! here changes owners, reads extended attributes or holds more than one piece of a file in memory.
//!
//! # Why
//!
//! One form for trees, plain tar: an image layer, an installed tree on its way out of the box and the archive that is
//! published are all written by [`Writer`], so that they are normalised once, here.
//!
//! The `tar` crate encodes and decodes headers. Its `Builder` and `Archive` are not used: `Builder` rewrites link targets
//! (`./a//b` becomes `a/b`) and ends a half-written archive as if it were whole when it is dropped; `Archive` reads long
//! names and PAX records of any size into memory and takes a truncated archive for a complete one.

use std::io::{self, Read};
use std::path::PathBuf;

mod path;
mod read;
mod unpack;
mod walk;
mod write;

pub use path::EntryPath;
pub(crate) use path::check_text;
pub use read::{Entry, Member, Reader};
pub use unpack::{Modes, Options, Times, unpack};
pub use walk::{open_below, walk};
pub use write::Writer;
pub(crate) use write::encode;

/// Bytes that are read, written or hashed at once. Small enough to stay in a core's own cache between these.
const PIECE: usize = 256 << 10;

/// A tar block: the unit of headers and padding.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as bytes.
        target: Vec<u8>,
    },
}

/// How much of a stranger's tree is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries, and records about entries.
    pub entries: u64,
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Bytes of names that have to be remembered at once.
    pub names: u64,
}

impl Limits {
    /// Enough for a whole operating system, and still within pgproof's memory.
    pub const STANDARD: Self = Self { entries: 500_000, bytes: 16 << 30, names: 16 << 20 };

    /// Enough for what a build makes; the file lists of two builds are held in memory at once.
    pub const OUTPUT: Self = Self { entries: 100_000, bytes: 16 << 30, names: 8 << 20 };
}

/// What a tree consisted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many entries: directories, files and links.
    pub entries: u64,
    /// Bytes of content, all files together.
    pub bytes: u64,
}

/// Why a tree cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum TreeError {
    /// What the archive is read from failed.
    #[error("the archive cannot be read")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// What the archive is written to failed.
    #[error("the archive cannot be written")]
    Write {
        /// Why.
        source: io::Error,
    },
    /// The archive is no well-formed tar.
    #[error("the archive is malformed at byte {offset}: {defect}")]
    Malformed {
        /// Where the header of the entry starts.
        offset: u64,
        /// What is wrong there.
        defect: Defect,
    },
    /// An entry that is well-formed but unsafe or unwanted.
    #[error("{path:?} is refused: {refusal}")]
    Refused {
        /// The entry.
        path: PathBuf,
        /// Why it is refused.
        refusal: Refusal,
    },
    /// The tree is larger than any honest one.
    #[error("{path:?} is refused: the tree has more than {limit} {quantity}")]
    TooMuch {
        /// The entry that went too far.
        path: PathBuf,
        /// What there is too much of.
        quantity: Quantity,
        /// How much is accepted.
        limit: u64,
    },
    /// The file system said no.
    #[error("{path:?} cannot be {action}")]
    Io {
        /// What was to be done: `created`, `read`, ….
        action: &'static str,
        /// The entry.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How an archive breaks the tar format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// It stops before its end.
    #[error("it is truncated")]
    Truncated,
    /// A header's checksum or a number in it is wrong.
    #[error("this is not a tar header")]
    Header,
    /// A time that no file has.
    #[error("the time is out of range")]
    Time,
    /// A long name or PAX record.
    #[error("the extended header is malformed")]
    Extension,
    /// A long name or PAX record that is too long.
    #[error("the extended headers of one entry are longer than {} bytes", read::EXTENSION_LIMIT)]
    ExtensionSize,
    /// A long name or PAX record about nothing, or two about one entry.
    #[error("the extended header does not belong to exactly one entry")]
    ExtensionOwner,
    /// Something else than a file has content.
    #[error("an entry that is no file has content")]
    Content,
    /// Something hides where nothing belongs.
    #[error("the padding after the content is not zero")]
    Padding,
    /// Something follows the end.
    #[error("data follows the end of the archive")]
    Trailing,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `/etc/passwd`.
    #[error("its path is absolute")]
    Absolute,
    /// `a/../b`.
    #[error("its path has a \"..\"")]
    Parent,
    /// An empty path, a file's path that ends as a directory's does, or one with a NUL byte.
    #[error("its path is empty, has a NUL byte or names a directory")]
    Name,
    /// Too long for a path.
    #[error("its path is longer than {} bytes", path::LENGTH_LIMIT)]
    Length,
    /// Too deep.
    #[error("its path has more than {} components", path::DEPTH_LIMIT)]
    Depth,
    /// A line break, an escape sequence, a mark that turns the direction of writing, ….
    #[error("its name or link target has control characters")]
    Control,
    /// Bytes that are no text.
    #[error("its name or link target is not UTF-8")]
    Encoding,
    /// A device node, a fifo, a socket or a type that only some tar programs know.
    #[error("it is a {0}; only files, directories and links are accepted")]
    Type(&'static str),
    /// The set-user-id or set-group-id bit.
    #[error("it has a set-id bit")]
    SetId,
    /// There already is something of this name.
    #[error("there already is an entry of this name")]
    Duplicate,
    /// The entry's parent is a link or file.
    #[error("it lies below a link or file")]
    BelowLink,
    /// A hard link to what is no file unpacked before.
    #[error("it is a hard link to something else than a file that came before it")]
    HardLink,
    /// A link target that is empty or too long.
    #[error("its link target is empty, too long or has a NUL byte")]
    Target,
    /// A symbolic link that points outside.
    #[error("it is a symbolic link that is absolute or could lead out of the tree")]
    Escape,
    /// There is nothing left of its path.
    #[error("its path has too few components to strip")]
    Strip,
    /// It was not the same from its beginning to its end.
    #[error("it changed while it was read")]
    Changed,
}

/// What there can be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Quantity {
    /// [`Limits::entries`].
    #[error("entries")]
    Entries,
    /// [`Limits::bytes`].
    #[error("bytes of content")]
    Bytes,
    /// [`Limits::names`].
    #[error("bytes of names")]
    Names,
}

/// Counts what has been accepted.
struct Budget {
    limits: Limits,
    spent: Summary,
    records: u64,
    names: u64,
}

impl Budget {
    fn new(limits: Limits) -> Self {
        Self { limits, spent: Summary::default(), records: 0, names: 0 }
    }

    fn entry(&mut self, path: &[u8]) -> Result<(), TreeError> {
        self.spent.entries += 1;
        self.record(path)
    }

    /// A header that is no entry costs as much as one.
    fn record(&mut self, path: &[u8]) -> Result<(), TreeError> {
        self.records += 1;
        within(self.records, self.limits.entries, Quantity::Entries, path)
    }

    fn bytes(&mut self, count: u64, path: &[u8]) -> Result<(), TreeError> {
        self.spent.bytes = self.spent.bytes.saturating_add(count);
        within(self.spent.bytes, self.limits.bytes, Quantity::Bytes, path)
    }

    fn name(&mut self, length: usize, path: &[u8]) -> Result<(), TreeError> {
        self.names += length as u64;
        within(self.names, self.limits.names, Quantity::Names, path)
    }
}

fn within(spent: u64, limit: u64, quantity: Quantity, path: &[u8]) -> Result<(), TreeError> {
    if spent <= limit { Ok(()) } else { Err(TreeError::TooMuch { path: shown(path), quantity, limit }) }
}

/// Bytes as the path that an error names; its `Debug` form escapes what a terminal must not see.
fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(&path[..path.len().min(path::LENGTH_LIMIT)]).into()
}

fn refused(path: &[u8], refusal: Refusal) -> TreeError {
    TreeError::Refused { path: shown(path), refusal }
}

fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(nix::errno::Errno) -> TreeError {
    move |errno| TreeError::Io { action, path: shown(path), source: errno.into() }
}

/// Reads until `buffer` is full or the end; gives how much there was.
fn read_full(mut reader: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
