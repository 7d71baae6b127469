//! Makes bundles: with a key alone, with a key before witnesses, or with a certificate for an identity.
//!
//! What was asked for is signed whole or not at all: where a log or an authority does not answer, there is no bundle. What comes out
//! was checked as a stranger would, before anybody sees it.
//!
//! # Why
//!
//! sigstore-sign writes the certificate into log entries with lines that end in CR LF, and sigstore-python refuses such an entry. So
//! its clients are used one by one, with entries that are written here.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "sigstore's enums may grow: what is new is no trouble that passes, and no log that is known"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;
use sigstore_bundle::{BundleV03, VerificationMaterialV03};
use sigstore_crypto::{KeyAlgorithm, KeyPair};
use sigstore_sign::fulcio::FulcioClient;
use sigstore_sign::oidc::IdentityToken;
use sigstore_sign::rekor::{HashedRekordV2, LogEntry, RekorApiVersion, RekorClient, RekorV2Client, RekorV2KeyDetails};
use sigstore_sign::tsa::TimestampClient;
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, HashAlgorithm, KeyId, KindVersion, MessageDigest, MessageSignature,
    PayloadBytes, Sha256Hash, SignatureBytes, SignatureContent, TimestampToken, TransparencyLogEntry,
};
use url::Url;

use super::certificate::Certificate;
use super::public_key::PublicKey;
use super::refused::Refused;
use super::secret::{KeyError, SigningKey};
use super::services::{self, Services};
use super::signer::{CertificateIdentity, Pattern, PatternError, Signer};
use super::trust::TrustRoot;
use super::verified::Verified;
use super::verify::{self, verify};
use super::{Artifact, Bundle, BundleError, PAYLOAD_TYPE};
use crate::fetch::Network;

/// What a service says of its refusal is cut to this, in characters.
const SHOWN: usize = 300;

