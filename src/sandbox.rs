//! Runs a plan in a sealed box: no network, no host files, no privileges, and conditions that a [`Variation`] decides.
//!
//! It never runs anything with a wall less than all of them: a wall that cannot be raised is
//! [`SandboxError::NotClosed`], with what to do about it. What stood is measured from inside and recorded
//! ([`Installed::walls`]), and so is which conditions really held ([`Installed::axes`]). It never trusts what the build
//! leaves behind: an installed tree reaches the store as a normalised tar made inside the box's own mount namespace.
//!
//! # The processes
//!
//! ```text
//! pgproof      may be multi-threaded; hashes the log and the tree into the store
//! └─ helper    this program again, single-threaded, on the host's side; writes the id maps, waits
//!    └─ keeper    first process of an outer pid namespace, in new user, mount, network and cgroup namespaces, with a
//!       │         root file system of its own in memory; verifies and unpacks the inputs; packs the output
//!       └─ init      first process of the inner pid namespace, started by libcontainer with its own mount, ipc, uts,
//!          │         cgroup and time namespaces; without capabilities, behind the system call filter
//!          └─ the steps of the plan
//! ```
//!
//! # Why
//!
//! - *libcontainer raises the inner walls*, the keeper the outer ones. The keeper has nothing of the host in sight when
//!   libcontainer starts, so that its state directory and its idea of cgroups (none) are within a file system that
//!   vanishes with the namespace.
//! - *Two pid namespaces.* Each process asks to be killed when its parent dies. Between a fork and that request there is
//!   a gap, and within libcontainer it would not be ours to close; the outer namespace closes it: whatever happens, the
//!   kernel kills all that is in the box when the keeper dies, and nobody can wait for the keeper without that being done.
//! - *One id.* The build's user is the only one in the box, mapped to a high unprivileged id when pgproof runs as root
//!   and to the caller's own otherwise; there is no uid 0 in it at all. All files belong to that user, for root and others
//!   alike, so that both see the same tree; the root file system is mounted read-only.
//! - *The root file system is unpacked for each run*, through its digest, into memory, so that nothing lies unpacked where
//!   somebody could change it between check and use.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lockfile::Name;
use crate::plan::{Input, Plan};
use crate::store::{Blob, Store, StoreError};
use crate::variation::{Axis, Variation};

mod axes;
mod cgroup;
mod doctor;
mod export;
mod furnish;
mod helper;
mod init;
mod keeper;
mod message;
mod place;
mod remedy;
mod scratch;
mod seccomp;
mod specification;
mod supervisor;
mod system;
mod tail;
mod terminal;

pub use doctor::{Diagnosis, Finding, Standing, diagnose};
pub use export::{ExportError, export};
pub use helper::{HELPER_ARGUMENT, helper_main, is_helper};
pub use place::available_memory;
pub use supervisor::Cancel;

/// A build to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// What to run.
    pub plan: &'a Plan,
    /// The root file system: the sysroot's one layer as plain tar.
    pub rootfs: Blob,
    /// The plan's inputs with their bytes: the blob of the input's digest or, where it is to be unpacked and the plan
    /// states the digest of the decompressed tar, the blob of that.
    pub inputs: Vec<(&'a Input, Blob)>,
    /// The conditions.
    pub variation: &'a Variation,
    /// What the build may use.
    pub limits: Limits,
    /// Where to leave the build root, unpacked, for a person to look at.
    pub keep: Option<PathBuf>,
    /// The program that is started again as the box's helper and calls [`helper_main`]: this one.
    pub helper: PathBuf,
}

/// What a build may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How long all steps together may take, and before them the preparation.
    pub time: Duration,
    /// How many bytes it may print.
    pub log: u64,
    /// How many processes there may be at once.
    pub processes: u64,
    /// How many bytes of memory all processes together may use, files in memory and the root file system included, where
    /// the host has cgroups to limit it.
    pub memory: Option<u64>,
    /// How many bytes the build root, the output and `/tmp` together may hold, in memory or on disk.
    pub disk: u64,
}

/// What a build left behind, and how it went.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Each of the plan's archives as a normalised plain tar, in the order of [`Plan::archives`].
    pub trees: Vec<Blob>,
    /// What the steps printed.
    pub log: Blob,
    /// The walls that stood, measured from inside before the first step.
    pub walls: Vec<Wall>,
    /// What the host let us limit by cgroups, and why not the rest.
    pub cgroups: Vec<(Resource, Outcome)>,
    /// For each axis of the variation whether it held.
    pub axes: BTreeMap<Axis, Outcome>,
    /// How each step went.
    pub steps: Vec<StepReport>,
    /// Where the root file system and the build root lay.
    pub medium: Medium,
    /// From the start until the first step.
    pub prepared: Duration,
    /// The most memory that the box used at once, in bytes, where cgroups told it.
    pub peak_memory: Option<u64>,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The step's name.
    pub name: Name,
    /// How it ended.
    pub exit: Exit,
    /// Wall time.
    pub elapsed: Duration,
    /// Processor time of it and the processes that it waited for.
    pub cpu: Duration,
    /// The most memory that one of its processes had, in bytes.
    pub peak_memory: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It never began: the program cannot be run, for this `errno`.
    NotRun(i32),
}

