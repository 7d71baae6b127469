//! Bytes on their way in: written to a file that nobody takes for content, hashed as they land, synced, renamed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{BLOBS, Blob, Store, StoreError, sorted, write_error};
use crate::digest::{Digest, Hasher};

/// What the names of temporary files in `ingest/` start with.
const TEMPORARY: &str = "incoming-";

/// A tar stream is written in headers of 512 bytes: gather them.
const BUFFER_SIZE: usize = 256 << 10;

/// Bytes on their way in. Dropped before [`Incoming::commit`], they leave nothing behind.
#[derive(Debug)]
pub struct Incoming<'store> {
    store: &'store Store,
    out: BufWriter<HashedFile>,
}

/// Hashes what the file took rather than what it was offered.
struct HashedFile {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl<'store> Incoming<'store> {
    pub(super) fn new(store: &'store Store) -> Result<Self, StoreError> {
        let file = HashedFile { file: store.temporary()?, hasher: Hasher::default(), size: 0 };
        Ok(Self { store, out: BufWriter::with_capacity(BUFFER_SIZE, file) })
    }

    /// The digest of what was written so far.
    pub fn digest(&mut self) -> Result<Digest, StoreError> {
        self.landed()?;
        Ok(self.out.get_ref().hasher.clone().finish())
    }

    /// How many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.out.get_ref().size + self.out.buffer().len() as u64
    }

    /// Keeps what was written, under its digest.
    pub fn commit(mut self) -> Result<Blob, StoreError> {
        self.landed()?;
        let HashedFile { file, hasher, size } = self.out.into_parts().0;
        let blob = Blob { digest: hasher.finish(), size };
        self.store.settle(file, blob)
    }

    /// Keeps what was written if it is what was expected.
    pub fn commit_as(mut self, digest: Digest, size: u64) -> Result<Blob, StoreError> {
        let received = self.digest()?;
        let received_size = self.out.get_ref().size;
        if received != digest || received_size != size {
            return Err(StoreError::Mismatch { expected: digest, expected_size: size, received, received_size });
        }
        self.commit()
    }

    fn landed(&mut self) -> Result<(), StoreError> {
        let flushed = self.out.flush();
        flushed.map_err(|source| write_error(&self.store.root, "written to", self.out.get_ref().file.path(), source))
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        written.map_err(|source| self.named(source))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        flushed.map_err(|source| self.named(source))
    }
}

impl Incoming<'_> {
    fn named(&self, source: io::Error) -> io::Error {
        if source.kind() == io::ErrorKind::Interrupted {
            return source;
        }
        write_error(&self.store.root, "written to", self.out.get_ref().file.path(), source).into()
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.as_file_mut().write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for HashedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes in {}", self.size, self.file.path().display())
    }
}

impl Store {
    /// A file in `ingest/` that is this process's for as long as it lives.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, StoreError> {
        let ingest = self.root.join("ingest");
        let failed = |source| write_error(&self.root, "written to", &ingest, source);
        loop {
            let file =
                tempfile::Builder::new().prefix(TEMPORARY).rand_bytes(16).tempfile_in(&ingest).map_err(failed)?;
            file.as_file().lock().map_err(|source| StoreError::Io {
                action: "locked",
                path: file.path().to_owned(),
                source,
            })?;
            // Between its making and its locking, a process that cleans may have taken it for abandoned.
            if file.as_file().metadata().map_err(failed)?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    /// Gives a whole file its blob's name. The caller has hashed what is in it. One that is there already stays: it is as
    /// good, or its readers notice.
    pub(super) fn settle(&self, file: NamedTempFile, blob: Blob) -> Result<Blob, StoreError> {
        let path = self.path(blob.digest);
        let failed = |source| write_error(&self.root, "written", &path, source);
        let there = std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_file() && there.len() == blob.size);
        // One that is there with another size is damaged, and replaced.
        if !there {
            file.as_file().set_permissions(Permissions::from_mode(0o444)).map_err(failed)?;
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&path).map_err(|error| failed(error.error))?;
        }
        // Also for one that is there: the process that put it there may not have come so far.
        sync(&self.root.join(BLOBS)).map_err(failed)?;
        Ok(blob)
    }

    /// Removes the temporary files of processes that are gone.
    pub(super) fn remove_abandoned(&self) -> Result<(), StoreError> {
        for path in sorted(&self.root.join("ingest"))? {
            let ours = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()));
            // One that cannot be opened is another user's, or gone by now.
            let opened =
                || OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path).ok();
            let Some(file) = ours.then(opened).flatten() else { continue };
            if file.try_lock().is_err() {
                continue;
            }
            match std::fs::remove_file(&path).map_err(|source| write_error(&self.root, "removed", &path, source)) {
                // A store that is only read keeps what it has.
                Ok(()) | Err(StoreError::ReadOnly { .. }) => {}
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Writes `bytes` to a temporary file, syncs it and gives it to `persist`, which names it `path`.
pub(super) fn put(
    store: &Store,
    path: &Path,
    bytes: &[u8],
    persist: impl FnOnce(NamedTempFile, &Path) -> io::Result<()>,
) -> Result<(), StoreError> {
    let failed = |source| write_error(&store.root, "written", path, source);
    let mut file = store.temporary()?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    persist(file, path).map_err(failed)?;
    sync(path.parent().unwrap_or(&store.root)).map_err(failed)
}

/// A rename is on the disk once its directory is.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
