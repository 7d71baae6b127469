//! What a test printed, read as results.
//!
//! A result is a line that begins with the token that only the script was told; every other line is what the programs under
//! test printed. The names of the checks are known beforehand: a result about anything else, or a second one, counts for
//! nothing.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::time::Duration;

use super::{Check, Outcome};

/// Longer lines are read in parts.
const LINE_LIMIT: u64 = 4096;

/// How many of the last lines before its end a check that failed is shown with.
const TAIL: usize = 20;

/// The longest text that is taken over from a line, in characters.
const TEXT_LIMIT: usize = 400;

/// All results of a run.
pub(super) struct Transcript {
    /// In the order of the names.
    pub(super) checks: Vec<Check>,
    /// What `postgres --version` said.
    pub(super) version: Option<String>,
}

/// A check that has begun.
struct Open {
    index: usize,
    reason: Option<String>,
    tail: VecDeque<String>,
}

impl Transcript {
    /// Reads a log. Checks that no line tells of were not run.
    pub(super) fn read(mut log: impl BufRead, token: &str, names: &[String]) -> io::Result<Self> {
        let check = |name: &String| Check {
            name: name.clone(),
            outcome: Outcome::NotRun,
            elapsed: Duration::ZERO,
            said: Vec::new(),
        };
        let mut transcript = Self { checks: names.iter().map(check).collect(), version: None };
        let mut open = None;
        let mut line = Vec::new();
        while io::Read::take(&mut log, LINE_LIMIT).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            match text.strip_prefix(token).and_then(|rest| rest.strip_prefix(' ')) {
                Some(told) => transcript.take(told, &mut open),
                None if !text.is_empty() => {
                    if let Some(Open { tail, .. }) = &mut open {
                        if tail.len() == TAIL {
                            tail.pop_front();
                        }
                        tail.push_back(text.chars().take(TEXT_LIMIT).collect());
                    }
                }
                None => {}
            }
            line.clear();
        }
        if let Some(Open { index, tail, .. }) = open {
            // It was running when everything ended.
            transcript.checks[index].outcome = Outcome::Failed;
            transcript.checks[index].said = tail.into();
        }
        Ok(transcript)
    }

    fn take(&mut self, told: &str, open: &mut Option<Open>) {
        let (word, rest) = told.split_once(' ').unwrap_or((told, ""));
        let shortened = || rest.chars().take(TEXT_LIMIT).collect::<String>();
        match word {
            "version" if self.version.is_none() => self.version = Some(shortened()),
            "begin" => {
                let fresh = |check: &Check| check.name == rest && check.outcome == Outcome::NotRun;
                *open =
                    self.checks.iter().position(fresh).map(|index| Open { index, reason: None, tail: VecDeque::new() });
            }
            "reason" => {
                if let Some(open) = open {
                    open.reason = Some(shortened());
                }
            }
            "end" => {
                let Some(Open { index, reason, tail }) = open.take() else { return };
                let check = &mut self.checks[index];
                let words: Vec<_> = rest.split(' ').collect();
                let [name, outcome, hundredths] = words[..] else { return };
                if name != check.name {
                    return;
                }
                check.elapsed = Duration::from_millis(10) * hundredths.parse::<u32>().unwrap_or_default();
                check.outcome = match (outcome, reason) {
                    ("passed", _) => Outcome::Passed,
                    ("skipped", Some(reason)) => Outcome::Skipped(reason),
                    _ => Outcome::Failed,
                };
                if check.outcome == Outcome::Failed {
                    check.said = tail.into();
                }
            }
            _ => {}
        }
    }
}
