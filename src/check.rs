//! Reads the archives of a release and says what is wrong with them: whether they run elsewhere than where they were built,
//! and are hardened, before anybody runs them.
//!
//! ```text
//! archive ── Reader ── file by file ──> bytes: build places
//!                                       ELF: machine, hardening, symbols, what it asks of the host
//! all archives ── file against file ──> libraries, versions, links, debug files
//! ```
//!
//! A file is an ELF file if it begins as one, whatever it is called. It runs nothing, writes nothing and opens no file:
//! all bytes are a stranger's, and what is wrong with them is a [`Finding`], not an error. An error is only what is no such
//! archive at all.
//!
//! # Why
//!
//! Reading says what running cannot: a library that is missing on the next host is there on this one, and what the loader
//! finds here by chance it finds through an absolute path.
//!
//! Which function needs a stack protector, or a checking variant of what it calls, cannot be told from the outside. The
//! check asks whether a file uses any of either, as `hardening-check` of Debian does. For the stack protector the debug
//! archive, where there is one, tells more: how the compiler was called. Otherwise a small file that needs none is excepted
//! by name, with that reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::Read;

use serde::Serialize;

use crate::lockfile::Name;
use crate::target::{Cpu, Floor, GlibcVersion, KernelVersion, Triple};
use crate::tree::{self, Limits, Member, Reader, TreeError};

mod contents;
mod debug;
mod elf;
mod file;
mod finding;
mod functions;
mod glibc;
mod libraries;
mod places;
mod release;

pub use finding::{Excepted, Exception, Finding, Kind, Stale};
pub(crate) use release::what_is;
pub use release::{Release, ReleaseError};

use contents::{Contents, Node, View};
use elf::Machine;
use finding::{Exceptions, Findings};
use places::Places;

/// The most bytes of names and texts that are kept of all archives together.
const KEPT: usize = 64 << 20;

/// An archive of a release.
#[derive(Debug)]
pub struct Part<R> {
    /// Its one top-level directory.
    pub name: Name,
    /// What it is in the release.
    pub role: Role,
    /// The plain tar.
    pub tar: R,
}

/// What an archive is in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The server and all that belongs to it: `NAME`.
    Main,
    /// The clients alone: `NAME-client`.
    Client,
    /// What is unpacked over the main archive, and may need more of the host: `NAME-pl`.
    AddOn,
    /// Debug information, unpacked over the main archive: `NAME-debug`.
    Debug,
}

/// What archives are held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The platform.
    pub target: Triple,
    /// The oldest host.
    pub floor: Floor,
    /// Texts that tell where it was built: `/build/`. They may occur nowhere.
    pub places: &'a [&'a str],
    /// What is known and accepted.
    pub exceptions: &'a [Exception<'a>],
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[must_use]
pub struct Report {
    /// The platform that was expected.
    pub target: Triple,
    /// What the files ask of a host.
    pub floor: Floors,
    /// The archives, in the order given.
    pub parts: Vec<PartReport>,
    /// Exceptions that accept nothing.
    pub stale: Vec<Stale>,
}

/// What the files ask of a host, and what they may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Floors {
    /// The C library.
    pub glibc: Measured<GlibcVersion>,
    /// The kernel.
    pub kernel: Measured<KernelVersion>,
    /// The processor.
    pub cpu: Measured<Cpu>,
}

/// One thing that a host must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured<T> {
    /// The most that any file asks for; `None` if none asks.
    pub found: Option<T>,
    /// The first file that asks for it: its archive and its path there.
    pub by: Option<String>,
    /// The most that they may.
    pub declared: T,
}

/// What was found in one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartReport {
    /// Its top-level directory.
    pub name: Name,
    /// What it is in the release.
    pub role: Role,
    /// How many regular files it has.
    pub files: u64,
    /// How many of these are ELF files.
    pub elf_files: u64,
    /// How many are static libraries.
    pub static_libraries: u64,
    /// The libraries that it needs of the host.
    pub host_libraries: BTreeSet<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is wrong and accepted.
    pub excepted: Vec<Excepted>,
    /// How many findings are not listed because there are too many.
    pub unlisted: u64,
}

