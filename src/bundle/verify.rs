//! Checks a bundle.
//!
//! # Why
//!
//! The signature comes first, so that who changed it or what it is over hears of just that, and not of the timestamp, which then
//! does not fit either. Who signed comes last: a name in a certificate that does not hold is nobody's.

use jiff::Timestamp;
use sigstore_crypto::{KeyAlgorithm, SigningScheme, verify_signature, verify_signature_prehashed};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::bundle::VerificationMaterialContent;
use sigstore_types::{DerPublicKey, HashAlgorithm, MediaType, MessageSignature, Sha256Hash, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};

use super::certificate::Certificate;
use super::public_key::PublicKey;
use super::refused::Refused;
use super::signer::Signer;
use super::trust::TrustRoot;
use super::verified::{Content, Identity, Proof, SignedBy, SigningTime, TimeSource, Unproven, Verified};
use super::{Artifact, Bundle, PAYLOAD_TYPE, json, log};
use crate::digest::Digest;

/// How far the clock of this machine may be behind a timestamp authority's.
const CLOCK_TOLERANCE_S: i64 = 300;

/// Checks that one of `signers` signed `artifact`, or a statement about it.
///
/// Nothing is fetched. A bundle with a certificate is checked as a whole: chain, certificate transparency, log and time, against
/// `root`. One by a key needs no `root`; whatever witnesses it has are checked if there is one.
pub fn verify(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    signers: &[Signer],
    root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<Verified, Refused> {
    if signers.is_empty() {
        return Err(Refused::Nobody);
    }
    let checked = Checked::new(bundle, artifact)?;
    match bundle.inner.signing_certificate() {
        Some(certificate) => {
            let certificate = Certificate::parse(certificate)?;
            let root = root.ok_or(Refused::NoTrustRoot)?;
            checked.by_certificate(certificate, signers, root, now)
        }
        None => checked.by_key(signers, root, now),
    }
}

/// A bundle whose form is right, and what it is compared with.
struct Checked<'a> {
    bundle: &'a Bundle,
    artifact: sigstore_types::Artifact<'a>,
    given: Artifact<'a>,
    content: Content,
}

impl<'a> Checked<'a> {
    fn new(bundle: &'a Bundle, given: Artifact<'a>) -> Result<Self, Refused> {
        check_form(bundle)?;
        let (content, subject) = match &bundle.inner.content {
            SignatureContent::DsseEnvelope(envelope) => {
                if envelope.payload_type != PAYLOAD_TYPE {
                    return Err(Refused::PayloadType(envelope.payload_type.chars().take(120).collect()));
                }
                let payload = envelope.payload.as_bytes();
                (Content::Statement(payload.to_vec()), first_subject(payload)?)
            }
            SignatureContent::MessageSignature(signature) => {
                let digest = given.digest().ok_or(Refused::NoArtifact)?;
                check_message_digest(signature, given)?;
                (Content::File(digest), None)
            }
            _ => return Err(Refused::Unsupported("what is signed is neither an envelope nor a file".to_owned())),
        };
        let artifact = match (given, subject) {
            (Artifact::Content(bytes), _) => sigstore_types::Artifact::from(bytes),
            (Artifact::Digest(digest), _) => of_digest(digest),
            (Artifact::Unbound, Some(subject)) => of_digest(subject),
            (Artifact::Unbound, None) => {
                return Err(Refused::Payload("its first subject has no SHA-256".to_owned()));
            }
        };
        Ok(Self { bundle, artifact, given, content })
    }

    fn by_certificate(
        self,
        certificate: Certificate,
        signers: &[Signer],
        root: &TrustRoot,
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        let entries = &self.bundle.inner.verification_material.tlog_entries;
        if entries.is_empty() {
            return Err(Refused::NoLogEntry);
        }
        self.check_chain(root)?;
        self.check_signature(&certificate.info.public_key, certificate.info.key_algorithm, "certificate's key")?;
        let policy = VerificationPolicy::any_identity();
        let result = root.verifier.verify(self.artifact.clone(), &self.bundle.inner, &policy)?;
        if !(result.certificate_verified() && result.sct_verified() && result.tlog_verified()) {
            return Err(Refused::Structure("not everything was checked".to_owned()));
        }
        let time = time_of(&result, now)?.ok_or_else(|| Refused::NoTime("there is no time".to_owned()))?;
        log::check_logs(entries, root, time.at)?;
        let matched = match_certificate(&certificate, signers)?;
        let mut proven = vec![Proof::Certificate, Proof::Sct];
        proven.extend(self.witnesses());
        Ok(self.verified(certificate.into_signer(), matched, Some(time), proven, Vec::new()))
    }

