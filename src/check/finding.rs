//! What can be wrong with a file, and what is excepted.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::{CheckError, Role};

/// How many findings of one archive are listed; more are counted.
const LISTED: usize = 2000;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An ELF file or static library breaks its format.
    Malformed,
    /// It is for another machine.
    WrongMachine,
    /// The loader that it names is not the platform's.
    WrongLoader,
    /// It needs a library that is neither where its RUNPATH leads nor the C library's.
    LackingLibrary,
    /// It wants a symbol version that the bundled library does not have.
    LackingVersion,
    /// It is a copy of one of the C library's own libraries.
    BundledGlibc,
    /// A symbolic link leads nowhere, or out of the archive.
    DanglingLink,
    /// It has an RPATH, which comes before `LD_LIBRARY_PATH` and is inherited.
    Rpath,
    /// An element of its RUNPATH is not relative to the file, or leads out of the archive.
    Runpath,
    /// It is a program with a fixed address.
    NotPie,
    /// What is relocated stays writable.
    NoRelro,
    /// Functions are bound lazily, so that their table stays writable.
    NoBindNow,
    /// It asks for an executable stack, or does not say that it needs none.
    ExecutableStack,
    /// Its code is written to when it is loaded.
    TextRelocations,
    /// A segment is writable and executable.
    WritableCode,
    /// No function of it looks for a smashed stack.
    NoStackProtector,
    /// It calls functions that have a checking variant, and never such a variant. About `sizes` if that may be because it
    /// does not know how large their destinations are; about nothing if FORTIFY must have been off.
    NoFortify,
    /// Symbols or debug information are still in it.
    Unstripped,
    /// It names a directory that only a builder has.
    BuildPath,
    /// It needs a newer C library than is declared, or private parts of it.
    GlibcFloor,
    /// It needs a newer kernel than is declared.
    KernelFloor,
    /// It needs a better processor than is declared.
    CpuFloor,
    /// A debug file has no debug information.
    NoDebugInformation,
    /// A file has no build id, by which debuggers find what belongs to it.
    NoBuildId,
    /// A debug file has code of its own.
    DebugCode,
    /// A debug file belongs to no file of the other archives.
    OrphanedDebug,
    /// The debug archive does not have what belongs to the file.
    LackingDebug,
    /// A link that is named after a build id does not lead to the file with that build id.
    BuildIdLink,
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file, below the archive's top-level directory.
    pub file: String,
    /// What is wrong with it.
    pub kind: Kind,
    /// What in particular: the library, the version, the directory, …. What an [`Exception`] can name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What was seen there, if that is more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub seen: String,
}

/// A finding that is known and accepted, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception<'a> {
    /// The archives that it is for.
    pub roles: &'a [Role],
    /// Glob of the files, below the top-level directory: `*` stays within a component, `**` does not.
    pub files: &'a str,
    /// The finding.
    pub kind: Kind,
    /// The only [`Finding::about`] that is accepted; `None` for any.
    pub about: Option<&'a str>,
    /// Why it is accepted, for people.
    pub reason: &'a str,
}

/// A finding that an [`Exception`] accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Excepted {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// Why it is accepted.
    pub reason: String,
}

/// An [`Exception`] that accepts nothing any more: correct or remove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stale {
    /// Its glob.
    pub files: String,
    /// The finding that there is not.
    pub kind: Kind,
    /// What in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Why it was accepted.
    pub reason: String,
}

/// The exceptions, ready to be asked.
pub(super) struct Exceptions<'a> {
    all: Vec<(Exception<'a>, GlobMatcher, bool)>,
}

/// The findings of one archive.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) excepted: Vec<Excepted>,
    pub(super) unlisted: u64,
}