/// Why archives cannot be checked.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum CheckError {
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
    /// There is nothing to check.
    #[error("{name} has no program and no library: it is no release")]
    NoPrograms {
        /// The archive.
        name: Name,
    },
    /// There is too much to check.
    #[error("the names in {name} and what its files say of themselves are longer than {KEPT} bytes")]
    TooMuch {
        /// The archive at which it became too much.
        name: Name,
    },
    /// Two archives that cannot both be.
    #[error("{first} and {second} are both the {role} archive: check one release at a time")]
    Twice {
        /// What they are.
        role: Role,
        /// The one.
        first: Name,
        /// The other.
        second: Name,
    },
    /// What an archive is unpacked over is not there.
    #[error("{name} is unpacked over the main archive: name that too")]
    NoMain {
        /// The archive.
        name: Name,
    },
    /// An exception's glob is none.
    #[error("the exception's pattern {glob:?} is not a glob")]
    Glob {
        /// The glob.
        glob: String,
        /// Why.
        source: globset::Error,
    },
    /// What tells a build place cannot be looked for.
    #[error("the build places cannot be looked for")]
    Places {
        /// Why.
        source: aho_corasick::BuildError,
    },
}

/// Reads archives that belong together to their ends, and holds every file against what is expected.
pub fn check<R: Read>(parts: Vec<Part<R>>, expected: &Expected<'_>) -> Result<Report, CheckError> {
    let mut check = Check {
        machine: Machine::of(expected.target),
        expected,
        places: Places::new(expected.places).map_err(|source| CheckError::Places { source })?,
        exceptions: Exceptions::new(expected.exceptions)?,
        floor: Floors {
            glibc: Measured { found: None, by: None, declared: expected.floor.glibc },
            kernel: Measured { found: None, by: None, declared: expected.floor.kernel },
            cpu: Measured { found: None, by: None, declared: expected.floor.cpu },
        },
        kept: 0,
    };
    belong_together(&parts)?;
    let mut read = Vec::new();
    for part in parts {
        read.push(check.read(part)?);
    }
    check.compare(&mut read);
    let roles: Vec<Role> = read.iter().map(|read| read.role).collect();
    Ok(Report {
        target: expected.target,
        floor: check.floor,
        parts: read.into_iter().map(Checked::report).collect(),
        stale: check.exceptions.stale(&roles),
    })
}

fn belong_together<R>(parts: &[Part<R>]) -> Result<(), CheckError> {
    let mut seen: BTreeMap<Role, &Name> = BTreeMap::new();
    for part in parts {
        // There may be several add-ons.
        let earlier = seen.insert(part.role, &part.name).filter(|_| part.role != Role::AddOn);
        if let Some(first) = earlier {
            return Err(CheckError::Twice { role: part.role, first: first.clone(), second: part.name.clone() });
        }
    }
    let over = parts.iter().find(|part| part.role.is_over_main());
    match over {
        Some(part) if !seen.contains_key(&Role::Main) => Err(CheckError::NoMain { name: part.name.clone() }),
        _ => Ok(()),
    }
}

/// A check that is going on.
struct Check<'a> {
    machine: Machine,
    expected: &'a Expected<'a>,
    places: Places,
    exceptions: Exceptions<'a>,
    floor: Floors,
    /// Bytes of names and texts that are kept.
    kept: usize,
}

/// An archive that has been read.
struct Checked {
    name: Name,
    role: Role,
    contents: Contents,
    files: u64,
    elf_files: u64,
    static_libraries: u64,
    host_libraries: BTreeSet<String>,
    findings: Findings,
}

