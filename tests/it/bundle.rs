//! What is signed holds; what was changed, or signed by somebody else, is refused, and the reason names what failed.

pub(crate) mod keys;

mod hostile;
mod openpgp;
mod signers;

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use pgproof::bundle::{
    Artifact, Bundle, Content, Identity, Means, PublicKey, Refused, Secret, Signed, Signer, SigningKey, Unproven,
    Unsigned, Verified, sign, verify,
};
use pgproof::digest::Digest;

use keys::{Encoding, Kind, openssl, private_key, public_key};

/// 2026-11-01, when all is signed here.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_793_491_200).unwrap()
}

/// A statement about a file with this content.
pub(crate) fn statement(file: &[u8]) -> Vec<u8> {
    let digest = Digest::of(file).hex();
    let text = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{"a":[1,{{"b":null}}]}},"predicateType":"urn:test:1","subject":[{{"digest":{{"sha256":"{digest}"}},"name":"file"}}]}}"#
    );
    text.into_bytes()
}

pub(crate) fn key(kind: Kind) -> SigningKey {
    let secret = Secret::new(private_key(kind, Encoding::Pkcs8Pem)).unwrap();
    SigningKey::read(&secret, None).unwrap()
}

fn signed(what: Unsigned<'_>, kind: Kind) -> Signed {
    sign(what, Means::Key(&key(kind)), now()).unwrap()
}

fn named(kind: Kind) -> [Signer; 1] {
    [Signer::Key(PublicKey::from_pem(&public_key(kind)).unwrap())]
}

fn verified(bundle: &[u8], artifact: Artifact<'_>, kind: Kind) -> Result<Verified, Refused> {
    verify(&Bundle::parse(bundle).unwrap(), artifact, &named(kind), None, now())
}

#[test]
fn every_kind_of_key_in_every_form_signs_what_holds() {
    let file = b"what was built";
    let statement = statement(file);
    let password = Secret::new(keys::PASSWORD.into()).unwrap();
    for kind in Kind::ALL {
        for encoding in Encoding::of(kind) {
            let secret = Secret::new(private_key(kind, encoding)).unwrap();
            let key = SigningKey::read(&secret, encoding.is_encrypted().then_some(&password));
            let key = key.unwrap_or_else(|error| panic!("{kind:?} {encoding:?}: {error}"));
            assert_eq!(key.public().to_pem().as_bytes(), public_key(kind), "{kind:?} {encoding:?}");

            let made = sign(Unsigned::Statement(&statement), Means::Key(&key), now()).unwrap();
            let found = verified(made.bytes(), Artifact::Digest(Digest::of(file)), kind).unwrap();
            assert_eq!(found.statement(), Some(&statement[..]));
            assert_eq!(*found.signer().identity(), Identity::Key { fingerprint: key.public().fingerprint() });
            assert_eq!((found.matched(), found.time()), (0, None));
            // A key alone shows neither the time nor that others can see it, and that is said.
            assert_eq!(found.unproven(), [Unproven::Time, Unproven::Log]);

            let made = sign(Unsigned::File(file), Means::Key(&key), now()).unwrap();
            let found = verified(made.bytes(), Artifact::Content(file), kind).unwrap();
            assert_eq!(*found.content(), Content::File(Digest::of(file)));
            let other = verified(made.bytes(), Artifact::Content(b"something else"), kind).unwrap_err();
            assert!(matches!(other, Refused::Digest { .. }), "{other}");
        }
    }
}

#[test]
fn a_file_s_signature_is_checked_from_its_digest_where_that_is_possible() {
    let file = b"large";
    let digest = Artifact::Digest(Digest::of(file));
    verified(signed(Unsigned::File(file), Kind::P256).bytes(), digest, Kind::P256).unwrap();
    for kind in [Kind::P384, Kind::Ed25519] {
        let refused = verified(signed(Unsigned::File(file), kind).bytes(), digest, kind).unwrap_err();
        assert!(refused.to_string().contains("file itself"), "{refused}");
    }
    let refused = verified(signed(Unsigned::File(file), Kind::P256).bytes(), Artifact::Unbound, Kind::P256);
    assert!(matches!(refused, Err(Refused::NoArtifact)), "{refused:?}");
}

#[test]
fn a_statement_is_compared_with_the_file_or_said_not_to_be() {
    let statement = statement(b"one");
    let made = signed(Unsigned::Statement(&statement), Kind::P256);
    let other = verified(made.bytes(), Artifact::Digest(Digest::of(b"two")), Kind::P256).unwrap_err();
    assert!(matches!(&other, Refused::Artifact(_)) && other.to_string().contains("subject"), "{other}");
    verified(made.bytes(), Artifact::Content(b"one"), Kind::P256).unwrap();
    let unbound = verified(made.bytes(), Artifact::Unbound, Kind::P256).unwrap();
    assert!(unbound.unproven().contains(&Unproven::Artifact));
    assert_eq!(Bundle::parse(made.bytes()).unwrap().unverified_statement(), Some(&statement[..]));
}

