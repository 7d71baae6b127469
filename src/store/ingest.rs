//! A blob on its way in whose digest is known already: it can stop at any byte and go on later.
//!
//! What has landed is kept in `ingest/<64 hex>.partial`. Whoever writes it holds an exclusive `flock` on it, so that two
//! pgproofs never fetch the same bytes at once: the second finds the file busy, and later the blob. The kernel drops
//! the lock with the process, whatever ends it.
//!
//! # Why
//!
//! The prefix is hashed again when it is taken up: a hasher's state on disk could be wrong without anyone noticing, and
//! SHA-256 runs at disk speed. The bytes are on the disk before they get a blob's name. The name itself is not waited for: what
//! names blobs waits for all of them, and a blob that a power cut takes away before that is fetched again.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Blob, Store, StoreError, write_error};
use crate::digest::{Digest, Hasher};

/// How many bytes of a prefix are hashed at a time.
const BUFFER_SIZE: usize = 128 << 10;

/// The sole writer of one blob that is not whole yet.
///
/// Dropped, it keeps what was written for the next [`Store::ingest`] of the same digest.
pub struct Ingest {
    store: Store,
    digest: Digest,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
}

/// What [`Store::ingest`] found.
#[derive(Debug)]
pub enum Admission {
    /// The store has the blob.
    Kept(Blob),
    /// Somebody else is writing it.
    Busy,
    /// It is the caller's to write.
    Open(Ingest),
}

/// What became of an [`Ingest`] at its end.
#[derive(Debug)]
pub enum Settled {
    /// The bytes were the blob's; they are in the store.
    Kept(Blob),
    /// They were not; they are gone, and `ingest` is empty again.
    Refused {
        /// The emptied ingest, still locked.
        ingest: Ingest,
        /// The digest of what was thrown away.
        received: Digest,
    },
}

impl Store {
    /// A place for the bytes of `digest`, with those that an earlier run has left there.
    pub fn ingest(&self, digest: Digest) -> Result<Admission, StoreError> {
        let path = self.root.join("ingest").join(format!("{}.partial", digest.hex()));
        let failed = |action| {
            let path = &path;
            move |source| write_error(&self.root, action, path, source)
        };
        loop {
            if let Some(blob) = self.find(digest)? {
                return Ok(Admission::Kept(blob));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(failed("opened"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Admission::Busy),
                Err(TryLockError::Error(source)) => return Err(failed("locked")(source)),
            }
            // Between opening and locking, its writer may have renamed the file to a blob or removed it: then this is
            // not the partial file any more and must not be written to.
            if !is_at(&file, &path).map_err(failed("read"))? {
                continue;
            }
            let mut ingest = Ingest { store: self.clone(), digest, path, file, hasher: Hasher::default(), size: 0 };
            ingest.take_up()?;
            return Ok(Admission::Open(ingest));
        }
    }
}

impl Ingest {
    /// How many bytes have landed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|source| self.failed("written to", source))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what has landed.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|source| self.failed("emptied", source))?;
        self.hasher = Hasher::default();
        self.size = 0;
        Ok(())
    }

    /// Puts what has landed into the store if it is the blob, of `size` bytes; throws it away if it is not.
    pub fn commit(mut self, size: u64) -> Result<Settled, StoreError> {
        let received = self.hasher.clone().finish();
        if received != self.digest || self.size != size {
            self.restart()?;
            return Ok(Settled::Refused { ingest: self, received });
        }
        self.file.sync_all().map_err(|source| self.failed("written to", source))?;
        let blob = self.store.path(self.digest);
        // Only once it has its name: a partial file that its owner cannot open for writing could never be taken up again.
        std::fs::rename(&self.path, &blob)
            .and_then(|()| self.file.set_permissions(Permissions::from_mode(0o444)))
            .map_err(|source| write_error(&self.store.root, "written", &blob, source))?;
        Ok(Settled::Kept(Blob { digest: self.digest, size }))
    }

    /// Hashes what an earlier run has left.
    fn take_up(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    self.size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", source)),
            }
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StoreError {
        write_error(&self.store.root, action, &self.path, source)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // An empty partial file is worth nothing. The lock is still held, so nobody else has it under this name; that
        // it could not be removed hurts nobody.
        if self.size == 0 && is_at(&self.file, &self.path).unwrap_or(false) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Whether `file` is what has the name `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {}", self.size, self.path.display())
    }
}
