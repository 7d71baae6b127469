//! Keeps bytes under their digest; the sole maker of [`Blob`].
//!
//! The store is an OCI image layout, so that any OCI tool can read it:
//!
//! ```text
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! index.json                 one descriptor for each composed or pulled sysroot
//! blobs/sha256/<64 hex>      the bytes, mode 0444
//! ingest/                    what is not whole yet; never read as content
//! runs/<id>.json             one record for each build that was run
//! scratch/                   what running builds have on disk; removed with them, or by the next build
//! added.json                 the files that a person put in by hand
//! version                    the version of this layout
//! lock                       held shared by every pgproof that has the store open, alone by one that removes
//! index.lock                 held while index.json or added.json is changed
//! ```
//!
//! Several processes may share a store, and each may be killed at any instant: a name appears only once its bytes are
//! whole and on the disk, a blob before whatever names it. It never reaches out, never reads a clock and never trusts what
//! lies on the disk: who reads a blob hashes it again.
//!
//! # Why
//!
//! Removing takes the whole store's lock, adding takes none but a shared one: adding is what everybody does all the time,
//! removing is rare and easily done wrong. So nothing that a running pgproof has found in the store can vanish under it.
//!
//! A temporary file is locked by its maker. When the maker is gone, so is the lock, however it died; the next process that
//! opens the store sees that and removes the file. Process ids in names would do until the first container or reboot.

mod added;
mod incoming;
mod ingest;
mod layout;
mod reader;
mod runs;
mod sweep;
mod verify;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;

pub use incoming::Incoming;
pub use ingest::{Admission, Ingest, Settled};
pub use layout::Image;
pub use reader::{BlobReader, Damage, Damaged};
pub use runs::{Outcome, Record};
pub use sweep::{Contents, Freed, Retain};
pub use verify::{Missing, Report};

/// The layout's version: the content of the `version` file.
pub const FORMAT: u32 = 1;

/// The largest list (`index.json`, `added.json`) or image manifest that is read, in bytes.
pub const LIST_SIZE_LIMIT: u64 = 4 << 20;

/// The largest record of a run that is written or read, in bytes.
pub const RECORD_SIZE_LIMIT: u64 = 64 << 10;

/// Where the blobs are.
const BLOBS: &str = "blobs/sha256";

/// The names at the top of a store. A directory with any other is not one.
const OWN_NAMES: [&str; 10] =
    ["added.json", "blobs", "index.json", "index.lock", "ingest", "lock", "oci-layout", "runs", "scratch", "version"];

/// A content-addressed directory of blobs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Held shared for as long as any clone of this store lives, so that nothing is removed meanwhile.
    lock: Arc<File>,
}

/// Proof that the store hashed these bytes on their way in, or has a file under their name. What reads them hashes them
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    digest: Digest,
    size: u64,
}

/// What the trouble with the store is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are not what they should be: an input failed verification.
    Content,
    /// The store or its disk cannot do it now; nothing was decided.
    Disk,
    /// The directory that was named is no store, or none for this pgproof.
    Use,
}

/// Why the store could not do as asked.
///
/// The store's own readers and writers hand it out within an [`io::Error`]; [`StoreError::find`] gets it back.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum StoreError {
    /// The file system said no.
    #[error("{path} cannot be {action}")]
    Io {
        /// What was to be done: `created`, `read`, ….
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store may be read but not written to.
    #[error("the store {store} is read-only: name one that can be written to with --store DIR")]
    ReadOnly {
        /// The store's root.
        store: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The disk, or this user's share of it, is full.
    #[error(
        "no space is left for the store {store}: make room (`pgproof store gc` removes what no lockfile and no recent run \
         needs) or name a store on another disk with --store DIR"
    )]
    Full {
        /// The store's root.
        store: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// What came in has another digest or size.
    #[error("expected {expected} of {expected_size} bytes, received {received} of {received_size} bytes")]
    Mismatch {
        /// The digest that was asked for.
        expected: Digest,
        /// The size that was asked for, in bytes.
        expected_size: u64,
        /// The digest of what came.
        received: Digest,
        /// The size of what came, in bytes.
        received_size: u64,
    },
    /// The blob is not in the store.
    #[error("{digest} is not in the store {store}")]
    Missing {
        /// The blob.
        digest: Digest,
        /// The store's root.
        store: PathBuf,
    },
    /// A blob in the store is not what its name says.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The directory holds something else.
    #[error("{root} is not a store: it holds {stranger:?}; name an empty directory or a store with --store DIR")]
    NotAStore {
        /// The directory.
        root: PathBuf,
        /// The first name in it that no store has.
        stranger: String,
    },
    /// There is something else in the place of the directory, or of one that it would lie in.
    #[error("{root} is not a directory and cannot become one: name another with --store DIR")]
    NotADirectory {
        /// What was named.
        root: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The store was made by another pgproof.
    #[error("the store {store} has format {found:?}, this pgproof reads {FORMAT}: name another with --store DIR")]
    Format {
        /// The store's root.
        store: PathBuf,
        /// What its `version` file, or its `oci-layout` file, says.
        found: String,
    },
    /// A list or record in the store does not parse.
    #[error("{path} is malformed: correct it or remove it")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A list or record is larger than any that pgproof writes.
    #[error("{path} is larger than {limit} bytes: correct it or remove it")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest that is read, in bytes.
        limit: u64,
    },
    /// Something is to be removed while another process may be using it.
    #[error("the store {store} is in use by another pgproof: try again when that has finished")]
    InUse {
        /// The store's root.
        store: PathBuf,
    },
}