/// What is to be signed.
#[derive(Debug, Clone, Copy)]
pub enum Unsigned<'a> {
    /// An in-toto statement: these bytes, as they are.
    Statement(&'a [u8]),
    /// A file.
    File(&'a [u8]),
}

/// By what it is signed.
#[derive(Clone, Copy)]
pub enum Means<'a> {
    /// A key alone: the bundle says neither when it was made, nor can others see that it was.
    Key(&'a SigningKey),
    /// A key; a log and a timestamp authority are witnesses.
    LoggedKey(&'a SigningKey, &'a Instance),
    /// A certificate for whomever this token is of; a log and a timestamp authority are witnesses.
    Identity(&'a Token, &'a Instance),
}

/// An instance of Sigstore, and the permission to ask its services.
#[derive(Debug)]
pub struct Instance {
    services: Services,
    root: TrustRoot,
    _permission: Network,
}

/// A token that shows an identity to a certificate authority. Whoever has it can sign in that name for some minutes.
pub struct Token(IdentityToken);

/// A bundle that was made here.
#[derive(Debug)]
pub struct Signed {
    bytes: Vec<u8>,
    verified: Verified,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SigningError {
    /// The key cannot be used.
    #[error("the key cannot be used")]
    Key(#[from] KeyError),
    /// Of a key, logs take another kind.
    #[error("of keys before witnesses, only those for P-256 can be used")]
    KeyKind,
    /// It is no token.
    #[error("the identity token is not a JSON Web Token with iss, sub and exp")]
    Token,
    /// The token is too old.
    #[error("the identity token expired on {0}")]
    TokenExpired(Timestamp),
    /// What is to be signed is no statement.
    #[error("only in-toto statements are signed as such")]
    Statement(#[source] Box<Refused>),
    /// A service does not answer, or gives something that is none.
    #[error("{service} at {url}: {reason}")]
    Service {
        /// What it is.
        service: Service,
        /// Where it is.
        url: Url,
        /// What happened.
        reason: String,
        /// What kind of trouble it is.
        class: Class,
    },
    /// Connections cannot be set up.
    #[error("connections cannot be set up")]
    Client(#[source] reqwest::Error),
    /// Connections cannot be set up.
    #[error("connections cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// A bundle was made that does not hold. Nobody gets to see it.
    #[error("what the services gave does not hold against the trust root, so nothing is signed")]
    Refused(#[source] Box<Refused>),
    /// A bundle was made that cannot be read.
    #[error("what was made is no bundle")]
    Bundle(#[source] Box<BundleError>),
    /// It could not be written as JSON.
    #[error("it cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The certificate names nobody.
    #[error("the certificate names nobody")]
    Nobody(#[source] PatternError),
}

/// A service that takes part in signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Issues certificates.
    Authority,
    /// Keeps what was signed for all to see.
    Log,
    /// Vouches for the time.
    Timestamps,
}

/// What kind of trouble a [`SigningError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What was asked for cannot be done.
    Use,
    /// What somebody gave does not hold.
    Input,
    /// A service is out of reach: nothing was decided.
    Passing,
}

impl Instance {
    /// The services to sign with, and whom they have to answer to.
    pub fn new(services: Services, root: TrustRoot, permission: Network) -> Self {
        Self { services, root, _permission: permission }
    }
}

impl Token {
    /// Takes a JSON Web Token. It is the certificate authority that checks it.
    pub fn parse(text: &str) -> Result<Self, SigningError> {
        // The reason would quote what is in it.
        IdentityToken::from_jwt(text.trim()).map(Self).map_err(|_malformed| SigningError::Token)
    }

    /// Whether a certificate is for whom the token names, as far as the token tells: people are named by their address, and what
    /// Fulcio makes of other tokens is different for each issuer.
    fn check(&self, certificate: &Certificate) -> Result<(), SigningError> {
        let refused = |refused| Err(SigningError::Refused(Box::new(refused)));
        let federated = self.0.claims().federated_claims.as_ref().and_then(|claims| claims.connector_id.as_deref());
        let issuer = certificate.issuer();
        if issuer != self.0.issuer() && Some(issuer) != federated {
            return refused(Refused::Issuer {
                identity: certificate.identity().to_owned(),
                actual: issuer.to_owned(),
                wanted: self.0.issuer().to_owned(),
            });
        }
        match self.0.email() {
            Some(wanted) if wanted != certificate.identity() => {
                refused(Refused::Identity { actual: certificate.identity().to_owned(), wanted: wanted.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl Signed {
    /// The bundle's file: one line of JSON.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a stranger with the same trust root finds.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }
}

impl SigningError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Service { class, .. } => *class,
            Self::Client(_) | Self::Runtime(_) => Class::Passing,
            Self::Refused(_) | Self::Bundle(_) | Self::Nobody(_) | Self::TokenExpired(_) => Class::Input,
            Self::Key(_) | Self::KeyKind | Self::Token | Self::Statement(_) | Self::Json(_) => Class::Use,
        }
    }
}

/// Signs, and checks what came out.
pub fn sign(what: Unsigned<'_>, means: Means<'_>, now: Timestamp) -> Result<Signed, SigningError> {
    if let Unsigned::Statement(bytes) = what {
        verify::first_subject(bytes).map_err(|refused| SigningError::Statement(Box::new(refused)))?;
    }
    let made = match means {
        Means::Key(key) => by_key(what, key)?,
        Means::LoggedKey(key, instance) => {
            if key.public().algorithm() != KeyAlgorithm::EcdsaP256 {
                return Err(SigningError::KeyKind);
            }
            let signature = key.sign(&what.message())?;
            let made = by_key_with(what, key, signature.clone());
            in_time(instance.witness(made, what, &signature, &Maker::Key(key.public()), None))?
        }
        Means::Identity(token, instance) => {
            if token.0.expiration() <= now {
                return Err(SigningError::TokenExpired(token.0.expiration()));
            }
            in_time(instance.by_identity(what, token))?
        }
    };
    let mut bytes = serde_json::to_vec(&made.into_bundle()).map_err(SigningError::Json)?;
    bytes.push(b'\n');
    let verified = check(&bytes, what, means, now)?;
    Ok(Signed { bytes, verified })
}

fn in_time<T>(work: impl Future<Output = Result<T, SigningError>>) -> Result<T, SigningError> {
    services::runtime().map_err(SigningError::Runtime)?.block_on(work)
}

/// Reads the bundle as a stranger would who knows whose it is.
fn check(bytes: &[u8], what: Unsigned<'_>, means: Means<'_>, now: Timestamp) -> Result<Verified, SigningError> {
    let bundle = Bundle::parse(bytes).map_err(|error| SigningError::Bundle(Box::new(error)))?;
    let artifact = match what {
        Unsigned::Statement(_) => Artifact::Unbound,
        Unsigned::File(bytes) => Artifact::Content(bytes),
    };
    let refused = |refused| SigningError::Refused(Box::new(refused));
    let (signer, root) = match means {
        Means::Key(key) => (Signer::Key(key.public().clone()), None),
        Means::LoggedKey(key, instance) => (Signer::Key(key.public().clone()), Some(&instance.root)),
        Means::Identity(token, instance) => {
            let der = bundle.inner.signing_certificate().ok_or_else(|| refused(Refused::NoTrustRoot))?;
            let certificate = Certificate::parse(der).map_err(refused)?;
            token.check(&certificate)?;
            let exactly = |text: &str| Pattern::exact(text).map_err(SigningError::Nobody);
            let identity = CertificateIdentity::new(exactly(certificate.identity())?, exactly(certificate.issuer())?);
            (Signer::Certificate(identity), Some(&instance.root))
        }
    };
    verify(&bundle, artifact, &[signer], root, now).map_err(refused)
}

fn by_key(what: Unsigned<'_>, key: &SigningKey) -> Result<BundleV03, SigningError> {
    let signature = key.sign(&what.message())?;
    Ok(by_key_with(what, key, signature))
}

fn by_key_with(what: Unsigned<'_>, key: &SigningKey, signature: SignatureBytes) -> BundleV03 {
    // What digest is beside a file's signature decides how that is read.
    let algorithm = match key.public().algorithm() {
        KeyAlgorithm::EcdsaP384 => HashAlgorithm::Sha2384,
        _ => HashAlgorithm::Sha2256,
    };
    let content = what.content(signature, algorithm);
    BundleV03::new(VerificationMaterialV03::PublicKey { hint: key.public().hint() }, content)
}

impl Unsigned<'_> {
    /// What the signature is over. Of a statement, DSSE's encoding before signing.
    fn message(&self) -> Vec<u8> {
        match self {
            Self::Statement(bytes) => sigstore_types::pae(PAYLOAD_TYPE, bytes),
            Self::File(bytes) => bytes.to_vec(),
        }
    }

    fn content(&self, signature: SignatureBytes, algorithm: HashAlgorithm) -> SignatureContent {
        match self {
            Self::Statement(bytes) => {
                let signature = DsseSignature::new(signature, KeyId::default());
                SignatureContent::DsseEnvelope(DsseEnvelope::new(
                    PAYLOAD_TYPE,
                    PayloadBytes::from_bytes(bytes),
                    signature,
                ))
            }
            Self::File(bytes) => {
                let digest = match algorithm {
                    HashAlgorithm::Sha2384 => sigstore_crypto::sha384(bytes).into(),
                    _ => sigstore_crypto::sha256(bytes).into(),
                };
                let digest = MessageDigest::new(algorithm, digest);
                SignatureContent::MessageSignature(MessageSignature::new(signature).with_message_digest(digest))
            }
        }
    }
}

/// What a log entry names as that which made the signature.
enum Maker<'a> {
    Key(&'a PublicKey),
    Certificate(&'a DerCertificate),
}

impl Maker<'_> {
    /// PEM in base64, with lines that end in LF.
    fn verifier(&self) -> String {
        STANDARD.encode(match self {
            Self::Key(key) => key.to_pem(),
            Self::Certificate(der) => der.to_pem().replace("\r\n", "\n"),
        })
    }
}

impl Instance {
    async fn by_identity(&self, what: Unsigned<'_>, token: &Token) -> Result<BundleV03, SigningError> {
        let failed = |error: sigstore_sign::fulcio::Error| {
            use sigstore_sign::fulcio::Error as Of;
            let class = match &error {
                Of::Http(_) => Class::Passing,
                Of::Status { status, .. } => of_status(*status),
                _ => Class::Input,
            };
            self.failed(Service::Authority, &error, class, Some(token))
        };
        let pair = KeyPair::generate_ecdsa_p256().map_err(|_unspecified| KeyError::Failed)?;
        let client = services::client().map_err(SigningError::Client)?;
        let fulcio =
            FulcioClient::builder(self.services.fulcio.as_str()).with_http_client(client).build().map_err(failed)?;
        let issued = fulcio.create_signing_certificate(&token.0, &pair).await.map_err(failed)?;
        let certificate = issued.leaf_certificate().clone();
        let signature = pair.sign(&what.message()).map_err(|_unspecified| KeyError::Failed)?;
        let content = what.content(signature.clone(), HashAlgorithm::Sha2256);
        let made = BundleV03::new(VerificationMaterialV03::Certificate(certificate.clone()), content);
        self.witness(made, what, &signature, &Maker::Certificate(&certificate), Some(token)).await
    }

    /// Has the signature written into the log, and its time attested.
    async fn witness(
        &self,
        made: BundleV03,
        what: Unsigned<'_>,
        signature: &SignatureBytes,
        maker: &Maker<'_>,
        token: Option<&Token>,
    ) -> Result<BundleV03, SigningError> {
        let entry = match self.services.version {
            RekorApiVersion::V2 => self.log_second(what, signature, maker).await,
            _ => self.log_first(what, signature, maker).await,
        };
        let entry = entry.map_err(|error| {
            use sigstore_sign::rekor::Error as Of;
            let class = match &error {
                Of::Http(_) => Class::Passing,
                Of::Status { status, .. } => of_status(*status),
                _ => Class::Input,
            };
            self.failed(Service::Log, &error, class, token)
        })?;
        let stamp = self.stamp(signature).await.map_err(|error| {
            let class = if matches!(error, sigstore_sign::tsa::Error::Http(_)) { Class::Passing } else { Class::Input };
            self.failed(Service::Timestamps, &error, class, token)
        })?;
        Ok(made.with_tlog_entry(entry).with_rfc3161_timestamp(stamp))
    }

    /// An entry of Rekor v1: openapi.yaml and `pkg/types` of sigstore/rekor.
    async fn log_first(
        &self,
        what: Unsigned<'_>,
        signature: &SignatureBytes,
        maker: &Maker<'_>,
    ) -> Result<TransparencyLogEntry, sigstore_sign::rekor::Error> {
        let client = services::client().map_err(|error| sigstore_sign::rekor::Error::Http(error.to_string()))?;
        let rekor = RekorClient::builder(self.services.rekor.as_str()).with_http_client(client).build()?;
        let (entry, kind): (LogEntry, _) = match what {
            Unsigned::Statement(_) => {
                let envelope = serde_json::to_string(&what.content(signature.clone(), HashAlgorithm::Sha2256))?;
                let envelope = inner_envelope(&envelope)?;
                let proposed = json!({ "envelope": envelope, "verifiers": [maker.verifier()] });
                let entry = json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": { "proposedContent": proposed } });
                (rekor.create_dsse_entry(serde_json::from_value(entry)?).await?, KindVersion::DsseV001)
            }
            Unsigned::File(bytes) => {
                let hash = json!({ "algorithm": "sha256", "value": sigstore_crypto::sha256(bytes).to_hex() });
                let signature = json!({ "content": signature, "publicKey": { "content": maker.verifier() } });
                let spec = json!({ "data": { "hash": hash }, "signature": signature });
                let entry = json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec });
                (rekor.create_entry(serde_json::from_value(entry)?).await?, KindVersion::HashedRekordV001)
            }
        };
        entry.to_bundle_entry(kind).map_err(|error| sigstore_sign::rekor::Error::InvalidResponse(error.to_string()))
    }

    async fn log_second(
        &self,
        what: Unsigned<'_>,
        signature: &SignatureBytes,
        maker: &Maker<'_>,
    ) -> Result<TransparencyLogEntry, sigstore_sign::rekor::Error> {
        let client = services::client().map_err(|error| sigstore_sign::rekor::Error::Http(error.to_string()))?;
        let rekor = RekorV2Client::builder(self.services.rekor.as_str()).with_http_client(client).build()?;
        let hash: Sha256Hash = sigstore_crypto::sha256(&what.message());
        let details = RekorV2KeyDetails::PkixEcdsaP256Sha256;
        let entry = match maker {
            Maker::Key(key) => HashedRekordV2::new_with_public_key(&hash, signature, key.der(), details),
            Maker::Certificate(der) => HashedRekordV2::new_with_certificate(&hash, signature, der, details),
        };
        rekor.create_entry(entry).await
    }

    async fn stamp(&self, signature: &SignatureBytes) -> Result<TimestampToken, sigstore_sign::tsa::Error> {
        let client = services::client().map_err(|error| sigstore_sign::tsa::Error::Http(error.to_string()))?;
        TimestampClient::builder(self.services.tsa.as_str())
            .with_http_client(client)
            .build()?
            .timestamp_signature(signature)
            .await
    }

    fn failed(
        &self,
        service: Service,
        error: &dyn std::error::Error,
        class: Class,
        token: Option<&Token>,
    ) -> SigningError {
        let url = match service {
            Service::Authority => &self.services.fulcio,
            Service::Log => &self.services.rekor,
            Service::Timestamps => &self.services.tsa,
        };
        let mut reason = error.to_string();
        if let Some(token) = token {
            // A service may say what it was sent.
            reason = reason.replace(token.0.expose_secret(), "[the identity token]");
        }
        SigningError::Service { service, url: url.clone(), reason: reason.chars().take(SHOWN).collect(), class }
    }
}

/// Of what `SignatureContent` writes, the envelope alone.
fn inner_envelope(content: &str) -> Result<String, serde_json::Error> {
    let content: serde_json::Value = serde_json::from_str(content)?;
    Ok(content["dsseEnvelope"].to_string())
}

/// A refusal is final, but for being asked to wait.
fn of_status(status: u16) -> Class {
    if (400..500).contains(&status) && !matches!(status, 408 | 429) { Class::Input } else { Class::Passing }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Authority => "the certificate authority",
            Self::Log => "the transparency log",
            Self::Timestamps => "the timestamp authority",
        })
    }
}
