//! Finds the places where things are built, in any file's bytes.
//!
//! A file is searched piece by piece; what is found may straddle them.

use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};

use super::printable;

/// How many bytes of a found text are shown.
const SHOWN: usize = 120;
/// How many bytes before what was found are looked at for the text's beginning.
const BEFORE: usize = 64;
/// The least that is searched at once.
const STEP: usize = 64 << 10;

/// Where other people's builders build. Each is a directory that only a builder has; what every host may have (`/tmp`,
/// `/usr/src`, `/opt`, `/var/lib`) is not among them, nor is what documentation speaks of.
const BUILDERS: &[&str] = &[
    // People, and what runs as root in a container.
    "/home/",
    "/root/",
    "/Users/",
    // GitLab's runner.
    "/builds/",
    // GitHub's runner: for jobs in containers, and for actions in them.
    "/__w/",
    "/github/workspace",
    // sbuild, as Debian's own builders have it.
    "/build/reproducible-path/",
    // Jenkins, Azure, Buildkite, Drone, CodeBuild.
    "/var/lib/jenkins/",
    "/agent/_work/",
    "/buildkite/",
    "/drone/src",
    "/codebuild/output",
    // A store that no other host has: worse than a leak, what needs it does not run.
    "/nix/store/",
    "/gnu/store/",
];

/// What is looked for.
#[derive(Debug)]
pub(super) struct Places {
    automaton: AhoCorasick,
    texts: Vec<String>,
    /// How many of the texts are the caller's.
    own: usize,
    longest: usize,
}

/// A search through one file.
pub(super) struct Search<'a> {
    places: &'a Places,
    /// What may still have something to be found, and what is before it.
    window: Vec<u8>,
    /// Up to where the window was searched.
    searched: usize,
    found: Vec<Option<Place>>,
}

/// A place that a file names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What was looked for.
    pub(super) text: String,
    /// The first text that has it, made printable and cut.
    pub(super) shown: String,
    /// How often it is there.
    pub(super) count: u64,
}

impl Places {
    /// Looks for `own` anywhere, and for other people's builders where a path begins.
    pub(super) fn new(own: &[&str]) -> Result<Self, BuildError> {
        let own: Vec<String> = own.iter().filter(|text| !text.is_empty()).map(ToString::to_string).collect();
        let count = own.len();
        let texts: Vec<String> = own.into_iter().chain(BUILDERS.iter().map(ToString::to_string)).collect();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(&texts)?;
        let longest = texts.iter().map(String::len).max().unwrap_or_default();
        Ok(Self { automaton, texts, own: count, longest })
    }

    pub(super) fn search(&self) -> Search<'_> {
        Search { places: self, window: Vec::new(), searched: 0, found: self.texts.iter().map(|_| None).collect() }
    }
}

impl Search<'_> {
    /// Searches the next piece of the file.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        self.window.extend_from_slice(piece);
        if self.window.len() - self.searched >= STEP {
            self.advance(false);
        }
    }

    /// What was found in all pieces.
    pub(super) fn finish(mut self) -> Vec<Place> {
        self.advance(true);
        self.found.into_iter().flatten().collect()
    }

    fn advance(&mut self, is_end: bool) {
        // A match that begins later could go on, or be shown further, in the next piece.
        let reserve = if is_end { 0 } else { self.places.longest + SHOWN };
        let end = self.window.len().saturating_sub(reserve);
        while self.searched < end {
            let input = Input::new(&self.window).span(self.searched..self.window.len());
            let Some(found) = self.places.automaton.find(input).filter(|found| found.start() < end) else {
                self.searched = end;
                break;
            };
            let pattern = found.pattern().as_usize();
            if pattern < self.places.own || begins_path(&self.window, found.start(), found.end()) {
                match &mut self.found[pattern] {
                    Some(place) => place.count += 1,
                    none => {
                        let shown = shown(&self.window, found.start());
                        *none = Some(Place { text: self.places.texts[pattern].clone(), shown, count: 1 });
                    }
                }
                self.searched = found.end();
            } else {
                self.searched = found.start() + 1;
            }
        }
        self.window.drain(..self.searched.saturating_sub(BEFORE));
        self.searched = self.searched.min(BEFORE);
    }
}

/// Whether a path begins at `start` that goes on after `end`, as in `-I/home/me`: not `share/home/`, not
/// `https://example.org/home/`, not `/home/<user>`.
fn begins_path(bytes: &[u8], start: usize, end: usize) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
    let goes_on = bytes[end - 1] != b'/' || bytes.get(end).is_some_and(|&byte| of_name(byte));
    let option = start >= 2 && bytes[start - 2] == b'-' && b"BILR".contains(&bytes[start - 1]);
    let begins = start == 0 || option || !(of_name(bytes[start - 1]) || b"/$})".contains(&bytes[start - 1]));
    begins && goes_on
}

/// The text around `at`: printable bytes only.
fn shown(bytes: &[u8], at: usize) -> String {
    let plain = |&byte: &u8| byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80;
    let before = bytes[..at].iter().rev().take(BEFORE).take_while(|byte| plain(byte)).count();
    let after = bytes[at..].iter().take(SHOWN - before).take_while(|byte| plain(byte)).count();
    printable(&bytes[at - before..at + after])
}
