//! Records of the builds that were run: what, under which conditions, with what outcome.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RECORD_SIZE_LIMIT, Store, StoreError, parsed, sorted};
use crate::digest::Digest;
use crate::lockfile::Name;

/// The record of one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Record {
    /// When it began.
    pub started: Timestamp,
    /// The plan's name.
    pub name: Name,
    /// The plan's digest.
    pub plan: Digest,
    /// The conditions that it was run under: `plain`.
    pub variation: Name,
    /// How it ended.
    pub outcome: Outcome,
    /// What it printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Digest>,
    /// What it made, by kind: `archive`, `list`, `tar`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<Name, Digest>,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Outcome {
    /// With an output.
    Built,
    /// Without one.
    Failed {
        /// Which step, and why.
        why: String,
    },
    /// By the person who started it.
    Cancelled,
}

impl Record {
    /// The record's name: it sorts by time, and no two builds of one plan under the same conditions begin in the same
    /// microsecond.
    pub fn id(&self) -> String {
        let started = self.started.strftime("%Y%m%dT%H%M%S.%6f");
        format!("{started}-{:.12}-{}", self.plan.hex(), self.variation)
    }
}

impl Store {
    /// Keeps a record. The blobs that it names are in the store already, and stay as long as it does.
    pub fn record_run(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.run_path(&record.id());
        let failed =
            |source: serde_json::Error| StoreError::Io { action: "written", path: path.clone(), source: source.into() };
        let bytes = serde_json::to_vec(record).map_err(failed)?;
        if bytes.len() as u64 > RECORD_SIZE_LIMIT {
            // Nobody could read it again.
            return Err(StoreError::TooLarge { path, limit: RECORD_SIZE_LIMIT });
        }
        self.replace(&path, &bytes)
    }

    /// The newest records, `limit` of them at most, oldest first.
    pub fn runs(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for path in newest(self.run_paths()?, limit).1 {
            // Removed since it was listed.
            records.extend(parsed(&path, RECORD_SIZE_LIMIT)?);
        }
        Ok(records)
    }

    /// The paths of all records, oldest first.
    pub(super) fn run_paths(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut paths = sorted(&self.root.join("runs"))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        Ok(paths)
    }

    fn run_path(&self, id: &str) -> PathBuf {
        self.root.join("runs").join(format!("{id}.json"))
    }
}

/// Splits sorted paths into those that are older and the newest `count`.
pub(super) fn newest(mut paths: Vec<PathBuf>, count: usize) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let newest = paths.split_off(paths.len().saturating_sub(count));
    (paths, newest)
}
