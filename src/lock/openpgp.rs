//! Checks OpenPGP signatures over Debian's `InRelease`.
//!
//! Gives the signed text and nothing else; what stands around it is never parsed as content. Knows no key but those
//! that a definition states by fingerprint.
//!
//! # Why
//!
//! rPGP does the cryptography and leaves policy to its user. The policy here, stricter than gpgv's:
//! - A signature that names one of the stated keys must hold, or the file is refused; one of another key does not
//!   count.
//! - How many of the stated keys must have signed is said in the definition; a key that signs twice counts once.
//! - SHA-256 or stronger, for the signature and for what binds the key that made it.
//! - A revoked key never counts, whatever the reason. A key may have expired since it signed, not before.
//! - No signature or key from the future; the clock is an argument.
//! - The cleartext framework (RFC 9580, section 7) has many ways to show a reader other text than a verifier sees:
//!   lines that end in CR, in blanks, or start with an escaped dash, and text around the message. No `InRelease` has
//!   any of them, so a file with one of them is refused before rPGP reads it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pgp::composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use crate::lockfile::{Fingerprint, OriginError};

/// A signed file of more bytes than this is refused; Debian's largest has 0.2 MB.
pub const SIZE_LIMIT: u64 = 4 << 20;

/// A signed file of more signatures than this is refused.
const SIGNATURES_LIMIT: usize = 16;

const BEGIN_MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";
const END_KEY: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The keys whose signatures count.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<(Fingerprint, SignedPublicKey)>,
}

/// Text whose signatures hold.
#[derive(Debug)]
pub struct Verified {
    text: String,
    signers: BTreeSet<Fingerprint>,
}

