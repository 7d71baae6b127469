//! Makes one archive of a build's tree, and publishes it.
//!
//! Reads a normalised tar from the store once and makes of it what is published: the file list and the compressed archive.
//! It never normalises: a tar that does not keep the archive's contract is an error, because whatever wrote it is wrong.
//!
//! The contract: one top-level directory, named as the archive; every directory has an entry, before what it contains; no
//! hard links; sorted; owner 0:0 without names; one time; modes 0755 and 0644 (links 0777); symbolic links stay inside.
//!
//! # Why
//!
//! Three digests are published, of the file list, of the tar and of the compressed archive, so that another compressor, or
//! another way to write a tar, cannot make equal content look different.
//!
//! That a tar keeps the contract is found out by writing each header anew from what was read of it, and comparing the bytes:
//! nothing that a tar can say and a reader might overlook can differ.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::{Digest, Hasher, Sha512};
use crate::lockfile::Name;
use crate::store::{Blob, Store, StoreError};
use crate::tree::{self, EntryPath, Kind, Limits, Member, Reader, TreeError};

mod format;
pub mod gzip;
mod list;

pub use format::Format;

/// What a build made: an archive in three forms, each in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    name: Name,
    list: Blob,
    tar: Blob,
    archive: Blob,
    files: Vec<Listed>,
}

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is, from the top-level directory.
    pub path: String,
    /// What it is.
    pub content: Content,
}

/// What an entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The digest of its bytes.
        digest: Digest,
        /// Whether its mode is 0755 rather than 0644.
        executable: bool,
        /// What it is, from its first bytes. Does not go into the file list.
        format: Format,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points; inside of the archive.
        target: String,
    },
}

/// A file that is published with an archive.
#[derive(Debug, Clone, Copy)]
pub struct Companion<'a> {
    /// Its file name.
    pub name: &'a Name,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// The digests of a published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its SHA-512.
    pub sha512: Sha512,
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum OutputError {
    /// The store failed.
    #[error("the archive cannot be kept in the store")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The tar cannot be read.
    #[error("the build's tree cannot be read from the store")]
    Tree {
        /// Why.
        source: TreeError,
    },
    /// The tar does not keep the contract.
    #[error("{path:?} breaks the archive's contract: {breach}")]
    Contract {
        /// The entry.
        path: PathBuf,
        /// How.
        breach: Breach,
    },
    /// Compressing failed, or there was no place for what came out of it.
    #[error("the archive cannot be compressed")]
    Compress {
        /// Why.
        source: io::Error,
    },
    /// A published file cannot be written.
    #[error("{path} cannot be {action}")]
    Publish {
        /// What was to be done: `written`, ….
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `SHA256SUMS` of somebody else.
    #[error("{path}, line {line}, is not \"<SHA-256>  <file>\"; move the file away, or publish into another directory")]
    Sums {
        /// The file.
        path: PathBuf,
        /// Where in it.
        line: usize,
    },
}

/// How a tar breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Not in the one top-level directory.
    #[error("it is not in the one top-level directory")]
    TopLevel,
    /// Entries are not sorted, or one is there twice.
    #[error("it is not in its place in the order")]
    Order,
    /// A directory has no entry.
    #[error("there is no entry for the directory that it is in")]
    Parent,
    /// A hard link.
    #[error("it is a hard link")]
    HardLink,
    /// Mode bits other than the two.
    #[error("its mode is not 0755 for a directory, 0755 or 0644 for a file, 0777 for a symbolic link")]
    Mode,
    /// A symbolic link that points outside.
    #[error("it is a symbolic link that is absolute or could lead out")]
    Escape,
    /// Not printable.
    #[error("its name or link target is not plain UTF-8 text")]
    Text,
    /// Another time, an owner, a form of header that is not ours.
    #[error("its header is not in the normal form")]
    Header,
    /// Padding after the last entry, or none.
    #[error("the archive's end is not in the normal form")]
    End,
    /// More names than fit into memory.
    #[error("all names together are longer than {} bytes", Limits::OUTPUT.names)]
    Names,
}

/// Makes an [`Output`] of the normalised tar `tar`, whose top-level directory is `name` and whose times are `epoch`.
pub fn collect(tar: Blob, name: &Name, epoch: u32, store: &Store) -> Result<Output, OutputError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let archive = gzip::Encoder::new(BufWriter::new(store.incoming()?), threads)
        .map_err(|source| OutputError::Compress { source })?;
    let mut tee = Tee { inner: store.read(tar)?, copy: archive, failure: None };
    let checked = check(Reader::new(&mut tee, Limits::OUTPUT), tar, name, epoch);
    if let Some(source) = tee.failure {
        return Err(OutputError::Compress { source });
    }
    let files = checked?;
    let compress = |source| OutputError::Compress { source };
    let archive = tee.copy.finish().map_err(compress)?;
    let archive = archive.into_inner().map_err(|error| compress(error.into_error()))?.commit()?;

    let mut list = BufWriter::new(store.incoming()?);
    let written = |source| StoreError::Io { action: "written to", path: store.root().to_owned(), source };
    list.write_all(list::HEADING.as_bytes()).map_err(written)?;
    for entry in &files {
        list.write_all(list::line(entry).as_bytes()).map_err(written)?;
    }
    let list = list.into_inner().map_err(|error| written(error.into_error()))?.commit()?;
    Ok(Output { name: name.clone(), list, tar, archive, files })
}

