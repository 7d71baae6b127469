//! Where a path of Debian's archive can be had: the mirrors that a person names, those that this host's apt is
//! configured with, and the snapshot service. It reads files and never opens a connection.
//!
//! # Why
//!
//! No mirror's name is written into pgproof: a mirror is somebody's gift to the people near it, and a host that runs
//! Debian knows a good one. What a mirror gives is checked by digest, so any will do, a stranger's included. Elsewhere
//! the snapshot service has every file that the archive ever had.
//!
//! apt's options (`[arch=… signed-by=…]`, `Signed-By:`) say whom apt trusts; nobody is trusted here.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::shown;
use crate::lockfile::{Origin, PoolPath};

/// The archive that `debian:` origins lie in: the last component of a mirror's path.
const ARCHIVE: &str = "debian";

/// The component without which a repository is not Debian's archive, but somebody's own of the same name.
const COMPONENT: &str = "main";

/// The service that keeps every file that Debian's archive ever had: the directory that `20260101T000000Z/` and its like lie
/// below.
pub const SNAPSHOT: &str = "https://snapshot.debian.org/archive/debian";

/// The snapshot service answers with the newest snapshot that is not younger than the instant asked for. It takes one some
/// hours after an index was made, and the archive keeps what an index names for at least 36 hours after: so a day later
/// has the index's files for certain. (An instant to come gives the newest snapshot.)
const SNAPSHOT_DELAY: SignedDuration = SignedDuration::from_hours(24);

/// The largest file of apt's configuration that is read, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// How many mirrors are taken from apt's configuration.
const COUNT_LIMIT: usize = 16;

/// The root of a copy of Debian's archive: an `http` or `https` URL that `dists/` and `pool/` lie below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(Url);

/// The mirrors to ask, in order, and the snapshot service to ask when none of them has a file any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    mirrors: Vec<Mirror>,
    snapshot: Mirror,
}

/// Why a text is not a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum MirrorError {
    /// Not a URL.
    #[error("{text:?} is not a URL: a mirror is named like http://HOST/debian")]
    Url {
        /// The text.
        text: String,
        /// Why.
        source: url::ParseError,
    },
    /// A URL that no path can be appended to, or of another scheme.
    #[error("{0:?} is not a mirror: it must start with http:// or https:// and have neither ? nor #")]
    Unfit(String),
}

impl Mirror {
    /// The URL of `path` on this mirror.
    fn url(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        // Not an opaque URL: `FromStr` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// Whether its path says that it holds Debian's archive.
    fn is_debian(&self) -> bool {
        self.0.path().trim_end_matches('/').rsplit('/').next() == Some(ARCHIVE)
    }
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let shown = || text.chars().take(120).collect();
        let url = Url::parse(text).map_err(|source| MirrorError::Url { text: shown(), source })?;
        let fit = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
        if fit { Ok(Self(url)) } else { Err(MirrorError::Unfit(shown())) }
    }
}

impl Mirrors {
    /// `mirrors` in this order, and after them `snapshot`, usually [`SNAPSHOT`].
    pub fn new(mirrors: impl IntoIterator<Item = Mirror>, snapshot: Mirror) -> Self {
        let mut known: Vec<Mirror> = Vec::new();
        for mirror in mirrors {
            if !known.contains(&mirror) {
                known.push(mirror);
            }
        }
        Self { mirrors: known, snapshot }
    }

    /// The URLs to try for `origin`, in order. `seen` is when the index that names the file was made; without it the
    /// snapshot service cannot be asked.
    pub(super) fn urls(&self, origin: &Origin, seen: Option<Timestamp>) -> Vec<Url> {
        match origin {
            Origin::Url(url) => vec![url.clone()],
            Origin::Debian(path) => {
                let snapshot = seen.map(|seen| self.snapshot_url(path, seen));
                self.mirrors.iter().map(|mirror| mirror.url(path.as_str())).chain(snapshot).collect()
            }
        }
    }

