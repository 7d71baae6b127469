//! What a run came to, in one of three words.

use super::report::Report;

/// Good, bad or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    /// Not reproduced, or nobody's release.
    Bad,
    /// Nothing was compared.
    Open,
    /// Reproduced.
    Good,
}

impl Mood {
    /// Of a run.
    pub(super) fn of(report: &Report) -> Self {
        let unclean = report.check.as_ref().is_some_and(|check| check.clean == Some(false));
        match &report.verdict {
            Some(verdict) if !verdict.reproduced => Self::Bad,
            _ if unclean => Self::Bad,
            Some(_) => Self::Good,
            None => Self::Open,
        }
    }

    /// The name by which the style sheet knows it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Open => "open",
            Self::Good => "good",
        }
    }

    /// A sign that tells without colour.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Bad => "✗",
            Self::Open => "–",
            Self::Good => "✓",
        }
    }
}
