//! Entries to normalised tar.

use std::io::{self, BufWriter, Read, Write};

use super::{BLOCK, EntryPath, Kind, PIECE, path};

/// Writes entries as tar: owner 0:0 without names, one time for all, no hard links, no extended attributes.
///
/// Entries are written in the order given; a caller that wants a canonical stream gives them sorted. A path or link target
/// of more than 100 bytes gets a GNU long-name record. After an error the stream is worthless.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    epoch: u32,
    piece: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`; every entry's time is `epoch`, in seconds since 1970.
    pub fn new(out: W, epoch: u32) -> Self {
        Self { out: BufWriter::with_capacity(PIECE, out), epoch, piece: vec![0; PIECE] }
    }

    /// Appends an entry. `path` is relative, without `.` or `..`; `mode` is its permission bits; `content` has as many
    /// bytes as [`Kind::File`] says and is not read for other kinds.
    pub fn append(&mut self, path: &[u8], kind: &Kind, mode: u32, mut content: impl Read) -> io::Result<()> {
        let path = EntryPath::parse(path).map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal))?;
        self.begin(&path, kind, mode)?;
        let Kind::File { size } = kind else { return Ok(()) };
        let mut left = *size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let count = super::read_full(&mut content, &mut self.piece[..wanted])?;
            if count < wanted {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
            }
            self.out.write_all(&self.piece[..count])?;
            left -= count as u64;
        }
        self.pad(*size)
    }

    /// Writes an entry's header. What follows for a file is its content through [`Writer::piece`] and [`Writer::pad`].
    pub(crate) fn begin(&mut self, path: &EntryPath, kind: &Kind, mode: u32) -> io::Result<()> {
        if path.is_root() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, super::Refusal::Name));
        }
        if let Kind::Symlink { target } = kind {
            path::check_target(target).map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, refusal))?;
        }
        self.out.write_all(&encode(path, kind, mode, self.epoch))
    }

    /// Writes a piece of a file's content.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.out.write_all(piece)
    }

    /// Fills the last block of a file of `size` bytes.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..padding(size)])
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// How many bytes are missing to a whole number of blocks.
pub(super) fn padding(size: u64) -> usize {
    const LENGTH: u64 = BLOCK as u64;
    usize::try_from((LENGTH - size % LENGTH) % LENGTH).unwrap_or_default()
}

/// The one way in which an entry's header, long-name records included, is written.
pub(crate) fn encode(path: &EntryPath, kind: &Kind, mode: u32, epoch: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(epoch.into());
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(mode & 0o7777);
    header.set_size(0);
    let mut name = path.as_bytes().to_vec();
    let mut blocks = Vec::with_capacity(BLOCK);
    match kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            name.push(b'/');
        }
        Kind::File { size } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(*size);
        }
        Kind::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            encode_name(&mut blocks, &mut header.as_old_mut().linkname, tar::EntryType::GNULongLink, target);
        }
    }
    encode_name(&mut blocks, &mut header.as_old_mut().name, tar::EntryType::GNULongName, &name);
    sign(&mut header);
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

/// Sets the checksum as GNU tar writes it: six digits, NUL, space. With it, the whole archive is what
/// `tar --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --hard-dereference -b1` makes of the same tree.
fn sign(header: &mut tar::Header) {
    header.set_cksum();
    let field = &mut header.as_old_mut().cksum;
    // A sum over 512 bytes has six digits at most; the crate writes seven and a NUL.
    field.copy_within(1..7, 0);
    field[6..].copy_from_slice(b"\0 ");
}

/// Puts `name` into `field` and, if it is too long for that, a record with all of it in front.
fn encode_name(blocks: &mut Vec<u8>, field: &mut [u8; 100], record: tar::EntryType, name: &[u8]) {
    let short = name.len().min(field.len());
    field[..short].copy_from_slice(&name[..short]);
    if name.len() > field.len() {
        let size = name.len() as u64 + 1;
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..LONG_LINK.len()].copy_from_slice(LONG_LINK);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_entry_type(record);
        sign(&mut header);
        blocks.extend_from_slice(header.as_bytes());
        blocks.extend_from_slice(name);
        blocks.resize(blocks.len() + 1 + padding(size), 0);
    }
}

/// The name of a long-name record in GNU tar's format.
const LONG_LINK: &[u8] = b"././@LongLink";
