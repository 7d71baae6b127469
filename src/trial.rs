//! Tests an archive as PostgreSQL: in the sealed box, at a random path with a space in it, where there is nothing else but a
//! C library and a shell.
//!
//! A check that fails is an answer, not an error, and hides no other check; what makes no sense without it is not run. The
//! archive may come from anybody. Its files are laid over the minimal root file system and are read-only there.
//!
//! # Why
//!
//! - *The test is a script* of shell words only (`trial/smoke.sh`), because the box that it runs in has no other program:
//!   an archive that needs one, or a library, or the host's time zones, fails. The script is a constant; what depends on the
//!   archive reaches it as files of names, which are plain words.
//! - *Results are lines of the log* that begin with a random token, so that a test which hangs or breaks off still tells what
//!   it found until then, and so that nothing that a program prints by accident is taken for a result. The limit: programs
//!   under test run as the same user as the script and could read the token. They cannot get out of the box, but an archive
//!   that is made to deceive its test can pass it. The test tells whether PostgreSQL works, not whether it is honest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::Error;
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::plan::{FORMAT, Input, Plan, Step, Sysroot};
use crate::rebuild::{Ready, Workshop};
use crate::sandbox::{self, Job, SandboxError, Wall};
use crate::store::{Blob, Incoming, Store};
use crate::target::Triple;
use crate::tree::{self, Kind, Member, Reader, TreeError, Writer};
use crate::variation::Variation;

mod archive;
mod certificates;
mod regress;
mod transcript;

pub use regress::{Regress, Suite, Tests, regress};

use archive::{Archive, Program};
use certificates::Certificates;
use transcript::Transcript;

/// What is run in the box.
const SCRIPT: &str = include_str!("trial/smoke.sh");

/// The line of the script after which every check is started.
const ORDER: &str = "# --- In this order ";

/// The time of all files in the box, in seconds since 1970: any.
const EPOCH: u32 = 1_000_000_000;

/// What to test.
#[derive(Debug, Clone)]
pub struct Request {
    /// The archive: a tar, compressed or not.
    pub archive: PathBuf,
    /// An archive of an older major version, to upgrade from.
    pub older: Option<PathBuf>,
}

/// What a test found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The digest of the archive's file.
    pub archive: Digest,
    /// What PostgreSQL says its version is.
    pub version: Option<String>,
    /// Where the archive lay in the box.
    pub path: String,
    /// All checks, in their order.
    pub checks: Vec<Check>,
    /// Why the test did not come to its end.
    pub ended: Option<String>,
    /// What the test printed.
    pub log: Option<Digest>,
    /// The plan that was run.
    pub plan: Option<Digest>,
    /// The manifest of the root file system that the archive was laid over.
    pub sysroot: Option<Digest>,
    /// The walls that stood.
    pub walls: Vec<Wall>,
    /// How long it took, the preparation included.
    #[serde(rename = "elapsedS", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// One thing that was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What: `time-zones`, `extension:hstore`.
    pub name: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took; nothing if it was not run.
    #[serde(rename = "elapsedS", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// The last lines that it printed, if it failed: a stranger's text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<String>,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was as it should be.
    Passed,
    /// It was not.
    Failed,
    /// It does not apply, for this reason.
    Skipped(String),
    /// Something that it needs failed before.
    NotRun,
}

/// How many checks went how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// As they should.
    pub passed: usize,
    /// Not so.
    pub failed: usize,
    /// They do not apply.
    pub skipped: usize,
    /// What they need failed.
    pub not_run: usize,
}

