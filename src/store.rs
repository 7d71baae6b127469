//! Keeps bytes under their digest; the sole maker of [`Blob`].
//!
//! The store is an OCI image layout, so that any OCI tool can read it:
//!
//! ```text
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! index.json                 one descriptor for each composed or pulled sysroot
//! blobs/sha256/<64 hex>      the bytes
//! ingest/                    what is not whole yet; never read as content
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher, HashingReader};

mod ingest;

pub use ingest::{Admission, Ingest, Landing};

/// A content-addressed directory of blobs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Proof that the store hashed these bytes on their way in. What reads them hashes them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    digest: Digest,
    size: u64,
}

/// Bytes on their way in. Dropped before [`Incoming::commit`], they leave nothing behind.
#[derive(Debug)]
pub struct Incoming<'store> {
    store: &'store Store,
    file: tempfile::NamedTempFile,
    hasher_state: HashState,
}

struct HashState {
    hasher: Hasher,
    size: u64,
}

impl std::fmt::Debug for HashState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

/// Reads a blob and hashes it: at the end it gives an error instead of an end-of-file if the bytes are not the blob's.
pub struct BlobReader {
    inner: HashingReader<File>,
    expected: Blob,
    path: PathBuf,
    done: bool,
}

/// Why the store could not do as asked.
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
}

/// A blob in the store is not what its name says.
#[derive(Debug, thiserror::Error)]
#[error("blob {path} is damaged: its bytes have the digest {received}; `pgproof store verify --repair` removes it")]
#[must_use]
pub struct Damaged {
    /// The blob's file.
    pub path: PathBuf,
    /// The digest of what is there.
    pub received: Digest,
}

impl Store {
    /// Opens the store at `root`, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        for directory in ["blobs/sha256", "ingest"] {
            let path = root.join(directory);
            std::fs::create_dir_all(&path).map_err(|source| StoreError::Io { action: "created", path, source })?;
        }
        Ok(store)
    }

    /// The store's root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blob of this digest, if the store has it.
    pub fn find(&self, digest: Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.path(digest);
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(Some(Blob { digest, size: metadata.len() })),
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
        let path = self.path(blob.digest);
        let file =
            File::open(&path).map_err(|source| StoreError::Io { action: "opened", path: path.clone(), source })?;
        Ok(BlobReader { inner: HashingReader::new(file), expected: blob, path, done: false })
    }

    /// Opens a blob's file for a reader that does its own hashing (the sandbox's helper).
    pub fn file(&self, blob: Blob) -> Result<File, StoreError> {
        let path = self.path(blob.digest);
        File::open(&path).map_err(|source| StoreError::Io { action: "opened", path, source })
    }

    /// A place for bytes whose digest is not known yet.
    pub fn incoming(&self) -> Result<Incoming<'_>, StoreError> {
        let path = self.root.join("ingest");
        let file = tempfile::NamedTempFile::new_in(&path).map_err(|source| StoreError::Io {
            action: "written to",
            path,
            source,
        })?;
        Ok(Incoming { store: self, file, hasher_state: HashState { hasher: Hasher::default(), size: 0 } })
    }

    /// Stores `bytes`.
    pub fn admit(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        let mut incoming = self.incoming()?;
        incoming.write_all(bytes).map_err(|source| StoreError::Io {
            action: "written to",
            path: self.root.clone(),
            source,
        })?;
        incoming.commit()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
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

impl Incoming<'_> {
    /// Keeps what was written, under its digest.
    pub fn commit(self) -> Result<Blob, StoreError> {
        let HashState { hasher, size } = self.hasher_state;
        let digest = hasher.finish();
        let path = self.store.path(digest);
        let failed = |source| StoreError::Io { action: "written", path: path.clone(), source };
        self.file.as_file().sync_all().map_err(failed)?;
        self.file.persist(&path).map_err(|error| StoreError::Io {
            action: "written",
            path: path.clone(),
            source: error.error,
        })?;
        Ok(Blob { digest, size })
    }

    /// Keeps what was written if it is what was expected.
    pub fn commit_as(self, digest: Digest, size: u64) -> Result<Blob, StoreError> {
        let received = self.hasher_state.hasher.clone().finish();
        if received != digest || self.hasher_state.size != size {
            return Err(StoreError::Mismatch {
                expected: digest,
                expected_size: size,
                received,
                received_size: self.hasher_state.size,
            });
        }
        self.commit()
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher_state.hasher.update(&bytes[..count]);
        self.hasher_state.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.done {
            self.done = true;
            let (received, size) =
                std::mem::replace(&mut self.inner, HashingReader::new(File::open("/dev/null")?)).finish();
            if received != self.expected.digest || size != self.expected.size {
                let damaged = Damaged { path: self.path.clone(), received };
                return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
            }
        }
        Ok(count)
    }
}
