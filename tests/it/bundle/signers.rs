//! Who must have signed is always named, and nobody else will do.

use pgproof::bundle::{
    Artifact, Bundle, CertificateIdentity, Claim, Pattern, PublicKey, Refused, Signer, TrustRoot, Unsigned, verify,
};

use super::keys::{self, Kind, openssl, public_key};
use super::{named, now, signed, statement};

fn identity() -> Signer {
    let exact = |text: &str| Pattern::exact(text).unwrap();
    Signer::Certificate(CertificateIdentity::new(exact("me@example.org"), exact("https://issuer.example")))
}

#[test]
fn another_key_another_way_or_nobody_is_refused() {
    let statement = statement(b"one");
    let made = signed(Unsigned::Statement(&statement), Kind::P256);
    let bundle = Bundle::parse(made.bytes()).unwrap();
    let refused = |signers: &[Signer]| verify(&bundle, Artifact::Unbound, signers, None, now()).unwrap_err();
    assert!(matches!(refused(&[]), Refused::Nobody));
    let way = refused(&[identity()]);
    assert!(matches!(way, Refused::Way { .. }), "{way}");
    let other = refused(&named(Kind::Ed25519));
    assert!(matches!(&other, Refused::Hint { .. }) && other.to_string().contains("hint"), "{other}");
    // Another key of the same kind.
    let pem = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let pem = keys::piped(std::process::Command::new("openssl").args(["pkey", "-pubout"]), &pem);
    let stranger = Signer::Key(PublicKey::from_pem(&pem).unwrap());
    assert!(matches!(refused(std::slice::from_ref(&stranger)), Refused::Hint { .. }));
    // Which one it was is told.
    let several = [identity(), stranger, named(Kind::P256)[0].clone()];
    assert_eq!(verify(&bundle, Artifact::Unbound, &several, None, now()).unwrap().matched(), 2);
}

#[test]
fn a_key_is_enough_with_a_trust_root_and_without() {
    let root =
        TrustRoot::parse(br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#).unwrap();
    let statement = statement(b"one");
    let made = signed(Unsigned::Statement(&statement), Kind::P256);
    let bundle = Bundle::parse(made.bytes()).unwrap();
    let found = verify(&bundle, Artifact::Unbound, &named(Kind::P256), Some(&root), now()).unwrap();
    let alone = verify(&bundle, Artifact::Unbound, &named(Kind::P256), None, now()).unwrap();
    assert_eq!((found.proven(), found.unproven()), (alone.proven(), alone.unproven()));
}

#[test]
fn patterns_match_as_a_whole() {
    let exact = Pattern::exact("me@example.org").unwrap();
    assert!(exact.matches("me@example.org") && !exact.matches("me@example.org.evil.example"));
    let expression = |text: &str| Pattern::expression(text).unwrap();
    let workflow = expression(r"https://github\.com/owner/[^/]+/\.github/workflows/release\.yml@refs/tags/v.+");
    let good = "https://github.com/owner/repo/.github/workflows/release.yml@refs/tags/v1.0";
    assert!(workflow.matches(good));
    assert!(!workflow.matches(&format!("https://evil.example/?{good}")));
    assert!(!workflow.matches(&format!("{good}\nmore")) && !workflow.matches(&format!("{good}\n")));
    for (text, hostile) in [("a|b", "ab"), ("a|b", "xb"), ("(?m)^a$", "b\na"), ("a", "a\n"), ("a", "")] {
        assert!(!expression(text).matches(hostile), "{text:?} {hostile:?}");
    }
    assert!(expression("a|b").matches("b") && expression(".*").matches(""));
    for wrong in ["", "(", "a)|(?:b", "(?:a{1000}){1000}", &"a".repeat(5000)] {
        assert!(Pattern::expression(wrong).is_err(), "{:?}", wrong.chars().take(20).collect::<String>());
    }
    assert!(Pattern::exact("").is_err());
}

#[test]
fn claims_have_names() {
    for &claim in Claim::ALL {
        assert_eq!(claim.as_str().parse(), Ok(claim));
    }
    let told = "repository".parse::<Claim>().unwrap_err().to_string();
    assert!(told.contains("source-repository-uri") && told.contains("\"repository\""), "{told}");
}

#[test]
fn what_is_no_trust_root_is_refused() {
    let told = |text: &str| keys::chain(&TrustRoot::parse(text.as_bytes()).unwrap_err());
    let kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
    assert!(told("{}").contains("trusted root"));
    assert!(told(r#"{"mediaType":"application/json"}"#).contains("application/json"));
    assert!(told(&format!(r#"{{"mediaType":"{kind}","mediaType":"{kind}"}}"#)).contains("twice"));
    let empty = r#"{"uri":"https://x.example","certChain":{"certificates":[]}}"#;
    assert!(told(&format!(r#"{{"mediaType":"{kind}","certificateAuthorities":[{empty}]}}"#)).contains("empty"));
    assert!(PublicKey::from_pem(&public_key(Kind::P384)).is_ok());
}
