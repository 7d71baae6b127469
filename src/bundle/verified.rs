//! What holds of a bundle. Exists only after everything was checked.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::signer::Claim;
use crate::digest::Digest;

/// A signature that holds, made by somebody who was asked for.
///
/// Nobody but [`verify`](super::verify()) makes one.
#[derive(Debug, Clone)]
pub struct Verified {
    pub(super) content: Content,
    pub(super) by: SignedBy,
    pub(super) matched: usize,
    pub(super) time: Option<SigningTime>,
    pub(super) proven: Vec<Proof>,
    pub(super) unproven: Vec<Unproven>,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An in-toto statement: these bytes.
    Statement(Vec<u8>),
    /// A file with this digest.
    File(Digest),
}

/// Who signed. Two signatures of one signer are equal here, however often and with whatever certificate that was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// Whoever can show this identity.
    Certificate {
        /// An e-mail address, a URI, or a name.
        identity: String,
        /// Who attested it.
        issuer: String,
    },
    /// Whoever has the key.
    Key {
        /// The SHA-256 of its `SubjectPublicKeyInfo`.
        fingerprint: Digest,
    },
}

/// Who signed, and what is known of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    pub(super) identity: Identity,
    pub(super) claims: BTreeMap<Claim, String>,
}

/// When it was signed, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningTime {
    /// The earliest time that somebody vouches for.
    pub at: Timestamp,
    /// Who.
    pub source: TimeSource,
}

/// Who vouches for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// A timestamp authority of the trust root.
    Authority,
    /// A log of the trust root.
    Log,
}

/// What was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// The signature.
    Signature,
    /// Who signed is who should have.
    Signer,
    /// The file is a subject of the statement, or is the file that was signed.
    Artifact,
    /// The certificate's chain and validity at the time of signing.
    Certificate,
    /// The certificate is in a certificate transparency log.
    Sct,
    /// The signature is in a log: inclusion proof and checkpoint.
    Log,
    /// The log promised it.
    Promise,
    /// The time of signing by a timestamp authority.
    Timestamp,
}

/// What was not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unproven {
    /// No file was compared with what was signed.
    Artifact,
    /// When it was signed.
    Time,
    /// That others could have seen the signature: it is in no log.
    Log,
    /// That the log entry that is there is of a log that is believed: there is no trust root.
    LogEntry,
    /// That the timestamp that is there is of an authority that is believed: there is no trust root.
    Timestamp,
}

impl Verified {
    /// What was signed.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The statement that was signed; `None` if it was a file.
    pub fn statement(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Statement(bytes) => Some(bytes),
            Content::File(_) => None,
        }
    }

    /// Who signed.
    pub fn signer(&self) -> &SignedBy {
        &self.by
    }

    /// Which of those who were asked for it was: the place in what [`verify`](super::verify()) was given.
    pub fn matched(&self) -> usize {
        self.matched
    }

    /// When it was signed, if somebody vouches for that.
    pub fn time(&self) -> Option<SigningTime> {
        self.time
    }

    /// What was shown, sorted.
    pub fn proven(&self) -> &[Proof] {
        &self.proven
    }

    /// What was not shown, sorted.
    pub fn unproven(&self) -> &[Unproven] {
        &self.unproven
    }
}

impl SignedBy {
    /// The signer as such: equal for two signatures of one signer.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the certificate says of the build that signed; empty for a key.
    pub fn claims(&self) -> &BTreeMap<Claim, String> {
        &self.claims
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { identity, issuer } => write!(f, "{identity} (attested by {issuer})"),
            Self::Key { fingerprint } => write!(f, "the key {fingerprint}"),
        }
    }
}

impl fmt::Display for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "a timestamp authority",
            Self::Log => "the transparency log",
        })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "the signature is over exactly this content",
            Self::Signer => "who signed is who was asked for",
            Self::Artifact => "the file at hand is what was signed",
            Self::Certificate => {
                "an authority of the trust root issued the certificate, and it was valid when it was used"
            }
            Self::Sct => "the certificate is in a certificate transparency log of the trust root",
            Self::Log => "the signature is in a transparency log of the trust root (inclusion proof and checkpoint)",
            Self::Promise => "the log promised to include it (signed entry timestamp)",
            Self::Timestamp => "a timestamp authority of the trust root saw the signature",
        })
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifact => "no file was compared with what was signed",
            Self::Time => "when it was signed: no timestamp, and no log that tells",
            Self::Log => "that others can see the signature: it is in no transparency log",
            Self::LogEntry => "the log entry that is there was not checked: no trust root was given",
            Self::Timestamp => "the timestamp that is there was not checked: no trust root was given",
        })
    }
}
