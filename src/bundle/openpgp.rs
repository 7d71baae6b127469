//! Detached OpenPGP signatures, for people who check with gpg.
//!
//! # Why
//!
//! `SHA256SUMS` names every file of a release, so one signature over it is one over all. The policy for keys is that of
//! `lock::openpgp`, turned round: what pgproof would not accept of others it does not make.

use std::io::Cursor;

use jiff::Timestamp;
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, SignedSecretKey, SubpacketConfig};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Subpacket, SubpacketData};
use pgp::types::{KeyVersion, Password, SigningKey};

use super::secret::{KeyError, Secret};
use crate::lock::openpgp::{MakerError, check_maker};
use crate::lockfile::Fingerprint;

/// A secret OpenPGP key.
pub struct OpenPgpKey {
    key: SignedSecretKey,
    password: Password,
}

/// A detached signature.
#[derive(Debug, Clone)]
pub struct Detached {
    /// The signature in ASCII armour.
    pub armored: String,
    /// The primary key that it is of.
    pub fingerprint: Fingerprint,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum OpenPgpError {
    /// The secret cannot be had.
    #[error(transparent)]
    Secret(#[from] KeyError),
    /// It is no key.
    #[error("it is not a secret OpenPGP key in ASCII armour (gpg --armor --export-secret-keys)")]
    Malformed(#[source] Box<pgp::errors::Error>),
    /// It has several keys.
    #[error("it has several OpenPGP keys, and it is not said which is to sign")]
    Several,
    /// The key must not be used.
    #[error("the key does not sign")]
    Key(#[from] MakerError),
    /// The password is wrong, or the secret is not in the file.
    #[error(
        "the key cannot be used: the password is wrong or missing (PGPROOF_OPENPGP_PASSWORD), or its secret is not in the file"
    )]
    Locked,
    /// The time is none that OpenPGP can say.
    #[error("{0} is no time that OpenPGP can say")]
    Time(Timestamp),
    /// rPGP failed.
    #[error("the signature cannot be made")]
    Failed(#[source] Box<pgp::errors::Error>),
}

impl OpenPgpKey {
    /// Reads the key in a file. One without a password must be its owner's alone.
    pub fn of_file(path: &std::path::Path, password: Option<&Secret>) -> Result<Self, OpenPgpError> {
        let (secret, mode) = Secret::of_file(path)?;
        let key = Self::read(&secret, password)?;
        let open = key.is_open();
        if open && mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode }.into());
        }
        Ok(key)
    }

    /// Reads a key in ASCII armour. `password` is for one that is encrypted.
    pub fn read(secret: &Secret, password: Option<&Secret>) -> Result<Self, OpenPgpError> {
        let malformed = |error| OpenPgpError::Malformed(Box::new(error));
        let (mut keys, _) = SignedSecretKey::from_armor_many(Cursor::new(secret.expose())).map_err(malformed)?;
        let key = keys.next().ok_or(OpenPgpError::Several)?.map_err(malformed)?;
        if keys.next().is_some() {
            return Err(OpenPgpError::Several);
        }
        Ok(Self { key, password: Password::from(password.map_or(&b""[..], Secret::expose)) })
    }

    /// Whether a part of the secret is not encrypted.
    fn is_open(&self) -> bool {
        !self.key.primary_key.secret_params().is_encrypted()
            || self.key.secret_subkeys.iter().any(|subkey| !subkey.key.secret_params().is_encrypted())
    }

    /// Signs `bytes` as they are, with the newest subkey that may sign, or else the primary key.
    pub fn sign(&self, bytes: &[u8], now: Timestamp) -> Result<Detached, OpenPgpError> {
        let mut subkeys: Vec<_> = self.key.secret_subkeys.iter().collect();
        subkeys.sort_by_key(|subkey| std::cmp::Reverse(pgp::types::KeyDetails::created_at(&subkey.key)));
        let mut refused = None;
        for subkey in subkeys {
            match self.sign_with(&subkey.key, bytes, now) {
                Ok(detached) => return Ok(detached),
                // That a subkey is for something else says nothing of the others.
                Err(error) => refused = Some(error),
            }
        }
        self.sign_with(&self.key.primary_key, bytes, now).map_err(|error| match (&error, refused) {
            (OpenPgpError::Locked, _) | (_, None) => error,
            (_, Some(OpenPgpError::Locked)) => OpenPgpError::Locked,
            _ => error,
        })
    }

    fn sign_with(&self, key: &impl SigningKey, bytes: &[u8], now: Timestamp) -> Result<Detached, OpenPgpError> {
        let failed = |error| OpenPgpError::Failed(Box::new(error));
        let seconds = u32::try_from(now.as_second()).map_err(|_range| OpenPgpError::Time(now))?;
        let made = SubpacketData::SignatureCreationTime(pgp::types::Timestamp::from_secs(seconds));
        let hashed = [SubpacketData::IssuerFingerprint(key.fingerprint()), made].map(Subpacket::regular);
        let hashed = hashed.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let unhashed = if key.version() == KeyVersion::V4 {
            vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).map_err(failed)?]
        } else {
            Vec::new()
        };
        // Not what the key would choose: it may still like SHA-1.
        let chosen = key.hash_alg();
        let strong = matches!(chosen, HashAlgorithm::Sha384 | HashAlgorithm::Sha512);
        let hash = if strong { chosen } else { HashAlgorithm::Sha256 };
        let subpackets = SubpacketConfig::UserDefined { hashed, unhashed };
        let detached = DetachedSignature::sign_binary_data_with_subpackets(
            rand::rngs::OsRng,
            key,
            &self.password,
            hash,
            bytes,
            subpackets,
        )
        .map_err(|_locked| OpenPgpError::Locked)?;
        let fingerprint = check_maker(&self.key.to_public_key(), &detached.signature, now)?;
        let armored = detached.to_armored_string(ArmorOptions::default()).map_err(failed)?;
        Ok(Detached { armored, fingerprint })
    }
}
