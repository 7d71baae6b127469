//! Why a bundle does not show what it should: each reason names the part that failed.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "sigstore's errors may grow, and what is new must be refused as well"
)]

use jiff::Timestamp;
use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use super::signer::{Claim, Pattern};

/// Why a signature is not accepted.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum Refused {
    /// Nobody was named.
    #[error("it was not said who must have signed")]
    Nobody,
    /// The trust root is missing.
    #[error("it is signed with a certificate, and without a trust root nobody can tell who issued that")]
    NoTrustRoot,
    /// The file is not what was signed.
    #[error("the file is not what was signed: {0}")]
    Artifact(String),
    /// What was signed is a file, and the file is not there.
    #[error("it is the signature of a file, which says nothing without the file")]
    NoArtifact,
    /// The payload is of another type.
    #[error("the payload is of the type {0:?}, not an in-toto statement (application/vnd.in-toto+json)")]
    PayloadType(String),
    /// The payload is no statement.
    #[error("the payload is not an in-toto statement: {0}")]
    Payload(String),
    /// The signature does not fit.
    #[error("the signature is not one over this content by the {by}")]
    Signature {
        /// `certificate's key`, `key`.
        by: &'static str,
        /// Why not.
        source: Box<sigstore_crypto::Error>,
    },
    /// The key of the signature is of no use.
    #[error("the signature's key cannot be used")]
    SignatureKey(#[source] Box<sigstore_crypto::Error>),
    /// The certificate is malformed.
    #[error("the signing certificate cannot be used: {0}")]
    Certificate(String),
    /// The certificate is not of an authority of the trust root.
    #[error("the signing certificate is not of an authority in the trust root, or was changed: {0}")]
    Chain(String),
    /// The certificate, or one of those above it, had expired or was not valid yet.
    #[error("the signing certificate or one of its authority was not valid when it was used: {0}")]
    Validity(String),
    /// The certificate was not valid yet.
    #[error("the signing certificate is valid from {not_before} on, and the signature is of {signed}")]
    NotYetValid {
        /// When the signature was made.
        signed: Timestamp,
        /// From when on the certificate is valid.
        not_before: Timestamp,
    },
    /// The certificate had expired.
    #[error("the signing certificate expired on {not_after}, and the signature is of {signed}")]
    Expired {
        /// When the signature was made.
        signed: Timestamp,
        /// Until when the certificate is valid.
        not_after: Timestamp,
    },
    /// The certificate's signed certificate timestamp is missing or wrong.
    #[error("the certificate's signed certificate timestamp (SCT) does not hold: {0}")]
    Sct(String),
    /// A log is not in the trust root.
    #[error("the log entry's log id names no log of the trust root: {0}")]
    LogId(String),
    /// There is no log entry.
    #[error("it has no entry of a transparency log")]
    NoLogEntry,
    /// The log entry cannot be read, or is of another signature.
    #[error("the log entry is not one of this signature: {0}")]
    LogEntry(String),
    /// The inclusion proof does not hold.
    #[error("the log entry's inclusion proof does not hold: {0}")]
    InclusionProof(String),
    /// The checkpoint does not hold.
    #[error("the log's checkpoint does not hold: {0}")]
    Checkpoint(String),
    /// The inclusion promise does not hold.
    #[error("the log's inclusion promise (signed entry timestamp) does not hold: {0}")]
    InclusionPromise(String),
    /// The time at which the log took the entry does not fit.
    #[error("the time at which the log took the entry (integrated time) does not hold: {0}")]
    IntegratedTime(String),
    /// A timestamp does not hold.
    #[error("a timestamp (RFC 3161) does not hold: {0}")]
    Timestamp(String),
    /// Nothing vouches for the time of the signature.
    #[error("nothing vouches for the time of the signature: {0}")]
    NoTime(String),
    /// The hint names another key.
    #[error("the bundle's key hint {found:?} names none of the keys that must have signed: {wanted}")]
    Hint {
        /// The hint, as it is.
        found: String,
        /// The keys that were named.
        wanted: String,
    },
    /// The envelope's `keyid` names another key.
    #[error("the envelope's keyid {0:?} names something other than the key that signed")]
    KeyId(String),
    /// It is signed in another way than was asked for.
    #[error("it is signed with a {found}, and whoever must have signed was named by {wanted}")]
    Way {
        /// `certificate` or `key`.
        found: &'static str,
        /// How signers were named.
        wanted: &'static str,
    },
    /// Somebody else signed.
    #[error("it was signed by {actual:?}, not by {wanted}")]
    Identity {
        /// Who it was.
        actual: String,
        /// Who it should have been.
        wanted: String,
    },
    /// Somebody else attested who signed.
    #[error("the signer's identity {identity:?} was attested by {actual:?}, not by {wanted}")]
    Issuer {
        /// Who signed.
        identity: String,
        /// Who attested it.
        actual: String,
        /// Who should have.
        wanted: String,
    },
    /// A claim is missing or another one.
    #[error("the certificate's {claim} is {}, not {wanted}", .actual.as_ref().map_or_else(|| "not there".to_owned(), |actual| format!("{actual:?}")))]
    Claim {
        /// Which.
        claim: Claim,
        /// What it is.
        actual: Option<String>,
        /// What it should be.
        wanted: Pattern,
    },
    /// The bundle lacks or has something that it must or must not have.
    #[error("the bundle is not complete or contradicts itself: {0}")]
    Structure(String),
    /// The bundle has something that pgproof cannot check.
    #[error("the bundle has something that cannot be checked: {0}")]
    Unsupported(String),
    /// The trust root cannot be used.
    #[error("the trust root cannot be used: {0}")]
    TrustRoot(String),
    /// The file's digest is another one.
    #[error("the bundle is of a file with the {algorithm} digest {signed}, not of one with {given}")]
    Digest {
        /// Of which kind.
        algorithm: String,
        /// What was signed.
        signed: String,
        /// What was given.
        given: String,
    },
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Certificate(error) => error.into(),
            Error::TransparencyLog(error) => error.into(),
            Error::Timestamp(error) => match error {
                TimestampError::NoVerifiedTimestamp(reason) => Self::NoTime(reason),
                other => Self::Timestamp(other.to_string()),
            },
            // The file was compared with the signature before; what differs from it here is the log's.
            Error::ArtifactMismatch(reason) if reason.contains("entry") => Self::LogEntry(reason),
            Error::ArtifactMismatch(reason) | Error::UnsupportedArtifact(reason) => Self::Artifact(reason),
            Error::SignatureInvalid(reason) => Self::Structure(reason),
            Error::InvalidBundle(reason) => Self::Payload(reason),
            Error::UnsupportedBundle(reason) => Self::Unsupported(reason),
            Error::InvalidTrustRoot(reason) => Self::TrustRoot(reason),
            Error::Bundle(error) => error.into(),
            other => Self::Structure(other.to_string()),
        }
    }
}