impl Check<'_> {
    /// Reads an archive to its end, and finds what a file alone tells.
    fn read<R: Read>(&mut self, part: Part<R>) -> Result<Checked, CheckError> {
        let Part { name, role, tar } = part;
        let tar_error = |source| CheckError::Tar { name: name.clone(), source };
        let mut reader = Reader::new(tar, Limits::OUTPUT);
        let mut checked = Checked {
            name: name.clone(),
            role,
            contents: Contents::default(),
            files: 0,
            elf_files: 0,
            static_libraries: 0,
            host_libraries: BTreeSet::new(),
            findings: Findings::default(),
        };
        while let Some(entry) = reader.next().map_err(tar_error)? {
            let Some(path) = below(entry.path.as_bytes(), &name)? else { continue };
            let node = match entry.member {
                Member::Directory => Node::Directory,
                Member::Symlink { target } => {
                    self.keep(target.len(), &name)?;
                    Node::Symlink(target)
                }
                Member::HardLink { target } => match below(target.as_bytes(), &name)? {
                    Some(target) => Node::HardLink(target.to_vec()),
                    None => continue,
                },
                Member::File { .. } => {
                    checked.files += 1;
                    let elf = self.read_file(path, &mut reader, &mut checked).map_err(tar_error)?;
                    self.keep(elf.as_ref().map_or(0, |elf| elf.kept()), &name)?;
                    Node::File(elf)
                }
            };
            self.keep(path.len(), &name)?;
            checked.contents.insert(path.to_vec(), node);
        }
        if checked.elf_files == 0 { Err(CheckError::NoPrograms { name }) } else { Ok(checked) }
    }

    fn keep(&mut self, bytes: usize, name: &Name) -> Result<(), CheckError> {
        self.kept += bytes + size_of::<Node>();
        if self.kept > KEPT { Err(CheckError::TooMuch { name: name.clone() }) } else { Ok(()) }
    }

    /// Finds what only several files together tell.
    fn compare(&mut self, read: &mut [Checked]) {
        let mut found: Vec<Vec<Finding>> = Vec::new();
        let main = read.iter().find(|checked| checked.role == Role::Main).map(|checked| &checked.contents);
        let mut hosts = Vec::new();
        for checked in &*read {
            let view = View { upper: &checked.contents, lower: main.filter(|_| checked.role.is_over_main()) };
            let mut findings = libraries::dangling(view);
            let mut host = BTreeSet::new();
            if checked.role == Role::Debug {
                let others = read.iter().filter(|other| other.role != Role::Debug);
                findings.extend(debug::orphans(view, others.map(|other| &other.contents)));
            } else {
                findings.extend(libraries::lacking(view, self.machine, &mut host));
            }
            found.push(findings);
            hosts.push(host);
        }
        let debug = read.iter().find(|checked| checked.role == Role::Debug).map(|checked| &checked.contents);
        for (checked, findings) in read.iter().zip(&mut found).filter(|(checked, _)| checked.role != Role::Debug) {
            findings.extend(debug::unprotected(&checked.contents, self.machine, debug));
            findings.extend(debug.into_iter().flat_map(|debug| debug::lacking(&checked.contents, debug)));
        }
        for ((checked, found), host) in read.iter_mut().zip(found).zip(hosts) {
            checked.host_libraries = host;
            for finding in found {
                self.exceptions.sort(checked.role, finding, &mut checked.findings);
            }
        }
    }
}

/// Whether a file is an ELF file, by its beginning.
pub(crate) fn is_elf(beginning: &[u8]) -> bool {
    beginning.starts_with(file::ELF)
}

/// The libraries that an ELF file loads; none of what is not a sound one.
pub(crate) fn needed(bytes: &[u8]) -> Vec<String> {
    let parsed = is_elf(bytes).then(|| elf::Elf::parse(bytes).ok()).flatten();
    parsed.and_then(|elf| elf.dynamic).map_or_else(Vec::new, |dynamic| dynamic.needed)
}

/// A path below the top-level directory; `None` for that itself.
fn below<'a>(path: &'a [u8], name: &Name) -> Result<Option<&'a [u8]>, CheckError> {
    let outside = || CheckError::TopLevel { name: name.clone(), path: printable(path) };
    match path.strip_prefix(name.as_str().as_bytes()) {
        Some([]) => Ok(None),
        Some([b'/', path @ ..]) => Ok(Some(path)),
        _ if path.is_empty() => Ok(None),
        _ => Err(outside()),
    }
}

