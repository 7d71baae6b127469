//! Files that a person put into the store by hand: no lockfile names them, so a list does.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Blob, LIST_SIZE_LIMIT, Store, StoreError, parsed};
use crate::digest::Digest;

/// `added.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    /// What each file was called, for a person.
    added: BTreeMap<Digest, String>,
}

impl Store {
    /// Stores a local file, and keeps it until a [`Retain`](super::Retain) says otherwise.
    pub fn add_file(&self, path: &Path) -> Result<Blob, StoreError> {
        let failed = |source| StoreError::Io { action: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut incoming = self.incoming()?;
        std::io::copy(&mut file, &mut incoming).map_err(|source| match source.downcast::<StoreError>() {
            Ok(writing) => writing,
            Err(reading) => failed(reading),
        })?;
        let blob = incoming.commit()?;

        let _held = self.lock_lists()?;
        let mut added = self.added()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if added.insert(blob.digest, name.clone()) != Some(name) {
            self.replace_json(&self.added_path(), &List { added })?;
        }
        Ok(blob)
    }

    /// The files that were added, and what they were called.
    pub fn added(&self) -> Result<BTreeMap<Digest, String>, StoreError> {
        Ok(parsed::<List>(&self.added_path(), LIST_SIZE_LIMIT)?.unwrap_or_default().added)
    }

    /// Forgets what was added.
    pub(super) fn forget_added(&self) -> Result<(), StoreError> {
        let _held = self.lock_lists()?;
        if self.added()?.is_empty() {
            return Ok(());
        }
        self.replace_json(&self.added_path(), &List::default())
    }

    fn added_path(&self) -> PathBuf {
        self.root.join("added.json")
    }
}
