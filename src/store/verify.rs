//! Hashes everything again, and finds what is missing.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use super::{Blob, Damaged, Store, StoreError};
use crate::digest::Digest;

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many blobs were hashed.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Blobs that are not what their names say.
    pub damaged: Vec<Damaged>,
    /// Blobs that something in the store names, but that are not there.
    pub missing: Vec<Missing>,
}

/// A blob that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{digest} is missing; {needed_by} needs it")]
pub struct Missing {
    /// Its digest.
    pub digest: Digest,
    /// What names it.
    pub needed_by: String,
}

impl Store {
    /// Hashes every blob, and looks for every blob that an image, a record or a person's list names. `progress` is told how
    /// many bytes of how many were hashed.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StoreError> {
        let blobs = self.blobs()?;
        let total = blobs.iter().map(|blob| blob.size).sum();
        let mut report = Report { blobs: blobs.len() as u64, bytes: total, ..Report::default() };
        let mut damaged = BTreeSet::new();
        let mut done = 0;
        for blob in blobs {
            if let Some(found) = self.check(blob, &mut |bytes| progress(done + bytes, total))? {
                damaged.insert(blob.digest);
                report.damaged.push(found);
            }
            done += blob.size;
            progress(done, total);
        }
        for (digest, needed_by) in self.needs(&damaged)? {
            if !damaged.contains(&digest) && self.find(digest)?.is_none() {
                report.missing.push(Missing { digest, needed_by });
            }
        }
        Ok(report)
    }

    /// Removes the blobs that a report calls damaged and that still are, and gives their number. No other pgproof may have
    /// the store open, nor this process through another handle.
    pub fn repair(&mut self, report: &Report) -> Result<u64, StoreError> {
        self.alone(|store| {
            let mut removed = 0;
            for blob in store.blobs()? {
                let path = store.path(blob.digest);
                // Another process may have put it right since.
                let named = report.damaged.iter().any(|damaged| damaged.path == path);
                if named && store.check(blob, &mut |_| {})?.is_some() {
                    store.remove(&path)?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
    }

    /// Hashes one blob. `progress` is told how many of its bytes were hashed.
    fn check(&self, blob: Blob, progress: &mut dyn FnMut(u64)) -> Result<Option<Damaged>, StoreError> {
        let mut reader = match self.read(blob) {
            Err(StoreError::Damaged(damaged)) => return Ok(Some(damaged)),
            reader => reader?,
        };
        let mut buffer = vec![0; 256 << 10];
        let mut done = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    done += count as u64;
                    progress(done);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match error.downcast::<StoreError>() {
                    Ok(StoreError::Damaged(damaged)) => return Ok(Some(damaged)),
                    Ok(error) => return Err(error),
                    Err(source) => {
                        return Err(StoreError::Io { action: "read", path: self.path(blob.digest), source });
                    }
                },
            }
        }
    }
}
