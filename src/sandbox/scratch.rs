//! Directories on disk for what does not fit into memory, gone when their owner is.
//!
//! ```text
//! <store>/scratch/<name>.lock     locked as long as the owner lives
//! <store>/scratch/<name>/         mode 0700, the build's user's own
//! ```
//!
//! The lock ends with its owner however that dies, so who comes next removes what nobody holds. What lies in there is
//! hostile: nothing is followed, and any depth of directories is removed with two open descriptors.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::message::HostIds;

/// How often a name is tried: two that begin at once may be taken for remains of each other.
const ATTEMPTS: u32 = 16;

/// How many files are counted at most: pgproof listens to nobody meanwhile.
const COUNTED: u64 = 200_000;

/// A directory on disk; dropping it removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: PathBuf,
    lock_path: PathBuf,
    /// Held until the directory is gone.
    lock: Option<Flock<File>>,
}

impl Scratch {
    /// Makes a directory below `above` that belongs to the given user, and removes what dead owners left there.
    pub(super) fn new(above: &Path, name: &str, ids: HostIds) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(above)?;
        sweep(above)?;
        let lock_path = above.join(format!("{name}.lock"));
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path)?;
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => continue,
                Err((_, errno)) => return Err(errno.into()),
            };
            // Somebody who swept may have removed the name between the two calls above.
            if std::fs::metadata(&lock_path)
                .is_ok_and(|found| lock.metadata().is_ok_and(|own| own.ino() == found.ino()))
            {
                let directory = above.join(name);
                remove(&directory)?;
                let scratch = Self { directory, lock_path, lock: Some(lock) };
                std::fs::DirBuilder::new().mode(0o700).create(&scratch.directory)?;
                if nix::unistd::geteuid().is_root() {
                    std::os::unix::fs::chown(&scratch.directory, Some(ids.user), Some(ids.group))?;
                }
                return Ok(scratch);
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{} cannot be locked", lock_path.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// How many bytes of disk all below the directory `part` take. What was removed meanwhile does not count; an error means
    /// that not all can be seen.
    pub(super) fn used(&self, part: &Path) -> io::Result<u64> {
        let mut used: u64 = 0;
        let mut counted: u64 = 0;
        let mut waiting = vec![self.directory.join(part.strip_prefix("/").unwrap_or(part))];
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        while let Some(directory) = waiting.pop() {
            let entries = match list(&directory) {
                Err(error) if gone(&error) => continue,
                entries => entries?,
            };
            for entry in entries {
                // This follows no link.
                let found = match entry.metadata() {
                    Err(error) if gone(&error) => continue,
                    found => found?,
                };
                // The kernel counts in this unit whatever the file system's is.
                used = used.saturating_add(found.blocks().saturating_mul(512));
                counted += 1;
                if counted > COUNTED {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                if found.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(used)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is tried again at the next start.
        if remove(&self.directory).is_ok() {
            std::fs::remove_file(&self.lock_path).ok();
        }
        self.lock = None;
        // A box that was killed just before this one began may have been busy dying then.
        if let Some(above) = self.directory.parent() {
            sweep(above).ok();
        }
    }
}

/// Removes what owners that are gone left below `above`.
fn sweep(above: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the order in which remains are removed reaches nothing")]
    let listing = std::fs::read_dir(above)?;
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Another user's remains are another user's to remove.
            if remove(&path.with_extension("")).is_ok() {
                std::fs::remove_file(&path).ok();
            }
            drop(lock);
        }
    }
    Ok(())
}

/// Removes a tree of any depth whose directories may forbid it. Directories within directories are moved up first.
fn remove(tree: &Path) -> io::Result<()> {
    let open = |path: &Path| -> io::Result<()> {
        if !std::fs::symlink_metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    };
    match open(tree) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut moved: u64 = 0;
    loop {
        let mut directories = false;
        for entry in list(tree)? {
            let path = entry.path();
            if !entry.file_type()?.is_dir() {
                std::fs::remove_file(&path)?;
                continue;
            }
            directories = true;
            open(&path)?;
            for inner in list(&path)? {
                if inner.file_type()?.is_dir() {
                    // Moving a directory changes its `..`, which takes the permission to write to it.
                    open(&inner.path())?;
                    std::fs::rename(inner.path(), tree.join(format!(".pgproof-moved-{moved}")))?;
                    moved += 1;
                } else {
                    std::fs::remove_file(inner.path())?;
                }
            }
            std::fs::remove_dir(&path)?;
        }
        if !directories {
            return std::fs::remove_dir(tree);
        }
    }
}

fn list(directory: &Path) -> io::Result<impl Iterator<Item = std::fs::DirEntry>> {
    #[expect(clippy::disallowed_methods, reason = "the order in which remains are removed reaches nothing")]
    let listing = std::fs::read_dir(directory)?;
    listing.collect::<io::Result<Vec<_>>>().map(IntoIterator::into_iter)
}
