//! Names a build: a PostgreSQL version and a platform.
//!
//! A version from the command line or a lockfile becomes a [`Version`] or an error here, so that no other module ever
//! sees text that could mean something else to a shell, a file system or a URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod floor;

pub use floor::{Cpu, Floor, FloorError, GlibcVersion, KernelVersion};

/// A PostgreSQL release since 10: major and minor number, as in `17.11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// `17` in `17.11`.
    pub major: u16,
    /// `11` in `17.11`.
    pub minor: u16,
}

/// A platform, named by its Rust target triple as the consumers of the archives expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Triple {
    /// 64-bit x86 with the GNU C library.
    #[serde(rename = "x86_64-unknown-linux-gnu")]
    X86_64UnknownLinuxGnu,
    /// 64-bit ARM with the GNU C library.
    #[serde(rename = "aarch64-unknown-linux-gnu")]
    Aarch64UnknownLinuxGnu,
}

/// What is built: which PostgreSQL, for which platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The PostgreSQL release.
    pub version: Version,
    /// The platform.
    pub triple: Triple,
}

/// Why a text names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum TargetError {
    /// Not `MAJOR.MINOR` in decimal digits.
    #[error("{0:?} is not a PostgreSQL version: write it as MAJOR.MINOR, for example 17.11")]
    Version(String),
    /// Not a platform that pgproof knows.
    #[error("{0:?} is not a known target: one of {known}", known = Triple::ALL.map(Triple::as_str).join(", "))]
    Triple(String),
    /// This machine is of a kind for which nothing can be built.
    #[error("this machine ({arch}-{os}) is none of the known targets: name one with --target")]
    Host {
        /// The machine's architecture, as Rust names it.
        arch: &'static str,
        /// The machine's operating system, as Rust names it.
        os: &'static str,
    },
}

impl Triple {
    /// Every known platform.
    pub const ALL: [Self; 2] = [Self::X86_64UnknownLinuxGnu, Self::Aarch64UnknownLinuxGnu];

    /// The platform of the machine that pgproof runs on.
    pub fn host() -> Result<Self, TargetError> {
        match (std::env::consts::ARCH, std::env::consts::OS) {
            ("x86_64", "linux") => Ok(Self::X86_64UnknownLinuxGnu),
            ("aarch64", "linux") => Ok(Self::Aarch64UnknownLinuxGnu),
            (arch, os) => Err(TargetError::Host { arch, os }),
        }
    }

    /// The Rust target triple.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64UnknownLinuxGnu => "x86_64-unknown-linux-gnu",
            Self::Aarch64UnknownLinuxGnu => "aarch64-unknown-linux-gnu",
        }
    }

    /// The architecture as Debian names it.
    pub const fn debian_architecture(self) -> &'static str {
        match self {
            Self::X86_64UnknownLinuxGnu => "amd64",
            Self::Aarch64UnknownLinuxGnu => "arm64",
        }
    }
}

impl Target {
    /// The stem of the archive's name and its one top-level directory, `postgresql-17.11.0-x86_64-unknown-linux-gnu`:
    /// three-part version, as the consumers of PostgreSQL archives expect.
    pub fn archive_stem(&self) -> String {
        format!("postgresql-{}.{}.0-{}", self.version.major, self.version.minor, self.triple)
    }

    /// The target whose [`Target::archive_stem`] is `stem`.
    pub fn of_archive(stem: &str) -> Option<Self> {
        let (version, triple) = stem.strip_prefix("postgresql-")?.split_once('-')?;
        let target = Self { version: version.strip_suffix(".0")?.parse().ok()?, triple: triple.parse().ok()? };
        Some(target)
    }
}

impl FromStr for Version {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        // `u16::from_str` would also take "+1" and "007".
        let number = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if plain { part.parse::<u16>().ok() } else { None }
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| TargetError::Version(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Version {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Triple {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::ALL
            .into_iter()
            .find(|triple| triple.as_str() == text)
            .ok_or_else(|| TargetError::Triple(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {} for {}", self.version, self.triple)
    }
}