/// Why there is nothing to test, or no way to.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum TrialError {
    /// The file is something else.
    #[error("{path} is no PostgreSQL archive: it is {what}")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is malformed, or has what no archive of PostgreSQL has.
    #[error("{path} is refused")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TreeError,
    },
    /// More of one kind than PostgreSQL ever had.
    #[error("{path} is refused: it has more than {limit} {what}")]
    TooMany {
        /// The file.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
    /// Somebody wrote to the file.
    #[error("{path} changed while it was read")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The root file system cannot be read or written.
    #[error("the box's root file system cannot be made")]
    Layer {
        /// Why.
        source: TreeError,
    },
    /// No certificates.
    #[error("no certificates can be made")]
    Certificates(#[from] rcgen::Error),
    /// What the test printed cannot be read.
    #[error("what the test printed cannot be read")]
    Log {
        /// Why.
        source: io::Error,
    },
}

/// Runs every check on the archive.
///
/// The archive is read before anything is fetched. What is missing of the minimal root file system is fetched then.
pub fn smoke(workshop: &Workshop<'_>, request: &Request) -> Result<Report, Error> {
    let started = Instant::now();
    let archive = Archive::read(&request.archive)?;
    let older = request.older.as_deref().map(Archive::read).transpose()?;
    let host = Triple::host()?;
    let here = Place::random(&archive);
    let mut report = Report {
        archive: archive.part.digest,
        version: None,
        path: here.path.clone(),
        checks: vec![platform(&archive, host), names(&archive)],
        ended: None,
        log: None,
        plan: None,
        sysroot: None,
        walls: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let wanted = planned(&archive);
    if report.checks[0].outcome == Outcome::Failed {
        report.checks.extend(wanted.into_iter().map(|name| Check::new(name, Outcome::NotRun)));
        return Ok(report);
    }

    let mut inputs = Inputs::new(workshop.store);
    let token = format!("pgproof-{:032x}", fastrand::u128(..));
    let plan = plan(workshop, &archive, older.as_ref().map(|older| (older, &here)), &here, &token, &mut inputs)?;
    report.plan = Some(plan.digest());
    report.sysroot = Some(plan.sysroot.manifest);
    let ready = workshop.prepare(plan)?;
    let layer = layer(ready.rootfs.layer(), workshop.store, &mut |writer| {
        archive.lay(&here.directory, writer)?;
        older.as_ref().map_or(Ok(()), |older| older.lay(&here.older, writer))
    })?;
    inputs.passing.push(layer);
    let ran = run(workshop, &ready, layer, &Variation::plain(workshop.cpus))?;
    drop(inputs);
    report.ended = ran.ended;
    report.walls = ran.walls;
    report.log = Some(ran.log.digest());
    let reader = BufReader::new(workshop.store.read(ran.log)?);
    let transcript = Transcript::read(reader, &token, &wanted).map_err(|source| TrialError::Log { source })?;
    report.checks.extend(transcript.checks);
    report.version = transcript.version;
    report.elapsed = started.elapsed();
    Ok(report)
}

/// How a run went.
struct Ran {
    log: Blob,
    walls: Vec<Wall>,
    ended: Option<String>,
}

/// Runs a plan over another root file system than its own.
fn run(workshop: &Workshop<'_>, ready: &Ready, layer: Blob, variation: &Variation) -> Result<Ran, Error> {
    let job = Job { rootfs: layer, ..workshop.job(ready, variation) };
    let label = variation.label;
    let ran = sandbox::run(&job, workshop.store, &mut |event| workshop.observer.event(label, event), workshop.cancel);
    match ran {
        Ok(installed) => Ok(Ran { log: installed.log, walls: installed.walls, ended: None }),
        // An archive that hangs or kills its surroundings has not passed; what it did until then is known.
        Err(
            source @ (SandboxError::StepFailed { .. } | SandboxError::Timeout { .. } | SandboxError::Endless { .. }),
        ) => match source.log() {
            Some(log) => {
                let ended = source.to_string().lines().next().unwrap_or_default().to_owned();
                Ok(Ran { log, walls: Vec::new(), ended: Some(ended) })
            }
            None => Err(Error::Build { label, source }),
        },
        Err(source) => Err(Error::Build { label, source }),
    }
}

/// Where the archives lie in the box.
struct Place {
    /// The directory that the archive is unpacked in.
    directory: String,
    /// The directory that the older archive is unpacked in.
    older: String,
    /// The absolute path of the directory that has the archive's `bin`.
    path: String,
}

impl Place {
    fn random(archive: &Archive) -> Self {
        let directory = format!("opt/pgproof test {:016x}", fastrand::u64(..));
        let path = absolute(&directory, archive);
        Self { older: format!("{directory} older"), directory, path }
    }
}

fn absolute(directory: &str, archive: &Archive) -> String {
    format!("/{directory}/{}", archive.top).trim_end_matches('/').to_owned()
}

/// The inputs of a plan, and what of them nobody will ever ask for again.
struct Inputs<'a> {
    store: &'a Store,
    list: Vec<Input>,
    passing: Vec<Blob>,
}

impl<'a> Inputs<'a> {
    fn new(store: &'a Store) -> Self {
        Self { store, list: Vec::new(), passing: Vec::new() }
    }

    fn sorted(&self) -> Vec<Input> {
        let mut sorted = self.list.clone();
        sorted.sort_by(|one, other| one.name.cmp(&other.name));
        sorted
    }

    fn add(&mut self, name: &str, content: &str) -> Result<Blob, Error> {
        let blob = self.store.admit(content.as_bytes())?;
        let name = name.parse()?;
        self.list.push(Input { name, digest: blob.digest(), size: blob.size(), unpack: None, origins: Vec::new() });
        Ok(blob)
    }

    fn add_passing(&mut self, name: &str, content: &str) -> Result<(), Error> {
        let blob = self.add(name, content)?;
        self.passing.push(blob);
        Ok(())
    }
}

impl Drop for Inputs<'_> {
    fn drop(&mut self) {
        for blob in &self.passing {
            // What stays is removed by the next `store gc`.
            self.store.discard(*blob).ok();
        }
    }
}

