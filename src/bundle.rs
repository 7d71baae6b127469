//! Signs statements and files, and checks what others signed, in the form of Sigstore's bundles.
//!
//! A bundle is a JSON file with a signature and all that is needed to check it without a network: a certificate or the name of a
//! key, the entry of a transparency log, timestamps. Form: sigstore/protobuf-specs, `sigstore_bundle.proto`, versions 0.1 to 0.3.
//!
//! Never accepts a signature without being told whose it must be, and never signs less than asked.
//!
//! # Why
//!
//! The Sigstore organisation's own crates do the cryptography. What they leave to their user, or overlook, is checked here: see
//! `log.rs`, `certificate.rs` and `verify.rs`. Their types stay within this module.

use std::fmt;

use serde_json::Value;
use sigstore_types::SignatureContent;

use crate::digest::Digest;

mod certificate;
mod json;
mod log;
mod openpgp;
mod public_key;
mod refused;
mod secret;
mod services;
mod sign;
mod signer;
mod timestamp;
mod trust;
mod verified;
mod verify;

pub use json::{JsonError, SIZE_LIMIT};
pub use openpgp::{Detached, OpenPgpError, OpenPgpKey};
pub use public_key::{PublicKey, PublicKeyError};
pub use refused::Refused;
pub use secret::{KeyError, Secret, SigningKey};
pub use services::{Repository, Services, ServicesError};
pub use sign::{Class, Instance, Means, Service, Signed, SigningError, Token, Unsigned, sign};
pub use signer::{CertificateIdentity, Claim, ClaimError, Pattern, PatternError, Signer};
pub use trust::{TrustError, TrustRoot};
pub use verified::{Content, Identity, Proof, SignedBy, SigningTime, TimeSource, Unproven, Verified};
pub use verify::verify;

/// The type of a signed in-toto statement: <https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md>.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A file with several bundles may have this many.
const COUNT_LIMIT: usize = 256;
/// A file with several bundles of more bytes is refused.
const FILE_SIZE_LIMIT: usize = 32 << 20;

/// A bundle that could be read. Nothing of it is proven.
#[derive(Clone)]
pub struct Bundle {
    inner: sigstore_types::Bundle,
}

/// What a bundle is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// A file of which only the SHA-256 is known. Enough for statements and for nearly all signatures of files.
    Digest(Digest),
    /// A file's bytes. Needed for signatures of files with an Ed25519 or P-384 key.
    Content(&'a [u8]),
    /// Nothing: the statement itself is wanted, and whoever takes it compares its subjects.
    Unbound,
}

/// Why bytes are no bundle.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum BundleError {
    /// They are no JSON that is read.
    #[error("it is not a Sigstore bundle")]
    Json(#[from] JsonError),
    /// Something is missing or malformed.
    #[error("it is not a Sigstore bundle")]
    Malformed(#[source] serde_json::Error),
    /// It does not say what it is.
    #[error("it is not a Sigstore bundle: it has no mediaType")]
    NoMediaType,
    /// Of things that exclude each other it has none or several.
    #[error("it has {found} of {}, exactly one is needed", .of.join(", "))]
    OneOf {
        /// How many it has.
        found: usize,
        /// The things.
        of: &'static [&'static str],
    },
}

impl Bundle {
    /// Reads one bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::of(json::read(bytes)?)
    }

    /// Reads a file with one bundle, or with one in each line.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, BundleError> {
        json::read_all(bytes, FILE_SIZE_LIMIT, COUNT_LIMIT)?.into_iter().map(Self::of).collect()
    }

    fn of(mut value: Value) -> Result<Self, BundleError> {
        json::check(&value, &json::BUNDLE)?;
        json::remove_nulls(&mut value);
        let has = |place: &Value, key: &str| place.get(key).is_some_and(|value| !value.is_null());
        if !has(&value, "mediaType") {
            return Err(BundleError::NoMediaType);
        }
        let one_of = |place: &Value, of: &'static [&'static str]| {
            let found = of.iter().filter(|key| has(place, key)).count();
            if found == 1 { Ok(()) } else { Err(BundleError::OneOf { found, of }) }
        };
        one_of(&value, &["messageSignature", "dsseEnvelope"])?;
        one_of(&value["verificationMaterial"], &["publicKey", "x509CertificateChain", "certificate"])?;
        Ok(Self { inner: serde_json::from_value(value).map_err(BundleError::Malformed)? })
    }

    /// The statement in it, which nobody may rely on: it is as somebody wrote it, signed or not.
    pub fn unverified_statement(&self) -> Option<&[u8]> {
        self.envelope().map(|envelope| envelope.payload.as_bytes())
    }

    /// Whether it is the signature of a file, and not of a statement about one.
    pub fn is_of_file(&self) -> bool {
        matches!(self.inner.content, SignatureContent::MessageSignature(_))
    }

    fn key_id(&self) -> &str {
        self.envelope().map_or("", |envelope| envelope.signature.keyid.as_str())
    }

    fn envelope(&self) -> Option<&sigstore_types::DsseEnvelope> {
        if let SignatureContent::DsseEnvelope(envelope) = &self.inner.content { Some(envelope) } else { None }
    }
}

impl Artifact<'_> {
    /// The SHA-256 of the file, if there is one.
    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Digest(digest) => Some(*digest),
            Self::Content(bytes) => Some(Digest::of(bytes)),
            Self::Unbound => None,
        }
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bundle").field(&self.inner.media_type.as_str()).finish_non_exhaustive()
    }
}
