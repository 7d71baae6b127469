//! Why one origin did not give what was asked of it, and whether asking it again makes sense.

use std::error::Error;
use std::time::Duration;

use url::Url;

use super::shown;
use crate::digest::Digest;

/// What was wrong with one origin.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum Failure {
    /// All bytes came, and they are others.
    #[error("gave other bytes: expected {expected}, received {received}")]
    Digest {
        /// The digest that is locked.
        expected: Digest,
        /// The digest of what came.
        received: Digest,
    },
    /// It says, or shows by ending, that it has more or fewer bytes.
    #[error("gave another size: expected {expected} bytes, received {received}")]
    Size {
        /// The size that is locked, in bytes.
        expected: u64,
        /// The size that it has, in bytes.
        received: u64,
    },
    /// It sends more than it may.
    #[error("gave too much: expected {limit} bytes at most, received more")]
    TooLong {
        /// How many bytes it may send.
        limit: u64,
    },
    /// It answered with something other than the content.
    #[error("answered {status}{}", reason(*status))]
    Status {
        /// The status code of HTTP.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It sent another part of the content than the one asked for.
    #[error("answered with the range {range:?}, which was not asked for")]
    Range {
        /// Its `Content-Range` field, cut to a readable length.
        range: String,
    },
    /// The connection broke off while the content came.
    #[error("broke off after {received} bytes: {}", cause(source))]
    Broken {
        /// How many bytes had come, those of earlier attempts included.
        received: u64,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection was closed before all bytes had come.
    #[error("closed the connection after {received} of {expected} bytes")]
    Short {
        /// How many bytes were to come.
        expected: u64,
        /// How many bytes had come.
        received: u64,
    },
    /// It kept the connection open and sent next to nothing.
    #[error("sent next to nothing for {} s{}", idle.as_secs(), redirected(at.as_ref()))]
    Stalled {
        /// Where it redirected to, if that was what sent nothing.
        at: Option<Url>,
        /// For how long.
        idle: Duration,
    },
    /// No connection could be made, or none that it answered on.
    #[error("cannot be reached{}: {}", redirected(at.as_ref()), cause(source))]
    Unreachable {
        /// Where it redirected to, if that was what cannot be reached.
        at: Option<Url>,
        /// Why.
        source: reqwest::Error,
    },
    /// Another input has just waited for it in vain.
    #[error("gave no answer to another input a moment ago")]
    Shunned,
    /// Its certificate is not good.
    #[error("cannot be trusted: {}", cause(source))]
    Certificate {
        /// Why.
        source: reqwest::Error,
    },
    /// This host has no certificate authorities to check it by.
    #[error(
        "cannot be trusted: this host has no CA certificates; install its package `ca-certificates`, or name a file of them \
         in SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// Plain http where nothing vouches for the content.
    #[error("is plain http, and nothing vouches for what it gives")]
    Insecure,
    /// It redirects where pgproof does not follow.
    #[error("redirects where pgproof does not follow: {0}")]
    Redirect(Redirect),
    /// The URL is none that can be asked for.
    #[error("cannot be asked: {}", cause(source))]
    Unfit {
        /// Why.
        source: reqwest::Error,
    },
}

/// Where pgproof does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Redirect {
    /// On and on.
    #[error("more than {0} times")]
    TooOften(usize),
    /// To where it came from.
    #[error("in a circle, to {}", shown(.0))]
    Circle(Url),
    /// Out of the web.
    #[error("to {}, which is neither http nor https", shown(.0))]
    Scheme(Url),
    /// To where nothing vouches for the content.
    #[error("to {}, which is plain http, and nothing vouches for what it gives", shown(.0))]
    Insecure(Url),
    /// To what is no URL.
    #[error("to {0:?}, which is no URL")]
    Malformed(String),
}

impl Failure {
    /// What it means that no answer came; `at` is where it redirected to.
    pub(super) fn of_request(at: Option<Url>, source: reqwest::Error) -> Self {
        let source = source.without_url();
        if source.is_builder() {
            Self::Unfit { source }
        } else if is_certificate(&source) {
            Self::Certificate { source }
        } else {
            Self::Unreachable { at, source }
        }
    }

    /// Whether the origin gave content, and the content was not what is locked.
    pub fn is_wrong_content(&self) -> bool {
        matches!(self, Self::Digest { .. } | Self::Size { .. } | Self::TooLong { .. })
    }

    /// Whether the origin said that it does not have the file.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }

    /// Whether the origin let the time pass, so that others need not wait for it too.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Stalled { .. } | Self::Unreachable { .. })
    }

    /// Where the origin redirected to, if that was where things went wrong.
    pub(super) fn redirected_to(&self) -> Option<&Url> {
        if let Self::Stalled { at, .. } | Self::Unreachable { at, .. } = self { at.as_ref() } else { None }
    }

    /// How long the origin asks to be left alone.
    pub(super) fn retry_after(&self) -> Duration {
        if let Self::Status { retry_after: Some(asked), .. } = self { *asked } else { Duration::ZERO }
    }

    /// Whether the next attempt may well fare better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Broken { .. } | Self::Short { .. } | Self::Stalled { .. } | Self::Unreachable { .. } => true,
            Self::Digest { .. }
            | Self::Size { .. }
            | Self::TooLong { .. }
            | Self::Range { .. }
            | Self::Shunned
            | Self::Certificate { .. }
            | Self::NoAuthorities
            | Self::Insecure
            | Self::Redirect(_)
            | Self::Unfit { .. } => false,
        }
    }
}

/// ` at http://host/path`.
fn redirected(at: Option<&Url>) -> String {
    at.map(|url| format!(" at {}", shown(url))).unwrap_or_default()
}

/// ` Not Found`, where the status code has a name.
fn reason(status: u16) -> String {
    let status = reqwest::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).map(|name| format!(" {name}")).unwrap_or_default()
}

/// What is at the bottom: "Connection refused" rather than "error sending request".
///
/// Several origins' failures are told in one message, so each must tell its whole story in a line.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// rustls says through an [`std::io::Error`], somewhere inside, that what it received is not to be trusted.
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
            return true;
        }
        // `io::Error::source` is the source of what it carries, and so skips what it carries.
        next = match io.and_then(std::io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}
