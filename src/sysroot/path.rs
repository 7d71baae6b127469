//! Names within a root file system with a merged `/usr`.

use std::fmt;

use super::limits;
use crate::tree::{EntryPath, Refusal};

/// Top-level directories that are symbolic links into `usr`, sorted. What a package puts below them goes below `usr`.
const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// Where an entry stands in the root file system: printable text, relative, not below a link of the merged `/usr`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(String);

/// What is wrong with an entry's name or a link's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum NameError {
    /// It is no path of an archive's entry.
    #[error("is refused: {0}")]
    Refused(Refusal),
    /// It names the root itself.
    #[error("names the root itself")]
    Root,
    /// It is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It has a control character.
    #[error("has a control character")]
    Control,
    /// It is too long for a file system.
    #[error("has a component longer than {component} bytes", component = limits::COMPONENT_BYTES)]
    TooLong,
    /// A link's target climbs above the root.
    #[error("leads out of the root file system")]
    LeadsOut,
}

impl Place {
    /// The place of what a package has at `path`.
    pub(super) fn of(path: &EntryPath) -> Result<Self, NameError> {
        let text = text(path.as_bytes())?;
        let top = text.split('/').next().unwrap_or_default();
        if top.is_empty() {
            Err(NameError::Root)
        } else if text.split('/').any(|component| component.len() > limits::COMPONENT_BYTES) {
            Err(NameError::TooLong)
        } else if MERGED.contains(&top) {
            Ok(Self(format!("usr/{text}")))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The place of what the definition has at `path`.
    pub(super) fn parse(path: &str) -> Result<Self, NameError> {
        Self::of(&EntryPath::parse(path.as_bytes()).map_err(NameError::Refused)?)
    }

    /// The links of the merged `/usr`, with their targets, and the directories that they lead to.
    pub(super) fn merged() -> impl Iterator<Item = (Self, String, Self)> {
        MERGED.into_iter().map(|name| (Self(name.to_owned()), format!("usr/{name}"), Self(format!("usr/{name}"))))
    }

    /// The place as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The directories above, the topmost first.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// A symbolic link's target, which may be absolute: in the box that is relative to this root. One that climbs above the
    /// root is a trap for whoever unpacks elsewhere.
    pub(super) fn target(&self, raw: &[u8]) -> Result<String, NameError> {
        let target = text(raw)?;
        let mut depth = if target.starts_with('/') { 0 } else { self.ancestors().count() };
        for component in target.split('/') {
            match component {
                "" | "." => {}
                ".." => depth = depth.checked_sub(1).ok_or(NameError::LeadsOut)?,
                _ => depth += 1,
            }
        }
        Ok(target.to_owned())
    }
}

/// Whether `path` and `target` are a link of the merged `/usr`, which every root file system has anyway.
pub(super) fn is_merged_link(path: &EntryPath, target: &str) -> bool {
    target.strip_prefix("usr/").is_some_and(|name| MERGED.contains(&name) && name.as_bytes() == path.as_bytes())
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn text(raw: &[u8]) -> Result<&str, NameError> {
    let Ok(text) = std::str::from_utf8(raw) else { return Err(NameError::NotUtf8) };
    if text.chars().any(char::is_control) { Err(NameError::Control) } else { Ok(text) }
}
