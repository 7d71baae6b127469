//! Text of strangers, to be shown on a terminal.

/// Whether a terminal might obey `character` instead of showing it: control characters, and the marks of Unicode's
/// bidirectional algorithm (UAX #9, table 3), which make a text look like another.
pub fn is_obeyed(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control()
}

/// `text` without what a terminal would obey, but for the ends of lines and tabulators.
pub fn printable(text: &str) -> String {
    let shown = |character| match character {
        '\n' | '\t' => character,
        obeyed if is_obeyed(obeyed) => '\u{fffd}',
        plain => plain,
    };
    text.chars().map(shown).collect()
}
