//! Bundles of strangers: changed, doubled, deep, huge.

use pgproof::bundle::{Artifact, Bundle, Refused, Unsigned};
use serde_json::{Value, json};

use super::keys::{self, Kind};
use super::{signed, statement, verified};

/// A good bundle.
fn good(kind: Kind) -> Value {
    serde_json::from_slice(signed(Unsigned::Statement(&statement(b"one")), kind).bytes()).unwrap()
}

/// What somebody is told who wants to rely on it; empty if that is possible.
fn told(bundle: &str, artifact: Artifact<'_>) -> String {
    match Bundle::parse(bundle.as_bytes()) {
        Err(error) => keys::chain(&error),
        Ok(_) => verified(bundle.as_bytes(), artifact, Kind::P256)
            .err()
            .map_or_else(String::new, |error| keys::chain(&error)),
    }
}

/// The places of all single values.
fn leaves(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{place}/{key}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{place}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(place.to_owned()),
    }
}

/// Another text of the same form: one character of it is another one.
fn changed(text: &str, at: usize) -> String {
    let other = |character: char| if character == 'B' { 'C' } else { 'B' };
    text.chars().enumerate().map(|(index, c)| if index == at { other(c) } else { c }).collect()
}

#[test]
fn each_value_of_a_bundle_matters_and_its_refusal_names_it() {
    let mut places = Vec::new();
    for file in [false, true] {
        let bundle: Value = if file {
            serde_json::from_slice(signed(Unsigned::File(b"one"), Kind::P256).bytes()).unwrap()
        } else {
            good(Kind::P256)
        };
        let mut found = Vec::new();
        leaves(&bundle, "", &mut found);
        for place in found {
            let text = bundle.pointer(&place).unwrap().as_str().unwrap();
            for at in [0, text.len() / 3, text.len() / 2, text.len() * 3 / 4] {
                let mut bad = bundle.clone();
                *bad.pointer_mut(&place).unwrap() = changed(text, at).into();
                let told = told(&bad.to_string(), Artifact::Content(b"one"));
                let wanted = match place.rsplit('/').next().unwrap() {
                    "mediaType" => "media type",
                    "hint" => "hint",
                    "payloadType" => "payload",
                    // What was changed in a payload is not JSON any more, or is not what was signed.
                    "payload" if told.contains("payload") => "payload",
                    "payload" | "sig" | "signature" => "signature",
                    "algorithm" => "algorithm",
                    "digest" => "digest",
                    other => panic!("{other} is not listed"),
                };
                assert!(told.to_lowercase().contains(wanted), "{place} at {at}: {told:?}");
            }
            places.push(place);
        }
    }
    places.sort();
    insta::assert_snapshot!(places.join("\n"), @"
    /dsseEnvelope/payload
    /dsseEnvelope/payloadType
    /dsseEnvelope/signatures/0/sig
    /mediaType
    /mediaType
    /messageSignature/messageDigest/algorithm
    /messageSignature/messageDigest/digest
    /messageSignature/signature
    /verificationMaterial/publicKey/hint
    /verificationMaterial/publicKey/hint
    ");
}

#[test]
fn a_statement_that_was_exchanged_is_refused() {
    let (mut bundle, mut other) = (good(Kind::P256), good(Kind::P256));
    let two: Value =
        serde_json::from_slice(signed(Unsigned::Statement(&statement(b"two")), Kind::P256).bytes()).unwrap();
    bundle["dsseEnvelope"]["payload"] = two["dsseEnvelope"]["payload"].clone();
    other["dsseEnvelope"]["signatures"] = two["dsseEnvelope"]["signatures"].clone();
    for bad in [bundle, other] {
        let refused = verified(bad.to_string().as_bytes(), Artifact::Unbound, Kind::P256).unwrap_err();
        assert!(matches!(refused, Refused::Signature { .. }), "{refused}");
    }
}

#[test]
fn what_a_bundle_must_not_have_is_refused() {
    let with = |place: &str, key: &str, value: Value| {
        let mut bundle = good(Kind::P256);
        bundle.pointer_mut(place).unwrap()[key] = value;
        bundle.to_string()
    };
    let certificate = json!({ "rawBytes": "AAAA" });
    let file = json!({ "signature": "AAAA" });
    let signature = good(Kind::P256)["dsseEnvelope"]["signatures"][0].clone();
    for (bad, wanted) in [
        (with("", "more", json!(1)), "more, which is not part"),
        (with("/verificationMaterial", "more", json!({})), "verificationMaterial.more"),
        (with("/dsseEnvelope/signatures/0", "more", json!("")), "dsseEnvelope.signatures.more"),
        (with("/dsseEnvelope/signatures/0", "keyid", json!("somebody")), "keyid"),
        (with("/verificationMaterial", "certificate", certificate), "exactly one is needed"),
        (with("", "messageSignature", file), "exactly one is needed"),
        (with("", "dsseEnvelope", Value::Null), "exactly one is needed"),
        (with("", "mediaType", Value::Null), "no mediaType"),
        (with("", "mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.2")), "no entry"),
        (with("", "mediaType", json!({})), "mediaType is not a text"),
        (with("/dsseEnvelope", "signatures", json!([signature, signature])), "exactly one signature"),
        (with("/dsseEnvelope", "signatures", json!([])), "exactly one signature"),
        (with("/dsseEnvelope", "signatures", json!(vec![json!({}); 1000])), "1000 elements"),
        (with("/verificationMaterial", "tlogEntries", json!({})), "not a list"),
    ] {
        let told = told(&bad, Artifact::Unbound);
        assert!(told.contains(wanted), "{told:?}, not {wanted:?}");
    }
}

