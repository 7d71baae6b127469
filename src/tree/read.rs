//! Tar to entries, each checked; as a stream, with bounded memory.

use std::io::{BufRead as _, BufReader, Read};

use super::write::padding;
use super::{BLOCK, Budget, Defect, EntryPath, Limits, PIECE, Refusal, Summary, TreeError, path, read_full, refused};

/// The longest GNU long names and PAX records of one entry, in bytes.
pub(super) const EXTENSION_LIMIT: u64 = 1 << 20;
/// Zeros after the end of the archive: more than any blocking factor asks for.
const TRAILING_LIMIT: u64 = 1 << 20;
/// The latest time that is believed, in seconds since 1970: the year 3058.
const TIME_LIMIT: u64 = 1 << 35;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs.
    pub path: EntryPath,
    /// What it is.
    pub member: Member,
    /// Its permission and set-id bits, as the archive states them.
    pub mode: u32,
    /// When it was changed, in seconds since 1970.
    pub modified: u64,
}

/// What an archive's entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link; its target may lead anywhere.
    Symlink {
        /// Where it points, as bytes without a NUL.
        target: Vec<u8>,
    },
    /// Another name of a file that came before.
    HardLink {
        /// That file.
        target: EntryPath,
    },
}

/// Reads a tar archive: v7, ustar, GNU or PAX. Sparse files, devices, fifos and the types that only some tar programs know
/// are refused; owners and extended attributes are ignored.
///
/// The archive must end as an archive does, and what it is read from is read to its end, so that a reader which verifies
/// ([`crate::store::BlobReader`]) has verified once [`Reader::next`] gave `None`.
pub struct Reader<R> {
    inner: BufReader<R>,
    budget: Budget,
    /// Where the next byte is.
    offset: u64,
    /// Where the current entry's headers begin.
    start: u64,
    /// The current entry's headers as they were read, records included.
    headers: Vec<u8>,
    /// Bytes of the current entry's content that have not been given out.
    content: u64,
    /// Zeros after the current entry's content.
    padding: usize,
    /// Bytes of the buffer that have been given out and not yet let go.
    lent: usize,
    ended: bool,
}