/// A stranger's bytes as text that can be printed.
fn printable(bytes: &[u8]) -> String {
    match (tree::check_text(bytes), std::str::from_utf8(bytes)) {
        (Ok(()), Ok(text)) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

impl Role {
    /// The role of the archive with this top-level directory.
    pub fn of(name: &Name) -> Self {
        let name = name.as_str();
        if name.ends_with("-debug") {
            Self::Debug
        } else if name.ends_with("-client") {
            Self::Client
        } else if name.ends_with("-pl") {
            Self::AddOn
        } else {
            Self::Main
        }
    }

    /// Whether it is unpacked over the main archive.
    const fn is_over_main(self) -> bool {
        matches!(self, Self::AddOn | Self::Debug)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Client => "client",
            Self::AddOn => "add-on",
            Self::Debug => "debug",
        }
    }
}

impl<T: PartialOrd + Copy> Measured<T> {
    /// Takes notice of what a file asks for; whether that is more than it may.
    fn note(&mut self, asked: T, by: impl FnOnce() -> String) -> bool {
        if self.found.is_none_or(|found| found < asked) {
            self.found = Some(asked);
            self.by = Some(by());
        }
        asked > self.declared
    }
}

impl Checked {
    fn report(self) -> PartReport {
        let Findings { mut listed, mut excepted, unlisted } = self.findings;
        listed.sort();
        excepted.sort_by(|one, other| one.finding.cmp(&other.finding));
        PartReport {
            name: self.name,
            role: self.role,
            files: self.files,
            elf_files: self.elf_files,
            static_libraries: self.static_libraries,
            host_libraries: self.host_libraries,
            findings: listed,
            excepted,
            unlisted,
        }
    }
}

impl Report {
    /// Whether nothing was found that is not accepted.
    pub fn is_clean(&self) -> bool {
        self.count() == 0
    }

    /// How much was found.
    pub fn count(&self) -> u64 {
        self.parts.iter().map(|part| part.findings.len() as u64 + part.unlisted).sum()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: fmt::Display> fmt::Display for Measured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.found, &self.by) {
            (Some(found), Some(by)) => write!(f, "{found} of at most {}, because of {by}", self.declared),
            _ => write!(f, "no file asks, at most {}", self.declared),
        }
    }
}

/// For people: each archive with its findings, then what is accepted, by reason.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            let PartReport { name, role, files, elf_files, .. } = part;
            writeln!(f, "{name} ({role}): {files} files, {elf_files} of them ELF")?;
            if !part.host_libraries.is_empty() {
                let libraries: Vec<&str> = part.host_libraries.iter().map(String::as_str).collect();
                writeln!(f, "  needs of the host: {}", libraries.join(" "))?;
            }
            for finding in &part.findings {
                writeln!(f, "  {finding}")?;
            }
            if part.unlisted > 0 {
                writeln!(f, "  and {} more", part.unlisted)?;
            }
            let mut accepted: BTreeMap<(Kind, &str), Vec<&str>> = BTreeMap::new();
            for excepted in &part.excepted {
                let key = (excepted.finding.kind, excepted.reason.as_str());
                accepted.entry(key).or_default().push(&excepted.finding.file);
            }
            for ((kind, reason), files) in accepted {
                let mut named = files[..files.len().min(3)].join(", ");
                if files.len() > 3 {
                    write!(named, " and {} more", files.len() - 3)?;
                }
                writeln!(f, "  accepted: {named} {}: {reason}", kind.describe("…"))?;
            }
        }
        let Floors { glibc, kernel, cpu } = &self.floor;
        writeln!(f, "floor: glibc {glibc}\n       Linux {kernel}\n       {cpu}")?;
        match self.count() {
            0 => f.write_str("nothing found"),
            1 => f.write_str("1 finding"),
            count => write!(f, "{count} findings"),
        }
    }
}