#[test]
fn keys_that_are_there_twice_are_refused_at_every_level() {
    let text = good(Kind::P256).to_string();
    for key in ["mediaType", "verificationMaterial", "publicKey", "hint", "dsseEnvelope", "payload", "sig"] {
        let doubled = text.replacen(&format!("\"{key}\":"), &format!("\"{key}\":null,\"{key}\":"), 1);
        let told = told(&doubled, Artifact::Unbound);
        assert!(told.contains(&format!("\"{key}\" is there twice")), "{told}");
    }
}

#[test]
fn json_of_strangers_is_bounded() {
    let told = |bytes: &[u8]| keys::chain(&Bundle::parse(bytes).unwrap_err());
    assert!(told(&vec![b' '; (4 << 20) + 1]).contains("bytes"));
    assert!(told("[".repeat(100_000).as_bytes()).contains("nested deeper"));
    let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    assert!(told(deep.as_bytes()).contains("nested deeper"));
    for nonsense in [&b""[..], b"null", b"{}", b"[]", b"{", b"\xff\xfe", b"{} {}"] {
        told(nonsense);
    }
    let (mut long, text) = (good(Kind::P256), good(Kind::P256).to_string());
    long["dsseEnvelope"]["payload"] = "!".into();
    told(long.to_string().as_bytes());
    // Something after it.
    told(format!("{text}x").as_bytes());
    told(format!("{text}{text}").as_bytes());
}

#[test]
fn a_file_may_have_a_bundle_in_each_line() {
    let (one, two) = (good(Kind::P256).to_string(), good(Kind::Ed25519).to_string());
    let pretty = serde_json::to_string_pretty(&good(Kind::P256)).unwrap();
    let count = |text: &str| Bundle::parse_all(text.as_bytes()).map(|bundles| bundles.len());
    assert_eq!(count(&one).unwrap(), 1);
    assert_eq!(count(&pretty).unwrap(), 1);
    assert_eq!(count(&format!("{one}\n{two}\n\n")).unwrap(), 2);
    assert!(count("").is_err());
    assert!(count(&format!("{one}\n{{}}\n")).is_err());
    assert!(count(&format!("{one}\n").repeat(257)).is_err());
}
