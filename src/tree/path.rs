//! Where an entry stands: a path parsed once into components that cannot lead anywhere else.

use std::cmp::Ordering;
use std::fmt;

use super::Refusal;
use crate::text::is_obeyed;

/// The longest path, in bytes. Linux's `PATH_MAX` without its NUL byte.
pub(super) const LENGTH_LIMIT: usize = 4095;
/// The deepest path, in components. Each takes a file descriptor while it is walked.
pub(super) const DEPTH_LIMIT: usize = 64;

/// A relative path without empty, `.` or `..` components and without NUL bytes; empty for the tree's own root.
///
/// It is ordered by its components, so that a directory stands directly before what it contains, as `tar --sort=name`
/// writes it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Parses the path of an archive's entry. `.` and empty components (`./a//b/`) mean nothing and are dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(Refusal::Name);
        }
        if bytes.len() > LENGTH_LIMIT {
            return Err(Refusal::Length);
        }
        if bytes[0] == b'/' {
            return Err(Refusal::Absolute);
        }
        let mut path = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for component in named(bytes) {
            if component == b".." {
                return Err(Refusal::Parent);
            }
            if depth > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(component);
            depth += 1;
        }
        if depth > DEPTH_LIMIT { Err(Refusal::Depth) } else { Ok(Self(path)) }
    }

    /// The path without a leading or trailing `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for an error message.
    pub(crate) fn to_path_buf(&self) -> std::path::PathBuf {
        super::shown(&self.0)
    }

    /// Whether this is the tree's own root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its components, from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        named(&self.0)
    }

    /// The directory that it is in, and its name there. `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => Some((Self(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None if self.is_root() => None,
            None => Some((Self(Vec::new()), &self.0)),
        }
    }

    /// The path without its first `count` components; `None` if it has fewer.
    pub(super) fn strip(&self, count: u32) -> Option<Self> {
        let mut rest = self.0.as_slice();
        for _ in 0..count {
            if rest.is_empty() {
                return None;
            }
            rest = rest.iter().position(|&byte| byte == b'/').map_or(&[], |slash| &rest[slash + 1..]);
        }
        Some(Self(rest.to_vec()))
    }

    /// Whether a symbolic link here with this target could lead out of the tree's one top-level directory.
    ///
    /// `..` is accepted at the target's beginning only, and no more often than there are directories above. Then no chain
    /// of links leads out: each starts in a real directory, climbs real directories, and from there only descends or meets
    /// another such link. With `a/up -> ..` in the tree, the target `a/up/..` would look harmless and be none.
    pub fn leaves(&self, target: &[u8]) -> bool {
        let above = self.components().count().saturating_sub(2);
        let mut climbs = 0;
        let mut descended = false;
        for component in named(target) {
            if component == b".." {
                climbs += 1;
                if descended || climbs > above {
                    return true;
                }
            } else {
                descended = true;
            }
        }
        target.starts_with(b"/")
    }
}

/// The components of a path that name something.
fn named(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

/// Checks a symbolic link's target as the system would.
pub(super) fn check_target(target: &[u8]) -> Result<(), Refusal> {
    if target.is_empty() || target.len() > LENGTH_LIMIT || target.contains(&0) { Err(Refusal::Target) } else { Ok(()) }
}

/// Checks that a name or link target is text that can be printed: it goes into file lists and onto terminals.
pub(crate) fn check_text(bytes: &[u8]) -> Result<(), Refusal> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().any(is_obeyed) => Err(Refusal::Control),
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::Encoding),
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::shown(&self.0).fmt(f)
    }
}
