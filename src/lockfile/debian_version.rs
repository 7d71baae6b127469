//! A Debian version, ordered as dpkg orders it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OriginError;

/// A Debian version: `[epoch:]upstream[-revision]`, as deb-version(7) has it.
///
/// Two versions can differ in text and still be the same to dpkg (`1.0` and `0:1.0-0`), so this is no [`Ord`]: see
/// [`DebianVersion::compare`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DebianVersion(Box<str>);

impl DebianVersion {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Older, the same or newer, as `dpkg --compare-versions` says.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (epoch, upstream, revision) = self.parts();
        let (other_epoch, other_upstream, other_revision) = other.parts();
        epoch
            .cmp(&other_epoch)
            .then_with(|| compare_part(upstream, other_upstream))
            .then_with(|| compare_part(revision, other_revision))
    }

    fn parts(&self) -> (u32, &[u8], &[u8]) {
        let (epoch, rest) = match self.0.split_once(':') {
            // `from_str` let only a number through.
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, &*self.0),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream.as_bytes(), revision.as_bytes())
    }
}

/// deb-version(7), "Sorting algorithm": by turns a run of non-digits and a number, until one side differs.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let text = weights(&mut left).cmp(weights(&mut right));
        let order = text.then_with(|| {
            let (left, right) = (number(&mut left), number(&mut right));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        });
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the non-digits at the start, as what they weigh: `~`, then the end, then letters, then all else.
fn weights<'part>(part: &mut &'part [u8]) -> impl Iterator<Item = u16> + use<'part> {
    let (text, rest) = part.split_at(part.iter().position(u8::is_ascii_digit).unwrap_or(part.len()));
    *part = rest;
    let weight = |&byte: &u8| match byte {
        b'~' => 0,
        letter if letter.is_ascii_alphabetic() => u16::from(letter),
        other => u16::from(other) + 256,
    };
    text.iter().map(weight).chain(std::iter::once(1))
}

/// Takes the number at the start, without leading zeros.
fn number<'part>(part: &mut &'part [u8]) -> &'part [u8] {
    let (digits, rest) = part.split_at(part.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(part.len()));
    *part = rest;
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len())..]
}

impl FromStr for DebianVersion {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let wrong = || OriginError::Version(text.chars().take(120).collect());
        let rest = match text.split_once(':') {
            Some((epoch, rest)) => {
                let number = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
                // dpkg's limit.
                if !number || epoch.parse::<i32>().is_err() {
                    return Err(wrong());
                }
                rest
            }
            None => text,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:~".contains(&byte);
        let starts = rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let revision = rest.rsplit_once('-').map(|(_, revision)| revision);
        let revision_is_plain = revision.is_none_or(|revision| !revision.is_empty() && !revision.contains(':'));
        if starts && revision_is_plain && text.len() <= 255 && rest.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for DebianVersion {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<DebianVersion> for String {
    fn from(version: DebianVersion) -> Self {
        version.0.into()
    }
}

impl fmt::Display for DebianVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