fn plan(
    workshop: &Workshop<'_>,
    archive: &Archive,
    older: Option<(&Archive, &Place)>,
    here: &Place,
    token: &str,
    inputs: &mut Inputs<'_>,
) -> Result<Plan, Error> {
    let name: Name = format!("minimal-{}", Triple::host()?.debian_architecture()).parse()?;
    let manifest = workshop.definitions.compose(&name)?.manifest;
    let lines = |names: &BTreeSet<String>| names.iter().flat_map(|name| [name, "\n"]).collect::<String>();
    for (name, text) in Certificates::fresh().map_err(TrialError::from)?.files {
        inputs.add_passing(name, &text)?;
    }
    inputs.add_passing("token", &format!("{token}\n"))?;
    inputs.add("extensions", &lines(&archive.holdings.extensions))?;
    inputs.add("modules", &lines(&archive.holdings.modules))?;
    inputs.add("programs", &lines(&archive.holdings.programs))?;
    inputs.add("smoke.sh", SCRIPT)?;
    if let Some(version) = stated_version(&archive.top) {
        inputs.add("version", &format!("{version}\n"))?;
    }
    let older = older.map(|(older, here)| absolute(&here.older, older)).unwrap_or_default();
    let words = ["sh", "/pgproof/inputs/smoke.sh", here.path.as_str(), older.as_str()];
    Ok(Plan {
        version: FORMAT,
        name: "postgresql-test".parse()?,
        source_date_epoch: EPOCH,
        sysroot: Sysroot { name, manifest },
        inputs: inputs.sorted(),
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        steps: vec![Step { name: "smoke".parse()?, argv: words.map(str::to_owned).into(), directory: ".".parse()? }],
        output: ".".parse()?,
        parts: BTreeMap::new(),
    })
}

/// The version in `postgresql-17.11.0-x86_64-unknown-linux-gnu`: `17.11`.
fn stated_version(top: &str) -> Option<String> {
    let (version, _) = top.strip_prefix("postgresql-")?.split_once('-')?;
    let version = version.strip_suffix(".0")?;
    version.parse::<crate::target::Version>().ok().map(|version| version.to_string())
}

/// The names of all checks that the script does for this archive, in its order.
fn planned(archive: &Archive) -> Vec<String> {
    let mut names = Vec::new();
    let order = SCRIPT.split_once(ORDER).map_or("", |(_, order)| order);
    for line in order.lines() {
        let words = line.rsplit("then ").next().unwrap_or(line).trim_start();
        let Some(name) = words.strip_prefix("check ").and_then(|rest| rest.split(' ').next()) else { continue };
        let holdings = &archive.holdings;
        let kinds =
            [("program", &holdings.programs), ("extension", &holdings.extensions), ("module", &holdings.modules)];
        match kinds.iter().find(|(kind, _)| name == format!("\"{kind}:$name\"")) {
            Some((kind, each)) => names.extend(each.iter().map(|name| format!("{kind}:{name}"))),
            None => names.push(name.to_owned()),
        }
    }
    names
}

