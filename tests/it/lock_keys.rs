//! OpenPGP keys and signatures, good and bad, as the tests need them.

#![expect(clippy::unwrap_used, clippy::format_collect, reason = "a test says what went wrong by panicking")]

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};
use pgproof::lockfile::Fingerprint;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// When the tests' keys were made: 2024-01-01.
pub(crate) const MADE: u32 = 1_704_067_200;

/// When they sign: 2026-11-01.
pub(crate) const SIGNED: u32 = 1_793_491_200;

const DAY_S: u32 = 86_400;

/// What a key says of itself.
#[derive(Clone)]
pub(crate) struct Shape {
    /// Ed25519 signs no weak hash, RSA does.
    pub(crate) kind: KeyType,
    /// How many days after it was made it expires.
    pub(crate) expires_d: Option<u32>,
    /// The hash of its word about itself.
    pub(crate) hash: HashAlgorithm,
    /// Whether it is for signing.
    pub(crate) signs: bool,
    pub(crate) revoked: bool,
    /// Whether it signs with a subkey, and whether that agreed.
    pub(crate) subkey: Option<Subkey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subkey {
    Agreed,
    Claimed,
    Revoked,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            kind: KeyType::Ed25519Legacy,
            expires_d: None,
            hash: HashAlgorithm::Sha256,
            signs: true,
            revoked: false,
            subkey: None,
        }
    }
}

impl Shape {
    /// A key that signs with any hash.
    pub(crate) fn rsa() -> Self {
        Self { kind: KeyType::Rsa(2048), ..Self::default() }
    }
}

/// What a signature says of itself.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) at: u32,
    pub(crate) hash: HashAlgorithm,
    pub(crate) kind: SignatureType,
    pub(crate) more: Vec<Subpacket>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { at: SIGNED, hash: HashAlgorithm::Sha256, kind: SignatureType::Text, more: Vec::new() }
    }
}

pub(crate) struct Key {
    secret: SignedSecretKey,
    rng: StdRng,
}

impl Key {
    pub(crate) fn new(seed: u64) -> Self {
        Self::shaped(seed, &Shape::default())
    }

    pub(crate) fn shaped(seed: u64, shape: &Shape) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let made = Timestamp::from_secs(MADE);
        let mut subkey = SubkeyParamsBuilder::default();
        let subkey = subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(made).build().unwrap();
        let mut secret = SecretKeyParamsBuilder::default()
            .key_type(shape.kind.clone())
            .created_at(made)
            .primary_user_id("Test <test@example.org>".to_owned())
            .subkeys(if shape.subkey.is_some() { vec![subkey] } else { Vec::new() })
            .build()
            .unwrap()
            .generate(&mut rng)
            .unwrap();
        let flags = |sign| {
            let mut flags = KeyFlags::default();
            flags.set_certify(true);
            flags.set_sign(sign);
            Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap()
        };
        let mut parts = vec![flags(shape.signs)];
        if let Some(days) = shape.expires_d {
            parts
                .push(Subpacket::regular(SubpacketData::KeyExpirationTime(Duration::from_secs(days * DAY_S))).unwrap());
        }
        let primary = &secret.primary_key;
        let user = &mut secret.details.users[0];
        user.signatures = vec![
            config(&mut rng, primary, SignatureType::CertPositive, shape.hash, MADE, parts)
                .sign_certification(primary, primary.public_key(), &Password::empty(), Tag::UserId, &user.id)
                .unwrap(),
        ];
        if shape.revoked {
            let config =
                config(&mut rng, primary, SignatureType::KeyRevocation, HashAlgorithm::Sha256, MADE, Vec::new());
            let revocation = config.sign_key(primary, &Password::empty(), primary.public_key()).unwrap();
            secret.details.revocation_signatures.push(revocation);
        }
        if let Some(kind) = shape.subkey {
            let subkey = &mut secret.secret_subkeys[0];
            let back =
                config(&mut rng, &subkey.key, SignatureType::KeyBinding, HashAlgorithm::Sha256, MADE, Vec::new())
                    .sign_primary_key_binding(
                        &subkey.key,
                        &subkey.key.public_key(),
                        &Password::empty(),
                        primary.public_key(),
                    )
                    .unwrap();
            let mut parts = vec![flags(true)];
            if kind != Subkey::Claimed {
                parts.push(Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(back))).unwrap());
            }
            let bind = |kind, rng: &mut StdRng, parts| {
                config(rng, primary, kind, HashAlgorithm::Sha256, MADE, parts)
                    .sign_subkey_binding(primary, primary.public_key(), &Password::empty(), &subkey.key.public_key())
                    .unwrap()
            };
            let mut signatures = vec![bind(SignatureType::SubkeyBinding, &mut rng, parts)];
            if kind == Subkey::Revoked {
                signatures.push(bind(SignatureType::SubkeyRevocation, &mut rng, Vec::new()));
            }
            subkey.signatures = signatures;
        }
        Self { secret, rng }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let hex: String = self.secret.fingerprint().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        hex.parse().unwrap()
    }

    pub(crate) fn armored(&self) -> String {
        SignedPublicKey::from(self.secret.clone()).to_armored_string(ArmorOptions::default()).unwrap()
    }

    /// With its secret.
    pub(crate) fn secret(&self) -> String {
        self.secret.to_armored_string(ArmorOptions::default()).unwrap()
    }

    fn signature(&mut self, text: &str, manner: &Manner) -> Signature {
        fn sign(key: &impl SigningKey, rng: &mut StdRng, text: &str, manner: &Manner) -> Signature {
            config(rng, key, manner.kind, manner.hash, manner.at, manner.more.clone())
                .sign(key, &Password::empty(), text.as_bytes())
                .unwrap()
        }
        match self.secret.secret_subkeys.first() {
            Some(subkey) => sign(&subkey.key, &mut self.rng, text, manner),
            None => sign(&self.secret.primary_key, &mut self.rng, text, manner),
        }
    }
}

/// `text`, signed by each key in its manner.
pub(crate) fn clearsigned(text: &str, signers: &mut [(&mut Key, Manner)]) -> String {
    let message = CleartextSignedMessage::new_many(text, |text| {
        Ok(signers.iter_mut().map(|(key, manner)| key.signature(text, manner)).collect())
    })
    .unwrap();
    message.to_armored_string(ArmorOptions::default()).unwrap()
}

fn config(
    rng: &mut StdRng,
    key: &impl SigningKey,
    kind: SignatureType,
    hash: HashAlgorithm,
    at: u32,
    more: Vec<Subpacket>,
) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(rng, key, kind).unwrap();
    config.hash_alg = hash;
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(at))).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    config.hashed_subpackets.extend(more);
    config
}
