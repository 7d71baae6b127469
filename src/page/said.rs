//! Text that a report says: a stranger's, which can be shown and compared, but not read.
//!
//! # Why
//!
//! A report comes from anybody, and so do the names of files and the excerpts in it. [`Said`] has no way to its text but those
//! that escape it: [`maud::Render`] for HTML and [`Said::code`] for Markdown. What is shown has no character that a
//! browser, a terminal or an eye would obey or overlook instead of showing it: such a character is written as `\u{202e}`.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};

use crate::text::is_obeyed;

/// How many bytes of a text are kept: as many as a path may have on Linux.
pub(super) const KEPT: usize = 4096;

/// A text of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said(String);

/// A part of a text.
enum Piece<'a> {
    /// Characters that mean themselves.
    Plain(&'a str),
    /// One that would be obeyed or overlooked.
    Named(char),
}

impl Said {
    /// What somebody said, cut to a length that can be shown.
    pub fn new(text: &str) -> Self {
        Self(cut(text).into_owned())
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Several texts with `between` between them.
    pub(super) fn joined(texts: &[Self], between: &str) -> Self {
        let texts: Vec<_> = texts.iter().map(|text| text.0.as_str()).collect();
        Self::new(&texts.join(between))
    }

    /// Whether the text passes a test. It is told no more than that.
    pub(super) fn is(&self, test: impl FnOnce(&str) -> bool) -> bool {
        test(&self.0)
    }

    /// The components of a path.
    pub(super) fn components(&self) -> impl Iterator<Item = Self> {
        self.0.split('/').filter(|component| !component.is_empty()).map(|component| Self(component.to_owned()))
    }

    /// The text without what it begins with, if it begins with `prefix`.
    pub(super) fn without(&self, prefix: &str) -> Self {
        Self(self.0.strip_prefix(prefix).unwrap_or(&self.0).to_owned())
    }

    /// The lines of the text.
    pub(super) fn lines(&self) -> impl Iterator<Item = Self> {
        self.0.lines().map(|line| Self(line.to_owned()))
    }

    /// The first `limit` characters, and how many are left out.
    pub(super) fn shortened(&self, limit: usize) -> (Self, usize) {
        match self.0.char_indices().nth(limit) {
            Some((at, _)) => (Self(self.0[..at].to_owned()), self.0[at..].chars().count()),
            None => (self.clone(), 0),
        }
    }

    /// The part of both texts that is the same at the beginning, the two parts that differ, and the part that is the same at the
    /// end.
    pub(super) fn unlike(&self, other: &Self) -> ([Self; 3], [Self; 3]) {
        let same = |one: char, two: char| one == two;
        let start: usize = self
            .0
            .chars()
            .zip(other.0.chars())
            .take_while(|(one, two)| same(*one, *two))
            .map(|(one, _)| one.len_utf8())
            .sum();
        let (one, two) = (&self.0[start..], &other.0[start..]);
        let end: usize = one
            .chars()
            .rev()
            .zip(two.chars().rev())
            .take_while(|(one, two)| same(*one, *two))
            .map(|(one, _)| one.len_utf8())
            .sum();
        let parts = |text: &str, rest: &str| {
            let (middle, tail) = rest.split_at(rest.len() - end);
            [&text[..start], middle, tail].map(|part| Self(part.to_owned()))
        };
        (parts(&self.0, one), parts(&other.0, two))
    }

    /// The text where it is quoted between the marks that fence code, and where it is not: the first part is not.
    pub(super) fn quoted(&self) -> Vec<Self> {
        let parts: Vec<_> = self.0.split('`').map(|part| Self(part.to_owned())).collect();
        // A mark without its other half is a mark.
        if parts.len().is_multiple_of(2) { vec![self.clone()] } else { parts }
    }

    /// The text as a code span of Markdown, in which nothing is markup, mentions nobody and links nowhere.
    ///
    /// # Why
    ///
    /// Escaped text is not enough: what renders Markdown on a forge looks for addresses, mentions and numbers of issues in what
    /// has become text already, and leaves out only code. The vertical bar, which a table's cell cannot hold even in
    /// code, is named instead of shown.
    pub(super) fn code(&self) -> String {
        if self.0.is_empty() {
            return "(nothing)".to_owned();
        }
        let mut text = String::with_capacity(self.0.len() + 4);
        for piece in pieces(&self.0) {
            match piece {
                Piece::Plain(plain) => text.push_str(&plain.replace('|', "\\u{7c}")),
                Piece::Named(character) => text.push_str(&named(character)),
            }
        }
        let fence = "`".repeat(longest_run(&text) + 1);
        // One space at both ends is taken away again, unless there is nothing else.
        let blank = text.chars().all(|character| character == ' ');
        let pad = if !blank && (text.starts_with(['`', ' ']) || text.ends_with(['`', ' '])) { " " } else { "" };
        format!("{fence}{pad}{text}{pad}{fence}")
    }

    /// The text as it stands in a fenced block of Markdown, on one line.
    pub(super) fn verbatim(&self) -> String {
        pieces(&self.0).fold(String::with_capacity(self.0.len()), |mut text, piece| {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Named(character) => text.push_str(&named(character)),
            }
            text
        })
    }
}

/// How many of the character that fences code stand together at most.
pub(super) fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or_default()
}

/// At most [`KEPT`] bytes of a text, and a mark where something is left out.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= KEPT {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(KEPT)]))
    }
}

/// Whether nobody sees the character, though it is there: the default-ignorable code points of Unicode's
/// `DerivedCoreProperties.txt`, and the two separators that end a line for some programs.
fn is_overlooked(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2028}'..='\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let hidden = |character: char| is_obeyed(character) || is_overlooked(character);
        let length = if hidden(first) { first.len_utf8() } else { rest.find(hidden).unwrap_or(rest.len()) };
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(if hidden(first) { Piece::Named(first) } else { Piece::Plain(piece) })
    })
}

/// A character's name, as Rust writes it.
fn named(character: char) -> String {
    match character {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\0' => "\\0".to_owned(),
        other => format!("\\u{{{:x}}}", u32::from(other)),
    }
}

impl maud::Render for Said {
    fn render_to(&self, html: &mut String) {
        // Letters that run from right to left must not carry along what stands beside them.
        let isolated = !self.0.is_ascii();
        if isolated {
            html.push_str("<bdi>");
        }
        for piece in pieces(&self.0) {
            match piece {
                Piece::Plain(plain) => plain.render_to(html),
                // Digits, letters, a backslash and braces: nothing to escape.
                Piece::Named(character) => {
                    write!(html, "<span class=\"named\">{}</span>", named(character)).ok();
                }
            }
        }
        if isolated {
            html.push_str("</bdi>");
        }
    }
}

impl Serialize for Said {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Said;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Said, E> {
                Ok(Said::new(text))
            }
        }
        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}