/// Whether something was so, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was.
    Held,
    /// It was not, for this reason.
    NotHeld(String),
}

/// Where files lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// All in memory.
    Memory,
    /// The build root on disk, because the variation asks for it or because memory is short.
    BuildOnDisk,
    /// All on disk, because memory is short.
    Disk,
}

/// What cgroups limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// The number of processes.
    Processes,
    /// Memory.
    Memory,
}

/// What a caller hears while a build runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The root file system and the inputs are verified and in place; the first step follows.
    Prepared {
        /// Since the start.
        elapsed: Duration,
        /// Where they are.
        medium: Medium,
    },
    /// A step begins.
    StepStarted {
        /// Its place, from 0.
        index: usize,
        /// How many steps there are.
        total: usize,
        /// Its name.
        name: Name,
    },
    /// A step ended.
    StepFinished {
        /// Its place, from 0.
        index: usize,
        /// How many steps there are.
        total: usize,
        /// How it went.
        report: StepReport,
    },
    /// The build printed this.
    Output(Vec<u8>),
    /// All steps are done; the installed tree is being packed.
    Packing,
}

/// A wall of the box. They are in the order in which they are raised, by which the doctor knows what was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// A user namespace: what is privileged inside is not outside.
    UserNamespace,
    /// A mount namespace.
    MountNamespace,
    /// A pid namespace: no process of the host is visible.
    PidNamespace,
    /// A network namespace with nothing but `lo`.
    NetworkNamespace,
    /// A cgroup namespace.
    CgroupNamespace,
    /// One unprivileged id inside, mapped to an unprivileged one outside.
    IdMap,
    /// A root file system with nothing of the host's.
    Root,
    /// A System V ipc namespace.
    IpcNamespace,
    /// A host name of its own.
    UtsNamespace,
    /// A time namespace.
    TimeNamespace,
    /// The root file system cannot be written to.
    ReadOnlyRoot,
    /// `/proc` of the box's own processes only, its dangerous parts masked.
    Proc,
    /// `/dev` with six harmless devices.
    Devices,
    /// No capabilities in any set.
    Capabilities,
    /// Nothing that is executed can gain privileges.
    NoNewPrivileges,
    /// The system call filter.
    SystemCallFilter,
    /// No file descriptor of the host's.
    FileDescriptors,
    /// Limits for each process: no core files, so many files and processes.
    ProcessLimits,
    /// No controlling terminal.
    Session,
}

/// What the exit code is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An input failed verification.
    Input,
    /// The sandbox cannot be closed here.
    NotClosed,
    /// The build itself failed.
    Build,
    /// Disk, memory or this program: nothing was decided.
    Trouble,
    /// Somebody asked for it to end.
    Cancelled,
}

/// A chain of causes that was told by the process in the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    text: String,
    cause: Option<Box<Told>>,
}

