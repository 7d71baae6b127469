//! The least that a host must have to run what a build made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Triple;

/// The oldest host that a build runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Floor {
    /// The C library.
    pub glibc: GlibcVersion,
    /// The kernel, as the C library's start files state it.
    pub kernel: KernelVersion,
    /// The processor.
    pub cpu: Cpu,
}

/// A release of the GNU C library, as its symbol versions name it: `2.36`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GlibcVersion {
    /// `2`
    pub major: u16,
    /// `36`
    pub minor: u16,
    /// `1` in `2.3.1`; 0 if there is none.
    pub patch: u16,
}

/// A release of Linux: `3.2.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion(pub [u32; 3]);

/// A processor's instruction set: the levels of the x86-64 psABI, and ARM's first 64-bit one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cpu {
    /// Every 64-bit ARM processor.
    #[serde(rename = "armv8-a")]
    Armv8A,
    /// Every 64-bit x86 processor.
    #[serde(rename = "x86-64")]
    X86_64,
    /// With SSE4.2 and POPCNT.
    #[serde(rename = "x86-64-v2")]
    X86_64V2,
    /// With AVX2.
    #[serde(rename = "x86-64-v3")]
    X86_64V3,
    /// With AVX-512.
    #[serde(rename = "x86-64-v4")]
    X86_64V4,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version: two or three decimal numbers with dots between them")]
pub struct FloorError(String);

impl Cpu {
    /// What every processor of the platform can do.
    pub const fn baseline(triple: Triple) -> Self {
        match triple {
            Triple::X86_64UnknownLinuxGnu => Self::X86_64,
            Triple::Aarch64UnknownLinuxGnu => Self::Armv8A,
        }
    }

    /// Its name, as compilers take it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Armv8A => "armv8-a",
            Self::X86_64 => "x86-64",
            Self::X86_64V2 => "x86-64-v2",
            Self::X86_64V3 => "x86-64-v3",
            Self::X86_64V4 => "x86-64-v4",
        }
    }
}

/// Two or three decimal numbers.
fn numbers<T: FromStr + Default + Copy>(text: &str) -> Result<[T; 3], FloorError> {
    let wrong = || FloorError(text.chars().take(80).collect());
    let mut numbers = [T::default(); 3];
    let mut count = 0;
    for part in text.split('.') {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = if plain { part.parse().ok() } else { None };
        *numbers.get_mut(count).ok_or_else(wrong)? = number.ok_or_else(wrong)?;
        count += 1;
    }
    if count < 2 { Err(wrong()) } else { Ok(numbers) }
}

impl FromStr for GlibcVersion {
    type Err = FloorError;

    fn from_str(text: &str) -> Result<Self, FloorError> {
        let [major, minor, patch] = numbers(text)?;
        Ok(Self { major, minor, patch })
    }
}

impl FromStr for KernelVersion {
    type Err = FloorError;

    fn from_str(text: &str) -> Result<Self, FloorError> {
        Ok(Self(numbers(text)?))
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        if *patch == 0 { write!(f, "{major}.{minor}") } else { write!(f, "{major}.{minor}.{patch}") }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! through_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = FloorError;

            fn try_from(text: String) -> Result<Self, FloorError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(version: $name) -> Self {
                version.to_string()
            }
        }
    )*};
}

through_text!(GlibcVersion, KernelVersion);