impl From<CertificateError> for Refused {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Malformed(reason) => Self::Certificate(reason),
            CertificateError::NotYetValid { time, not_before } => Self::NotYetValid { signed: time, not_before },
            CertificateError::Expired { time, not_after } => Self::Expired { signed: time, not_after },
            CertificateError::Sct(reason) => Self::Sct(reason),
            // The chain is checked for the time of signing, and comes before the certificate's own period.
            CertificateError::ChainInvalid(reason) if is_about_time(&reason) => Self::Validity(reason),
            other => Self::Chain(other.to_string()),
        }
    }
}

/// By the names of rustls-webpki's errors, which are all that there is of them.
fn is_about_time(reason: &str) -> bool {
    ["CertExpired", "CertNotValidYet"].iter().any(|name| reason.contains(name))
}

impl From<TransparencyLogError> for Refused {
    fn from(error: TransparencyLogError) -> Self {
        match error {
            TransparencyLogError::UnknownLog { log_id } => Self::LogId(log_id),
            TransparencyLogError::InclusionProof(reason) => Self::InclusionProof(reason),
            TransparencyLogError::Checkpoint(reason) => Self::Checkpoint(reason),
            TransparencyLogError::InclusionPromise(reason) => Self::InclusionPromise(reason),
            TransparencyLogError::IntegratedTime(reason) => Self::IntegratedTime(reason),
            other => Self::LogEntry(other.to_string()),
        }
    }
}

impl From<sigstore_bundle::Error> for Refused {
    fn from(error: sigstore_bundle::Error) -> Self {
        use sigstore_bundle::Error as Of;
        match error {
            Of::MissingInclusionProof(_) | Of::LogIndexOutOfRange { .. } => Self::InclusionProof(error.to_string()),
            Of::MissingInclusionPromise(_) => Self::InclusionPromise(error.to_string()),
            Of::MissingCheckpoint | Of::CheckpointRootMismatch => Self::Checkpoint(error.to_string()),
            Of::MissingTimestamp | Of::MissingSigningTimeEvidence => Self::NoTime(error.to_string()),
            other => Self::Structure(other.to_string()),
        }
    }
}
