//! A file list as it lies beside an archive, read back: what an archive holds that is the same in both builds.
//!
//! The format is that of `output::list`; lines of any other form are refused, because a list whose digest the report states was
//! written by pgproof.

use super::PageError;
use super::said::Said;

/// The most entries that are read: PostgreSQL's archives have 5000 together.
const ENTRIES: usize = 200_000;

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Said,
    pub(super) kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File { size: u64 },
    Link,
}

/// Reads the list of an archive.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Entry>, PageError> {
    let malformed = |line: usize| PageError::List { line: line + 1 };
    let text = std::str::from_utf8(text).map_err(|_encoding| malformed(0))?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match (number, line) {
            (0, "#mtree") | (1, ". type=dir") => {}
            (0 | 1, _) => return Err(malformed(number)),
            _ if entries.len() == ENTRIES => return Err(malformed(number)),
            _ => entries.push(entry(line).ok_or_else(|| malformed(number))?),
        }
    }
    Ok(entries)
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.strip_prefix("./")?.split(' ');
    let path = Said::new(&unescape(words.next()?)?);
    let kind = match words.next()? {
        "type=dir" => Kind::Directory,
        "type=link" => Kind::Link,
        "type=file" => Kind::File { size: words.find_map(|word| word.strip_prefix("size="))?.parse().ok()? },
        _ => return None,
    };
    Some(Entry { path, kind })
}

/// Takes back what the list's writer did: a backslash and three octal digits for a byte.
fn unescape(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\\' {
            let (digits, after) = rest.split_at_checked(3)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
