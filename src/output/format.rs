//! What a file is, told from its first bytes.

use std::fmt;

use serde::Serialize;

/// How many bytes tell what a file is.
pub(super) const SAMPLE: usize = 512;

/// What a file is, as far as its first 512 bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Nothing in it.
    Empty,
    /// ELF, to be linked.
    ElfObject,
    /// ELF with a fixed address.
    ElfExecutable,
    /// ELF with any address: a shared library or a position-independent executable.
    ElfShared,
    /// A static library.
    Archive,
    /// LLVM bitcode.
    Bitcode,
    /// A gettext message catalogue.
    Catalogue,
    /// gzip, bzip2, xz, Zstandard or zip.
    Compressed,
    /// Begins with `#!`.
    Script,
    /// UTF-8 without control characters that text does not have.
    Text,
    /// Anything else.
    Data,
}

impl Format {
    /// Tells from the first [`SAMPLE`] bytes, or all if there are fewer.
    pub(super) fn of(sample: &[u8]) -> Self {
        const ET_REL: u16 = 1;
        const ET_EXEC: u16 = 2;
        const ET_DYN: u16 = 3;
        if sample.is_empty() {
            return Self::Empty;
        }
        if let [0x7f, b'E', b'L', b'F', _, order, _, _, _, _, _, _, _, _, _, _, first, second, ..] = *sample {
            let kind = [first, second];
            return match if order == 2 { u16::from_be_bytes(kind) } else { u16::from_le_bytes(kind) } {
                ET_REL => Self::ElfObject,
                ET_EXEC => Self::ElfExecutable,
                ET_DYN => Self::ElfShared,
                _ => Self::Data,
            };
        }
        for &(magic, format) in MAGIC {
            if sample.starts_with(magic) {
                return format;
            }
        }
        if text(sample) { Self::Text } else { Self::Data }
    }

    /// What to call it to a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty file",
            Self::ElfObject => "ELF object",
            Self::ElfExecutable => "ELF executable",
            Self::ElfShared => "ELF library or executable",
            Self::Archive => "static library",
            Self::Bitcode => "LLVM bitcode",
            Self::Catalogue => "message catalogue",
            Self::Compressed => "compressed file",
            Self::Script => "script",
            Self::Text => "text",
            Self::Data => "binary file",
        }
    }
}

const MAGIC: &[(&[u8], Format)] = &[
    (b"!<arch>\n", Format::Archive),
    (b"!<thin>\n", Format::Archive),
    (b"BC\xc0\xde", Format::Bitcode),
    (b"\xde\x12\x04\x95", Format::Catalogue),
    (b"\x95\x04\x12\xde", Format::Catalogue),
    (b"\x1f\x8b", Format::Compressed),
    (b"BZh", Format::Compressed),
    (b"\xfd7zXZ\0", Format::Compressed),
    (b"\x28\xb5\x2f\xfd", Format::Compressed),
    (b"PK\x03\x04", Format::Compressed),
    (b"#!", Format::Script),
];

fn text(sample: &[u8]) -> bool {
    let plain = |text: &str| !text.bytes().any(|byte| byte < b' ' && !b"\t\n\x0b\x0c\r\x1b".contains(&byte));
    match std::str::from_utf8(sample) {
        Ok(text) => plain(text),
        // The sample may end within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&sample[..error.valid_up_to()]).is_ok_and(plain)
        }
        Err(_) => false,
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
