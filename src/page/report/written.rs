//! Entries, contents and excerpts as they are written, before it is known that they are of one kind.

use serde::{Deserialize, Serialize};

use super::{Bytes, Change, Content, Detail, Difference, Excerpt};
use crate::digest::Digest;
use crate::page::Contradiction;
use crate::page::said::Said;

/// A [`Difference`] as it is written. serde's own ways to read an enumeration from among other fields hold in memory what they do
/// not know.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    path: Said,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only_in_first: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only_in_second: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<Changed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "super::few::<_, _, 1000>")]
    details: Vec<Detail>,
    #[serde(default, skip_serializing_if = "super::is_zero")]
    more: u64,
}

#[derive(Serialize, Deserialize)]
struct Changed {
    first: Content,
    second: Content,
}

/// A [`Content`] as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenContent {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Said>,
}

/// An [`Excerpt`] as it is written: text, or bytes as hexadecimal digits.
#[derive(Serialize, Deserialize)]
pub(super) struct WrittenExcerpt {
    #[serde(default, skip_serializing_if = "super::is_zero")]
    offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    differing: Option<(usize, usize)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Directory,
    File,
    Symlink,
}

impl TryFrom<Written> for Difference {
    type Error = Contradiction;

    fn try_from(written: Written) -> Result<Self, Contradiction> {
        let change = match (written.only_in_first, written.only_in_second, written.changed) {
            (Some(content), None, None) => Change::OnlyInFirst(content),
            (None, Some(content), None) => Change::OnlyInSecond(content),
            (None, None, Some(Changed { first, second })) => Change::Changed { first, second },
            _ => return Err(Contradiction::Change),
        };
        Ok(Self { path: written.path, change, details: written.details, more: written.more })
    }
}

impl From<Difference> for Written {
    fn from(difference: Difference) -> Self {
        let Difference { path, details, more, .. } = difference;
        let mut written = Self { path, only_in_first: None, only_in_second: None, changed: None, details, more };
        match difference.change {
            Change::OnlyInFirst(content) => written.only_in_first = Some(content),
            Change::OnlyInSecond(content) => written.only_in_second = Some(content),
            Change::Changed { first, second } => written.changed = Some(Changed { first, second }),
        }
        written
    }
}

impl TryFrom<WrittenExcerpt> for Excerpt {
    type Error = Contradiction;

    fn try_from(written: WrittenExcerpt) -> Result<Self, Contradiction> {
        let content = match (written.text, written.hex) {
            (Some(text), None) => Bytes::Text(text),
            (None, Some(digits)) => Bytes::Binary(bytes_of(&digits).ok_or(Contradiction::Excerpt)?),
            _ => return Err(Contradiction::Excerpt),
        };
        Ok(Self { offset: written.offset, content, differing: written.differing, length: written.length })
    }
}

fn digits_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // Writing to a String cannot fail.
        write!(digits, "{byte:02x}").ok();
        digits
    })
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?)).collect()
}

impl From<Excerpt> for WrittenExcerpt {
    fn from(excerpt: Excerpt) -> Self {
        let (text, hex) = match excerpt.content {
            Bytes::Text(text) => (Some(text), None),
            Bytes::Binary(bytes) => (None, Some(digits_of(&bytes))),
        };
        Self { offset: excerpt.offset, text, hex, differing: excerpt.differing, length: excerpt.length }
    }
}

impl TryFrom<WrittenContent> for Content {
    type Error = Contradiction;

    fn try_from(written: WrittenContent) -> Result<Self, Contradiction> {
        let WrittenContent { kind, size, digest, executable, format, target } = written;
        match (kind, size, digest, executable, format, target) {
            (Kind::Directory, None, None, None, None, None) => Ok(Self::Directory),
            (Kind::File, Some(size), Some(digest), Some(executable), Some(format), None) => {
                Ok(Self::File { size, digest, executable, format })
            }
            (Kind::Symlink, None, None, None, None, Some(target)) => Ok(Self::Symlink { target }),
            _ => Err(Contradiction::Content),
        }
    }
}

impl From<Content> for WrittenContent {
    fn from(content: Content) -> Self {
        let empty =
            Self { kind: Kind::Directory, size: None, digest: None, executable: None, format: None, target: None };
        match content {
            Content::Directory => empty,
            Content::File { size, digest, executable, format } => Self {
                kind: Kind::File,
                size: Some(size),
                digest: Some(digest),
                executable: Some(executable),
                format: Some(format),
                ..empty
            },
            Content::Symlink { target } => Self { kind: Kind::Symlink, target: Some(target), ..empty },
        }
    }
}
