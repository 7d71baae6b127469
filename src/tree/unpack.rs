//! Tar into a directory, and into nothing else.
//!
//! # Why
//!
//! Every component of every path is opened by itself, relative to the descriptor of the directory above it, with
//! `O_NOFOLLOW`. A path has no `..` ([`EntryPath`]), so no sequence of entries can make a write land outside. `openat2` with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` says the same in one call, but older container runtimes refuse it, and a second
//! way for those would be a second thing to trust. The open directories of the current entry are kept, so that in an
//! archive that is sorted (all are, nearly) each directory is opened once.
//!
//! Modes and times of directories are set last: until then each can be written to, and nothing changes its time again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::unistd::{linkat, symlinkat};

use super::{Budget, Entry, EntryPath, Limits, Member, Reader, Refusal, Summary, TreeError, failed, refused};

/// How to unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many leading components of each path to drop; `.` does not count.
    pub strip: u32,
    /// Which permissions to give.
    pub modes: Modes,
    /// Which times to give.
    pub times: Times,
    /// How much to accept.
    pub limits: Limits,
}

/// Which permissions an unpacked entry gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modes {
    /// The archive's, without set-id and sticky bits.
    Kept,
    /// 0755 for directories and for files that anybody may execute, 0644 for other files.
    Normalised,
}

/// Which time an unpacked entry gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// This one, in seconds since 1970.
    Constant(u32),
    /// The archive's, moved by this many seconds, but not before 1970.
    Shifted(i64),
}

/// Unpacks `archive` into `directory`, which exists and gets no other mode or time itself. Reads `archive` to its end.
///
/// Entries of the archive may be missing their parent directories; these are made with mode 0755. What `directory` already
/// contains is never replaced: a file in the way is an error, a directory is entered. After an error, what was unpacked so
/// far is left there; it is for the caller to discard the directory.
pub fn unpack(archive: impl Read, directory: impl AsFd, options: &Options) -> Result<Summary, TreeError> {
    let mut unpacker = Unpacker {
        root: directory.as_fd(),
        options,
        open: Vec::new(),
        directories: BTreeMap::new(),
        names: Budget::new(options.limits),
    };
    let mut reader = Reader::new(archive, options.limits);
    while let Some(entry) = reader.next()? {
        unpacker.entry(&entry, &mut reader)?;
    }
    unpacker.finish()?;
    Ok(reader.summary())
}

struct Unpacker<'a> {
    root: BorrowedFd<'a>,
    options: &'a Options,
    /// The directories from the root's child down to where the last entry was put.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// What the directories that were made or named shall look like in the end.
    directories: BTreeMap<EntryPath, Look>,
    names: Budget,
}