/// Why a keyring is of no use.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum KeyringError {
    /// Not OpenPGP keys in ASCII armour.
    #[error("the keyring is not a list of OpenPGP public keys in ASCII armour")]
    Malformed(#[source] Box<pgp::errors::Error>),
    /// A key has a fingerprint of a kind that no definition can state.
    #[error("the keyring has a key with an unknown kind of fingerprint")]
    Kind(#[source] OriginError),
    /// A key that the definition states is not there.
    #[error("the keyring does not have the key {0}, which the definition states")]
    Missing(Fingerprint),
}

/// Why signed text is refused.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SignatureError {
    /// Not a cleartext-signed file, or one with more in it than that.
    #[error("it is not one plain OpenPGP cleartext message: {0}")]
    Framing(&'static str),
    /// rPGP cannot read it.
    #[error("its OpenPGP signature cannot be read")]
    Malformed(#[source] Box<pgp::errors::Error>),
    /// A signature uses a hash function that no longer protects.
    #[error("the signature of {key} is made with {hash}, which is not safe: SHA-256 or stronger is needed")]
    WeakHash {
        /// The key.
        key: Fingerprint,
        /// The hash function.
        hash: HashAlgorithm,
    },
    /// A signature that is not one over text, or has no time, or says something that pgproof does not understand.
    #[error("the signature of {key} is not a plain signature over text: {reason}")]
    Unusual {
        /// The key.
        key: Fingerprint,
        /// What is unusual.
        reason: &'static str,
    },
    /// A signature does not fit the text.
    #[error("the signature of {key} is wrong: the text was changed after it was signed")]
    Wrong {
        /// The key.
        key: Fingerprint,
        /// rPGP's reason.
        source: Box<pgp::errors::Error>,
    },
    /// A signature was made later than now.
    #[error("the signature of {key} is of {signed}, which is in the future (now it is {now})")]
    Future {
        /// The key.
        key: Fingerprint,
        /// When it was made.
        signed: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// A signature has ended.
    #[error("the signature of {key} expired on {expired}")]
    Expired {
        /// The key.
        key: Fingerprint,
        /// When it ended.
        expired: Timestamp,
    },
    /// A key must not be used.
    #[error("the key {key} cannot vouch for it: {reason}")]
    Key {
        /// The key.
        key: Fingerprint,
        /// Why not.
        reason: &'static str,
    },
    /// Too few of the stated keys signed.
    #[error("{found} of the keys that the definition states signed it, {needed} are needed")]
    TooFew {
        /// How many signed.
        found: usize,
        /// How many must.
        needed: u8,
    },
}

/// Why a key could not have made a signature.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum MakerError {
    /// It has a fingerprint of an unknown kind.
    #[error("the key has an unknown kind of fingerprint")]
    Kind(#[source] OriginError),
    /// The signature is another key's.
    #[error("the signature does not name the key {0}")]
    Unnamed(Fingerprint),
    /// The key must not be used.
    #[error(transparent)]
    Key(#[from] SignatureError),
}

impl Keyring {
    /// Reads one or more blocks of ASCII armour; of the keys in it those stated in `fingerprints` are kept.
    pub fn parse(armored: &str, fingerprints: &[Fingerprint]) -> Result<Self, KeyringError> {
        let malformed = |error| KeyringError::Malformed(Box::new(error));
        let mut keys = Vec::new();
        for block in armored.split_inclusive(END_KEY).filter(|block| !block.trim().is_empty()) {
            let (parsed, _) = SignedPublicKey::from_string_many(block).map_err(malformed)?;
            for key in parsed {
                let key = key.map_err(malformed)?;
                let fingerprint = fingerprint_of(&key).map_err(KeyringError::Kind)?;
                if fingerprints.contains(&fingerprint) && !keys.iter().any(|(known, _)| *known == fingerprint) {
                    keys.push((fingerprint, key));
                }
            }
        }
        match fingerprints.iter().find(|stated| !keys.iter().any(|(known, _)| known == *stated)) {
            Some(missing) => Err(KeyringError::Missing(missing.clone())),
            None => Ok(Self { keys }),
        }
    }

    /// Checks the signatures of a cleartext-signed file. `needed` of the keys must have signed it.
    pub fn verify(&self, file: &str, needed: u8, now: Timestamp) -> Result<Verified, SignatureError> {
        check_framing(file)?;
        let (message, _) =
            CleartextSignedMessage::from_string(file).map_err(|error| SignatureError::Malformed(Box::new(error)))?;
        if message.signatures().len() > SIGNATURES_LIMIT {
            return Err(SignatureError::Framing("it has too many signatures"));
        }
        // rPGP gives the text as it was hashed, with CR LF; the file itself has no CR.
        let hashed = message.signed_text();
        let mut signers = BTreeSet::new();
        for signature in message.signatures() {
            if let Some(signer) = self.check(signature, hashed.as_bytes(), now)? {
                signers.insert(signer);
            }
        }
        // A definition that asks for no signature gets one checked all the same.
        if signers.len() < usize::from(needed.max(1)) {
            return Err(SignatureError::TooFew { found: signers.len(), needed: needed.max(1) });
        }
        Ok(Verified { text: hashed.replace("\r\n", "\n"), signers })
    }

    /// The key that made `signature`; `None` if that is not one of ours.
    fn check(&self, signature: &Signature, text: &[u8], now: Timestamp) -> Result<Option<Fingerprint>, SignatureError> {
        for (name, key) in &self.keys {
            if names(signature, &key.primary_key) {
                check_signature(name, signature, &key.primary_key, text, now)?;
                check_key(name, key, None, signature, now)?;
                return Ok(Some(name.clone()));
            }
            for subkey in &key.public_subkeys {
                if names(signature, &subkey.key) {
                    check_signature(name, signature, &subkey.key, text, now)?;
                    check_key(name, key, Some(subkey), signature, now)?;
                    return Ok(Some(name.clone()));
                }
            }
        }
        Ok(None)
    }
}

impl Verified {
    /// The text that was signed, lines ended by LF.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The primary keys that signed it, sorted.
    pub fn signers(&self) -> impl Iterator<Item = &Fingerprint> {
        self.signers.iter()
    }
}

/// Refuses all that a reader could take for signed text and a verifier not, or the other way round.
fn check_framing(file: &str) -> Result<(), SignatureError> {
    let wrong = |reason| Err(SignatureError::Framing(reason));
    if file.bytes().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t')) {
        return wrong("it has control characters, such as carriage returns");
    }
    let Some(lines) = file.strip_suffix('\n').map(|file| file.split('\n')) else {
        return wrong("its last line does not end");
    };
    let mut lines = lines.peekable();
    if lines.next() != Some(BEGIN_MESSAGE) {
        return wrong("it does not start with the line BEGIN PGP SIGNED MESSAGE");
    }
    for line in lines.by_ref() {
        if line.is_empty() {
            break;
        }
        if !line.starts_with("Hash: ") {
            return wrong("its first part has something other than Hash lines");
        }
    }
    let mut text = lines.by_ref().take_while(|line| *line != BEGIN_SIGNATURE);
    if text.any(|line| line.starts_with('-') || line.ends_with([' ', '\t'])) {
        return wrong("its text has a line that starts with a dash or ends with a blank");
    }
    // `any` stopped early only where it returned.
    let mut signature = lines;
    if !signature.by_ref().any(|line| line == END_SIGNATURE) {
        return wrong("its signature does not end");
    }
    if signature.next().is_some() {
        return wrong("there is something after its signature");
    }
    Ok(())
}

/// Whether `signature` says that `key` made it. A hint only: the signature is then checked with that key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|named| **named == key.fingerprint())
        || signature.issuer_key_id().iter().any(|named| **named == key.legacy_key_id())
}

fn check_signature(
    name: &Fingerprint,
    signature: &Signature,
    key: &impl VerifyingKey,
    text: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let unusual = |reason| SignatureError::Unusual { key: name.clone(), reason };
    match signature.hash_alg() {
        Some(hash) if is_strong(hash) => {}
        Some(hash) => return Err(SignatureError::WeakHash { key: name.clone(), hash }),
        None => return Err(unusual("it is of an unknown version")),
    }
    if signature.typ() != Some(SignatureType::Text) {
        return Err(unusual("it is of another type"));
    }
    if has_unknown_critical_part(signature) {
        return Err(unusual("it has a critical part that pgproof does not know"));
    }
    let signed = signature.created().and_then(instant).ok_or_else(|| unusual("it has no time"))?;
    if signed > now {
        return Err(SignatureError::Future { key: name.clone(), signed, now });
    }
    let expired = signature.signature_expiration_time().and_then(|after| later(signed, after));
    if let Some(expired) = expired.filter(|expired| *expired <= now) {
        return Err(SignatureError::Expired { key: name.clone(), expired });
    }
    signature.verify(key, text).map_err(|source| SignatureError::Wrong { key: name.clone(), source: Box::new(source) })
}

/// Whether `key`, by its own latest word, could make `signature`, which names it or one of its subkeys: neither revoked nor
/// expired, and for signing. Does not look at what the signature is over.
pub fn check_maker(key: &SignedPublicKey, signature: &Signature, now: Timestamp) -> Result<Fingerprint, MakerError> {
    let name = fingerprint_of(key).map_err(MakerError::Kind)?;
    let subkey = key.public_subkeys.iter().find(|subkey| names(signature, &subkey.key));
    if subkey.is_none() && !names(signature, &key.primary_key) {
        return Err(MakerError::Unnamed(name));
    }
    check_key(&name, key, subkey, signature, now)?;
    Ok(name)
}

/// Whether `key`, by its own latest word, could make `signature`, with its primary key or with `subkey`.
fn check_key(
    name: &Fingerprint,
    key: &SignedPublicKey,
    subkey: Option<&SignedPublicSubKey>,
    signature: &Signature,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let refused = |reason| SignatureError::Key { key: name.clone(), reason };
    let signed = signature.created().and_then(instant).ok_or_else(|| refused("its signature has no time"))?;
    // A revocation counts whether or not it can be verified: the keyring is ours, and doubt is reason enough.
    let revokes = |signature: &Signature| {
        matches!(
            signature.typ(),
            Some(SignatureType::KeyRevocation | SignatureType::SubkeyRevocation | SignatureType::CertRevocation)
        )
    };
    let mut of_primary = key.details.direct_signatures.iter().chain(&key.details.revocation_signatures);
    let mut of_users = key.details.users.iter().flat_map(|user| &user.signatures);
    if of_primary.any(revokes) || of_users.any(revokes) {
        return Err(refused("it is revoked"));
    }
    let primary = &key.primary_key;
    let certified = key.details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|word| word.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    let direct = key.details.direct_signatures.iter().filter(|word| word.verify_key(primary).is_ok());
    let word = latest(certified.chain(direct), now).ok_or_else(|| refused("nothing binds its name to it"))?;
    if !lives_at(primary, word, signed) {
        return Err(refused("it was not valid when the signature was made"));
    }
    let Some(subkey) = subkey else {
        return if word.key_flags().sign() { Ok(()) } else { Err(refused("it is not for signing")) };
    };
    if subkey.signatures.iter().any(revokes) {
        return Err(refused("its subkey is revoked"));
    }
    let bound = subkey.signatures.iter().filter(|word| word.verify_subkey_binding(primary, &subkey.key).is_ok());
    let word = latest(bound, now).ok_or_else(|| refused("nothing binds its subkey to it"))?;
    if !word.key_flags().sign() {
        return Err(refused("its subkey is not for signing"));
    }
    // Else anybody could claim somebody else's subkey, and its signatures, for a key of their own.
    let back = word.embedded_signature().filter(|back| back.hash_alg().is_some_and(is_strong));
    if back.is_none_or(|back| back.verify_primary_key_binding(&subkey.key, primary).is_err()) {
        return Err(refused("its subkey does not agree to be bound to it"));
    }
    if !lives_at(&subkey.key, word, signed) {
        return Err(refused("its subkey was not valid when the signature was made"));
    }
    Ok(())
}

/// The latest of a key's verified words about itself: it holds alone.
fn latest<'key>(words: impl Iterator<Item = &'key Signature>, now: Timestamp) -> Option<&'key Signature> {
    words
        .filter(|word| word.hash_alg().is_some_and(is_strong) && !has_unknown_critical_part(word))
        .filter_map(|word| Some((word.created().and_then(instant)?, word)))
        .filter(|(created, word)| {
            let expired = word.signature_expiration_time().and_then(|after| later(*created, after));
            *created <= now && expired.is_none_or(|expired| expired > now)
        })
        .max_by_key(|(created, _)| *created)
        .map(|(_, word)| word)
}