/// Copies what is read, and remembers why it could not.
struct Tee<R, W> {
    inner: R,
    copy: W,
    failure: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.copy.write_all(&buffer[..count]).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            io::Error::from(kind)
        })?;
        Ok(count)
    }
}

/// Reads the tar to its end and holds it against the contract.
fn check(mut reader: Reader<impl Read>, tar: Blob, name: &Name, epoch: u32) -> Result<Vec<Listed>, OutputError> {
    let tree = |source| OutputError::Tree { source };
    let name = name.to_string();
    let inside = format!("{name}/").into_bytes();
    let mut files = Vec::new();
    // The directories that the last entry is in, itself included.
    let mut around: Vec<EntryPath> = Vec::new();
    let mut previous: Option<EntryPath> = None;
    let mut length = END;
    let mut names = 0;
    while let Some(entry) = reader.next().map_err(tree)? {
        let path = entry.path;
        let breach = |breach| contract(&path, breach);
        let top = path.as_bytes() == name.as_bytes() && entry.member == Member::Directory;
        if !top && !path.as_bytes().starts_with(&inside) {
            return Err(breach(Breach::TopLevel));
        }
        if previous.as_ref().is_some_and(|previous| *previous >= path) {
            return Err(breach(Breach::Order));
        }
        let parent = path.split().map(|(parent, _)| parent).filter(|parent| !parent.is_root());
        while around.last() != parent.as_ref() {
            if around.pop().is_none() {
                return Err(breach(Breach::Parent));
            }
        }
        let text = |bytes: &[u8]| {
            tree::check_text(bytes).map_err(|_refusal| breach(Breach::Text))?;
            String::from_utf8(bytes.to_vec()).map_err(|_encoding| breach(Breach::Text))
        };
        let shown = text(path.as_bytes())?;
        names += shown.len() as u64;
        if names > Limits::OUTPUT.names {
            return Err(breach(Breach::Names));
        }
        let kind = match entry.member {
            Member::Directory => Kind::Directory,
            Member::File { size } => Kind::File { size },
            Member::Symlink { target } => Kind::Symlink { target },
            Member::HardLink { .. } => return Err(breach(Breach::HardLink)),
        };
        let header = tree::encode(&path, &kind, entry.mode, epoch);
        let same = reader.headers() == header;
        length += header.len() as u64;
        let content = match kind {
            Kind::Directory => {
                around.push(path.clone());
                Content::Directory
            }
            Kind::Symlink { target } => {
                if path.leaves(&target) {
                    return Err(breach(Breach::Escape));
                }
                Content::Symlink { target: text(&target)? }
            }
            Kind::File { size } => {
                length += size.next_multiple_of(512);
                let (digest, format) = digest(&mut reader).map_err(tree)?;
                Content::File { size, digest, executable: entry.mode == 0o755, format }
            }
        };
        if content.mode() != entry.mode {
            return Err(breach(Breach::Mode));
        }
        if !same {
            return Err(breach(Breach::Header));
        }
        files.push(Listed { path: shown, content });
        previous = Some(path);
    }
    match &previous {
        Some(_) if length == tar.size() => Ok(files),
        Some(last) => Err(contract(last, Breach::End)),
        None => Err(OutputError::Contract { path: name.into(), breach: Breach::TopLevel }),
    }
}

/// The two blocks of zeros at the end of a tar.
const END: u64 = 1024;

fn contract(path: &EntryPath, breach: Breach) -> OutputError {
    OutputError::Contract { path: path.to_path_buf(), breach }
}

/// Hashes the current entry's content and looks at its beginning.
fn digest(reader: &mut Reader<impl Read>) -> Result<(Digest, Format), TreeError> {
    let mut hasher = Hasher::default();
    let mut sample = Vec::with_capacity(format::SAMPLE);
    loop {
        let piece = reader.piece()?;
        if piece.is_empty() {
            return Ok((hasher.finish(), Format::of(&sample)));
        }
        hasher.update(piece);
        sample.extend_from_slice(&piece[..piece.len().min(format::SAMPLE - sample.len())]);
    }
}

impl Output {
    /// The name of the archive, without endings, and of its one top-level directory.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The file list.
    pub fn list(&self) -> Blob {
        self.list
    }

    /// The plain tar.
    pub fn tar(&self) -> Blob {
        self.tar
    }

    /// The compressed tar.
    pub fn archive(&self) -> Blob {
        self.archive
    }

    /// All entries, sorted by the components of their paths.
    pub fn files(&self) -> &[Listed] {
        &self.files
    }
}