    fn by_key(self, signers: &[Signer], root: Option<&TrustRoot>, now: Timestamp) -> Result<Verified, Refused> {
        let (matched, key) = match_key(self.bundle, signers)?;
        self.check_key_id(key)?;
        self.check_signature(key.der(), key.algorithm(), "key")?;
        let material = &self.bundle.inner.verification_material;
        let entries = &material.tlog_entries;
        let has_timestamp = !material.timestamp_verification_data.rfc3161_timestamps.is_empty();
        let (mut proven, mut unproven, mut time) = (Vec::new(), Vec::new(), None);
        if entries.is_empty() {
            if self.bundle.inner.media_type != MediaType::Bundle0_3 {
                return Err(Refused::NoLogEntry);
            }
            unproven.push(Unproven::Log);
        }
        match root {
            Some(root) if !entries.is_empty() || has_timestamp => {
                let policy = PublicKeyVerificationPolicy::new(key.der().clone());
                let policy = if entries.is_empty() { policy.skip_tlog_unsafe() } else { policy };
                let result = root.verifier.verify(self.artifact.clone(), &self.bundle.inner, &policy)?;
                time = time_of(&result, now)?;
                log::check_logs(entries, root, time.map_or(now, |time| time.at))?;
                proven.extend(self.witnesses());
            }
            Some(_) => {}
            None => {
                self.check_entries_alone(key)?;
                unproven.extend((!entries.is_empty()).then_some(Unproven::LogEntry));
                unproven.extend(has_timestamp.then_some(Unproven::Timestamp));
            }
        }
        unproven.extend(time.is_none().then_some(Unproven::Time));
        self.check_binding()?;
        let identity = Identity::Key { fingerprint: key.fingerprint() };
        let by = SignedBy { identity, claims: std::collections::BTreeMap::new() };
        Ok(self.verified(by, matched, time, proven, unproven))
    }

    /// The signature itself, over what is in the bundle or the file at hand.
    fn check_signature(&self, key: &DerPublicKey, algorithm: KeyAlgorithm, by: &'static str) -> Result<(), Refused> {
        let failed = |source| Refused::Signature { by, source: Box::new(source) };
        match &self.bundle.inner.content {
            SignatureContent::DsseEnvelope(envelope) => {
                let scheme = algorithm.default_signing_scheme();
                verify_signature(key, &envelope.pae(), &envelope.signature.sig, scheme).map_err(failed)
            }
            SignatureContent::MessageSignature(signature) => {
                let scheme = scheme_of(algorithm, signature)?;
                match (self.given, scheme.hash_algorithm()) {
                    (Artifact::Content(bytes), _) => verify_signature(key, bytes, &signature.signature, scheme),
                    (Artifact::Digest(digest), Some(HashAlgorithm::Sha2256)) => {
                        verify_signature_prehashed(key, digest.as_bytes(), &signature.signature, scheme)
                    }
                    (Artifact::Digest(_), _) => {
                        return Err(Refused::Artifact(format!(
                            "a signature of the kind {} needs the file itself, not its SHA-256",
                            scheme.name()
                        )));
                    }
                    (Artifact::Unbound, _) => return Err(Refused::NoArtifact),
                }
                .map_err(failed)
            }
            _ => Err(Refused::Unsupported("what is signed is neither an envelope nor a file".to_owned())),
        }
    }

    /// DSSE calls the `keyid` a hint that nobody may rely on; one that lies is refused all the same.
    fn check_key_id(&self, key: &PublicKey) -> Result<(), Refused> {
        let id = self.bundle.key_id();
        if id.is_empty() || id == key.hint() || id == key.fingerprint().hex() {
            return Ok(());
        }
        Err(Refused::KeyId(id.chars().take(120).collect()))
    }

    /// The certificates around the signer's have to be the authority's own: others would be passed over, whatever they say.
    fn check_chain(&self, root: &TrustRoot) -> Result<(), Refused> {
        let id = self.bundle.key_id();
        if !id.is_empty() {
            return Err(Refused::KeyId(id.chars().take(120).collect()));
        }
        let material = &self.bundle.inner.verification_material.content;
        let VerificationMaterialContent::X509CertificateChain { certificates } = material else { return Ok(()) };
        let known = |certificate: &sigstore_types::X509Certificate| {
            let authorities = root.root.certificate_authorities.iter();
            authorities
                .flat_map(|authority| &authority.cert_chain.certificates)
                .any(|known| known.raw_bytes == certificate.raw_bytes)
        };
        if certificates.iter().skip(1).all(known) {
            return Ok(());
        }
        Err(Refused::Chain("the bundle has a further certificate that is not in the trust root".to_owned()))
    }