/// Whether `key` had been made and had not expired at `instant`; `word` is its latest about itself.
fn lives_at(key: &impl KeyDetails, word: &Signature, at: Timestamp) -> bool {
    instant(key.created_at()).is_some_and(|created| {
        let expired = word.key_expiration_time().and_then(|after| later(created, after));
        created <= at && expired.is_none_or(|expired| at < expired)
    })
}

fn is_strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

/// RFC 9580, section 5.2.3.7: what is critical and not understood makes the signature worthless.
fn has_unknown_critical_part(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|part| {
            part.is_critical
                && matches!(
                    part.data,
                    SubpacketData::Experimental(..) | SubpacketData::Other(..) | SubpacketData::Notation(_)
                )
        })
    })
}

fn instant(time: pgp::types::Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_secs().into()).ok()
}

/// `None` for a duration of zero, which stands for "never".
fn later(start: Timestamp, after: pgp::types::Duration) -> Option<Timestamp> {
    let seconds = i64::from(after.as_secs());
    if seconds == 0 { None } else { Timestamp::from_second(start.as_second() + seconds).ok() }
}

fn fingerprint_of(key: &SignedPublicKey) -> Result<Fingerprint, OriginError> {
    use std::fmt::Write as _;
    let hex = key.fingerprint().as_bytes().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02X}").ok();
        hex
    });
    hex.parse()
}