struct Look {
    mode: Mode,
    time: TimeSpec,
    /// Whether the archive has an entry for it.
    named: bool,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), TreeError> {
        let whole = entry.path.as_bytes();
        let time = self.time(entry);
        let path = match entry.path.strip(self.options.strip) {
            Some(path) if !path.is_root() => path,
            _ if entry.member == Member::Directory => return Ok(()),
            _ => return Err(refused(whole, Refusal::Strip)),
        };
        let Some((parent, name)) = path.split() else { return Err(refused(whole, Refusal::Name)) };
        match &entry.member {
            Member::Directory => {
                if self.directories.get(&path).is_some_and(|look| look.named) {
                    return Err(refused(whole, Refusal::Duplicate));
                }
                self.enter(&path, time)?;
                self.remember(path, Look { mode: self.mode(entry, true), time, named: true })?;
            }
            Member::File { .. } => {
                let mode = self.mode(entry, false);
                let directory = self.enter(&parent, time)?;
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let mut file = File::from(
                    openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
                        .map_err(|errno| taken(whole, errno))?,
                );
                loop {
                    let piece = reader.piece()?;
                    if piece.is_empty() {
                        break;
                    }
                    file.write_all(piece).map_err(|source| TreeError::Io {
                        action: "written",
                        path: super::shown(whole),
                        source,
                    })?;
                }
                fchmod(&file, mode).map_err(failed("given its mode", whole))?;
                futimens(&file, &time, &time).map_err(failed("given its time", whole))?;
            }
            Member::Symlink { target } => {
                let directory = self.enter(&parent, time)?;
                symlinkat(target.as_slice(), directory, name).map_err(|errno| taken(whole, errno))?;
                utimensat(directory, name, &time, &time, UtimensatFlags::NoFollowSymlink)
                    .map_err(failed("given its time", whole))?;
            }
            Member::HardLink { target } => self.hard_link(&parent, name, target, whole, time)?,
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        parent: &EntryPath,
        name: &[u8],
        target: &EntryPath,
        whole: &[u8],
        time: TimeSpec,
    ) -> Result<(), TreeError> {
        let wrong = || refused(whole, Refusal::HardLink);
        let target = target.strip(self.options.strip).ok_or_else(wrong)?;
        let (target_parent, target_name) = target.split().ok_or_else(wrong)?;
        // Own descriptor: entering the link's own directory closes the target's.
        let from = self.existing(&target_parent)?.ok_or_else(wrong)?;
        let found = fstatat(&from, target_name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if !found.is_ok_and(|status| super::walk::file_type(&status) == SFlag::S_IFREG) {
            return Err(wrong());
        }
        let directory = self.enter(parent, time)?;
        linkat(&from, target_name, directory, name, AtFlags::empty()).map_err(|errno| taken(whole, errno))
    }

    /// The descriptor of a directory of the tree, which is made, with all above it, if it is not there.
    fn enter(&mut self, path: &EntryPath, time: TimeSpec) -> Result<BorrowedFd<'_>, TreeError> {
        let common =
            self.open.iter().zip(path.components()).take_while(|((name, _), component)| name == component).count();
        self.open.truncate(common);
        let mut above: Vec<u8> = self.open.iter().flat_map(|(name, _)| [name, b"/".as_slice()].concat()).collect();
        for component in path.components().skip(common) {
            above.extend_from_slice(component);
            let parent = self.open.last().map_or(self.root, |(_, descriptor)| descriptor.as_fd());
            let made = match mkdirat(parent, component, Mode::S_IRWXU) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(failed("created", &above)(errno)),
            };
            let descriptor = open_directory(parent, component).map_err(|errno| {
                if matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
                    refused(&above, Refusal::BelowLink)
                } else {
                    failed("entered", &above)(errno)
                }
            })?;
            self.open.push((component.to_vec(), descriptor));
            if made {
                let directory = EntryPath::parse(&above).map_err(|refusal| refused(&above, refusal))?;
                self.remember(directory, Look { mode: Mode::from_bits_truncate(0o755), time, named: false })?;
            }
            above.push(b'/');
        }
        Ok(self.open.last().map_or(self.root, |(_, descriptor)| descriptor.as_fd()))
    }

    /// An own descriptor of a directory of the tree; `None` if there is no such directory.
    fn existing(&self, path: &EntryPath) -> Result<Option<OwnedFd>, TreeError> {
        let mut directory = self.root.try_clone_to_owned().map_err(|source| TreeError::Io {
            action: "entered",
            path: super::shown(path.as_bytes()),
            source,
        })?;
        for component in path.components() {
            match open_directory(directory.as_fd(), component) {
                Ok(next) => directory = next,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
                Err(errno) => return Err(failed("entered", path.as_bytes())(errno)),
            }
        }
        Ok(Some(directory))
    }

    fn remember(&mut self, path: EntryPath, look: Look) -> Result<(), TreeError> {
        if !self.directories.contains_key(&path) {
            self.names.name(path.as_bytes().len(), path.as_bytes())?;
        }
        self.directories.insert(path, look);
        Ok(())
    }

    /// Gives the directories their modes and times, those inside before those around them.
    fn finish(mut self) -> Result<(), TreeError> {
        for (path, look) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = self.enter(&path, look.time)?;
            fchmod(directory, look.mode).map_err(failed("given its mode", path.as_bytes()))?;
            futimens(directory, &look.time, &look.time).map_err(failed("given its time", path.as_bytes()))?;
        }
        Ok(())
    }

    fn mode(&self, entry: &Entry, directory: bool) -> Mode {
        Mode::from_bits_truncate(match self.options.modes {
            Modes::Kept => entry.mode & 0o777,
            Modes::Normalised if directory || entry.mode & 0o111 != 0 => 0o755,
            Modes::Normalised => 0o644,
        })
    }

    fn time(&self, entry: &Entry) -> TimeSpec {
        TimeSpec::seconds(match self.options.times {
            Times::Constant(time) => time.into(),
            Times::Shifted(shift) => i64::try_from(entry.modified).unwrap_or(i64::MAX).saturating_add(shift).max(0),
        })
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Why a name could not be made: mostly because it is there already.
fn taken(path: &[u8], errno: Errno) -> TreeError {
    if errno == Errno::EEXIST { refused(path, Refusal::Duplicate) } else { failed("created", path)(errno) }
}