    /// Without a trust root: whether the log entries are at least of this signature.
    fn check_entries_alone(&self, key: &PublicKey) -> Result<(), Refused> {
        if self.bundle.inner.verification_material.tlog_entries.is_empty() {
            return Ok(());
        }
        let mut bundle = self.bundle.inner.clone();
        bundle.verification_material.timestamp_verification_data.rfc3161_timestamps.clear();
        let empty = r#"{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        let nobody = TrustedRoot::from_json(empty).map_err(|error| Refused::TrustRoot(error.to_string()))?;
        let policy = PublicKeyVerificationPolicy::new(key.der().clone()).skip_tlog_unsafe();
        Verifier::new(&nobody)?.verify(self.artifact.clone(), &bundle, &policy)?;
        Ok(())
    }

    /// Whether the file is a subject of the statement; a signed file was compared with its signature already.
    fn check_binding(&self) -> Result<(), Refused> {
        let (Content::Statement(payload), Some(digest)) = (&self.content, self.given.digest()) else { return Ok(()) };
        let statement: sigstore_types::Statement =
            serde_json::from_slice(payload).map_err(|error| Refused::Payload(error.to_string()))?;
        if statement.matches_sha256(&Sha256Hash::new(*digest.as_bytes())) {
            return Ok(());
        }
        Err(Refused::Artifact(format!("{digest} is none of the statement's {} subjects", statement.subject.len())))
    }

    /// What those that were checked against a trust root are good for.
    fn witnesses(&self) -> impl Iterator<Item = Proof> + use<> {
        let material = &self.bundle.inner.verification_material;
        let log = (!material.tlog_entries.is_empty()).then_some(Proof::Log);
        let promised = material.tlog_entries.iter().any(|entry| entry.inclusion_promise.is_some());
        let stamped = !material.timestamp_verification_data.rfc3161_timestamps.is_empty();
        [log, promised.then_some(Proof::Promise), stamped.then_some(Proof::Timestamp)].into_iter().flatten()
    }

    fn verified(
        self,
        by: SignedBy,
        matched: usize,
        time: Option<SigningTime>,
        mut proven: Vec<Proof>,
        mut unproven: Vec<Unproven>,
    ) -> Verified {
        proven.extend([Proof::Signature, Proof::Signer]);
        match self.given {
            Artifact::Unbound => unproven.push(Unproven::Artifact),
            Artifact::Digest(_) | Artifact::Content(_) => proven.push(Proof::Artifact),
        }
        proven.sort_unstable();
        unproven.sort_unstable();
        Verified { content: self.content, by, matched, time, proven, unproven }
    }
}

/// The earliest time that a believed witness tells.
fn time_of(result: &VerificationResult, now: Timestamp) -> Result<Option<SigningTime>, Refused> {
    let latest = result.verified_timestamps().iter().max();
    if latest.is_some_and(|latest| latest.as_second() > now.as_second() + CLOCK_TOLERANCE_S) {
        return Err(Refused::Timestamp("it is of the future".to_owned()));
    }
    let at = result.verified_timestamps().iter().min().copied();
    Ok(at.map(|at| {
        let source = if result.integrated_time() == Some(at) { TimeSource::Log } else { TimeSource::Authority };
        SigningTime { at, source }
    }))
}

/// What has to be so whoever signed.
fn check_form(bundle: &Bundle) -> Result<(), Refused> {
    let material = &bundle.inner.verification_material;
    let chain = matches!(material.content, VerificationMaterialContent::X509CertificateChain { .. });
    let single = matches!(material.content, VerificationMaterialContent::Certificate(_));
    let old = bundle.inner.media_type != MediaType::Bundle0_3;
    if (old && single) || (!old && chain) {
        return Err(Refused::Structure(format!(
            "a {} is not allowed in a bundle of the media type {}",
            if chain { "certificate chain" } else { "single certificate" },
            bundle.inner.media_type
        )));
    }
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps.iter();
    let timestamps: Vec<_> = timestamps.map(|timestamp| timestamp.signed_timestamp.as_bytes()).collect();
    log::check_form(&material.tlog_entries, &timestamps)
}

/// Reads the payload as strictly as the bundle: whoever reads it after this sees the same subjects. Gives the first one's
/// SHA-256.
pub(super) fn first_subject(payload: &[u8]) -> Result<Option<Digest>, Refused> {
    let value = json::read(payload).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Refused::Payload(format!("{error}{cause}"))
    })?;
    let subjects = value["subject"].as_array().map_or(&[][..], Vec::as_slice);
    let first = subjects.first().ok_or_else(|| Refused::Payload("it has no subject".to_owned()))?;
    Ok(first["digest"]["sha256"].as_str().and_then(|hex| Digest::from_hex(hex).ok()))
}

