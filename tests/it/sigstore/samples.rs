//! Bundles that lie in `tests/fixtures/bundles`: good ones by several clients, and some that no client of good faith makes.
//!
//! Their certificates expired ten minutes after they were made, as all do; what vouches for them is valid until 2049. Made by
//! `PGPROOF_TEST_SAMPLES=tests/fixtures/bundles tests/run samples_are_made`.

use std::path::{Path, PathBuf};

use pgproof::bundle::{Artifact, Bundle, Means, PublicKey, Signer, SigningKey, TrustRoot, Unsigned, sign, verify};

use super::clients::{ARTIFACT, Bench, Client, What, statement};
use super::{Identity, Mood, Rekor, Sigstore, by_certificate, now};

/// A good bundle of each kind that pgproof makes, and another one of its kind.
pub(super) const PAIRS: [(&str, &str); 6] = [
    ("pgproof-statement-v1", "other-statement-v1"),
    ("pgproof-statement-v2", "other-statement-v2"),
    ("pgproof-file-v1", "other-file-v1"),
    ("pgproof-file-v2", "other-file-v2"),
    ("pgproof-statement-key", "other-statement-key"),
    ("pgproof-file-key", "other-file-key"),
];

/// Good bundles by others.
pub(super) const FOREIGN: [&str; 13] = [
    "cosign-file-key",
    "cosign-file-v1",
    "cosign-file-v2",
    "cosign-statement-key",
    "cosign-statement-v1",
    "cosign-statement-v2",
    "sigstore-js-file-v1",
    "sigstore-js-file-v2",
    "sigstore-js-statement-v1",
    "sigstore-python-file-v1",
    "sigstore-python-file-v2",
    "sigstore-python-statement-v1",
    "sigstore-python-statement-v2",
];

/// Bundles that were made before services which lied, and what has to be said of them. All of them are statements in Rekor v1,
/// or files in Rekor v2.
pub(super) const LIES: [(&str, Mood, &str); 9] = [
    ("expired", Mood::Authority("expired"), "was not valid when it was used"),
    ("no-promise", Mood::Authority("no-promise"), "signed certificate timestamp (SCT) does not hold"),
    ("forged-promise", Mood::Authority("forged-promise"), "signed certificate timestamp (SCT) does not hold"),
    ("forged-authority", Mood::Authority("forged"), "not of an authority in the trust root"),
    ("other-key", Mood::Authority("other-key"), "not one over this content by the certificate's key"),
    ("other-entry", Mood::Log("other-entry"), "log entry is not one of this signature"),
    ("forged-log", Mood::Log("forged"), "log"),
    ("other-message", Mood::Timestamps("other-message"), "timestamp (RFC 3161) does not hold"),
    ("forged-timestamps", Mood::Timestamps("forged"), "timestamp (RFC 3161) does not hold"),
];

/// Another file that is signed, by the same.
const OTHER: &[u8] = b"not really PostgreSQL either\n";

/// What is at hand to check the samples with.
pub(super) struct Samples {
    directory: PathBuf,
    root: TrustRoot,
    key: Signer,
    issuer: String,
}

impl Samples {
    pub(super) fn new() -> Self {
        Self::of(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bundles"))
    }

    fn of(directory: PathBuf) -> Self {
        let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
        let root = read("trusted_root.json");
        let json: serde_json::Value = serde_json::from_slice(&root).unwrap();
        let url = json["certificateAuthorities"][0]["uri"].as_str().unwrap();
        let key = Signer::Key(PublicKey::from_pem(&read("key.pub")).unwrap());
        Self { issuer: format!("{url}/oauth2"), root: TrustRoot::parse(&root).unwrap(), key, directory }
    }

    pub(super) fn root(&self) -> &TrustRoot {
        &self.root
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(format!("{name}.sigstore.json"))).unwrap()
    }

    /// Who signed the sample.
    pub(super) fn signer(&self, name: &str) -> Signer {
        if name.ends_with("-key") {
            self.key.clone()
        } else if name.contains("statement") {
            by_certificate(Identity::Builder.subject(), "https://token.actions.githubusercontent.com")
        } else {
            by_certificate(Identity::Person.subject(), &self.issuer)
        }
    }

    /// Whether a bundle is accepted where this sample should be.
    pub(super) fn check(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let bundle = Bundle::parse(bytes).map_err(|error| chain(&error))?;
        let verified = verify(&bundle, Artifact::Content(ARTIFACT), &[self.signer(name)], Some(&self.root), now());
        verified.map(drop).map_err(|refused| chain(&refused))
    }
}

