//! A directory to tar.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::{
    Budget, EntryPath, Kind, Limits, PIECE, Refusal, Summary, TreeError, Writer, failed, path, read_full, refused,
    shown,
};
use crate::lockfile::Name;

/// Opens the directory `path` below `above`. A stranger may have made links of any part of it, and none is followed.
pub fn open_below(above: impl AsFd, path: &Path) -> Result<OwnedFd, TreeError> {
    let failed =
        |errno: Errno| TreeError::Io { action: "opened as a directory", path: path.to_owned(), source: errno.into() };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = openat(&above, ".", flags, Mode::empty()).map_err(failed)?;
    for component in path {
        directory = openat(&directory, component, flags, Mode::empty()).map_err(failed)?;
    }
    Ok(directory)
}

/// Writes what `directory` contains as a normalised tar below the one top-level directory `top`: sorted, every time
/// `epoch`, modes 0755 and 0644 (links 0777), hard links as copies.
///
/// The directory was left by a stranger, who is gone: nothing may change in it meanwhile, and what is found to have changed
/// is an error. Refused by name: devices, fifos, sockets, set-id bits, names and targets that are not printable UTF-8,
/// symbolic links that could lead out ([`EntryPath::leaves`]). Holes, extended attributes and owners are not looked at.
pub fn walk(
    directory: impl AsFd,
    top: &Name,
    epoch: u32,
    limits: Limits,
    out: impl Write,
) -> Result<Summary, TreeError> {
    let mut walker = Walker {
        writer: Writer::new(out, epoch),
        budget: Budget::new(limits),
        path: top.to_string().into_bytes(),
        piece: vec![0; PIECE],
    };
    walker.budget.entry(&walker.path)?;
    walker.directory(directory.as_fd(), b".")?;
    let Walker { writer, budget, .. } = walker;
    writer.finish().map_err(|source| TreeError::Write { source })?;
    Ok(budget.spent)
}

struct Walker<W: Write> {
    writer: Writer<W>,
    budget: Budget,
    /// The current entry, from the top-level directory.
    path: Vec<u8>,
    piece: Vec<u8>,
}

impl<W: Write> Walker<W> {
    /// Writes the current entry, the directory `name` of `parent`, and all that it contains.
    fn directory(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), TreeError> {
        let path = self.entry_path()?;
        self.writer.begin(&path, &Kind::Directory, 0o755).map_err(|source| TreeError::Write { source })?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(parent, name, flags, Mode::empty()).map_err(|errno| self.opened(errno))?;
        let length = self.path.len();
        for name in self.names(&mut directory)? {
            self.path.push(b'/');
            self.path.extend_from_slice(&name);
            self.entry(directory.as_fd(), &name)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    /// The names in a directory, sorted by their bytes.
    fn names(&mut self, directory: &mut Dir) -> Result<Vec<Box<[u8]>>, TreeError> {
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry.map_err(failed("read", &self.path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.budget.entry(&self.path)?;
                self.budget.name(name.len(), &self.path)?;
                names.push(name.into());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes the current entry, `name` of `directory`.
    fn entry(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), TreeError> {
        path::check_text(name).map_err(|refusal| refused(&self.path, refusal))?;
        let status = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed("read", &self.path))?;
        if status.st_mode & (Mode::S_ISUID | Mode::S_ISGID).bits() != 0 {
            return Err(refused(&self.path, Refusal::SetId));
        }
        match file_type(&status) {
            SFlag::S_IFDIR => self.directory(directory, name),
            SFlag::S_IFREG => self.file(directory, name, &status),
            SFlag::S_IFLNK => self.symlink(directory, name),
            SFlag::S_IFCHR => Err(refused(&self.path, Refusal::Type("character device"))),
            SFlag::S_IFBLK => Err(refused(&self.path, Refusal::Type("block device"))),
            SFlag::S_IFIFO => Err(refused(&self.path, Refusal::Type("fifo"))),
            SFlag::S_IFSOCK => Err(refused(&self.path, Refusal::Type("socket"))),
            _ => Err(refused(&self.path, Refusal::Type("thing of unknown type"))),
        }
    }

    fn symlink(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), TreeError> {
        let target = readlinkat(directory, name).map_err(failed("read", &self.path))?.as_bytes().to_vec();
        let path = self.entry_path()?;
        path::check_text(&target).map_err(|refusal| refused(&self.path, refusal))?;
        if path.leaves(&target) {
            return Err(refused(&self.path, Refusal::Escape));
        }
        self.writer.begin(&path, &Kind::Symlink { target }, 0o777).map_err(|source| TreeError::Write { source })
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &[u8], status: &FileStat) -> Result<(), TreeError> {
        // Should it have become a fifo or device meanwhile, opening it neither waits nor makes it the terminal.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(directory, name, flags, Mode::empty()).map_err(|errno| self.opened(errno))?);
        let opened = fstat(&file).map_err(failed("read", &self.path))?;
        let identity = |status: &FileStat| (status.st_dev, status.st_ino, status.st_mode, status.st_size);
        if identity(&opened) != identity(status) {
            return Err(refused(&self.path, Refusal::Changed));
        }
        let size = u64::try_from(opened.st_size).unwrap_or_default();
        self.budget.bytes(size, &self.path)?;
        let mode = if opened.st_mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let path = self.entry_path()?;
        self.writer.begin(&path, &Kind::File { size }, mode).map_err(|source| TreeError::Write { source })?;
        let mut left = size;
        loop {
            // The piece after the last finds a file that has grown.
            let count = read_full(&mut file, &mut self.piece).map_err(|source| TreeError::Io {
                action: "read",
                path: shown(&self.path),
                source,
            })?;
            left = left.checked_sub(count as u64).ok_or_else(|| refused(&self.path, Refusal::Changed))?;
            self.writer.piece(&self.piece[..count]).map_err(|source| TreeError::Write { source })?;
            if count < self.piece.len() {
                break;
            }
        }
        if left > 0 {
            return Err(refused(&self.path, Refusal::Changed));
        }
        self.writer.pad(size).map_err(|source| TreeError::Write { source })
    }

    fn entry_path(&self) -> Result<EntryPath, TreeError> {
        EntryPath::parse(&self.path).map_err(|refusal| refused(&self.path, refusal))
    }

    /// Why something that was a file or directory a moment ago cannot be opened as one.
    fn opened(&self, errno: Errno) -> TreeError {
        if matches!(errno, Errno::ELOOP | Errno::ENOTDIR | Errno::ENOENT | Errno::ENXIO) {
            refused(&self.path, Refusal::Changed)
        } else {
            failed("read", &self.path)(errno)
        }
    }
}

/// What a file is, apart from its permissions.
pub(super) fn file_type(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}
