//! pgproof builds PostgreSQL in a sealed box from inputs pinned by digest, twice, under different conditions, and shows
//! that both came out the same byte for byte.
//!
//! The modules stand in reading order; a module uses those above it and none below.

pub mod text;
pub mod digest;
pub mod target;
pub mod compression;
pub mod lockfile;
pub mod definitions;
pub mod store;
pub mod tree;
pub mod check;
pub mod fetch;
pub mod lock;
pub mod sysroot;
pub mod plan;
pub mod inputs;
pub mod variation;
pub mod sandbox;
pub mod output;
pub mod verdict;
pub mod rebuild;
pub mod trial;
pub mod sbom;
pub mod statement;
pub mod bundle;
pub mod testimony;
pub mod policy;
pub mod release;
pub mod page;

use crate::check::{CheckError, ReleaseError};
use crate::digest::Digest;
use crate::fetch::FetchError;
use crate::inputs::InputsError;
use crate::lock::LockError;
use crate::lockfile::Name;
use crate::output::OutputError;
use crate::page::PageError;
use crate::release::PublishedError;
use crate::store::StoreError;
use crate::sysroot::SysrootError;
use crate::tree::TreeError;
use crate::variation::Label;

/// Why a command has no result, by stage.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum Error {
    /// What was asked for is not a thing that can be built.
    #[error("wrong use")]
    Target(#[from] target::TargetError),
    /// A name is none.
    #[error("wrong use")]
    Name(#[from] lockfile::OriginError),
    /// A lockfile is malformed, or does not have what was asked for.
    #[error("cannot use the lockfile")]
    Lockfile(#[from] lockfile::LockfileError),
    /// A definition is malformed or missing.
    #[error("cannot use the definitions")]
    Definitions(#[from] definitions::DefinitionsError),
    /// The store failed.
    #[error("cannot use the store")]
    Store(#[from] StoreError),
    /// A mirror of the host's configuration cannot be used.
    #[error("cannot use this host's mirrors")]
    Mirrors(#[from] fetch::MirrorError),
    /// Inputs could not be had.
    #[error("cannot fetch")]
    Fetch(#[from] FetchError),
    /// A definition cannot be resolved.
    #[error("cannot lock")]
    Lock(#[from] LockError),
    /// The root file system cannot be composed.
    #[error("cannot compose the root file system")]
    Sysroot(#[from] SysrootError),
    /// The plan is malformed.
    #[error("cannot use the plan")]
    Plan(#[from] plan::PlanError),
    /// PostgreSQL's recipe does not know it.
    #[error("cannot plan")]
    Recipe(#[from] plan::postgresql::RecipeError),
    /// The plan's inputs are not there.
    #[error("cannot bring the inputs together")]
    Inputs(#[from] InputsError),
    /// The plan wants a root file system that nobody here can make.
    #[error(
        "the plan's sysroot {name} has the manifest {wanted}, which is not in the store, and sysroots/{name}.toml pins {pinned}"
    )]
    ForeignSysroot {
        /// Its name.
        name: Name,
        /// What the plan pins.
        wanted: Digest,
        /// What the definition pins.
        pinned: Digest,
    },
    /// There was no build.
    #[error("there is no {label} build")]
    Build {
        /// Which of the two.
        label: Label,
        /// Why.
        source: sandbox::SandboxError,
    },
    /// The box cannot be looked at from outside.
    #[error("cannot set up the box")]
    Sandbox(#[from] sandbox::SandboxError),
    /// What was built is no archive.
    #[error("cannot make the archive")]
    Output(#[from] OutputError),
    /// A file is no archive of a release.
    #[error("cannot check")]
    Release(#[from] check::ReleaseError),
    /// Archives cannot be checked.
    #[error("cannot check")]
    Check(#[from] check::CheckError),
    /// A tree cannot be read or unpacked.
    #[error("cannot use the tree")]
    Tree(#[from] TreeError),
    /// There is nothing to test, or no way to.
    #[error("cannot test")]
    Trial(#[from] trial::TrialError),
    /// What archives consist of cannot be told.
    #[error("cannot tell what the archives consist of")]
    Sbom(#[from] sbom::SbomError),
    /// A file is no bundle.
    #[error("cannot read the bundle")]
    Bundle(#[from] bundle::BundleError),
    /// A file is no trust root, or none can be had.
    #[error("cannot use the trust root")]
    Trust(#[from] bundle::TrustError),
    /// A pattern is none.
    #[error("wrong use")]
    Pattern(#[from] bundle::PatternError),
    /// What signatures are made with cannot be used.
    #[error("cannot use the signing configuration")]
    Services(#[from] bundle::ServicesError),
    /// A private key cannot be used.
    #[error("cannot use the key")]
    Key(#[from] bundle::KeyError),
    /// There is no OpenPGP signature.
    #[error("cannot sign with OpenPGP")]
    OpenPgp(#[from] bundle::OpenPgpError),
    /// There is no signature.
    #[error("cannot sign")]
    Signing(#[from] bundle::SigningError),
    /// A public key is none.
    #[error("cannot use the public key")]
    PublicKey(#[from] bundle::PublicKeyError),
    /// A statement cannot be made, or is none.
    #[error("cannot use the statement")]
    Statement(#[from] statement::StatementError),
    /// A policy cannot be used.
    #[error("cannot use the policy")]
    Policy(#[from] policy::PolicyError),
    /// A published release cannot be read.
    #[error("cannot use what was published")]
    Published(#[from] release::PublishedError),
    /// A builder, a run or a commit has no such name.
    #[error("wrong use")]
    Origin(#[from] statement::OriginError),
    /// A report cannot be shown.
    #[error("cannot show the report")]
    Page(#[from] PageError),
}

/// What kind of trouble an [`Error`] is; each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The command asked for something that there is not.
    Use,
    /// An input failed verification.
    Input,
    /// The sandbox cannot be closed here.
    Sandbox,
    /// The build itself failed.
    Build,
    /// Network or disk: nothing was decided.
    Passing,
    /// Somebody stopped it.
    Cancelled,
}

impl Error {
    /// What kind of trouble it is.
    pub fn trouble(&self) -> Trouble {
        // Wherever the store is involved, it knows best: a damaged blob and a full disk look the same from here.
        if let Some(error) = StoreError::find(self) {
            return of_store(error);
        }
        match self {
            Self::Target(_)
            | Self::Name(_)
            | Self::Recipe(_)
            | Self::Mirrors(_)
            | Self::Origin(_)
            | Self::Policy(_)
            | Self::ForeignSysroot { .. }
            | Self::Lockfile(_)
            | Self::Definitions(_)
            | Self::Plan(_)
            | Self::Pattern(_)
            | Self::Services(_)
            | Self::Key(_)
            | Self::OpenPgp(_)
            | Self::PublicKey(_) => Trouble::Use,
            // Strangers write them; what pgproof states itself is of definitions that it has used already.
            Self::Bundle(_) | Self::Statement(_) => Trouble::Input,
            Self::Trust(error) => {
                if error.is_passing() {
                    Trouble::Passing
                } else {
                    Trouble::Input
                }
            }
            Self::Signing(error) => of_signing(error),
            Self::Store(error) => of_store(error),
            Self::Fetch(error) => of_fetch(error),
            Self::Published(error) => match error {
                PublishedError::Fetch(error) => of_fetch(error),
                PublishedError::Unreadable { .. } => Trouble::Passing,
                PublishedError::TooLarge { .. } | PublishedError::TooMany(_) => Trouble::Input,
                PublishedError::Offline(_) | PublishedError::Which { .. } => Trouble::Use,
            },
            Self::Inputs(error) => match error {
                InputsError::Store(error) => of_store(error),
                InputsError::Compression { .. } | InputsError::Bomb { .. } | InputsError::Tar { .. } => Trouble::Input,
            },
            Self::Lock(error) => of_lock(error),
            Self::Sysroot(error) => of_sysroot(error),
            Self::Sandbox(source) | Self::Build { source, .. } => match source.class() {
                sandbox::Class::Input => Trouble::Input,
                sandbox::Class::NotClosed => Trouble::Sandbox,
                sandbox::Class::Build => Trouble::Build,
                sandbox::Class::Trouble => Trouble::Passing,
                sandbox::Class::Cancelled => Trouble::Cancelled,
            },
            Self::Output(error) => match error {
                // The tree is the build's, and pgproof wrote its tar: what breaks the contract is the build.
                OutputError::Contract { .. } | OutputError::Tree { .. } => Trouble::Build,
                OutputError::Sums { .. } | OutputError::Information { .. } => Trouble::Use,
                OutputError::Store { .. } | OutputError::Compress { .. } | OutputError::Publish { .. } => {
                    Trouble::Passing
                }
            },
            Self::Release(error) => match error {
                ReleaseError::Other { .. } | ReleaseError::Damaged { .. } | ReleaseError::TopLevel { .. } => {
                    Trouble::Input
                }
                ReleaseError::Unreadable { .. } => Trouble::Passing,
            },
            Self::Check(error) => match error {
                CheckError::Tar { .. }
                | CheckError::TopLevel { .. }
                | CheckError::NoPrograms { .. }
                | CheckError::TooMuch { .. } => Trouble::Input,
                CheckError::Twice { .. }
                | CheckError::NoMain { .. }
                | CheckError::Glob { .. }
                | CheckError::Places { .. } => Trouble::Use,
            },
            Self::Tree(error) => match error {
                TreeError::Malformed { .. } | TreeError::Refused { .. } | TreeError::TooMuch { .. } => Trouble::Input,
                TreeError::Read { .. } | TreeError::Write { .. } | TreeError::Io { .. } => Trouble::Passing,
            },
            Self::Sbom(error) => match error {
                sbom::SbomError::Nothing | sbom::SbomError::Mixed { .. } | sbom::SbomError::Twice { .. } => {
                    Trouble::Use
                }
                sbom::SbomError::Tar { .. }
                | sbom::SbomError::TopLevel { .. }
                | sbom::SbomError::Foreign { .. }
                | sbom::SbomError::NoManifest { .. }
                | sbom::SbomError::Manifest { .. }
                | sbom::SbomError::TooMuch { .. } => Trouble::Input,
            },
            Self::Page(error) => of_page(error),
            Self::Trial(error) => {
                if error.is_of_input() {
                    Trouble::Input
                } else {
                    Trouble::Passing
                }
            }
        }
    }
}

fn of_store(error: &StoreError) -> Trouble {
    match error.fault() {
        store::Fault::Content => Trouble::Input,
        store::Fault::Disk => Trouble::Passing,
        store::Fault::Use => Trouble::Use,
    }
}

fn of_fetch(error: &FetchError) -> Trouble {
    if error.is_unverified() { Trouble::Input } else { Trouble::Passing }
}

fn of_signing(error: &bundle::SigningError) -> Trouble {
    match error.class() {
        bundle::Class::Use => Trouble::Use,
        bundle::Class::Input => Trouble::Input,
        bundle::Class::Passing => Trouble::Passing,
    }
}

fn of_page(error: &PageError) -> Trouble {
    match error {
        PageError::Unreadable { .. } => Trouble::Passing,
        PageError::TooMany { .. } => Trouble::Use,
        PageError::Of { source, .. } => of_page(source),
        PageError::TooLarge { .. }
        | PageError::Malformed { .. }
        | PageError::Format { .. }
        | PageError::Contradiction(_)
        | PageError::List { .. } => Trouble::Input,
    }
}

fn of_lock(error: &LockError) -> Trouble {
    match error {
        // What an origin gave may have been wrong, which is more than being out of reach.
        LockError::Network { source, .. } => source.downcast_ref().map_or(Trouble::Passing, of_fetch),
        LockError::Store(_) => Trouble::Passing,
        LockError::Definitions(_)
        | LockError::Indices { .. }
        | LockError::NoIndex { .. }
        | LockError::Resolve(_)
        | LockError::Path(_) => Trouble::Use,
        LockError::Keyring { .. }
        | LockError::NotText { .. }
        | LockError::Signature { .. }
        | LockError::Release { .. }
        | LockError::Expired { .. }
        | LockError::Future { .. }
        | LockError::Older { .. }
        | LockError::TooLarge { .. }
        | LockError::Compression { .. }
        | LockError::Tar { .. }
        | LockError::Packages { .. }
        | LockError::Sources { .. } => Trouble::Input,
    }
}

fn of_sysroot(error: &SysrootError) -> Trouble {
    match error {
        SysrootError::NotFetched { .. } | SysrootError::Store { .. } | SysrootError::Missing { .. } => Trouble::Passing,
        SysrootError::Selection { .. }
        | SysrootError::Declared { .. }
        | SysrootError::Date { .. }
        | SysrootError::Target { .. } => Trouble::Use,
        SysrootError::Layer { .. } | SysrootError::Image { .. } | SysrootError::Pin { .. } => Trouble::Input,
    }
}
