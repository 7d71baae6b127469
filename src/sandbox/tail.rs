//! The end of what a box printed, for the person who has to know why it failed.

use std::collections::VecDeque;

use crate::text::printable;

/// How many of the last lines a failure shows, and how much of each.
const TAIL_LINES: usize = 40;
const TAIL_LINE_LENGTH: usize = 500;

/// The last lines of a stream.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<Vec<u8>>,
    current: Vec<u8>,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = TAIL_LINE_LENGTH.saturating_sub(self.current.len());
            self.current.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.lines.push_back(std::mem::take(&mut self.current));
                if self.lines.len() > TAIL_LINES {
                    self.lines.pop_front();
                }
            }
        }
    }

    /// The lines, without what would do something to a terminal.
    pub(super) fn lines(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.lines.push_back(self.current);
        }
        let skipped = self.lines.len().saturating_sub(TAIL_LINES);
        self.lines
            .iter()
            .skip(skipped)
            .map(|line| printable(&String::from_utf8_lossy(line)).replace('\t', " "))
            .collect()
    }
}
