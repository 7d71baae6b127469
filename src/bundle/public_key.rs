//! Public keys that somebody names.

use std::fmt;

use sigstore_crypto::KeyAlgorithm;
use sigstore_types::{DerPublicKey, Sha256Hash};

use crate::digest::Digest;

/// A file with a public key of more bytes is refused.
const SIZE_LIMIT: usize = 64 << 10;

/// A public key: P-256, P-384 or Ed25519.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
}

/// Why bytes are no public key.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PublicKeyError {
    /// Too large, or not text.
    #[error("it is not a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// It is a private key.
    #[error("it is a private key: keep it to yourself, and name its public half (openssl pkey -pubout)")]
    Private,
    /// PEM, but no key.
    #[error("it is not a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")]
    Malformed(#[source] sigstore_types::Error),
    /// Not a key that can be used.
    #[error("it is not a public key")]
    Invalid(#[source] sigstore_crypto::Error),
    /// Another kind of key.
    #[error("it is a key for {0}; P-256, P-384 and Ed25519 can be used")]
    Kind(&'static str),
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo` in PEM (RFC 7468, section 13).
    pub fn from_pem(pem: &[u8]) -> Result<Self, PublicKeyError> {
        if pem.len() > SIZE_LIMIT {
            return Err(PublicKeyError::NotPem);
        }
        let text = std::str::from_utf8(pem).map_err(|_binary| PublicKeyError::NotPem)?;
        if text.contains("PRIVATE KEY-----") {
            return Err(PublicKeyError::Private);
        }
        Self::from_der(DerPublicKey::from_pem(text).map_err(PublicKeyError::Malformed)?)
    }

    pub(super) fn from_der(der: DerPublicKey) -> Result<Self, PublicKeyError> {
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(PublicKeyError::Invalid)?;
        match algorithm {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::Ed25519 => Ok(Self { der, algorithm }),
            KeyAlgorithm::Rsa => Err(PublicKeyError::Kind("RSA")),
            KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 | _ => {
                Err(PublicKeyError::Kind("another algorithm"))
            }
        }
    }

    /// The SHA-256 of the key's `SubjectPublicKeyInfo` in DER.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.der.as_bytes())
    }

    /// The key as PEM, lines ended by LF.
    pub fn to_pem(&self) -> String {
        self.der.to_pem().replace("\r\n", "\n")
    }

    /// How a bundle names the key: its fingerprint in base64, as cosign has it.
    pub(super) fn hint(&self) -> String {
        Sha256Hash::new(*self.fingerprint().as_bytes()).to_base64()
    }

    pub(super) fn der(&self) -> &DerPublicKey {
        &self.der
    }

    pub(super) fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}
