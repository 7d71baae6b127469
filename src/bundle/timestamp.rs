//! What sigstore-tsa passes over in a timestamp (RFC 3161), although somebody could change it.
//!
//! # Why
//!
//! A token carries copies of certificates and other parts that its signature does not cover. Nobody reads them; still, what was
//! changed after it was signed is refused, and what somebody added is not passed on.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{self, AnyRef, Decode as _, Encode as _, Reader as _, SliceReader};

use super::refused::Refused;
use super::trust::TrustRoot;

/// SHA-256, SHA-384 and SHA-512, and ECDSA with each: RFC 5754, sections 2 and 3.3. Sigstore's authorities have no other.
const SIGNATURES: [(ObjectIdentifier, ObjectIdentifier); 3] = [
    (oid("2.16.840.1.101.3.4.2.1"), oid("1.2.840.10045.4.3.2")),
    (oid("2.16.840.1.101.3.4.2.2"), oid("1.2.840.10045.4.3.3")),
    (oid("2.16.840.1.101.3.4.2.3"), oid("1.2.840.10045.4.3.4")),
];

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// Checks the parts of a token that its signature does not cover.
pub(super) fn check(token: &[u8], root: &TrustRoot) -> Result<(), Refused> {
    let wrong = |reason: &str| Refused::Timestamp(reason.to_owned());
    let token = signed_data(token).map_err(|error| Refused::Timestamp(format!("it cannot be read: {error}")))?;
    let [signer] = token.signer_infos.0.as_slice() else { return Err(wrong("it has not one signature")) };
    if signer.unsigned_attrs.is_some() || token.crls.is_some() {
        return Err(wrong("it has parts that nobody signed"));
    }
    if token.digest_algorithms.iter().ne([&signer.digest_alg]) {
        return Err(wrong("it names other digests than its signature's"));
    }
    let named = (signer.digest_alg.oid, signer.signature_algorithm.oid);
    if !SIGNATURES.contains(&named) || signer.signature_algorithm.parameters.is_some() {
        return Err(wrong("its signature's algorithm is none that is checked"));
    }
    let authorities = root.root.timestamp_authorities.iter();
    let known: Vec<_> = authorities
        .flat_map(|authority| &authority.cert_chain.certificates)
        .map(|known| known.raw_bytes.as_bytes())
        .collect();
    for certificate in token.certificates.iter().flat_map(|set| set.0.iter()) {
        let CertificateChoices::Certificate(certificate) = certificate else {
            return Err(wrong("it has a certificate of another kind"));
        };
        let der = certificate.to_der().map_err(|error| Refused::Timestamp(format!("its certificate: {error}")))?;
        if !known.contains(&der.as_slice()) {
            return Err(wrong("it has a certificate that is not in the trust root, or was changed"));
        }
    }
    Ok(())
}

/// The token, alone or in an answer that says that it was granted.
fn signed_data(token: &[u8]) -> der::Result<SignedData> {
    let info = ContentInfo::from_der(token).or_else(|_in_an_answer| {
        let mut reader = SliceReader::new(token)?;
        let info = reader.sequence(|answer| {
            let _status = AnyRef::decode(answer)?;
            ContentInfo::decode(answer)
        })?;
        reader.finish(info)
    })?;
    info.content.decode_as()
}
