//! What a package puts into the root file system, read from its data member.
//!
//! Contents go to a scratch file, names stay in memory; nothing is created under a name that a package chose. Owners, times
//! and set-id bits are dropped, modes become one of three, hard links become copies. What is no file, directory or link is
//! refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::deb::{Deb, DebError};
use super::limits;
use super::path::{NameError, Place, is_merged_link};
use super::selection::Selection;
use crate::store::{Blob, Store, StoreError};
use crate::tree::{self, Limits, Member, TreeError};

const BUFFER_BYTES: usize = 256 << 10;

/// What to put into the root file system, in the package's own order.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    scratch: Arc<File>,
}

/// A file, directory or symbolic link.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) node: Node,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Node {
    /// A directory; `shared`: anyone may write into it, as into `/tmp`.
    Directory { shared: bool },
    /// A regular file.
    File(Content),
    /// A symbolic link.
    Symlink { target: String },
}

/// A regular file's bytes in the scratch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) executable: bool,
    pub(super) size: u64,
    start: u64,
}

/// A thread's scratch file: unnamed, so that it vanishes with the process however that ends.
pub(super) struct Scratch<'store> {
    store: &'store Store,
    file: Arc<File>,
    end: u64,
}

/// What all packages together have taken so far.
#[derive(Debug, Default)]
pub(super) struct Totals {
    bytes: AtomicU64,
    entries: AtomicU64,
    name_bytes: AtomicU64,
}

/// Reads contents back, most quickly in ascending order.
pub(super) struct ContentReader {
    buffered: BufReader<At>,
    position: u64,
}

