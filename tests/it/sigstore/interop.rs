//! Others accept what is signed here, and what others sign is accepted here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgproof::bundle::{
    Artifact, Bundle, Content, Means, Proof, PublicKey, Signed, Signer, SigningKey, Unsigned, Verified, sign, verify,
};
use pgproof::digest::Digest;

use super::clients::{ARTIFACT, Bench, Client, What, said, statement};
use super::{Identity, Rekor, Sigstore, now};

/// What pgproof makes of the file or the statement.
pub(super) fn signed(what: What, means: Means<'_>) -> Signed {
    let statement = statement();
    let what = match what {
        What::Statement => Unsigned::Statement(statement.as_bytes()),
        What::File => Unsigned::File(ARTIFACT),
    };
    sign(what, means, now()).unwrap()
}

fn signed_keylessly(sigstore: &Sigstore, rekor: Rekor, what: What) -> Signed {
    let (token, instance) = (sigstore.token(what.identity()), sigstore.instance(rekor, None));
    signed(what, Means::Identity(&token, &instance))
}

#[test]
fn others_accept_what_is_signed_for_an_identity() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let bench = Bench::new();
    for rekor in Rekor::ALL {
        for what in What::ALL {
            let signed = signed_keylessly(&sigstore, rekor, what);
            for client in Client::ALL {
                let verdict = bench.verify(client, &sigstore, signed.bytes(), what, what.identity());
                verdict.unwrap_or_else(|said| panic!("{} refuses {what:?} before {rekor:?}: {said}", client.name()));
                // It is this identity that it accepts, not any.
                let other = bench.verify(client, &sigstore, signed.bytes(), what, Identity::Rebuilder);
                assert!(other.is_err(), "{} accepts {what:?} before {rekor:?} of anybody", client.name());
            }
        }
    }
}

#[test]
fn what_others_sign_for_an_identity_is_accepted() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let (bench, root) = (Bench::new(), sigstore.trust_root());
    let mut accepted = 0;
    for client in Client::ALL {
        for rekor in Rekor::ALL {
            for what in What::ALL {
                let Some(bytes) = bench.sign(client, &sigstore, rekor, what) else { continue };
                let bundle = Bundle::parse(&bytes).unwrap();
                let check =
                    |artifact, identity| verify(&bundle, artifact, &[sigstore.signer(identity)], Some(&root), now());
                let verified = check(Artifact::Content(ARTIFACT), what.identity())
                    .unwrap_or_else(|refused| panic!("{} {rekor:?} {what:?}: {refused}", client.name()));
                is_whole(&verified, what);
                assert!(check(Artifact::Content(b"something else"), what.identity()).is_err());
                assert!(check(Artifact::Content(ARTIFACT), Identity::Rebuilder).is_err());
                accepted += 1;
            }
        }
    }
    assert_eq!(accepted, 11);
}

/// All that there is to prove is proven.
fn is_whole(verified: &Verified, what: What) {
    let proven = [Proof::Signature, Proof::Signer, Proof::Artifact, Proof::Certificate, Proof::Sct, Proof::Log];
    for proof in proven {
        assert!(verified.proven().contains(&proof), "{proof:?} is missing in {:?}", verified.proven());
    }
    assert_eq!(verified.unproven(), []);
    assert!(verified.time().is_some());
    match what {
        What::Statement => assert!(verified.statement().is_some()),
        What::File => assert_eq!(*verified.content(), Content::File(Digest::of(ARTIFACT))),
    }
}

#[test]
fn others_accept_what_is_signed_with_a_key() {
    if Sigstore::shared().is_none() {
        return;
    }
    let bench = Bench::new();
    let (key, public) = bench.key();
    let key = SigningKey::of_file(&key, None).unwrap();
    let pem = std::fs::read(&public).unwrap();
    assert_eq!(PublicKey::from_pem(&pem).unwrap().fingerprint(), key.public().fingerprint());
    for what in What::ALL {
        let signed = signed(what, Means::Key(&key));
        bench.verify_key_with_cosign(signed.bytes(), what, &public).unwrap();
        bench.verify_key_with_javascript(signed.bytes(), what, &public).unwrap();
        let mut other = signed.bytes().to_vec();
        let at = find(&other, b"\"sig").unwrap() + 20;
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        bench.verify_key_with_cosign(&other, what, &public).unwrap_err();
        bench.verify_key_with_javascript(&other, what, &public).unwrap_err();
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The signature in the bundle is one that needs no knowledge of bundles.
#[test]
fn openssl_accepts_a_signature_of_a_file() {
    if Sigstore::shared().is_none() {
        return;
    }
    let bench = Bench::new();
    let (key, public) = bench.key();
    let key = SigningKey::of_file(&key, None).unwrap();
    let bundle: serde_json::Value = serde_json::from_slice(signed(What::File, Means::Key(&key)).bytes()).unwrap();
    let signature = bundle["messageSignature"]["signature"].as_str().unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let signature = bench.write("signature", &signature);
    let check = |file: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(["dgst", "-sha256", "-verify"]).arg(&public).arg("-signature").arg(&signature);
        said(command.arg(bench.path(file)))
    };
    check("artifact.tar.gz").unwrap();
    check("statement.json").unwrap_err();
}

#[test]
fn what_cosign_signs_with_a_key_is_accepted() {
    if Sigstore::shared().is_none() {
        return;
    }
    let bench = Bench::new();
    let (_, public) = bench.key();
    let signer = [Signer::Key(PublicKey::from_pem(&std::fs::read(public).unwrap()).unwrap())];
    for what in What::ALL {
        let bundle = Bundle::parse(&bench.sign_with_cosign_key(what)).unwrap();
        let verified = verify(&bundle, Artifact::Content(ARTIFACT), &signer, None, now()).unwrap();
        assert_eq!(verified.proven(), [Proof::Signature, Proof::Signer, Proof::Artifact]);
        assert!(verify(&bundle, Artifact::Content(b"something else"), &signer, None, now()).is_err());
    }
}

/// A key before witnesses: the bundle tells when it was made.
#[test]
fn others_accept_what_is_signed_with_a_key_before_witnesses() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let bench = Bench::new();
    let (key, public) = bench.key();
    let key = SigningKey::of_file(&key, None).unwrap();
    for rekor in Rekor::ALL {
        let instance = sigstore.instance(rekor, None);
        for what in What::ALL {
            let signed = signed(what, Means::LoggedKey(&key, &instance));
            assert!(signed.verified().time().is_some());
            bench.verify_logged_key_with_cosign(&sigstore, signed.bytes(), what, &public).unwrap();
        }
    }
}
