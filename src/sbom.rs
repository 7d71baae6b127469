//! Bills of materials: what a release's archives, its build environment and pgproof itself consist of.
//!
//! ```text
//! archives, their MANIFEST.json ──┐
//! sysroot definition, lockfile ───┼──> Inventory ──> SPDX 2.3 JSON
//! Cargo.lock ─────────────────────┘                  CycloneDX 1.6 JSON
//!                                                    a line for each component
//! ```
//!
//! The same input gives the same bytes: everything is sorted, the one time in a document is `SOURCE_DATE_EPOCH`, and its
//! number is made of the digests of what it describes. Nothing is asked of the clock, the network or the host.
//!
//! # Why
//!
//! Everything is taken from the archives as they are published, in the same way when they have just been built and when
//! somebody has downloaded them: whoever has the archives gets the published documents again, byte for byte. So nothing is
//! in them that only a build knows, and no version of pgproof: that is told by the provenance.
//!
//! One document describes all archives of a release, because they are of one build and share most of what they consist of:
//! four documents would say nearly everything twice, and nobody would see that it is the same.
//!
//! A licence is stated where somebody has read the package's copyright file and an SPDX expression says the same
//! ([`crate::plan::postgresql::licence_of`]). Otherwise the document carries that text. None is guessed.
//!
//! `spdx-rs` has the types of SPDX 2.2.1 and of what 2.3 adds that is needed here; what its `Default` implementations put in
//! (the time of day, a person called Jane Doe) is never used. `serde-cyclonedx` is generated from the official schema.

use std::io::Read;

use crate::definitions::{Definitions, DefinitionsError};
use crate::lockfile::{Name, Source};
use crate::rebuild::SOURCES;
use crate::target::Target;
use crate::tree::TreeError;

mod archive;
mod crates;
mod cyclonedx;
mod environment;
mod inventory;
mod manifest;
mod postgresql;
mod release;
mod spdx;
mod summary;

pub use archive::Sealed;
pub use manifest::ManifestError;

use inventory::Inventory;

/// The documents' version: another number whenever the same input gives other bytes.
const FORMAT: u32 = 1;

/// Who made what was built in the box.
const PGPROOF: &str = "pgproof";

/// Who made what the box consists of.
const DEBIAN: &str = "Debian";

/// A bill of materials in its three forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// What it is of: `postgresql-17.11.0-x86_64-unknown-linux-gnu`. File names begin with it.
    pub name: String,
    /// SPDX 2.3, as JSON.
    pub spdx: Vec<u8>,
    /// CycloneDX 1.6, as JSON.
    pub cyclonedx: Vec<u8>,
    /// A line for each component, for people. A terminal may be shown it.
    pub text: String,
}

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SbomError {
    /// No archive was named.
    #[error("there is no archive")]
    Nothing,
    /// An archive cannot be read.
    #[error("{name} cannot be read to its end")]
    Tar {
        /// The archive.
        name: Name,
        /// Why.
        source: TreeError,
    },
    /// Something is beside the top-level directory.
    #[error("{path:?} is not in {name}: the archive does not have exactly one top-level directory")]
    TopLevel {
        /// The top-level directory.
        name: Name,
        /// What is beside it.
        path: String,
    },
    /// Its name is none that a release of PostgreSQL has.
    #[error(
        "{name} is no archive of a PostgreSQL release: those are named postgresql-<version>.0-<platform>, and -client, -debug or -pl after it"
    )]
    Foreign {
        /// The archive.
        name: Name,
    },
    /// Archives of two releases.
    #[error("{first} and {second} are of two releases: name those of one")]
    Mixed {
        /// The one.
        first: Name,
        /// The other.
        second: Name,
    },
    /// One archive twice.
    #[error("{name} is there twice")]
    Twice {
        /// The archive.
        name: Name,
    },
    /// It does not say what it consists of.
    #[error("{name} has no MANIFEST.json: pgproof did not make it, and which libraries it brings is not known")]
    NoManifest {
        /// The archive.
        name: Name,
    },
    /// What it says of itself cannot be.
    #[error("MANIFEST.json in {name} cannot be used")]
    Manifest {
        /// The archive.
        name: Name,
        /// Why.
        source: ManifestError,
    },
    /// It has more texts than can be taken over.
    #[error("{name} has more licence texts, or programs that need more libraries, than any release")]
    TooMuch {
        /// The archive.
        name: Name,
    },
}

/// The bill of materials of one release's archives, in any order. `source` is what its PostgreSQL was built from, if that is
/// known.
pub fn of_release<R: Read>(archives: Vec<Sealed<R>>, source: Option<&Source>) -> Result<Documents, SbomError> {
    Ok(Documents::of(&release::take(archives, source)?))
}

/// The bill of materials of what builds `target`: the root file system with every package in it, and the tarball. The
/// toolchain is the one for the target if none is named.
pub fn of_environment(
    definitions: &Definitions,
    target: Target,
    toolchain: Option<&Name>,
) -> Result<Documents, DefinitionsError> {
    let sysroot = match toolchain {
        Some(name) => definitions.toolchain(name)?.sysroot,
        None => definitions.toolchain_for(target.triple)?.1.sysroot,
    };
    let (compose, lockfile) = (definitions.compose(&sysroot)?, definitions.lockfile(&sysroot)?);
    let source = source(definitions, target)?;
    Ok(Documents::of(&environment::take(target, &source, &sysroot, &compose, &lockfile)))
}

/// What the PostgreSQL of `target` is built from.
///
/// # Panics
///
/// Never: the lockfile's name is one.
pub fn source(definitions: &Definitions, target: Target) -> Result<Source, DefinitionsError> {
    let lockfile = definitions.lockfile(&SOURCES.parse().expect("it is a name"))?;
    Ok(lockfile.source(target)?.clone())
}

/// The bill of materials of pgproof itself: what its `Cargo.lock` names.
pub fn of_pgproof() -> Documents {
    Documents::of(&crates::take())
}

/// A form of a bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// SPDX 2.3, as JSON.
    Spdx,
    /// CycloneDX 1.6, as JSON.
    CycloneDx,
    /// A line for each component.
    Text,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Spdx, Self::CycloneDx, Self::Text];

    /// What follows the documents' name in that of a file.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Spdx => ".spdx.json",
            Self::CycloneDx => ".cdx.json",
            Self::Text => ".sbom.txt",
        }
    }
}

impl Documents {
    /// One of the forms.
    pub fn form(&self, form: Form) -> &[u8] {
        match form {
            Form::Spdx => &self.spdx,
            Form::CycloneDx => &self.cyclonedx,
            Form::Text => self.text.as_bytes(),
        }
    }

    fn of(inventory: &Inventory) -> Self {
        Self {
            name: inventory.name.clone(),
            spdx: spdx::write(inventory),
            cyclonedx: cyclonedx::write(inventory),
            text: summary::write(inventory),
        }
    }
}