impl Store {
    /// Opens the store at `root`, which is made if it is not there. A store that cannot be written to can still be read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(root).map_err(|source| {
            if matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) {
                StoreError::NotADirectory { root: root.to_owned(), source }
            } else {
                write_error(root, "created", root, source)
            }
        })?;
        if !root.join("version").exists() {
            refuse_strangers(root)?;
        }
        let path = root.join("lock");
        // Who may only read the store can lock it all the same.
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|source| write_error(root, "created", &path, source))?,
            opened => opened.map_err(|source| StoreError::Io { action: "opened", path: path.clone(), source })?,
        };
        lock.lock_shared().map_err(|source| StoreError::Io { action: "locked", path, source })?;

        let store = Self { root: root.to_owned(), lock: Arc::new(lock) };
        store.lay_out()?;
        store.remove_abandoned()?;
        Ok(store)
    }

    /// The store's root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blob of this digest, if the store has it. Its bytes are hashed by whoever reads them.
    pub fn find(&self, digest: Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.path(digest);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(Blob { digest, size: metadata.len() })),
            Ok(_) => Err(Damaged { path, damage: Damage::NotAFile }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { action: "read", path, source }),
        }
    }

    /// The blob of this digest, or [`StoreError::Missing`].
    pub fn get(&self, digest: Digest) -> Result<Blob, StoreError> {
        self.find(digest)?.ok_or_else(|| StoreError::Missing { digest, store: self.root.clone() })
    }

    /// Opens a blob. Reading it to the end verifies it.
    pub fn read(&self, blob: Blob) -> Result<BlobReader, StoreError> {
        Ok(BlobReader::new(self.file(blob)?, blob, self.path(blob.digest)))
    }

    /// Opens a blob's file for a reader that does its own hashing (the sandbox's helper).
    pub fn file(&self, blob: Blob) -> Result<File, StoreError> {
        let path = self.path(blob.digest);
        // Neither a link out of the store nor a FIFO that would be waited for: only a file can be a blob.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(Damaged { path, damage: Damage::NotAFile }.into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { digest: blob.digest, store: self.root.clone() });
            }
            Err(source) => return Err(StoreError::Io { action: "opened", path, source }),
        };
        let metadata =
            file.metadata().map_err(|source| StoreError::Io { action: "read", path: path.clone(), source })?;
        if !metadata.is_file() {
            return Err(Damaged { path, damage: Damage::NotAFile }.into());
        }
        if metadata.len() != blob.size {
            let damage = Damage::Size { expected: blob.size, found: metadata.len() };
            return Err(Damaged { path, damage }.into());
        }
        Ok(file)
    }

    /// A place for bytes whose digest is not known yet.
    pub fn incoming(&self) -> Result<Incoming<'_>, StoreError> {
        Incoming::new(self)
    }

    /// An unnamed file for what is needed only while it is open: however the process ends, it leaves nothing behind.
    pub fn scratch(&self) -> Result<File, StoreError> {
        tempfile::tempfile_in(self.root.join("ingest")).map_err(|source| self.scratch_error(source))
    }

    /// Names the trouble with writing to a [`Store::scratch`] file.
    pub fn scratch_error(&self, source: io::Error) -> StoreError {
        write_error(&self.root, "written to", &self.root.join("ingest"), source)
    }

    /// Stores `bytes`.
    pub fn admit(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        let mut incoming = self.incoming()?;
        incoming
            .write_all(bytes)
            .map_err(|source| write_error(&self.root, "written to", &self.root.join("ingest"), source))?;
        incoming.commit()
    }

    /// Removes a blob that nobody else can want: its bytes were made at random for one use.
    pub(crate) fn discard(&self, blob: Blob) -> Result<(), StoreError> {
        let path = self.path(blob.digest);
        std::fs::remove_file(&path).map_err(|source| write_error(&self.root, "removed", &path, source))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    /// Makes what is not there yet. On a store that is whole it writes nothing.
    fn lay_out(&self) -> Result<(), StoreError> {
        for directory in [BLOBS, "ingest", "runs"] {
            let path = self.root.join(directory);
            if !path.is_dir() {
                std::fs::create_dir_all(&path).map_err(|source| write_error(&self.root, "created", &path, source))?;
            }
        }
        layout::make(self)?;
        // Last, so that a store with a version is whole.
        let path = self.root.join("version");
        if !path.exists() {
            self.create(&path, format!("{FORMAT}\n").as_bytes())?;
        }
        let found = bounded(&path, 64)?.unwrap_or_default();
        if found != format!("{FORMAT}\n").as_bytes() {
            let found = String::from_utf8_lossy(&found).trim().to_owned();
            return Err(StoreError::Format { store: self.root.clone(), found });
        }
        Ok(())
    }

    /// Puts `bytes` at `path`, whole or not at all, in place of what was there.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        // The blobs that `bytes` names have to be on the disk before it is, their names included.
        incoming::sync(&self.root.join(BLOBS)).map_err(|source| write_error(&self.root, "written", path, source))?;
        incoming::put(self, path, bytes, |file, path| file.persist(path).map(drop).map_err(|error| error.error))
    }

    /// Puts `value` at `path` as JSON, whole or not at all, in place of what was there.
    fn replace_json(&self, path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StoreError::Io {
            action: "written",
            path: path.to_owned(),
            source: source.into(),
        })?;
        bytes.push(b'\n');
        if bytes.len() as u64 > LIST_SIZE_LIMIT {
            // Nobody could read it again.
            return Err(StoreError::TooLarge { path: path.to_owned(), limit: LIST_SIZE_LIMIT });
        }
        self.replace(path, &bytes)
    }

    /// Puts `bytes` at `path`, whole or not at all, unless something is there already.
    fn create(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        incoming::put(self, path, bytes, |file, path| match file.persist_noclobber(path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            // Another process was faster and wrote the same.
            _ => Ok(()),
        })
    }

    /// Waits until no other process changes a list, and keeps them from it until the result is dropped.
    fn lock_lists(&self) -> Result<File, StoreError> {
        let path = self.root.join("index.lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| write_error(&self.root, "opened", &path, source))?;
        file.lock().map_err(|source| StoreError::Io { action: "locked", path, source })?;
        Ok(file)
    }
}