/// An error and its causes, as a person sees them.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn samples_are_made() {
    let Some(directory) = std::env::var_os("PGPROOF_TEST_SAMPLES").map(PathBuf::from) else { return };
    let Some(sigstore) = Sigstore::shared() else { return };
    std::fs::create_dir_all(&directory).unwrap();
    let save = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.join(format!("{name}.sigstore.json")), bytes).unwrap();
    };
    let bench = Bench::new();
    let (key, public) = bench.key();
    for (from, to) in [(sigstore.file("trusted_root.json"), "trusted_root.json"), (public, "key.pub")] {
        std::fs::copy(from, directory.join(to)).unwrap();
    }
    let key = SigningKey::of_file(&key, None).unwrap();
    let other =
        statement().replace(&pgproof::digest::Digest::of(ARTIFACT).hex(), &pgproof::digest::Digest::of(OTHER).hex());
    let ours = statement();
    for what in What::ALL {
        let (good, another) = match what {
            What::Statement => (Unsigned::Statement(ours.as_bytes()), Unsigned::Statement(other.as_bytes())),
            What::File => (Unsigned::File(ARTIFACT), Unsigned::File(OTHER)),
        };
        for (by, unsigned) in [("pgproof", good), ("other", another)] {
            for rekor in Rekor::ALL {
                let (token, instance) = (sigstore.token(what.identity()), sigstore.instance(rekor, None));
                let signed = sign(unsigned, Means::Identity(&token, &instance), now()).unwrap();
                save(&format!("{by}-{}-{}", what.name(), rekor.name()), signed.bytes());
            }
            let signed = sign(unsigned, Means::Key(&key), now()).unwrap();
            save(&format!("{by}-{}-key", what.name()), signed.bytes());
        }
        for client in Client::ALL {
            for rekor in Rekor::ALL {
                let Some(bytes) = bench.sign(client, &sigstore, rekor, what) else { continue };
                save(&format!("{}-{}-{}", client.name(), what.name(), rekor.name()), &bytes);
            }
        }
        save(&format!("cosign-{}-key", what.name()), &bench.sign_with_cosign_key(what));
    }
    for (name, mood, _) in LIES {
        save(&format!("{name}-statement-v1"), &bench.sign_in_mood(&sigstore, Rekor::V1, What::Statement, Some(mood)));
        save(&format!("{name}-file-v2"), &bench.sign_in_mood(&sigstore, Rekor::V2, What::File, Some(mood)));
    }
    let late = Some(Mood::Log("late"));
    save("late-statement-v1", &bench.sign_in_mood(&sigstore, Rekor::V1, What::Statement, late));
    Samples::of(directory);
}

#[test]
fn samples_are_accepted() {
    let samples = Samples::new();
    for name in PAIRS.into_iter().map(|(name, _)| name).chain(FOREIGN) {
        samples.check(name, &samples.read(name)).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
}

#[test]
fn other_people_and_other_files_are_refused() {
    let samples = Samples::new();
    for name in PAIRS.into_iter().map(|(name, _)| name).chain(FOREIGN) {
        let bundle = Bundle::parse(&samples.read(name)).unwrap();
        let check = |artifact, signer: Signer, root: Option<&TrustRoot>| {
            verify(&bundle, artifact, &[signer], root, now()).map(drop).map_err(|refused| chain(&refused)).unwrap_err()
        };
        let (root, signer) = (Some(samples.root()), samples.signer(name));
        let file = check(Artifact::Content(OTHER), signer.clone(), root);
        assert!(
            ["the file is not what was signed", "not of one with"].iter().any(|part| file.contains(part)),
            "{file}"
        );
        if name.ends_with("-key") {
            let way = check(Artifact::Content(ARTIFACT), by_certificate("a@example.org", "b"), root);
            assert!(way.contains("signed with a key"), "{way}");
            continue;
        }
        let Signer::Certificate(right) = &signer else { unreachable!() };
        let (subject, issuer) = (right.identity().to_string(), right.issuer().to_string());
        let someone = check(Artifact::Content(ARTIFACT), by_certificate("somebody@example.org", &issuer), root);
        assert!(someone.contains(&format!("signed by \"{subject}\", not by somebody@example.org")), "{someone}");
        let attested = check(Artifact::Content(ARTIFACT), by_certificate(&subject, "https://evil.example"), root);
        assert!(attested.contains(&format!("attested by \"{issuer}\", not by https://evil.example")), "{attested}");
        let way = check(Artifact::Content(ARTIFACT), samples.key.clone(), root);
        assert!(way.contains("signed with a certificate"), "{way}");
        let nobody = check(Artifact::Content(ARTIFACT), signer, None);
        assert!(nobody.contains("without a trust root"), "{nobody}");
    }
}

#[test]
fn what_lying_services_gave_is_refused() {
    let samples = Samples::new();
    for (name, _, wanted) in LIES {
        for kind in ["statement-v1", "file-v2"] {
            let name = format!("{name}-{kind}");
            let refused = samples.check(&name, &samples.read(&name)).unwrap_err();
            assert!(refused.contains(wanted), "{name}: {refused}");
        }
    }
    let late = samples.check("late-statement-v1", &samples.read("late-statement-v1")).unwrap_err();
    // In the first hour after it was made the log's time is still to come.
    assert!(late.contains("was not valid when it was used") || late.contains("is in the future"), "{late}");
}