    fn snapshot_url(&self, path: &PoolPath, seen: Timestamp) -> Url {
        self.snapshot.url(&below_snapshot(path, seen))
    }
}

/// Where the snapshot service has the file at `path`, which an index made at `seen` names.
pub fn in_snapshot(path: &PoolPath, seen: Timestamp) -> String {
    format!("{SNAPSHOT}/{}", below_snapshot(path, seen))
}

fn below_snapshot(path: &PoolPath, seen: Timestamp) -> String {
    let instant = seen.saturating_add(SNAPSHOT_DELAY).unwrap_or(seen);
    format!("{}/{path}", instant.strftime("%Y%m%dT%H%M%SZ"))
}

/// The mirrors of Debian's archive that apt is configured with in `etc_apt`, usually `/etc/apt`, in apt's order.
///
/// A host without apt has none. A file that cannot be read is passed over: it is some other repository's, with a password
/// in it; and a mirror that is missed costs nothing but speed.
pub fn of_host(etc_apt: &Path) -> Vec<Mirror> {
    let mut found = Vec::new();
    for path in source_files(etc_apt) {
        let Some(text) = read(&path) else { continue };
        let uris = if path.extension().is_some_and(|extension| extension == "sources") {
            stanza_uris(&text)
        } else {
            text.lines().filter_map(line_uri).collect()
        };
        for uri in uris {
            let mirrors = match uri.strip_prefix("mirror+file:") {
                Some(list) => mirror_list(Path::new(list)),
                None => uri.parse().ok().into_iter().collect(),
            };
            for mirror in mirrors {
                if mirror.is_debian() && !found.contains(&mirror) && found.len() < COUNT_LIMIT {
                    found.push(mirror);
                }
            }
        }
    }
    found
}

/// `sources.list`, then what is in `sources.list.d`, by name: sources.list(5).
fn source_files(etc_apt: &Path) -> Vec<PathBuf> {
    let mut files = vec![etc_apt.join("sources.list")];
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    let entries = std::fs::read_dir(etc_apt.join("sources.list.d"));
    let mut dropped_in: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    dropped_in.retain(|path| path.extension().is_some_and(|extension| extension == "list" || extension == "sources"));
    dropped_in.sort();
    files.extend(dropped_in);
    files
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= SIZE_LIMIT).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The URI of `deb [options] URI suite component…`.
fn line_uri(line: &str) -> Option<String> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb"))?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    let (uri, _suite) = (words.next()?, words.next()?);
    words.any(|component| component == COMPONENT).then(|| uri.to_owned())
}

/// The URIs of the stanzas of a `.sources` file, deb822(5).
fn stanza_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    let mut stanza = Stanza::default();
    // One empty line more, so that the last stanza ends.
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            uris.append(&mut std::mem::take(&mut stanza).into_uris());
        } else if !line.starts_with('#') {
            stanza.add(line);
        }
    }
    uris
}

#[derive(Default)]
struct Stanza {
    /// Field names in lower case, with their values, lines joined.
    fields: Vec<(String, String)>,
}

impl Stanza {
    fn add(&mut self, line: &str) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            self.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(known, _)| known == name).flat_map(|(_, value)| value.split_whitespace())
    }

    fn into_uris(self) -> Vec<String> {
        let disabled = |word: &str| ["no", "false", "without", "off", "disable", "0"].contains(&word);
        let enabled = !self.words("enabled").any(|word| disabled(&word.to_ascii_lowercase()));
        if enabled && self.words("components").any(|component| component == COMPONENT) {
            self.words("uris").map(str::to_owned).collect()
        } else {
            Vec::new()
        }
    }
}

/// The mirrors of a list that `mirror+file:` names, apt-transport-mirror(1): one URI a line, and after a tab what apt may
/// use it for.
fn mirror_list(path: &Path) -> Vec<Mirror> {
    let text = read(path).unwrap_or_default();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

/// Without password.
impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}
