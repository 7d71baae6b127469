//! What the store needs, and removing the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::runs::newest;
use super::{BLOBS, Blob, LIST_SIZE_LIMIT, Store, StoreError, layout, sorted, write_error};
use crate::digest::Digest;

/// An index may name indices. More levels than this are nobody's image.
const DEPTH_LIMIT: u32 = 4;

/// What to keep besides the images that have a name and what they consist of.
#[derive(Debug, Clone)]
pub struct Retain {
    /// Blobs that are needed, such as those that lockfiles name.
    pub blobs: BTreeSet<Digest>,
    /// How many of the newest records of runs, with their logs and outputs.
    pub runs: usize,
    /// Whether files that were added by hand.
    pub added: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many blobs.
    pub blobs: u64,
    /// How many downloads that were never finished.
    pub partials: u64,
    /// How many records of runs.
    pub runs: u64,
    /// How many bytes of blobs and partial downloads.
    pub bytes: u64,
}

/// What is in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many blobs.
    pub blobs: u64,
    /// How many bytes they have.
    pub blob_bytes: u64,
    /// How many images have a name.
    pub images: u64,
    /// How many files were added by hand.
    pub added: u64,
    /// How many downloads are not finished.
    pub partials: u64,
    /// How many bytes those have.
    pub partial_bytes: u64,
    /// How many records of runs.
    pub runs: u64,
}

/// The parts of an image manifest or index that name other blobs.
#[derive(Deserialize)]
struct References {
    config: Option<Reference>,
    #[serde(default)]
    layers: Vec<Reference>,
    #[serde(default)]
    manifests: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    digest: oci_spec::image::Digest,
}

impl Reference {
    fn sha256(&self) -> Option<Digest> {
        layout::sha256(&self.digest)
    }
}

impl Store {
    /// Removes every blob that neither `retain` nor an image with a name needs, and every unfinished download. No other
    /// pgproof may have the store open, nor this process through another handle.
    pub fn gc(&mut self, retain: &Retain) -> Result<Freed, StoreError> {
        self.alone(|store| store.sweep(retain))
    }

    /// Counts what is in the store.
    pub fn stat(&self) -> Result<Contents, StoreError> {
        let mut contents = Contents {
            images: self.index()?.manifests().len() as u64,
            added: self.added()?.len() as u64,
            runs: self.run_paths()?.len() as u64,
            ..Contents::default()
        };
        for blob in self.blobs()? {
            contents.blobs += 1;
            contents.blob_bytes += blob.size;
        }
        for path in sorted(&self.root.join("ingest"))? {
            contents.partials += 1;
            contents.partial_bytes += size(&path);
        }
        Ok(contents)
    }

    /// Does what removes blobs, while nobody else has the store open.
    pub(super) fn alone<T>(&mut self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let in_use = || StoreError::InUse { store: self.root.clone() };
        // A clone of this handle shares its lock.
        if Arc::get_mut(&mut self.lock).is_none() {
            return Err(in_use());
        }
        let locked = |source| StoreError::Io { action: "locked", path: self.root.join("lock"), source };
        let outcome = match self.lock.try_lock() {
            Ok(()) => work(self),
            Err(TryLockError::WouldBlock) => Err(in_use()),
            Err(TryLockError::Error(source)) => Err(locked(source)),
        };
        // Also where it was refused: an attempt to change a lock gives up the one that was held.
        self.lock.lock_shared().map_err(locked)?;
        outcome
    }

    fn sweep(&self, retain: &Retain) -> Result<Freed, StoreError> {
        let mut freed = Freed::default();
        // What names blobs goes before the blobs, so that nothing is missing if this is killed half-way.
        for path in newest(self.run_paths()?, retain.runs).0 {
            self.remove(&path)?;
            freed.runs += 1;
        }
        if !retain.added {
            self.forget_added()?;
        }
        let mut kept = retain.blobs.clone();
        kept.extend(self.needs(&BTreeSet::new())?.into_keys());
        for blob in self.blobs()? {
            if !kept.contains(&blob.digest) {
                self.remove(&self.path(blob.digest))?;
                freed.blobs += 1;
                freed.bytes += blob.size;
            }
        }
        for path in sorted(&self.root.join("ingest"))? {
            freed.bytes += size(&path);
            freed.partials += 1;
            self.remove(&path)?;
        }
        Ok(freed)
    }

    /// All blobs, sorted.
    pub(super) fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        let named = |path: &Path| Digest::from_hex(path.file_name()?.to_str()?).ok();
        let paths = sorted(&self.root.join(BLOBS))?;
        Ok(paths.iter().filter_map(|path| Some(Blob { digest: named(path)?, size: size(path) })).collect())
    }

    /// Every blob that something in the store names, and what names it, for a person. What `damaged` manifests name is
    /// not known; with any other that is damaged this fails.
    pub(super) fn needs(&self, damaged: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, String>, StoreError> {
        let mut needs = BTreeMap::new();
        let mut read = damaged.clone();
        for descriptor in self.index()?.manifests() {
            let by = format!("the image {}", layout::reference(descriptor).unwrap_or("without a name"));
            if let Some(digest) = layout::sha256(descriptor.digest()) {
                self.needs_of_image(digest, &by, DEPTH_LIMIT, &mut read, &mut needs)?;
            }
        }
        for (digest, name) in self.added()? {
            needs.entry(digest).or_insert_with(|| format!("{name:?}, which was added by hand,"));
        }
        for record in self.runs(usize::MAX)? {
            for &digest in record.log.iter().chain(record.outputs.values()) {
                needs.entry(digest).or_insert_with(|| format!("the record of the run {}", record.id()));
            }
        }
        Ok(needs)
    }

    /// `read` are the manifests that were read already: an index of one index a thousand times over is read once.
    fn needs_of_image(
        &self,
        digest: Digest,
        by: &str,
        depth: u32,
        read: &mut BTreeSet<Digest>,
        needs: &mut BTreeMap<Digest, String>,
    ) -> Result<(), StoreError> {
        needs.entry(digest).or_insert_with(|| by.to_owned());
        if depth == 0 || !read.insert(digest) {
            return Ok(());
        }
        let Some(blob) = self.find(digest)?.filter(|blob| blob.size <= LIST_SIZE_LIMIT) else { return Ok(()) };
        let mut bytes = Vec::new();
        self.read(blob)?
            .read_to_end(&mut bytes)
            .map_err(|source| write_error(&self.root, "read", &self.path(digest), source))?;
        // Another tool may have put something here that is no image; then it names nothing.
        let Ok(references) = serde_json::from_slice::<References>(&bytes) else { return Ok(()) };
        for digest in references.config.iter().chain(&references.layers).filter_map(Reference::sha256) {
            needs.entry(digest).or_insert_with(|| by.to_owned());
        }
        for digest in references.manifests.iter().filter_map(Reference::sha256) {
            self.needs_of_image(digest, by, depth - 1, read, needs)?;
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(write_error(&self.root, "removed", path, error))
            }
            _ => Ok(()),
        }
    }
}

fn size(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}