/// The digest beside a file's signature decides how that is read, so it has to be the file's.
fn check_message_digest(signature: &MessageSignature, given: Artifact<'_>) -> Result<(), Refused> {
    let Some(said) = &signature.message_digest else { return Ok(()) };
    let actual = match (given, said.algorithm) {
        (Artifact::Content(bytes), HashAlgorithm::Sha2384) => sigstore_crypto::sha384(bytes).as_bytes().to_vec(),
        (Artifact::Content(bytes), HashAlgorithm::Sha2512) => sigstore_crypto::sha512(bytes).as_bytes().to_vec(),
        (Artifact::Content(bytes), HashAlgorithm::Sha2256) => Digest::of(bytes).as_bytes().to_vec(),
        (Artifact::Digest(digest), HashAlgorithm::Sha2256) => digest.as_bytes().to_vec(),
        (Artifact::Digest(_), other) => {
            return Err(Refused::Artifact(format!("its {other} is needed, which only the file itself has")));
        }
        (Artifact::Unbound, _) => return Err(Refused::NoArtifact),
        (Artifact::Content(_), other) => return Err(Refused::Unsupported(format!("the digest is a {other}"))),
    };
    if said.digest.as_bytes() == actual {
        return Ok(());
    }
    let hex = |bytes: &[u8]| sigstore_types::DigestBytes::from(bytes).to_hex();
    Err(Refused::Digest {
        algorithm: said.algorithm.to_string(),
        signed: hex(said.digest.as_bytes()),
        given: hex(&actual),
    })
}

fn scheme_of(algorithm: KeyAlgorithm, signature: &MessageSignature) -> Result<SigningScheme, Refused> {
    match &signature.message_digest {
        Some(digest) => {
            algorithm.resolve_signing_scheme(digest.algorithm).map_err(|error| Refused::SignatureKey(Box::new(error)))
        }
        None => Ok(algorithm.default_signing_scheme()),
    }
}

fn of_digest(digest: Digest) -> sigstore_types::Artifact<'static> {
    sigstore_types::Artifact::from_digest(Sha256Hash::new(*digest.as_bytes()))
}

/// The first of `signers` that it is. What it fails at is told of the one that comes closest.
fn match_certificate(certificate: &Certificate, signers: &[Signer]) -> Result<usize, Refused> {
    let mut closest: Option<(u8, Refused)> = None;
    for (index, signer) in signers.iter().enumerate() {
        let Signer::Certificate(wanted) = signer else { continue };
        match certificate.check(wanted) {
            Ok(()) => return Ok(index),
            Err(refused) => {
                let rank = if matches!(refused, Refused::Claim { .. }) {
                    2
                } else {
                    u8::from(matches!(refused, Refused::Issuer { .. }))
                };
                if closest.as_ref().is_none_or(|(best, _)| rank > *best) {
                    closest = Some((rank, refused));
                }
            }
        }
    }
    let others: Vec<String> = signers.iter().map(ToString::to_string).collect();
    Err(match closest {
        Some((0, Refused::Identity { actual, .. })) if others.len() > 1 => {
            Refused::Identity { actual, wanted: others.join(", or ") }
        }
        Some((_, refused)) => refused,
        None => Refused::Way { found: "certificate", wanted: "a key" },
    })
}

/// The one of `signers` that the bundle's hint names.
fn match_key<'s>(bundle: &Bundle, signers: &'s [Signer]) -> Result<(usize, &'s PublicKey), Refused> {
    let VerificationMaterialContent::PublicKey(named) = &bundle.inner.verification_material.content else {
        return Err(Refused::Structure("there is neither a certificate nor a key".to_owned()));
    };
    let mut keys = signers.iter().enumerate().filter_map(|(index, signer)| match signer {
        Signer::Key(key) => Some((index, key)),
        Signer::Certificate(_) => None,
    });
    if let Some(found) = keys.clone().find(|(_, key)| key.hint() == named.hint) {
        return Ok(found);
    }
    if keys.next().is_none() {
        return Err(Refused::Way { found: "key", wanted: "an identity" });
    }
    let wanted: Vec<_> = signers
        .iter()
        .filter_map(|signer| match signer {
            Signer::Key(key) => Some(format!("{} ({})", key.hint(), key.fingerprint())),
            Signer::Certificate(_) => None,
        })
        .collect();
    Err(Refused::Hint { found: named.hint.chars().take(120).collect(), wanted: wanted.join(", ") })
}