impl<'a> Exceptions<'a> {
    pub(super) fn new(exceptions: &[Exception<'a>]) -> Result<Self, CheckError> {
        let compiled = exceptions.iter().map(|exception| {
            let glob = GlobBuilder::new(exception.files).literal_separator(true).build();
            let glob = glob.map_err(|source| CheckError::Glob { glob: exception.files.to_owned(), source })?;
            Ok((*exception, glob.compile_matcher(), false))
        });
        Ok(Self { all: compiled.collect::<Result<_, CheckError>>()? })
    }

    /// Puts a finding where it belongs.
    pub(super) fn sort(&mut self, role: Role, finding: Finding, findings: &mut Findings) {
        let accepting = self.all.iter_mut().find(|(exception, glob, _)| {
            exception.kind == finding.kind
                && exception.roles.contains(&role)
                && exception.about.is_none_or(|about| about == finding.about)
                && glob.is_match(&finding.file)
        });
        let reason = accepting.map(|(exception, _, used)| {
            *used = true;
            exception.reason.to_owned()
        });
        if findings.listed.len() + findings.excepted.len() >= LISTED {
            findings.unlisted += u64::from(reason.is_none());
        } else if let Some(reason) = reason {
            findings.excepted.push(Excepted { finding, reason });
        } else {
            findings.listed.push(finding);
        }
    }

    /// Those that accepted nothing, though an archive that they are for was checked.
    pub(super) fn stale(&self, roles: &[Role]) -> Vec<Stale> {
        let stale = self
            .all
            .iter()
            .filter(|(exception, _, used)| !used && exception.roles.iter().any(|role| roles.contains(role)));
        stale
            .map(|(exception, ..)| Stale {
                files: exception.files.to_owned(),
                kind: exception.kind,
                about: exception.about.map(ToOwned::to_owned),
                reason: exception.reason.to_owned(),
            })
            .collect()
    }
}

impl Kind {
    /// What is wrong, of a file, with `about` in its place.
    pub(super) fn describe(self, about: &str) -> String {
        match self {
            Self::Malformed => format!("is malformed: {about}"),
            Self::WrongMachine => format!("is for another machine: {about}"),
            Self::WrongLoader => format!("names another loader than the platform's: {about}"),
            Self::LackingLibrary => {
                format!("needs {about}, which its RUNPATH does not lead to and which is not the C library's")
            }
            Self::LackingVersion => format!("needs {about}, which the bundled library does not have"),
            Self::BundledGlibc => format!("is the C library's own {about}, which has to come from the host"),
            Self::DanglingLink => format!("links to {about}, which is not in the archive"),
            Self::Rpath => format!("has the RPATH {about:?}: no RPATH is allowed"),
            Self::Runpath if about.is_empty() => {
                "has an empty element in its RUNPATH: the working directory".to_owned()
            }
            Self::Runpath => format!("has {about:?} in its RUNPATH, which does not lead from $ORIGIN into the archive"),
            Self::NotPie => "is a program with a fixed address (not PIE)".to_owned(),
            Self::NoRelro => "keeps what is relocated writable (no RELRO)".to_owned(),
            Self::NoBindNow => "binds functions lazily (no BIND_NOW)".to_owned(),
            Self::ExecutableStack => "may execute its stack".to_owned(),
            Self::TextRelocations => "has text relocations".to_owned(),
            Self::WritableCode => "has a segment that is writable and executable".to_owned(),
            Self::NoStackProtector => "does not use the stack protector".to_owned(),
            Self::NoFortify if about.is_empty() => "was compiled without FORTIFY".to_owned(),
            Self::NoFortify => {
                "calls no checking variant of any function (no FORTIFY, or no destination of known size)".to_owned()
            }
            Self::Unstripped => format!("is not stripped: it has {about}"),
            Self::BuildPath => format!("names a build place, {about}"),
            Self::GlibcFloor => format!("needs {about}, more than is declared"),
            Self::KernelFloor => format!("needs Linux {about}, more than is declared"),
            Self::CpuFloor => format!("needs an {about} processor, more than is declared"),
            Self::NoDebugInformation => "has no debug information".to_owned(),
            Self::NoBuildId => "has no build id".to_owned(),
            Self::DebugCode => "has code of its own in a debug file".to_owned(),
            Self::OrphanedDebug => format!("is the debug file of {about}, which no other archive has"),
            Self::LackingDebug => format!("has no debug file {about} of the same build id in the debug archive"),
            Self::BuildIdLink => format!("does not lead to the debug file of the build id {about}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.kind.describe(&self.about))?;
        if self.seen.is_empty() { Ok(()) } else { write!(f, ": {}", self.seen) }
    }
}
