//! Puts the root file system and the inputs where the build expects them.
//!
//! It reads blobs through their digest and resolves every path of the root file system, which is hostile, with [`pathrs`],
//! so that nothing is written outside of it.

use std::fs::Permissions;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use pathrs::Root;
use pathrs::flags::OpenFlags;

use super::message::Supply;
use super::specification;
use crate::compression::Compression;
use crate::digest::{Digest, HashingReader};
use crate::tree::{self, TreeError};
use crate::variation::Variation;

/// Where a box's files are made.
#[derive(Debug)]
pub(super) struct Rooms {
    /// The root file system.
    pub(super) root: PathBuf,
    /// The build root.
    pub(super) build: PathBuf,
}

/// Why something cannot be put into its place.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub(super) enum FurnishError {
    #[error("it decompresses to more than the {0} bytes that the build may use")]
    Bomb(u64),
    #[error("it decompresses to {received}, the plan states {expected}")]
    Tar { expected: Digest, received: Digest },
    #[error("it cannot be unpacked")]
    Tree(#[from] TreeError),
    #[error("it cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the root file system has something in the place of {path}")]
    Place { path: String, source: pathrs::error::Error },
}

impl Rooms {
    /// Unpacks the root file system and makes the directories and files that a variation's build finds in it.
    pub(super) fn make_root(&self, layer: impl Read, variation: &Variation) -> Result<(), FurnishError> {
        unpack(layer, &self.root, 0, 0)?;
        self.make_places(variation)
    }

    /// Makes the directories and files that a variation's build finds in any root file system.
    pub(super) fn make_places(&self, variation: &Variation) -> Result<(), FurnishError> {
        let root = self.open_root()?;
        let own = [variation.build_root.as_str(), variation.home.as_str()];
        for path in specification::PLACES.into_iter().chain(own) {
            place(&root, path)?;
        }
        for (path, content) in specification::files(variation) {
            replace(&root, path, content.as_bytes())?;
        }
        Ok(())
    }

    /// A directory of the root file system, whatever links lead to it.
    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, FurnishError> {
        Ok(place(&self.open_root()?, path)?.into())
    }

    /// Puts a file into the root file system, whatever was there.
    pub(super) fn put(&self, path: &str, content: &[u8]) -> Result<(), FurnishError> {
        replace(&self.open_root()?, path, content)
    }

    fn open_root(&self) -> Result<Root, FurnishError> {
        Root::open(&self.root).map_err(|source| FurnishError::Place { path: "/".to_owned(), source })
    }

    /// Puts an input into its place: unpacked below the build root, its times moved by so many seconds, or as a file.
    pub(super) fn bring(
        &self,
        supply: &Supply,
        mut blob: impl Read,
        limit: u64,
        shift: i64,
    ) -> Result<(), FurnishError> {
        let Some(how) = &supply.unpack else {
            let path = format!("/pgproof/inputs/{}", supply.name);
            let mut file = create(&self.open_root()?, &path)?;
            io::copy(&mut blob, &mut file)?;
            return Ok(());
        };
        let into = self.build.join(how.into.as_str());
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&into)?;
        let compression = if supply.decompressed { Compression::None } else { how.compression };
        if compression == Compression::None {
            return unpack(blob, &into, how.strip, shift);
        }
        // What comes out of a decompressor may be a million times what went in.
        let mut tar = HashingReader::new(compression.reader(&mut blob)?.take(limit));
        let unpacked = unpack(&mut tar, &into, how.strip, shift);
        let (received, size) = tar.finish();
        if size == limit {
            return Err(FurnishError::Bomb(limit));
        }
        unpacked?;
        if let Some(expected) = how.tar_digest
            && received != expected
        {
            return Err(FurnishError::Tar { expected, received });
        }
        // Decompressors stop where they see an end; the digest is of all bytes.
        io::copy(&mut blob, &mut io::sink())?;
        Ok(())
    }
}

/// Unpacks a tar to its end.
fn unpack(tar: impl Read, directory: &Path, strip: u32, shift: i64) -> Result<(), FurnishError> {
    let options = tree::Options {
        strip,
        modes: tree::Modes::Kept,
        times: tree::Times::Shifted(shift),
        limits: tree::Limits::STANDARD,
    };
    tree::unpack(tar, open_directory(directory)?, &options)?;
    Ok(())
}

/// Opens a directory that is no link.
pub(super) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

fn place(root: &Root, path: &str) -> Result<pathrs::Handle, FurnishError> {
    root.mkdir_all(path, &Permissions::from_mode(0o755))
        .map_err(|source| FurnishError::Place { path: path.to_owned(), source })
}

fn create(root: &Root, path: &str) -> Result<std::fs::File, FurnishError> {
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_EXCL | OpenFlags::O_CLOEXEC;
    root.create_file(path, flags, &Permissions::from_mode(0o644))
        .map_err(|source| FurnishError::Place { path: path.to_owned(), source })
}

/// Replaces a file of the root file system, whatever was there.
fn replace(root: &Root, path: &str, content: &[u8]) -> Result<(), FurnishError> {
    if root.resolve_nofollow(path).is_ok() {
        root.remove_all(path).map_err(|source| FurnishError::Place { path: path.to_owned(), source })?;
    }
    create(root, path)?.write_all(content)?;
    Ok(())
}
