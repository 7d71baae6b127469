//! Reads a blob and hashes it again.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Blob, StoreError};
use crate::digest::{Digest, Hasher};

/// Reads a blob and hashes it. The last of its bytes are handed out only if all of them are the blob's; if not, every
/// further read gives [`StoreError::Damaged`] within an [`io::Error`]. A reader that stops early has verified nothing.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    blob: Blob,
    path: PathBuf,
    state: State,
}

enum State {
    Reading { hasher: Hasher, remaining: u64 },
    Verified,
    Damaged(Damage),
}

/// A blob in the store is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("blob {path} is damaged: it {damage}; remove it with `pgproof store verify --repair` and run this again")]
#[must_use]
pub struct Damaged {
    /// The blob's file.
    pub path: PathBuf,
    /// How it is damaged.
    pub damage: Damage,
}

/// How a blob is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its bytes are others.
    #[error("has the digest {0}")]
    Digest(Digest),
    /// It is longer or shorter than it was.
    #[error("has {found} bytes instead of {expected}")]
    Size {
        /// How many bytes it had when it was found.
        expected: u64,
        /// How many bytes it has.
        found: u64,
    },
    /// It is a directory, a link or something else.
    #[error("is not a file")]
    NotAFile,
}

impl BlobReader {
    pub(super) fn new(file: File, blob: Blob, path: PathBuf) -> Self {
        Self { file, blob, path, state: State::Reading { hasher: Hasher::default(), remaining: blob.size } }
    }

    /// Reads what is left and verifies the whole: for a reader that has seen its own end (a tar archive's) before the
    /// blob's.
    pub fn finish(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn damaged(&mut self, damage: Damage) -> io::Error {
        self.state = State::Damaged(damage);
        StoreError::from(Damaged { path: self.path.clone(), damage }).into()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (hasher, remaining) = match &mut self.state {
            State::Verified => return Ok(0),
            State::Damaged(damage) => {
                let damage = *damage;
                return Err(self.damaged(damage));
            }
            State::Reading { hasher, remaining } => (hasher, remaining),
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let wanted = usize::try_from(*remaining).map_or(buffer.len(), |remaining| remaining.min(buffer.len()));
        let count = self.file.read(&mut buffer[..wanted])?;
        hasher.update(&buffer[..count]);
        *remaining -= count as u64;
        let remaining = *remaining;
        if count == 0 && remaining > 0 {
            let found = self.blob.size - remaining;
            return Err(self.damaged(Damage::Size { expected: self.blob.size, found }));
        }
        if remaining > 0 {
            return Ok(count);
        }
        // Before the last bytes are handed out: a reader that knows the size never asks for the end of the file.
        let received = hasher.clone().finish();
        if received != self.blob.digest {
            return Err(self.damaged(Damage::Digest(received)));
        }
        self.state = State::Verified;
        Ok(count)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reading { remaining, .. } => write!(f, "{remaining} bytes to read"),
            Self::Verified => f.write_str("verified"),
            Self::Damaged(damage) => write!(f, "damaged: it {damage}"),
        }
    }
}