impl Blob {
    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl StoreError {
    /// What the trouble is about.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Mismatch { .. } | Self::Damaged(_) | Self::Malformed { .. } | Self::TooLarge { .. } => Fault::Content,
            Self::Io { .. } | Self::ReadOnly { .. } | Self::Full { .. } | Self::Missing { .. } | Self::InUse { .. } => {
                Fault::Disk
            }
            Self::NotAStore { .. } | Self::NotADirectory { .. } | Self::Format { .. } => Fault::Use,
        }
    }

    /// The store's error in a chain of errors, also where an [`io::Error`] carries it.
    pub fn find<'error>(error: &'error (dyn Error + 'static)) -> Option<&'error Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // `io::Error::source` is the source of what it carries, and so skips what it carries.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(carried) => Some(carried as &(dyn Error + 'static)),
                None => error.source(),
            };
        }
        None
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Io { source, .. }
            | StoreError::ReadOnly { source, .. }
            | StoreError::Full { source, .. }
            | StoreError::NotADirectory { source, .. } => source.kind(),
            StoreError::Missing { .. } => io::ErrorKind::NotFound,
            StoreError::InUse { .. } => io::ErrorKind::ResourceBusy,
            StoreError::Mismatch { .. }
            | StoreError::Damaged(_)
            | StoreError::NotAStore { .. }
            | StoreError::Format { .. }
            | StoreError::Malformed { .. }
            | StoreError::TooLarge { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Names the trouble with a write. `source` may carry a [`StoreError`] already.
fn write_error(store: &Path, action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let source = match source.downcast::<StoreError>() {
        Ok(named) => return named,
        Err(source) => source,
    };
    let kind = source.kind();
    let store = store.to_owned();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StoreError::Full { store, source }
    } else if matches!(kind, io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) {
        StoreError::ReadOnly { store, source }
    } else {
        StoreError::Io { action, path: path.to_owned(), source }
    }
}

/// `--store` may name anything; a directory with somebody's files in it is left alone.
fn refuse_strangers(root: &Path) -> Result<(), StoreError> {
    for path in sorted(root)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !OWN_NAMES.contains(&name.as_ref()) {
            return Err(StoreError::NotAStore { root: root.to_owned(), stranger: name.into_owned() });
        }
    }
    Ok(())
}

/// What is in a directory, sorted.
fn sorted(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::Io { action: "listed", path: directory.to_owned(), source };
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// A small file's bytes; `None` if it is not there.
fn bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |source| StoreError::Io { action: "read", path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// What a small JSON file says; `None` if it is not there.
fn parsed<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, StoreError> {
    let Some(bytes) = bounded(path, limit)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| StoreError::Malformed { path: path.to_owned(), source })
}