struct At {
    file: Arc<File>,
    offset: u64,
}

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PackageError {
    /// The store cannot give it, or what it gives is damaged.
    #[error("it cannot be read from the store")]
    Store(#[source] StoreError),
    /// As before, found while it was being read.
    #[error("it cannot be read from the store")]
    Blob(#[source] io::Error),
    /// Its container is malformed.
    #[error("it is malformed")]
    Container(#[from] DebError),
    /// Its data need more memory to decompress than any package should.
    #[error("its data need more than {limit} KiB of memory to decompress", limit = limits::LONE_DECODER_KIB)]
    Memory,
    /// Its data cannot be decompressed, are no tar, or have an entry that is refused wherever it comes from.
    #[error("its data are refused after {after}")]
    Data {
        /// The last entry before that, or their start.
        after: String,
        /// Why.
        source: TreeError,
    },
    /// An entry's name is not one to create.
    #[error("the name of its entry {entry:?} {problem}")]
    Name {
        /// The name as it is in the package.
        entry: String,
        /// Which rule it breaks.
        problem: NameError,
    },
    /// A symbolic link's target is not one to follow.
    #[error("the target {target:?} of its link {entry:?} {problem}")]
    Target {
        /// The link.
        entry: String,
        /// Its target.
        target: String,
        /// Which rule it breaks.
        problem: NameError,
    },
    /// A hard link to something that is not a file before it in the same package.
    #[error(
        "its entry {entry:?} is a hard link to {target:?}, which is no file before it in the package, or is left out"
    )]
    HardLink {
        /// The link.
        entry: String,
        /// Its target.
        target: String,
    },
    /// More than any set of packages has.
    #[error("at its entry {entry:?} there are more than {limit} {unit} in all packages")]
    TooMuch {
        /// The entry.
        entry: String,
        /// How much is allowed.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// The scratch file cannot be written.
    #[error("its entry {entry:?} cannot be written to the store's scratch space")]
    Scratch {
        /// The entry.
        entry: String,
        /// Why.
        source: StoreError,
    },
}

impl Contents {
    /// Reads a package. `memory_kib` bounds the decoder; `None` is the answer if it needs more.
    pub(super) fn read(
        store: &Store,
        blob: Blob,
        selection: &Selection,
        scratch: &mut Scratch<'_>,
        totals: &Totals,
        memory_kib: u32,
    ) -> Result<Option<Self>, PackageError> {
        let blob = store.read(blob).map_err(PackageError::Store)?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, blob);
        match parse(&mut reader, selection, scratch, totals, memory_kib) {
            Ok(entries) => Ok(Some(Self { entries, scratch: Arc::clone(&scratch.file) })),
            Err(problem) => {
                // A blob that was changed on disk is no news about the package: say that instead.
                reader.into_inner().finish().map_err(PackageError::Blob)?;
                if needs_memory(&problem) { Ok(None) } else { Err(problem) }
            }
        }
    }

    /// A reader of the files' contents.
    pub(super) fn reader(&self) -> ContentReader {
        ContentReader { buffered: at(&self.scratch, 0), position: 0 }
    }
}

fn needs_memory(problem: &PackageError) -> bool {
    matches!(problem, PackageError::Data { source: TreeError::Read { source }, .. } if source.kind() == io::ErrorKind::OutOfMemory)
}

fn parse(
    reader: &mut impl io::BufRead,
    selection: &Selection,
    scratch: &mut Scratch<'_>,
    totals: &Totals,
    memory_kib: u32,
) -> Result<Vec<Entry>, PackageError> {
    let mut deb = Deb::open(reader)?;
    let after = || "their start".to_owned();
    let decoder = deb.decoder(memory_kib);
    let decoder =
        decoder.map_err(|source| PackageError::Data { after: after(), source: TreeError::Read { source } })?;
    let limits = Limits { entries: limits::ENTRIES, bytes: limits::TOTAL_BYTES, names: limits::NAME_BYTES };
    let archive = tree::Reader::new(Bounded { inner: decoder, count: 0 }, limits);
    let mut data = Data { archive, after: after(), selection, scratch, totals, files: BTreeMap::new() };
    let entries = data.read()?;
    drop(data);
    deb.finish()?;
    Ok(entries)
}

/// A data member on its way in.
struct Data<'a, 'store, R> {
    archive: tree::Reader<R>,
    /// The last entry whose headers were read, for errors.
    after: String,
    selection: &'a Selection,
    scratch: &'a mut Scratch<'store>,
    totals: &'a Totals,
    /// The files so far that are not left out: what a hard link may name.
    files: BTreeMap<Place, Content>,
}

impl<R: Read> Data<'_, '_, R> {
    fn read(&mut self) -> Result<Vec<Entry>, PackageError> {
        let mut entries = Vec::new();
        while let Some(entry) = self.archive.next().map_err(|source| refused(&self.after, source))? {
            self.after = format!("{:?}", shown(entry.path.as_bytes()));
            if entry.path.is_root() && entry.member == Member::Directory {
                continue;
            }
            let place = Place::of(&entry.path)
                .map_err(|problem| PackageError::Name { entry: shown(entry.path.as_bytes()), problem })?;
            if let Some(node) = self.node(&entry, &place)? {
                entries.push(Entry { place, node });
            }
        }
        Ok(entries)
    }

    /// What to put at `place`; `None` if it is left out.
    fn node(&mut self, entry: &tree::Entry, place: &Place) -> Result<Option<Node>, PackageError> {
        let path = entry.path.as_bytes();
        let too_much = |(limit, unit)| PackageError::TooMuch { entry: shown(path), limit, unit };
        let target_bytes = if let Member::Symlink { target } = &entry.member { target.len() } else { 0 };
        self.totals.count_entry(place.as_str().len() + target_bytes).map_err(too_much)?;

        let selected = self.selection.takes(place.as_str());
        let node = match &entry.member {
            Member::Directory => Node::Directory { shared: entry.mode & 0o1002 == 0o1002 },
            Member::Symlink { target } => {
                let wrong = |problem| PackageError::Target { entry: shown(path), target: shown(target), problem };
                let target = place.target(target).map_err(wrong)?;
                if is_merged_link(&entry.path, &target) {
                    return Ok(None);
                }
                Node::Symlink { target }
            }
            Member::File { size } if selected => {
                self.totals.count_bytes(*size).map_err(too_much)?;
                let executable = entry.mode & 0o111 != 0;
                let content = Content { executable, size: *size, start: self.scratch.end };
                self.keep_content(path)?;
                self.files.insert(place.clone(), content);
                Node::File(content)
            }
            Member::HardLink { target } if selected => {
                let content = Place::of(target).ok().and_then(|target| self.files.get(&target).copied());
                let broken = || PackageError::HardLink { entry: shown(path), target: shown(target.as_bytes()) };
                let content = content.ok_or_else(broken)?;
                self.totals.count_bytes(content.size).map_err(too_much)?;
                Node::File(content)
            }
            Member::File { .. } | Member::HardLink { .. } => return Ok(None),
        };
        Ok(selected.then_some(node))
    }

    /// Copies the current entry's content to the end of the scratch file.
    fn keep_content(&mut self, path: &[u8]) -> Result<(), PackageError> {
        loop {
            let piece = self.archive.piece().map_err(|source| refused(&self.after, source))?;
            if piece.is_empty() {
                return Ok(());
            }
            let written = self.scratch.file.write_all_at(piece, self.scratch.end);
            written.map_err(|source| PackageError::Scratch {
                entry: shown(path),
                source: self.scratch.store.scratch_error(source),
            })?;
            self.scratch.end += piece.len() as u64;
        }
    }
}

impl<'store> Scratch<'store> {
    pub(super) fn new(store: &'store Store) -> Result<Self, StoreError> {
        Ok(Self { store, file: Arc::new(store.scratch()?), end: 0 })
    }
}

impl Totals {
    fn count_entry(&self, name_bytes: usize) -> Result<(), (u64, &'static str)> {
        within(&self.entries, 1, limits::ENTRIES, "entries")?;
        within(&self.name_bytes, name_bytes as u64, limits::NAME_BYTES, "bytes of names")
    }

    fn count_bytes(&self, bytes: u64) -> Result<(), (u64, &'static str)> {
        within(&self.bytes, bytes, limits::TOTAL_BYTES, "bytes of content")
    }
}

fn within(total: &AtomicU64, more: u64, limit: u64, unit: &'static str) -> Result<(), (u64, &'static str)> {
    let total = total.fetch_add(more, Ordering::Relaxed).saturating_add(more);
    if total <= limit { Ok(()) } else { Err((limit, unit)) }
}

impl ContentReader {
    /// The bytes of `content`.
    pub(super) fn read(&mut self, content: Content) -> impl Read {
        if self.position != content.start {
            self.buffered = at(&self.buffered.get_ref().file, content.start);
        }
        self.position = content.start + content.size;
        self.buffered.by_ref().take(content.size)
    }
}

fn at(file: &Arc<File>, offset: u64) -> BufReader<At> {
    BufReader::with_capacity(BUFFER_BYTES, At { file: Arc::clone(file), offset })
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Gives an error once a decompressor has given more than [`limits::PACKAGE_BYTES`].
struct Bounded<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        if self.count > limits::PACKAGE_BYTES {
            let problem = format!("it decompresses to more than {} bytes", limits::PACKAGE_BYTES);
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(count)
    }
}

fn refused(after: &str, source: TreeError) -> PackageError {
    PackageError::Data { after: after.to_owned(), source }
}

/// A stranger's name, for an error that quotes it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