/// Why a build has no result.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SandboxError {
    /// A wall cannot be raised.
    #[error("the sandbox is not closed: {wall}\n{remedy}")]
    NotClosed {
        /// Which.
        wall: Wall,
        /// What to do.
        remedy: String,
        /// Why.
        source: Told,
    },
    /// The root file system or an input is not what its digest says, or is not a harmless archive.
    #[error("{what} failed verification")]
    Input {
        /// `the root file system` or the input's name.
        what: String,
        /// Why.
        source: Told,
    },
    /// The job does not have the plan's inputs.
    #[error("the plan's input {name} was not given, or with other bytes than the plan states")]
    Inputs {
        /// The input.
        name: Name,
    },
    /// A step failed.
    #[error("step {name} {exit}{hint}\n{}", tail.join("\n"))]
    StepFailed {
        /// Which.
        name: Name,
        /// How it ended.
        exit: Exit,
        /// What the reason may be.
        hint: &'static str,
        /// What the steps printed, in the store.
        log: Blob,
        /// The last lines of that, without control characters.
        tail: Vec<String>,
    },
    /// The steps took too long.
    #[error("the build did not end within {} s and was stopped: raise --timeout if it needs longer", limit.as_secs())]
    Timeout {
        /// What was allowed.
        limit: Duration,
        /// What the steps printed, in the store.
        log: Blob,
    },
    /// The steps printed too much.
    #[error("the build printed more than {limit} bytes and was stopped")]
    Endless {
        /// What was allowed.
        limit: u64,
        /// What the steps printed until then, in the store.
        log: Blob,
    },
    /// There is no output, or it is not a tree of files.
    #[error("the build's output {path} cannot be used")]
    Output {
        /// The directory inside the box.
        path: String,
        /// What the steps printed, in the store.
        log: Blob,
        /// Why.
        source: Told,
    },
    /// The build root cannot be left where it was wanted.
    #[error("the build root cannot be kept in {path}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Told,
    },
    /// Neither memory nor disk is enough.
    #[error("{needed} bytes are needed and {place} has {available}: free some, or choose another --store")]
    Space {
        /// Where.
        place: String,
        /// How many bytes are needed.
        needed: u64,
        /// How many there are.
        available: u64,
    },
    /// The caller asked for the end.
    #[error("the build was cancelled")]
    Cancelled,
    /// Something else went wrong on the way.
    #[error("the sandbox cannot {action}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The bundle cannot be written.
    #[error("the bundle cannot be written to {path}")]
    Export {
        /// Where.
        path: PathBuf,
        /// Why.
        source: ExportError,
    },
    /// The process in the box gave up.
    #[error("the sandbox's helper failed")]
    Helper {
        /// What it said.
        source: Told,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Builds.
pub fn run(
    job: &Job<'_>,
    store: &Store,
    events: &mut dyn FnMut(Event),
    cancel: &Cancel,
) -> Result<Installed, SandboxError> {
    supervisor::run(job, store, events, cancel)
}

/// Starts a shell in the box, where the steps would run, on a terminal of the box's own that standard input and output are
/// connected with. Gives how the shell ended.
pub fn shell(job: &Job<'_>, store: &Store, terminal: &str, cancel: &Cancel) -> Result<Exit, SandboxError> {
    terminal::shell(job, store, terminal, cancel)
}

impl SandboxError {
    /// What the steps printed until then.
    pub fn log(&self) -> Option<Blob> {
        match self {
            Self::StepFailed { log, .. }
            | Self::Timeout { log, .. }
            | Self::Endless { log, .. }
            | Self::Output { log, .. } => Some(*log),
            Self::NotClosed { .. }
            | Self::Input { .. }
            | Self::Inputs { .. }
            | Self::Space { .. }
            | Self::Cancelled
            | Self::Io { .. }
            | Self::Keep { .. }
            | Self::Export { .. }
            | Self::Helper { .. }
            | Self::Store(_) => None,
        }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::NotClosed { .. } => Class::NotClosed,
            Self::Input { .. } | Self::Inputs { .. } => Class::Input,
            Self::StepFailed { .. } | Self::Timeout { .. } | Self::Endless { .. } | Self::Output { .. } => Class::Build,
            Self::Keep { .. }
            | Self::Space { .. }
            | Self::Io { .. }
            | Self::Helper { .. }
            | Self::Export { .. }
            | Self::Store(_) => Class::Trouble,
            Self::Cancelled => Class::Cancelled,
        }
    }
}

impl Told {
    /// One cause.
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), cause: None }
    }

    /// Whether one of the causes has this word.
    fn mentions(&self, word: &str) -> bool {
        self.text.contains(word) || self.cause.as_ref().is_some_and(|cause| cause.mentions(word))
    }

    /// All causes in one line.
    fn chain(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.text.clone(), |cause| format!("{}: {}", self.text, cause.chain()))
    }

    /// What `error` says, with its causes.
    fn of(error: &dyn std::error::Error) -> Self {
        Self { text: error.to_string(), cause: error.source().map(|cause| Box::new(Self::of(cause))) }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Told {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl Exit {
    /// From what `wait` gives.
    fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Status(libc::WEXITSTATUS(status))
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            Self::NotRun(errno) => write!(f, "cannot be run: {}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl Wall {
    /// Every wall, in the order in which they are raised and checked.
    pub const ALL: [Self; 19] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::NetworkNamespace,
        Self::CgroupNamespace,
        Self::IdMap,
        Self::Root,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::TimeNamespace,
        Self::ReadOnlyRoot,
        Self::Proc,
        Self::Devices,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::SystemCallFilter,
        Self::FileDescriptors,
        Self::ProcessLimits,
        Self::Session,
    ];

    /// The wall's name in messages and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserNamespace => "user namespace",
            Self::IdMap => "id map",
            Self::MountNamespace => "mount namespace",
            Self::PidNamespace => "pid namespace",
            Self::NetworkNamespace => "network namespace",
            Self::IpcNamespace => "ipc namespace",
            Self::UtsNamespace => "uts namespace",
            Self::CgroupNamespace => "cgroup namespace",
            Self::TimeNamespace => "time namespace",
            Self::Root => "private root file system",
            Self::ReadOnlyRoot => "read-only root",
            Self::Proc => "masked /proc",
            Self::Devices => "private /dev",
            Self::Capabilities => "no capabilities",
            Self::NoNewPrivileges => "no new privileges",
            Self::SystemCallFilter => "system call filter",
            Self::FileDescriptors => "closed file descriptors",
            Self::ProcessLimits => "process limits",
            Self::Session => "own session",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Memory => "memory",
        })
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
