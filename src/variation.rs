//! The conditions of a build that should not matter, and how the second build's differ.
//!
//! Each condition of the *shaken* build carries a canary: a value that occurs nowhere else, so that a leak into the output
//! names its own cause. This module decides the conditions; the sandbox makes them true or says which it could not.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A condition that should not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Host and domain name.
    HostName,
    /// User and group, names and ids.
    User,
    /// The home directory.
    Home,
    /// The path of the build's working directory.
    BuildPath,
    /// The file mode creation mask.
    Umask,
    /// `TZ`.
    TimeZone,
    /// `LANG`, `LC_ALL` and `LANGUAGE`.
    Locale,
    /// Terminal type and size.
    Terminal,
    /// Variables that nobody asked for.
    Environment,
    /// How many processors the build may use.
    CpuCount,
    /// How many jobs `make` runs at once.
    Jobs,
    /// Time since boot.
    BootTime,
    /// Date and time of day.
    Clock,
    /// The kernel release that `uname` tells.
    Kernel,
    /// Whether addresses are randomised.
    AddressSpace,
    /// The order in which directories list their entries.
    DirectoryOrder,
    /// Modification times of the unpacked sources.
    SourceTimes,
    /// The numbers that processes get.
    ProcessIds,
    /// The kind of file system that the build writes to.
    FileSystem,
}

/// Which of the two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// The first build: quiet, ordinary conditions.
    Plain,
    /// The second build: every chosen axis differs.
    Shaken,
}

/// One build's conditions.
#[expect(clippy::struct_excessive_bools, reason = "four conditions that are so or not")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variation {
    /// Which build.
    pub label: Label,
    /// The axes on which it differs from [`Variation::plain`].
    pub axes: BTreeSet<Axis>,
    /// The host name.
    pub host_name: String,
    /// The NIS domain name.
    pub domain_name: String,
    /// The name in `/etc/passwd`.
    pub user_name: String,
    /// The name in `/etc/group`.
    pub group_name: String,
    /// The user id inside; never 0, which PostgreSQL refuses.
    pub uid: u32,
    /// The group id inside.
    pub gid: u32,
    /// `HOME`; an empty directory.
    pub home: String,
    /// The absolute path of the build root.
    pub build_root: String,
    /// The file mode creation mask.
    pub umask: u32,
    /// Environment that the plan did not ask for, sorted by name. The plan's own takes precedence.
    pub environment: Vec<(String, String)>,
    /// How many of this machine's processors it may use.
    pub cpus: usize,
    /// `make -j`.
    pub jobs: usize,
    /// What is added to the time since boot, in seconds.
    pub boot_offset_s: i64,
    /// What is added to the wall clock, in seconds.
    pub clock_offset_s: i64,
    /// Whether `uname` tells a 2.6 kernel (`UNAME26`).
    pub old_kernel: bool,
    /// Whether address-space layout randomisation is off (`ADDR_NO_RANDOMIZE`).
    pub fixed_addresses: bool,
    /// Whether directories are written in another order.
    pub reordered_directories: bool,
    /// What is added to the modification times of unpacked inputs, in seconds.
    pub source_time_offset_s: i64,
    /// How many process ids are used up before the first step.
    pub skipped_pids: u32,
    /// Whether the build root lies on disk rather than in memory.
    pub on_disk: bool,
}

/// Not an axis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an axis: one of {known}", known = Axis::ALL.map(Axis::as_str).join(", "))]
#[must_use]
pub struct UnknownAxis(String);

impl Axis {
    /// Every axis.
    pub const ALL: [Self; 19] = [
        Self::HostName,
        Self::User,
        Self::Home,
        Self::BuildPath,
        Self::Umask,
        Self::TimeZone,
        Self::Locale,
        Self::Terminal,
        Self::Environment,
        Self::CpuCount,
        Self::Jobs,
        Self::BootTime,
        Self::Clock,
        Self::Kernel,
        Self::AddressSpace,
        Self::DirectoryOrder,
        Self::SourceTimes,
        Self::ProcessIds,
        Self::FileSystem,
    ];

    /// The axis's name on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostName => "host-name",
            Self::User => "user",
            Self::Home => "home",
            Self::BuildPath => "build-path",
            Self::Umask => "umask",
            Self::TimeZone => "time-zone",
            Self::Locale => "locale",
            Self::Terminal => "terminal",
            Self::Environment => "environment",
            Self::CpuCount => "cpu-count",
            Self::Jobs => "jobs",
            Self::BootTime => "boot-time",
            Self::Clock => "clock",
            Self::Kernel => "kernel",
            Self::AddressSpace => "address-space",
            Self::DirectoryOrder => "directory-order",
            Self::SourceTimes => "source-times",
            Self::ProcessIds => "process-ids",
            Self::FileSystem => "file-system",
        }
    }
}

