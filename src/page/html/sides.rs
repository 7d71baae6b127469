//! Two excerpts side by side: text with what differs in each line marked, or bytes as digits and characters.

use maud::{Markup, html};

use crate::page::report::{Bytes, Excerpt};
use crate::page::said::Said;
use crate::page::words::counted;

/// How many lines of a side are shown.
const LINES: usize = 60;

/// How many characters of a line are shown.
const LINE: usize = 2_000;

/// How many bytes of a side are shown.
const BYTES: usize = 512;

/// How many bytes are shown before those that differ.
const BEFORE: usize = 48;

/// How many bytes are in a line.
const ROW: usize = 16;

/// Both builds' excerpts of one place.
pub(super) fn of(first: Option<&Excerpt>, second: Option<&Excerpt>) -> Markup {
    let (one, two) = match (first.map(|side| &side.content), second.map(|side| &side.content)) {
        (Some(Bytes::Text(one)), Some(Bytes::Text(two))) => texts(one, two),
        (one, two) => {
            let (ours, theirs) = (bytes_of(one), bytes_of(two));
            (alone(first, ours.zip(theirs)), alone(second, theirs.zip(ours)))
        }
    };
    html! {
        div.sides {
            div.side.first { h5 { "plain" (at(first)) } (one) (beyond(first)) }
            div.side.second { h5 { "shaken" (at(second)) } (two) (beyond(second)) }
        }
    }
}

/// How much differs there beside what the report has.
fn beyond(side: Option<&Excerpt>) -> Markup {
    let told = side.and_then(|side| Some((side.length?, side.differing?)));
    let more = told.map_or(0, |(length, (start, end))| length.saturating_sub(end.saturating_sub(start) as u64));
    html! { @if more > 0 { p.beyond { "and " (counted(more, "more byte", "more bytes")) } } }
}

fn at(side: Option<&Excerpt>) -> Markup {
    html! { @if let Some(side) = side && side.offset > 0 { " · from byte " (format!("{:#x}", side.offset)) } }
}

fn bytes_of(content: Option<&Bytes>) -> Option<&[u8]> {
    match content {
        Some(Bytes::Binary(bytes)) => Some(bytes),
        Some(Bytes::Text(_)) | None => None,
    }
}

/// A side that is not text on both.
fn alone(side: Option<&Excerpt>, pair: Option<(&[u8], &[u8])>) -> Markup {
    match side.map(|side| (side.offset, &side.content)) {
        None => html! { pre.quiet { "nothing" } },
        Some((_, Bytes::Text(text))) => {
            html! { pre { @for line in text.lines().take(LINES) { (shortened(&line)) "\n" } } }
        }
        Some((offset, Bytes::Binary(bytes))) => {
            let from = side.and_then(|side| side.differing).map_or(0, |(start, _)| start);
            hex(offset, bytes, pair.map_or(&[], |(_, other)| other), from)
        }
    }
}

fn texts(one: &Said, two: &Said) -> (Markup, Markup) {
    let (ones, twos): (Vec<_>, Vec<_>) = (one.lines().collect(), two.lines().collect());
    // Lines belong together from the beginning, as long as there are as many on both sides; otherwise the first and the last
    // that differ are the ends of what is marked.
    if ones.len() == twos.len() {
        let (ones, twos): (Vec<_>, Vec<_>) = ones.iter().zip(&twos).map(|(one, two)| one.unlike(two)).unzip();
        let side = |lines: &[[Said; 3]]| {
            html! { pre {
                @for line in lines.iter().take(LINES) { (marked(line)) "\n" }
                @if lines.len() > LINES { span.quiet { "and " (lines.len() - LINES) " more lines" } }
            } }
        };
        return (side(&ones), side(&twos));
    }
    let same_start = ones.iter().zip(&twos).take_while(|(one, two)| one == two).count();
    let (rest_one, rest_two) = (&ones[same_start..], &twos[same_start..]);
    let same_end = rest_one.iter().rev().zip(rest_two.iter().rev()).take_while(|(one, two)| one == two).count();
    let side = |lines: &[Said]| {
        let differing = same_start..lines.len() - same_end;
        html! { pre {
            @for (index, line) in lines.iter().enumerate().take(LINES) {
                @if differing.contains(&index) { mark { (shortened(line)) } } @else { (shortened(line)) }
                "\n"
            }
            @if lines.len() > LINES { span.quiet { "and " (lines.len() - LINES) " more lines" } }
        } }
    };
    (side(&ones), side(&twos))
}

fn marked([before, differing, after]: &[Said; 3]) -> Markup {
    html! { (shortened(before)) @if !differing.is_empty() { mark { (shortened(differing)) } } (shortened(after)) }
}

fn shortened(line: &Said) -> Markup {
    let (line, left_out) = line.shortened(LINE);
    html! { (line) @if left_out > 0 { span.quiet { "… " (left_out) " more characters" } } }
}

/// Bytes as hexadecimal digits and as characters, those marked that the other side has not at the same place. What is long before
/// the byte `from` is left out.
fn hex(offset: u64, bytes: &[u8], other: &[u8], from: usize) -> Markup {
    let skipped = (from.saturating_sub(BEFORE) / ROW * ROW).min(bytes.len() / ROW * ROW);
    let end = if other.is_empty() {
        bytes.len()
    } else {
        bytes.len() - bytes.iter().rev().zip(other.iter().rev()).take_while(|(one, two)| one == two).count()
    };
    let start = bytes.iter().zip(other).take_while(|(one, two)| one == two).count();
    // As many bytes on both sides stay where they are; where something came in, what follows has moved.
    let in_place = bytes.len() == other.len();
    let differs = |index: usize| if in_place { other[index] != bytes[index] } else { (start..end).contains(&index) };
    html! {
        pre.hex {
            @for (row, line) in bytes[skipped..bytes.len().min(skipped + BYTES)].chunks(ROW).enumerate() {
                @let start = skipped + row * ROW;
                span.offset { (format!("{:04x}", offset.saturating_add(start as u64))) } "  "
                (runs(line, start, &differs, &|byte| format!("{byte:02x} ")))
                (" ".repeat((ROW - line.len()) * 3)) " "
                (runs(line, start, &differs, &|byte| character(byte).to_string()))
                "\n"
            }
            @if bytes.len() - skipped > BYTES { span.quiet { "and " (bytes.len() - skipped - BYTES) " more bytes" } }
        }
    }
}

/// The bytes of a line, those that differ marked, neighbours together.
fn runs(line: &[u8], start: usize, differs: &dyn Fn(usize) -> bool, shown: &dyn Fn(u8) -> String) -> Markup {
    let indexed: Vec<_> = line.iter().enumerate().map(|(index, byte)| (*byte, differs(start + index))).collect();
    html! {
        @for run in indexed.chunk_by(|(_, one), (_, two)| one == two) {
            @let text: String = run.iter().map(|(byte, _)| shown(*byte)).collect();
            @if run[0].1 { mark { (text.trim_end_matches(' ')) } (&text[text.trim_end_matches(' ').len()..]) } @else { (text) }
        }
    }
}

fn character(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '·' }
}
