//! How a stream is compressed, and reading it decompressed with bounded memory.
//!
//! Pure Rust decoders only: they read what strangers made.

use std::fmt;
use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};

/// The most memory that a decoder may take, in KiB: what `xz -9` needs for decompressing.
const MEMORY_LIMIT_KIB: u32 = 66 << 10;

/// How a tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The .xz format.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// How data are compressed that begin so.
    pub fn of(sample: &[u8]) -> Self {
        let magic: [(&[u8], Self); 4] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        magic.into_iter().find(|(magic, _)| sample.starts_with(magic)).map_or(Self::None, |(_, of)| of)
    }

    /// Reads `compressed` decompressed. Data that need more than 66 MiB of memory give an error. Whoever reads it bounds
    /// how much comes out.
    pub fn reader<'a>(self, compressed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let buffered = BufReader::with_capacity(1 << 16, compressed);
        Ok(match self {
            Self::None => Box::new(buffered),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(buffered, true, MEMORY_LIMIT_KIB)),
            Self::Zstd => {
                let window = u64::from(MEMORY_LIMIT_KIB) * 1024;
                let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(buffered, window);
                Box::new(decoder.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?)
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}