/// Texts that occur in an output only if it tells where it was built: below the first build's root, where the box keeps what it
/// brings, or in a canary.
pub const PLACES: &[&str] = &["/build/", "/pgproof/", "pgproof-"];

impl Variation {
    /// The first build's conditions on a machine with `cpus` processors.
    pub fn plain(cpus: usize) -> Self {
        Self {
            label: Label::Plain,
            axes: BTreeSet::new(),
            host_name: "localhost".to_owned(),
            domain_name: "(none)".to_owned(),
            user_name: "build".to_owned(),
            group_name: "build".to_owned(),
            uid: 1000,
            gid: 1000,
            home: "/home/build".to_owned(),
            build_root: "/build".to_owned(),
            umask: 0o022,
            environment: environment([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("TERM", "dumb")]),
            cpus,
            jobs: cpus,
            boot_offset_s: 0,
            clock_offset_s: 0,
            old_kernel: false,
            fixed_addresses: false,
            reordered_directories: false,
            source_time_offset_s: 0,
            skipped_pids: 0,
            on_disk: false,
        }
    }

    /// The second build's conditions: those of the first but for `axes`. The canaries derive from the plan's digest, so
    /// that they are the same whenever and wherever the plan is built, and are in none of its inputs.
    pub fn shaken(plan: Digest, cpus: usize, axes: &BTreeSet<Axis>) -> Self {
        let canary = |axis: Axis| format!("pgproof-{axis}-{}", &plan.hex()[..8]);
        let mut shaken = Self { label: Label::Shaken, axes: axes.clone(), ..Self::plain(cpus) };
        let mut set = |name: &str, value: String| {
            shaken.environment.retain(|(known, _)| known != name);
            shaken.environment.push((name.to_owned(), value));
        };
        for axis in axes {
            match axis {
                // POSIX lets a zone's name be any letters and digits between < and >.
                Axis::TimeZone => set("TZ", format!("<{}>+11:17", canary(*axis))),
                Axis::Locale => {
                    set("LC_ALL", "POSIX".to_owned());
                    set("LANG", "C".to_owned());
                    set("LANGUAGE", canary(*axis));
                }
                Axis::Terminal => {
                    set("TERM", canary(*axis));
                    set("COLUMNS", "317".to_owned());
                    set("LINES", "83".to_owned());
                }
                Axis::Environment => {
                    set("PGPROOF_CANARY", canary(*axis));
                    set("MAIL", format!("/var/mail/{}", canary(*axis)));
                    set("HOSTTYPE", canary(*axis));
                }
                Axis::HostName
                | Axis::User
                | Axis::Home
                | Axis::BuildPath
                | Axis::Umask
                | Axis::CpuCount
                | Axis::Jobs
                | Axis::BootTime
                | Axis::Clock
                | Axis::Kernel
                | Axis::AddressSpace
                | Axis::DirectoryOrder
                | Axis::SourceTimes
                | Axis::ProcessIds
                | Axis::FileSystem => {}
            }
        }
        shaken.environment.sort();
        for axis in axes {
            shaken.shake(*axis, &canary(*axis));
        }
        shaken
    }

    fn shake(&mut self, axis: Axis, canary: &str) {
        match axis {
            Axis::HostName => {
                canary.clone_into(&mut self.host_name);
                self.domain_name = format!("{canary}.example");
            }
            Axis::User => {
                canary.clone_into(&mut self.user_name);
                self.group_name = format!("{canary}-group");
                self.uid = 31_337;
                self.gid = 31_338;
            }
            Axis::Home => self.home = format!("/home/{canary}"),
            Axis::BuildPath => self.build_root = format!("/{canary}/deeper"),
            Axis::Umask => self.umask = 0o002,
            // One less than the other build has, so that together they still keep every processor busy.
            Axis::CpuCount => self.cpus = self.cpus.saturating_sub(1).max(1),
            Axis::Jobs => self.jobs += 1,
            Axis::BootTime => self.boot_offset_s = 86_400 * 777,
            Axis::Clock => self.clock_offset_s = 86_400 * 397,
            Axis::Kernel => self.old_kernel = true,
            Axis::AddressSpace => self.fixed_addresses = true,
            Axis::DirectoryOrder => self.reordered_directories = true,
            Axis::SourceTimes => self.source_time_offset_s = -86_400 * 1234,
            Axis::ProcessIds => self.skipped_pids = 1500,
            Axis::FileSystem => self.on_disk = true,
            // Set with the environment.
            Axis::TimeZone | Axis::Locale | Axis::Terminal | Axis::Environment => {}
        }
    }
}

fn environment<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let mut environment: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    environment.sort();
    environment
}

impl Label {
    /// `plain` or `shaken`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Shaken => "shaken",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Axis {
    type Err = UnknownAxis;

    fn from_str(text: &str) -> Result<Self, UnknownAxis> {
        Self::ALL
            .into_iter()
            .find(|axis| axis.as_str() == text)
            .ok_or_else(|| UnknownAxis(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