/// Whether the archive's programs can run here at all.
fn platform(archive: &Archive, host: Triple) -> Check {
    let made_for = match archive.postgres {
        Program::Script => host.to_string(),
        Program::Elf(triple) => triple.to_string(),
        Program::Foreign(what) => what.to_owned(),
    };
    let mut check = Check::new("platform", Outcome::Passed);
    if made_for != host.to_string() {
        check.outcome = Outcome::Failed;
        check.said = vec![format!("bin/postgres is for {made_for}, this machine is {host}")];
    }
    check
}

/// Whether there is anything that is left out because of its name.
fn names(archive: &Archive) -> Check {
    let mut check = Check::new("names", Outcome::Passed);
    if !archive.holdings.odd.is_empty() {
        check.outcome = Outcome::Failed;
        check.said =
            archive.holdings.odd.iter().take(20).map(|path| format!("{path:?} is no name of PostgreSQL's")).collect();
    }
    check
}

/// Where a layer is written to.
type Layer<'store> = Writer<Incoming<'store>>;

/// The root file system with what `lay` adds below `opt`.
fn layer<'store>(
    base: Blob,
    store: &'store Store,
    lay: &mut dyn FnMut(&mut Layer<'store>) -> Result<(), TrialError>,
) -> Result<Blob, Error> {
    let malformed = |source| TrialError::Layer { source };
    let failed = |source: io::Error| TrialError::Layer { source: TreeError::Write { source } };
    let mut writer = Writer::new(store.incoming()?, EPOCH);
    let mut reader = Reader::new(store.read(base)?, tree::Limits::STANDARD);
    while let Some(entry) = reader.next().map_err(malformed)? {
        let kind = match entry.member {
            Member::Directory => Kind::Directory,
            Member::File { size } => Kind::File { size },
            Member::Symlink { target } => Kind::Symlink { target },
            Member::HardLink { .. } => {
                let (path, refusal) = (entry.path.to_path_buf(), tree::Refusal::HardLink);
                return Err(malformed(TreeError::Refused { path, refusal }).into());
            }
        };
        writer.begin(&entry.path, &kind, entry.mode).map_err(failed)?;
        if let Kind::File { size } = kind {
            loop {
                let piece = reader.piece().map_err(malformed)?;
                if piece.is_empty() {
                    break;
                }
                writer.piece(piece).map_err(failed)?;
            }
            writer.pad(size).map_err(failed)?;
        }
    }
    writer.append(b"opt", &Kind::Directory, 0o755, io::empty()).map_err(failed)?;
    lay(&mut writer)?;
    let mut incoming = writer.finish().map_err(failed)?;
    incoming.flush().map_err(failed)?;
    Ok(incoming.commit()?)
}

impl Check {
    fn new(name: impl Into<String>, outcome: Outcome) -> Self {
        Self { name: name.into(), outcome, elapsed: Duration::ZERO, said: Vec::new() }
    }
}

impl Report {
    /// How many checks went how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for check in &self.checks {
            match check.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
                Outcome::NotRun => counts.not_run += 1,
            }
        }
        counts
    }

    /// Whether the test came to its end and found nothing.
    pub fn passed(&self) -> bool {
        let Counts { passed, failed, not_run, .. } = self.counts();
        self.ended.is_none() && failed == 0 && not_run == 0 && passed > 0
    }
}

impl TrialError {
    /// Whether the input is to blame, not this machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::NotAnArchive { .. } | Self::TooMany { .. } | Self::Changed { .. } => true,
            Self::Refused { source, .. } => {
                matches!(source, TreeError::Malformed { .. } | TreeError::Refused { .. } | TreeError::TooMuch { .. })
            }
            Self::Unreadable { .. } | Self::Layer { .. } | Self::Certificates(_) | Self::Log { .. } => false,
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
