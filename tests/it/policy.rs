//! A policy is read once, and what cannot be meant is refused.

use std::path::Path;

use pgproof::policy::{Policy, PolicyError};

const KEY: &str = include_str!("../fixtures/bundles/key.pub");
const CERTIFICATE: &str =
    "certificate-identity = \"me@example.org\"\ncertificate-oidc-issuer = \"https://issuer.example\"\n";

fn load(text: &str) -> Result<Policy, PolicyError> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key.pub"), KEY).unwrap();
    std::fs::write(directory.path().join("policy.toml"), text).unwrap();
    Policy::load(&directory.path().join("policy.toml"))
}

/// A policy with this threshold and these entries.
fn with(threshold: u32, entries: &str) -> String {
    format!("version = 1\nthreshold = {threshold}\nnegative = \"veto\"\n{entries}")
}

fn builder(name: &str, signer: &str) -> String {
    format!("[[builder]]\nname = \"{name}\"\n{signer}")
}

fn rebuilder(name: &str, signer: &str) -> String {
    format!("[[rebuilder]]\nname = \"{name}\"\n{signer}")
}

#[test]
fn signers_are_builders_first_and_keys_lie_beside_the_policy() {
    let entries = rebuilder("alice", "key = \"key.pub\"\n") + &builder("ci", CERTIFICATE);
    let policy = load(&format!("{}{entries}", with(2, "trusted-root = \"root.json\"\n"))).unwrap();
    let signers: Vec<_> = policy.signers().iter().map(ToString::to_string).collect();
    assert_eq!(signers[0], "me@example.org of https://issuer.example");
    assert!(signers[1].starts_with("the key sha256:"), "{signers:?}");
    assert_eq!(policy.threshold(), 2);
    assert_eq!(policy.trusted_root().and_then(Path::file_name).unwrap(), "root.json");
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let key = "key = \"key.pub\"\n";
    let both = builder("ci", CERTIFICATE) + &rebuilder("alice", key);
    let refused = [
        (with(1, ""), "names 0 builders"),
        (with(0, &both), "threshold is 0"),
        (with(3, &both), "threshold is 3, and it names 2 signers"),
        // One key in two roles is one signer.
        (with(2, &(builder("me", key) + &rebuilder("me", key))), "threshold is 2, and it names 1 signers"),
        (with(1, &(rebuilder("a", key) + &rebuilder("b", key))), "\"a\" and \"b\" ask for the same signer"),
        (with(1, &(rebuilder("a", key) + &rebuilder("a", CERTIFICATE))), "names \"a\" twice"),
        (with(1, &builder("ci", "")), "needs either a key"),
        (with(1, &builder("ci", "certificate-identity = \"me\"\n")), "needs either a key"),
        (with(1, &builder("ci", &format!("{key}{CERTIFICATE}"))), "needs either a key"),
        (
            with(1, &builder("ci", &format!("{CERTIFICATE}certificate-identity-regexp = \".*\"\n"))),
            "needs either a key",
        ),
        (
            with(1, &builder("ci", &format!("{CERTIFICATE}claims = {{ \"colour\" = \"red\" }}\n"))),
            "a claim that there is not",
        ),
        (
            with(1, &builder("ci", "certificate-identity-regexp = \"(\"\ncertificate-oidc-issuer = \"i\"\n")),
            "cannot be used",
        ),
        (with(1, &both).replace("version = 1", "version = 2"), "format version 2"),
        (with(1, &both).replace("negative", "positive"), "malformed"),
        (with(1, &builder("ci", "key = \"other.pub\"\n")), "cannot be read"),
        (with(1, &format!("[require]\naxes = \"some\"\n{both}")), "malformed"),
        (with(1, &format!("[require]\nwalls = [\"glass\"]\n{both}")), "malformed"),
    ];
    for (text, wanted) in refused {
        let error = load(&text).map(|policy| policy.threshold()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted:?} is not in {error:?} of\n{text}");
    }
    let all = load(&with(1, &format!("[require]\naxes = \"all\"\nwalls = \"all\"\n{both}")));
    assert_eq!(all.unwrap().threshold(), 1);
}

#[test]
fn a_policy_without_end_is_refused() {
    let error = load(&format!("# {}", "x".repeat(2 << 20))).map(|policy| policy.threshold()).unwrap_err();
    assert!(matches!(error, PolicyError::TooLarge(_)), "{error}");
}
