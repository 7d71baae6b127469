//! The container of a Debian package, deb(5): an `ar` archive of three members.
//!
//! Reads `debian-binary`, steps over `control.tar.*`, and gives the bytes of `data.tar.*`. Scripts are in the control member:
//! nothing here ever unpacks it.
//!
//! # Why
//!
//! The members, their order and their sizes are fixed, so the format is read strictly rather than by a general `ar`
//! library: another member, another order or a byte too many is refused, where dpkg and `ar` disagree about what it means.
//!
//! [`crate::compression`] reads streams one after the other as if they were one, with up to 128 MiB of memory. Here a member
//! is one stream that ends where the member ends, and several are decompressed at once, within pgproof's 100 MiB.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const FORMAT: &[u8; 4] = b"2.0\n";

/// A package whose data member is being read: reading gives that member's bytes, compressed.
pub(super) struct Deb<R> {
    reader: R,
    compression: Compression,
    left: u64,
    padded: bool,
}

/// How the data member is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

/// Decompresses a data member, within a bound on memory.
pub(super) enum Decoder<R: BufRead> {
    None(R),
    Gzip(Box<GzDecoder<R>>),
    Xz(Box<XzReader<R>>),
    Zstd(Box<StreamingDecoder<R, FrameDecoder>>),
}

/// What is wrong with a package's container.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum DebError {
    /// It ends too early, or cannot be read.
    #[error("it ends within {part}, or cannot be read")]
    Unreadable {
        /// What was being read.
        part: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is no `ar` archive.
    #[error("it is not a Debian package: it does not start with \"!<arch>\"")]
    Magic,
    /// The 60 bytes before a member are not of their format.
    #[error("the header of its {part} member is malformed")]
    Header {
        /// The member.
        part: &'static str,
    },
    /// It has another member where one is due.
    #[error("its member {found:?} stands where {expected} is due")]
    Member {
        /// The member that is there.
        found: String,
        /// The member that should be.
        expected: &'static str,
    },
    /// Its `debian-binary` is not `2.0`.
    #[error("it is of another format version than 2.0")]
    Version,
    /// Something follows the end of the compressed data, or of the last member.
    #[error("something follows the end of its {part}")]
    Garbage {
        /// What had ended.
        part: &'static str,
    },
}

impl<R: BufRead> Deb<R> {
    /// Reads up to the start of the data member.
    pub(super) fn open(mut reader: R) -> Result<Self, DebError> {
        let mut magic = [0; MAGIC.len()];
        fill(&mut reader, &mut magic, "ar signature")?;
        if magic != *MAGIC {
            return Err(DebError::Magic);
        }
        let (name, size) = header(&mut reader, "debian-binary")?;
        if name != "debian-binary" {
            return Err(DebError::Member { found: name, expected: "debian-binary" });
        }
        let mut format = [0; FORMAT.len()];
        if size != format.len() as u64 {
            return Err(DebError::Version);
        }
        fill(&mut reader, &mut format, "debian-binary")?;
        if format != *FORMAT {
            return Err(DebError::Version);
        }

        let (name, size) = header(&mut reader, "control")?;
        if compression(&name, "control.tar").is_none() {
            return Err(DebError::Member { found: name, expected: "control.tar" });
        }
        let padded = size + size % 2;
        let stepped = io::copy(&mut reader.by_ref().take(padded), &mut io::sink());
        if stepped.map_err(|source| DebError::Unreadable { part: "control.tar", source })? != padded {
            return Err(DebError::Unreadable { part: "control.tar", source: io::ErrorKind::UnexpectedEof.into() });
        }

        let (name, size) = header(&mut reader, "data")?;
        let Some(compression) = compression(&name, "data.tar") else {
            return Err(DebError::Member {
                found: name,
                expected: "data.tar, data.tar.gz, data.tar.xz or data.tar.zst",
            });
        };
        Ok(Self { reader, compression, left: size, padded: size % 2 == 1 })
    }

    /// A decoder of the data member that takes no more than `memory_kib` of memory. One that needs more gives
    /// [`io::ErrorKind::OutOfMemory`], here or when it is read, before it takes the memory.
    pub(super) fn decoder(&mut self, memory_kib: u32) -> io::Result<Decoder<&mut Self>> {
        Ok(match self.compression {
            Compression::None => Decoder::None(self),
            Compression::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(self))),
            Compression::Xz => Decoder::Xz(Box::new(XzReader::new_mem_limit(self, false, memory_kib))),
            Compression::Zstd => {
                let window = u64::from(memory_kib) * 1024;
                let decoder = StreamingDecoder::new_with_max_window_size(self, window).map_err(|error| {
                    let kind = if matches!(error, FrameDecoderError::WindowSizeTooBig { .. }) {
                        io::ErrorKind::OutOfMemory
                    } else {
                        io::ErrorKind::InvalidData
                    };
                    io::Error::new(kind, error)
                })?;
                Decoder::Zstd(Box::new(decoder))
            }
        })
    }

    /// Reads to the end of the package, where nothing but an odd member's padding may be left.
    pub(super) fn finish(mut self) -> Result<(), DebError> {
        if self.left != 0 {
            return Err(DebError::Garbage { part: "compressed data" });
        }
        if self.padded {
            let mut padding = [0];
            fill(&mut self.reader, &mut padding, "data.tar")?;
            if padding != *b"\n" {
                return Err(DebError::Garbage { part: "data.tar" });
            }
        }
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DebError::Garbage { part: "data.tar" }),
            Err(source) => Err(DebError::Unreadable { part: "data.tar", source }),
        }
    }
}

impl<R: BufRead> Read for Deb<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Deb<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let available = self.reader.fill_buf()?;
        // On a 32-bit machine a larger count than the buffer's length is cut to it anyway.
        let count = available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&available[..count])
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.left -= count as u64;
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Xz(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8], part: &'static str) -> Result<(), DebError> {
    reader.read_exact(buffer).map_err(|source| DebError::Unreadable { part, source })
}

/// A member's name and size, from the 60 bytes before it: name, time, owner, group and mode in ASCII, padded with spaces.
fn header(reader: &mut impl Read, part: &'static str) -> Result<(String, u64), DebError> {
    let malformed = || DebError::Header { part };
    let mut header = [0; 60];
    fill(reader, &mut header, part)?;
    let field = |range: std::ops::Range<usize>| {
        std::str::from_utf8(&header[range]).ok().map(|field| field.trim_end_matches(' '))
    };
    let number = |range| {
        let digits = field(range)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<u64>().ok() } else { None }
    };
    if [16..28, 28..34, 34..40, 40..48].into_iter().any(|range| number(range).is_none()) || header[58..] != *b"`\n" {
        return Err(malformed());
    }
    let name = field(0..16).ok_or_else(malformed)?;
    let size = number(48..58).ok_or_else(malformed)?;
    Ok((name.strip_suffix('/').unwrap_or(name).to_owned(), size))
}

fn compression(name: &str, stem: &str) -> Option<Compression> {
    match name.strip_prefix(stem)? {
        "" => Some(Compression::None),
        ".gz" => Some(Compression::Gzip),
        ".xz" => Some(Compression::Xz),
        ".zst" => Some(Compression::Zstd),
        _ => None,
    }
}
