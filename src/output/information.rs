//! `build-info.json`: what the builds in a directory are, for machines. It says nothing of a run, so that it reproduces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Output, Sums};
use crate::digest::{Digest, Sha512};
use crate::lockfile::Name;
use crate::plan::{Plan, Sysroot};
use crate::target::{Floor, Target, Triple, Version};

/// The format's version.
const FORMAT: u32 = 1;

/// What is told of a build besides its archives.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// What was built.
    pub plan: &'a Plan,
    /// Which PostgreSQL it is, if it is.
    pub release: Option<&'a Release>,
}

/// A release of PostgreSQL, and what it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which.
    pub target: Target,
    /// With which toolchain.
    pub toolchain: Name,
    /// The oldest host that it runs on.
    pub floor: Floor,
}

/// `build-info.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Information {
    /// [`FORMAT`].
    version: u32,
    /// The builds, by the stem of their own archive.
    pub builds: BTreeMap<Name, Build>,
}

/// What a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Build {
    /// The plan's digest.
    pub plan: Digest,
    /// Seconds since 1970 that every time in the archives is set to.
    pub source_date_epoch: u32,
    /// The root file system that it was built in.
    pub sysroot: Sysroot,
    /// The version of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgresql: Option<Version>,
    /// The platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Triple>,
    /// The toolchain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<Name>,
    /// The oldest host that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// The archives: the plan's own first.
    pub archives: Vec<Archive>,
}

/// An archive of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Archive {
    /// Its file.
    pub file: Name,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// The SHA-512 of the file.
    pub sha512: Sha512,
    /// The digest of the plain tar.
    pub tar: Digest,
    /// The digest of the file list.
    pub list: Digest,
}

impl Default for Information {
    fn default() -> Self {
        Self { version: FORMAT, builds: BTreeMap::new() }
    }
}

impl Information {
    /// Parses a file that pgproof wrote, and nothing else.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let information: Self = serde_json::from_slice(json)?;
        if information.version != FORMAT {
            let found = information.version;
            return Err(serde::de::Error::custom(format_args!("format version {found}; this pgproof reads {FORMAT}")));
        }
        Ok(information)
    }

    /// The file's text.
    pub(super) fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("its maps have strings for keys");
        text + "\n"
    }

    /// Adds a build, or takes the place of what was told of it.
    pub(super) fn add(&mut self, about: &About<'_>, outputs: &[Output], published: &BTreeMap<Name, Sums>) {
        let About { plan, release } = about;
        let archive = |output: &Output| {
            let file: Name = format!("{}.tar.gz", output.name).parse().ok()?;
            let Sums { sha256, sha512 } = *published.get(&file)?;
            let (tar, list) = (output.tar.digest(), output.list.digest());
            Some(Archive { file, size: output.archive.size(), sha256, sha512, tar, list })
        };
        let build = Build {
            plan: plan.digest(),
            source_date_epoch: plan.source_date_epoch,
            sysroot: plan.sysroot.clone(),
            postgresql: release.map(|release| release.target.version),
            target: release.map(|release| release.target.triple),
            toolchain: release.map(|release| release.toolchain.clone()),
            floor: release.map(|release| release.floor),
            archives: outputs.iter().filter_map(archive).collect(),
        };
        self.builds.insert(plan.name.clone(), build);
    }
}