impl Content {
    /// Its permission bits.
    pub const fn mode(&self) -> u32 {
        match self {
            Self::Directory | Self::File { executable: true, .. } => 0o755,
            Self::File { executable: false, .. } => 0o644,
            Self::Symlink { .. } => 0o777,
        }
    }
}

/// Writes the archives and what belongs to them into `directory`, which is made if it is not there:
///
/// ```text
/// NAME.tar.gz           an archive
/// NAME.tar.gz.sha256    <64 hex>  NAME.tar.gz
/// NAME.files            its file list
/// <companions>
/// SHA256SUMS            all these, and what was published there before; sorted by file name
/// ```
///
/// Each file appears whole or not at all, and `SHA256SUMS` last. Gives all the files' digests, by their names. Several
/// pgproofs may publish into one directory: each waits for the other.
pub fn publish(
    outputs: &[Output],
    companions: &[Companion<'_>],
    directory: &Path,
    store: &Store,
) -> Result<BTreeMap<String, Digest>, OutputError> {
    let lock = claim(directory)?;
    let mut published = BTreeMap::new();
    for output in outputs {
        let archive = format!("{}.tar.gz", output.name);
        let sum = sum_line(output.archive.digest(), &archive);
        let list = format!("{}.files", output.name);
        place(directory, &archive, store.read(output.archive)?)?;
        place(directory, &format!("{archive}.sha256"), sum.as_bytes())?;
        place(directory, &list, store.read(output.list)?)?;
        published.insert(format!("{archive}.sha256"), Digest::of(sum.as_bytes()));
        published.insert(archive, output.archive.digest());
        published.insert(list, output.list.digest());
    }
    for companion in companions {
        place(directory, &companion.name.to_string(), companion.bytes)?;
        published.insert(companion.name.to_string(), Digest::of(companion.bytes));
    }

    let mut sums = earlier_sums(directory)?;
    sums.extend(published.iter().map(|(name, digest)| (name.clone(), *digest)));
    let lines: Vec<String> = sums.iter().map(|(name, digest)| sum_line(*digest, name)).collect();
    place(directory, SUMS, lines.concat().as_bytes())?;
    release(&lock, directory)?;
    Ok(published)
}

/// Writes a file that `SHA256SUMS` does not list because it is of one run, as a report is. It appears whole or not at all.
pub fn publish_apart(file: &Companion<'_>, directory: &Path) -> Result<(), OutputError> {
    let lock = claim(directory)?;
    place(directory, &file.name.to_string(), file.bytes)?;
    release(&lock, directory)
}

/// Makes the directory if it is not there, and waits until no other pgproof publishes into it.
fn claim(directory: &Path) -> Result<File, OutputError> {
    let failed = |action| move |source| OutputError::Publish { action, path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed("created"))?;
    let lock = File::open(directory).map_err(failed("opened"))?;
    lock.lock().map_err(failed("locked"))?;
    Ok(lock)
}

/// Has the names on the disk.
fn release(lock: &File, directory: &Path) -> Result<(), OutputError> {
    lock.sync_all().map_err(|source| OutputError::Publish { action: "synced", path: directory.to_owned(), source })
}

/// A line as `sha256sum` writes and checks it.
fn sum_line(digest: Digest, name: &str) -> String {
    format!("{}  {name}\n", digest.hex())
}

/// The file that has the digests of all others.
const SUMS: &str = "SHA256SUMS";
/// The largest `SHA256SUMS` that is read, in bytes.
const SUMS_LIMIT: u64 = 1 << 20;

/// What an earlier publication into the directory left, as far as it is still there.
fn earlier_sums(directory: &Path) -> Result<BTreeMap<String, Digest>, OutputError> {
    let path = directory.join(SUMS);
    let failed = |source| OutputError::Publish { action: "read", path: path.clone(), source };
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => file.take(SUMS_LIMIT).read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    let mut sums = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = || OutputError::Sums { path: path.clone(), line: index + 1 };
        let (hex, name) = line.split_once("  ").ok_or_else(wrong)?;
        let digest = Digest::from_hex(hex).map_err(|_malformed| wrong())?;
        let name: Name = name.parse().map_err(|_malformed| wrong())?;
        if directory.join(name.to_string()).exists() {
            sums.insert(name.to_string(), digest);
        }
    }
    Ok(sums)
}

/// Writes a file under a name of its own and renames it when it is whole.
fn place(directory: &Path, name: &str, mut content: impl Read) -> Result<(), OutputError> {
    let path = directory.join(name);
    // Always the same, so that what a killed pgproof left is overwritten; the directory is locked.
    let partial = directory.join(format!(".{name}.partial"));
    let mut write = || {
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        io::copy(&mut content, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)
    };
    write().map_err(|source| {
        // What is left of it is overwritten next time, if it cannot be removed now.
        std::fs::remove_file(&partial).ok();
        OutputError::Publish { action: "written", path: path.clone(), source }
    })
}
