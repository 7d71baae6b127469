//! Reads Debian control data (deb822): `Release`, `Packages`, `Sources`.
//!
//! One stanza is in memory at a time. Comments, folded names and other liberties of hand-written control files are not
//! read: an index has none.

use std::io::{self, BufRead, Read as _};
use std::ops::Range;

/// A stanza of more bytes than this is refused; Debian's largest has 0.4 MB.
const STANZA_LIMIT: usize = 4 << 20;

/// A stanza of more fields than this is refused; Debian's largest has 29.
const FIELDS_LIMIT: usize = 128;

/// The stanzas of a file, one after the other.
pub struct Stanzas<R> {
    reader: R,
    /// The number of the last line read, from 1.
    line: u64,
    text: Vec<u8>,
    fields: Vec<Field>,
}

struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Fields with different names.
#[derive(Clone, Copy)]
pub struct Stanza<'a> {
    text: &'a str,
    fields: &'a [Field],
}

/// Why a file is not control data.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ControlError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// Larger than any stanza.
    #[error("line {line}: the stanza has more than {STANZA_LIMIT} bytes or {FIELDS_LIMIT} fields")]
    TooLarge {
        /// Where.
        line: u64,
    },
    /// Not UTF-8.
    #[error("the stanza before line {line} is not UTF-8")]
    Encoding {
        /// Where.
        line: u64,
        /// Why.
        source: std::str::Utf8Error,
    },
    /// Neither `Name: value` nor a continued value.
    #[error("line {line} is neither a field nor the continuation of one")]
    Malformed {
        /// Where.
        line: u64,
    },
    /// A field is there twice: readers would not agree on which one counts.
    #[error("line {line}: the field {field} is there twice")]
    Duplicate {
        /// Where.
        line: u64,
        /// The field's name.
        field: String,
    },
}

impl<R: BufRead> Stanzas<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 0, text: Vec::new(), fields: Vec::new() }
    }

    /// The next stanza, `None` at the end.
    pub fn next_stanza(&mut self) -> Result<Option<Stanza<'_>>, ControlError> {
        self.text.clear();
        self.fields.clear();
        loop {
            let start = self.text.len();
            let room = STANZA_LIMIT - start;
            let count = self
                .reader
                .by_ref()
                .take(room as u64)
                .read_until(b'\n', &mut self.text)
                .map_err(ControlError::Unreadable)?;
            self.line += 1;
            if count == room {
                return Err(ControlError::TooLarge { line: self.line });
            }
            if self.text.last() == Some(&b'\n') {
                self.text.pop();
            }
            let end = self.text.len();
            if start < end {
                self.take_line(start..end)?;
            } else if count == 0 || !self.fields.is_empty() {
                break;
            }
        }
        let text =
            std::str::from_utf8(&self.text).map_err(|source| ControlError::Encoding { line: self.line, source })?;
        Ok((!self.fields.is_empty()).then_some(Stanza { text, fields: &self.fields }))
    }

    fn take_line(&mut self, range: Range<usize>) -> Result<(), ControlError> {
        let line = &self.text[range.clone()];
        if matches!(line[0], b' ' | b'\t') {
            let Some(field) = self.fields.last_mut() else {
                return Err(ControlError::Malformed { line: self.line });
            };
            // Keeps the lines of a value apart; the line's own end was dropped.
            self.text[range.start] = b'\n';
            field.value.end = range.end;
            return Ok(());
        }
        // deb822(5): printable ASCII without a colon, starting with neither `#` nor `-`.
        let name_end = line
            .iter()
            .position(|&byte| byte == b':')
            .filter(|&end| end > 0 && !matches!(line[0], b'#' | b'-') && line[..end].iter().all(u8::is_ascii_graphic));
        let Some(name_end) = name_end else { return Err(ControlError::Malformed { line: self.line }) };
        let name = &line[..name_end];
        if self.fields.iter().any(|field| self.text[field.name.clone()].eq_ignore_ascii_case(name)) {
            let field = String::from_utf8_lossy(name).into_owned();
            return Err(ControlError::Duplicate { line: self.line, field });
        }
        if self.fields.len() == FIELDS_LIMIT {
            return Err(ControlError::TooLarge { line: self.line });
        }
        let colon = range.start + name_end;
        self.fields.push(Field { name: range.start..colon, value: colon + 1..range.end });
        Ok(())
    }
}

impl<'a> Stanza<'a> {
    /// The value of a field, without blanks around it. Its lines are parted by LF and may start with blanks.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let field = self.fields.iter().find(|field| self.text[field.name.clone()].eq_ignore_ascii_case(name))?;
        Some(self.text[field.value.clone()].trim())
    }
}