/// What the records before an entry said about it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    any: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive from `inner`.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            inner: BufReader::with_capacity(PIECE, inner),
            budget: Budget::new(limits),
            offset: 0,
            start: 0,
            headers: Vec::new(),
            content: 0,
            padding: 0,
            lent: 0,
            ended: false,
        }
    }

    /// The next entry, or `None` at the end. What was not read of the last entry's content is skipped.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend the content")]
    pub fn next(&mut self) -> Result<Option<Entry>, TreeError> {
        while !self.piece()?.is_empty() {}
        self.skip_padding()?;
        if self.ended {
            return Ok(None);
        }
        self.start = self.offset;
        self.headers.clear();
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                if extensions.any {
                    return Err(self.malformed(Defect::ExtensionOwner));
                }
                self.end()?;
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_number| self.malformed(Defect::Header))?;
            let kind = header.entry_type();
            if kind.is_gnu_longname() || kind.is_gnu_longlink() {
                let name = self.long_name(size)?;
                let slot = if kind.is_gnu_longname() { &mut extensions.path } else { &mut extensions.target };
                if slot.replace(name).is_some() {
                    return Err(self.malformed(Defect::ExtensionOwner));
                }
                extensions.any = true;
            } else if kind.is_pax_local_extensions() {
                let records = self.extension(size)?;
                parse_pax(&records, &mut extensions).map_err(|defect| self.malformed(defect))?;
                extensions.any = true;
            } else if kind.is_pax_global_extensions() {
                let records = self.extension(size)?;
                let mut global = Extensions::default();
                parse_pax(&records, &mut global).map_err(|defect| self.malformed(defect))?;
                // A name or size for all entries that follow is nothing an honest archive has.
                if extensions.any || global.path.is_some() || global.target.is_some() || global.size.is_some() {
                    return Err(self.malformed(Defect::ExtensionOwner));
                }
            } else {
                return self.entry(&header, size, extensions).map(Some);
            }
        }
    }

    /// The next piece of the current entry's content; empty at its end.
    pub fn piece(&mut self) -> Result<&[u8], TreeError> {
        self.inner.consume(std::mem::take(&mut self.lent));
        if self.content == 0 {
            return Ok(&[]);
        }
        let start = self.start;
        let buffer = loop {
            match self.inner.fill_buf() {
                Ok(_) => break self.inner.buffer(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TreeError::Read { source }),
            }
        };
        if buffer.is_empty() {
            return Err(TreeError::Malformed { offset: start, defect: Defect::Truncated });
        }
        let count = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        self.lent = count;
        self.content -= count as u64;
        self.offset += count as u64;
        Ok(&buffer[..count])
    }

    /// What was read so far.
    pub fn summary(&self) -> Summary {
        self.budget.spent
    }

    /// The current entry's headers as they stand in the archive, records included.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.headers
    }

    fn entry(&mut self, header: &tar::Header, size: u64, extensions: Extensions) -> Result<Entry, TreeError> {
        let name = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        self.budget.entry(&name)?;
        if extensions.size.is_some_and(|stated| stated != size) {
            // The header cannot hold a size from 8 GiB on in octal; GNU tar and this crate write such sizes in binary.
            return Err(self.malformed(Defect::Extension));
        }
        let path = EntryPath::parse(&name).map_err(|refusal| refused(&name, refusal))?;
        let target = || {
            extensions
                .target
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .ok_or_else(|| refused(&name, Refusal::Target))
        };
        let member = match header.entry_type().as_byte() {
            b'0' => {
                if name.ends_with(b"/") {
                    return Err(refused(&name, Refusal::Name));
                }
                self.budget.bytes(size, &name)?;
                Member::File { size }
            }
            b'5' => Member::Directory,
            b'2' => {
                let target = target()?;
                path::check_target(&target).map_err(|refusal| refused(&name, refusal))?;
                Member::Symlink { target }
            }
            b'1' => {
                let target = EntryPath::parse(&target()?).map_err(|_outside| refused(&name, Refusal::HardLink))?;
                Member::HardLink { target }
            }
            b'3' => return Err(refused(&name, Refusal::Type("character device"))),
            b'4' => return Err(refused(&name, Refusal::Type("block device"))),
            b'6' => return Err(refused(&name, Refusal::Type("fifo"))),
            b'S' => return Err(refused(&name, Refusal::Type("sparse file"))),
            b'7' => return Err(refused(&name, Refusal::Type("contiguous file"))),
            // One program's or another's own.
            _ => return Err(refused(&name, Refusal::Type("thing of unknown type"))),
        };
        if path.is_root() && member != Member::Directory {
            return Err(refused(&name, Refusal::Name));
        }
        if !matches!(member, Member::File { .. }) && size != 0 {
            return Err(self.malformed(Defect::Content));
        }
        self.content = size;
        self.padding = padding(size);
        let mode = header.mode().map_err(|_number| self.malformed(Defect::Header))? & 0o7777;
        let modified = header.mtime().map_err(|_number| self.malformed(Defect::Header))?;
        if modified > TIME_LIMIT {
            return Err(self.malformed(Defect::Time));
        }
        Ok(Entry { path, member, mode, modified })
    }

    /// The next header; `None` if the block is the first of the end.
    fn header(&mut self) -> Result<Option<tar::Header>, TreeError> {
        let mut header = tar::Header::new_old();
        let block: &mut [u8; BLOCK] = header.as_mut_bytes();
        let count = read_full(&mut self.inner, block).map_err(|source| TreeError::Read { source })?;
        if count < BLOCK {
            return Err(self.malformed(Defect::Truncated));
        }
        self.offset += BLOCK as u64;
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum = checksum(block);
        if header.cksum().map_err(|_number| self.malformed(Defect::Header))? != sum {
            return Err(self.malformed(Defect::Header));
        }
        self.headers.extend_from_slice(header.as_bytes());
        Ok(Some(header))
    }

    /// A long-name record's name.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TreeError> {
        let mut name = self.extension(size)?;
        match name.pop() {
            Some(0) => Ok(name),
            _ => Err(self.malformed(Defect::Extension)),
        }
    }

    /// A record's content.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TreeError> {
        self.budget.record(b"././@LongLink")?;
        let from = self.headers.len();
        let padded = size.saturating_add(padding(size) as u64);
        // One entry may have several records: they are limited together.
        if padded.saturating_add(from as u64) > EXTENSION_LIMIT {
            return Err(self.malformed(Defect::ExtensionSize));
        }
        let count = (&mut self.inner)
            .take(padded)
            .read_to_end(&mut self.headers)
            .map_err(|source| TreeError::Read { source })? as u64;
        self.offset += count;
        if count < padded {
            return Err(self.malformed(Defect::Truncated));
        }
        let end = from + usize::try_from(size).unwrap_or_default();
        Ok(self.headers[from..end].to_vec())
    }

    fn skip_padding(&mut self) -> Result<(), TreeError> {
        let mut zeros = [0; BLOCK];
        let wanted = std::mem::take(&mut self.padding);
        let count = read_full(&mut self.inner, &mut zeros[..wanted]).map_err(|source| TreeError::Read { source })?;
        self.offset += count as u64;
        if count < wanted {
            return Err(self.malformed(Defect::Truncated));
        }
        if zeros == [0; BLOCK] { Ok(()) } else { Err(self.malformed(Defect::Padding)) }
    }

    /// Reads what follows the first block of the end: nothing but zeros.
    fn end(&mut self) -> Result<(), TreeError> {
        self.ended = true;
        let mut trailing = 0;
        let mut zeros = vec![0; 16 << 10];
        loop {
            let count = read_full(&mut self.inner, &mut zeros).map_err(|source| TreeError::Read { source })?;
            trailing += count as u64;
            if zeros[..count].iter().any(|&byte| byte != 0) || trailing > TRAILING_LIMIT {
                return Err(self.malformed(Defect::Trailing));
            }
            if count < zeros.len() {
                return Ok(());
            }
        }
    }

    fn malformed(&self, defect: Defect) -> TreeError {
        TreeError::Malformed { offset: self.start, defect }
    }
}

/// A header's checksum: the sum of its bytes, with the checksum's own field taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

/// Parses the records of a PAX header (POSIX.1-2024, pax, "pax Extended Header"): `<length> <key>=<value>\n`.
fn parse_pax(mut records: &[u8], extensions: &mut Extensions) -> Result<(), Defect> {
    while !records.is_empty() {
        let space = records.iter().position(|&byte| byte == b' ').ok_or(Defect::Extension)?;
        let length = decimal(&records[..space]).ok_or(Defect::Extension)?;
        let length = usize::try_from(length).ok().filter(|&length| length <= records.len()).ok_or(Defect::Extension)?;
        let (record, rest) = records.split_at(length);
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or(Defect::Extension)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or(Defect::Extension)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let twice = match key {
            b"path" => extensions.path.replace(value.to_vec()).is_some(),
            b"linkpath" => extensions.target.replace(value.to_vec()).is_some(),
            b"size" => extensions.size.replace(decimal(value).ok_or(Defect::Extension)?).is_some(),
            _ if key.starts_with(b"GNU.sparse.") => return Err(Defect::Extension),
            _ => false,
        };
        if twice {
            return Err(Defect::ExtensionOwner);
        }
        records = rest;
    }
    Ok(())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