#[test]
fn nothing_but_statements_is_signed_as_one() {
    let key = key(Kind::P256);
    let good = String::from_utf8(statement(b"one")).unwrap();
    let twice = good.replace("\"subject\"", "\"predicateType\":\"urn:other:1\",\"subject\"");
    for (bad, wanted) in [
        ("[]".to_owned(), "_type"),
        ("nonsense".to_owned(), "not JSON"),
        (good.replace("Statement/v1", "Statement/v9"), "_type"),
        (good.replace("predicateType", "predicate_type"), "predicateType"),
        (twice, "there twice"),
        (format!("{}}}", good.split("\"subject\"").next().unwrap().trim_end_matches(',')), "no subject"),
    ] {
        let error = sign(Unsigned::Statement(bad.as_bytes()), Means::Key(&key), now()).unwrap_err();
        let told = keys::chain(&error);
        assert!(told.contains(wanted), "{told}: {bad}");
    }
}

#[test]
fn openssl_accepts_the_signature() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let statement = statement(b"one");
    for kind in [Kind::P256, Kind::Ed25519] {
        let made = signed(Unsigned::Statement(&statement), kind);
        let bundle: serde_json::Value = serde_json::from_slice(made.bytes()).unwrap();
        let signature = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
        std::fs::write(place("sig.b64"), signature).unwrap();
        openssl(&["base64", "-d", "-A", "-in", text(&place("sig.b64")), "-out", text(&place("sig"))]);
        std::fs::write(place("key.pub"), public_key(kind)).unwrap();
        // DSSE, protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
        let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", statement.len()).into_bytes();
        message.extend_from_slice(&statement);
        std::fs::write(place("message"), message).unwrap();
        let mut words = vec!["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"];
        let (public, message, signature) = (place("key.pub"), place("message"), place("sig"));
        words.extend([text(&public), "-in", text(&message), "-sigfile", text(&signature)]);
        if kind == Kind::P256 {
            words.extend(["-digest", "sha256"]);
        }
        openssl(&words);
    }
}

#[test]
fn a_wrong_key_file_is_told_apart_and_never_quoted() {
    let password = Secret::new(b"wrong-password-1234".to_vec()).unwrap();
    let encrypted = private_key(Kind::P256, Encoding::EncryptedPem);
    let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let cut = private_key(Kind::P256, Encoding::Pkcs8Pem);
    let cosign =
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    for (bytes, password, wanted) in [
        (encrypted.clone(), None, "no password was given"),
        (encrypted, Some(&password), "password is wrong"),
        (private_key(Kind::Ed25519, Encoding::EncryptedDer), Some(&password), "password is wrong"),
        (rsa, None, "not a key for P-256"),
        (public_key(Kind::P256), None, "not a private key"),
        (b"hello".to_vec(), None, "not a private key"),
        (cut[..cut.len() / 2].to_vec(), None, "not a private key"),
        (cosign.to_vec(), None, "cosign's own form"),
        (vec![b'a'; (1 << 20) + 1], None, "no key has"),
    ] {
        let told = match Secret::new(bytes.clone()).and_then(|secret| SigningKey::read(&secret, password)) {
            Ok(_) => panic!("accepted instead of: {wanted}"),
            Err(error) => keys::chain(&error),
        };
        assert!(told.contains(wanted), "{told}");
        assert!(!told.contains("1234") && !keys::quotes(&told, &bytes), "{told}");
    }
}

#[test]
fn a_key_that_others_can_read_must_have_a_password() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let password = Secret::new(keys::PASSWORD.into()).unwrap();
    for (encoding, mode, accepted) in [
        (Encoding::Pkcs8Pem, 0o600, true),
        (Encoding::Pkcs8Pem, 0o640, false),
        (Encoding::Pkcs8Der, 0o604, false),
        (Encoding::EncryptedPem, 0o644, true),
    ] {
        std::fs::write(&path, private_key(Kind::P256, encoding)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let key = SigningKey::of_file(&path, Some(&password));
        assert_eq!(key.is_ok(), accepted, "{encoding:?} {mode:o}");
        if let Err(error) = key {
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}

#[test]
fn a_private_key_is_not_taken_for_a_public_one() {
    let told = |pem: &[u8]| PublicKey::from_pem(pem).unwrap_err().to_string();
    assert!(told(&private_key(Kind::P256, Encoding::Pkcs8Pem)).contains("private key"));
    assert!(told(b"").contains("BEGIN PUBLIC KEY"));
    assert!(told(&[0xff; 40]).contains("BEGIN PUBLIC KEY"));
    let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let public = keys::piped(Command::new("openssl").args(["pkey", "-pubout"]), &rsa);
    assert!(told(&public).contains("RSA"));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
