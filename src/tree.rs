//! A file tree as one normalised stream, and back.
//!
//! Writing never follows a link; unpacking never leaves its directory. Both treat every name and size as hostile.
//!
//! # Why
//!
//! One form for trees, plain tar: an image layer, an installed tree on its way out of the box and the archive that is
//! published are all written by [`Writer`], so that they are normalised once, here.

use std::io::{self, Read, Write};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as bytes.
        target: Vec<u8>,
    },
}

/// Writes entries as tar: owner 0:0 without names, one time for all, no hard links, no extended attributes.
///
/// Entries are written in the order given; a caller that wants a canonical stream gives them sorted.
pub struct Writer<W: Write> {
    builder: tar::Builder<W>,
    epoch: u64,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`; every entry's time is `epoch`, in seconds since 1970.
    pub fn new(out: W, epoch: u32) -> Self {
        Self { builder: tar::Builder::new(out), epoch: epoch.into() }
    }

    /// Appends an entry. `path` is relative, without a trailing `/`; `mode` is its permission bits; `content` has as many
    /// bytes as [`Kind::File`] says and is not read for other kinds.
    pub fn append(&mut self, path: &[u8], kind: &Kind, mode: u32, content: impl Read) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        let mut header = tar::Header::new_gnu();
        header.set_mtime(self.epoch);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(mode & 0o7777);
        header.set_size(0);
        match kind {
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                let mut slashed = path.as_os_str().to_owned();
                slashed.push("/");
                self.builder.append_data(&mut header, slashed, io::empty())
            }
            Kind::File { size } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(*size);
                let mut counted = content.take(*size);
                self.builder.append_data(&mut header, path, &mut counted)?;
                if counted.limit() == 0 {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"))
                }
            }
            Kind::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                self.builder.append_link(&mut header, path, std::ffi::OsStr::from_bytes(target))
            }
        }
    }

    /// Writes the end of the archive.
    pub fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }
}
