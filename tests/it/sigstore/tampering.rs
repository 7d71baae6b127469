//! Whatever is changed in a good bundle, it is refused, and the part is named.
//!
//! The changes are made by walking the JSON: every value in it, and every value of the documents that are encoded within it, is
//! changed in each way that its kind allows. What may be changed without being refused is listed in [`HARMLESS`] with the reason.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::samples::{PAIRS, Samples};

/// A changed bundle.
struct Change {
    /// Where, as a JSON pointer; behind `!` the place within an encoded document.
    place: String,
    how: String,
    bytes: Vec<u8>,
}

/// What may be changed: the bundle (by the end of its name, empty for all), the place, the way, and why. Places and ways are
/// compared from the beginning.
const HARMLESS: &[(&str, &str, &str, &str)] = &[
    ("-v1", "/verificationMaterial/timestampVerificationData", "null", NOT_NEEDED),
    ("-v1", "/verificationMaterial/timestampVerificationData", "left out", NOT_NEEDED),
    ("-v1", "/verificationMaterial/timestampVerificationData/rfc3161Timestamps", "emptied", NOT_NEEDED),
    ("-key", "/verificationMaterial/timestampVerificationData", "null", EMPTY),
    ("-key", "/verificationMaterial/timestampVerificationData", "left out", EMPTY),
    ("-key", "/verificationMaterial/tlogEntries", "null", EMPTY),
    ("-key", "/verificationMaterial/tlogEntries", "left out", EMPTY),
    ("", "/messageSignature/messageDigest", "null", FOUND_OUT),
    ("", "/messageSignature/messageDigest", "left out", FOUND_OUT),
];

const NOT_NEEDED: &str = "the log's promise tells the time as well; that the timestamp is proven is then not said";
const EMPTY: &str = "there is nothing in it";
const FOUND_OUT: &str = "it only tells how to read the signature, which is one over the file at hand or is refused";

/// By which words the message names a part: one of them is enough. The first place that fits counts.
const NAMES: &[(&str, &[&str])] = &[
    ("/mediaType", &["mediaType", "media type"]),
    ("/verificationMaterial/certificate", &["certificate"]),
    ("/verificationMaterial/publicKey", &["publicKey", "key hint"]),
    ("/verificationMaterial/timestampVerificationData", &["timestamp"]),
    (
        "/verificationMaterial/tlogEntries/0/canonicalizedBody",
        &["log entry", "body", "inclusion", "promise", "log index"],
    ),
    ("/verificationMaterial/tlogEntries/0/inclusionPromise", &["promise", "inclusionPromise"]),
    ("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint", &["checkpoint"]),
    ("/verificationMaterial/tlogEntries/0/inclusionProof", &["inclusion proof", "checkpoint", "inclusionProof"]),
    ("/verificationMaterial/tlogEntries/0/integratedTime", &["integrated time", "promise", "integratedTime"]),
    ("/verificationMaterial/tlogEntries/0/kindVersion", &["kind", "log entry", "Rekor entry"]),
    ("/verificationMaterial/tlogEntries/0/logId", &["log id", "checkpoint", "promise"]),
    ("/verificationMaterial/tlogEntries/0/logIndex", &["promise", "inclusion proof", "logIndex", "log index"]),
    ("/verificationMaterial/tlogEntries", &["log"]),
    ("/verificationMaterial", &["verificationMaterial", "publicKey", "certificate", "x509CertificateChain"]),
    ("/dsseEnvelope/payloadType", &["payload", "payloadType"]),
    ("/dsseEnvelope/payload", &["payload", "signature", "the file is not what was signed"]),
    ("/dsseEnvelope/signatures/0/keyid", &["keyid"]),
    ("/dsseEnvelope/signatures", &["signature"]),
    ("/dsseEnvelope", &["payload", "signature", "the file is not what was signed"]),
    ("/messageSignature/messageDigest", &["digest", "algorithm", "hash"]),
    ("/messageSignature", &["signature", "the bundle is of a file"]),
];

#[test]
fn no_field_can_be_changed() {
    let samples = Samples::new();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let mut count = 0;
    for (name, other) in PAIRS {
        let good: Value = serde_json::from_slice(&samples.read(name)).unwrap();
        let other: Value = serde_json::from_slice(&samples.read(other)).unwrap();
        for change in changes(&good, &other) {
            count += 1;
            let harmless = HARMLESS.iter().position(|(end, place, how, _)| {
                name.ends_with(end) && change.place.starts_with(place) && change.how.starts_with(how)
            });
            let (place, how) = (&change.place, &change.how);
            match (samples.check(name, &change.bytes), harmless) {
                (Ok(()), Some(index)) => _ = used.insert(index),
                (Ok(()), None) => wrong.push(format!("{name}: accepted although {place} was {how}")),
                (Err(refused), _) => {
                    let key = place.rsplit('/').find(|key| key.parse::<usize>().is_err()).unwrap();
                    let names =
                        NAMES.iter().find(|(prefix, _)| place.starts_with(prefix)).map_or(&[][..], |(_, names)| names);
                    if !names.iter().chain([&key]).any(|name| refused.contains(name)) {
                        wrong.push(format!("{name}: {place} was {how}: {refused}"));
                    }
                }
            }
        }
    }
    assert!(count > 5_000, "only {count} changes were tried");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), summary(&wrong));
    let unused: Vec<_> = (0..HARMLESS.len()).filter(|index| !used.contains(index)).collect();
    assert!(unused.is_empty(), "nothing that {unused:?} of HARMLESS allow happens");
}

/// The first few of many.
fn summary(lines: &[String]) -> String {
    let mut text = lines.iter().take(200).cloned().collect::<Vec<_>>().join("\n");
    if lines.len() > 200 {
        text.push_str("\n…");
    }
    text
}

/// All changes of a bundle; `other` is another good bundle of the same kind, of which parts are taken.
fn changes(good: &Value, other: &Value) -> Vec<Change> {
    let mut all = Vec::new();
    let mut add = |place: String, how: String, bundle: &Value| {
        all.push(Change { place, how, bytes: bundle.to_string().into_bytes() });
    };
    for place in places(good) {
        let value = good.pointer(&place).unwrap();
        let with = |changed: Value| {
            let mut bundle = good.clone();
            *bundle.pointer_mut(&place).unwrap() = changed;
            bundle
        };
        for (how, changed) in ways(value) {
            add(place.clone(), how, &with(changed));
        }
        for (inner, how, changed) in inner_ways(&place, value) {
            add(format!("{place}!{inner}"), how, &with(changed));
        }
        if let Some(theirs) = other.pointer(&place).filter(|theirs| *theirs != value) {
            add(place.clone(), "another bundle's".to_owned(), &with(theirs.clone()));
        }
        add(place.clone(), "null".to_owned(), &with(Value::Null));
        add(place.clone(), "left out".to_owned(), &without(good, &place));
    }
    all
}

/// Pointers to all values but the outermost.
fn places(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let mut places = Vec::new();
    for (key, value) in inner {
        places.push(format!("/{key}"));
        places.extend(self::places(value).into_iter().map(|place| format!("/{key}{place}")));
    }
    places
}

fn without(value: &Value, place: &str) -> Value {
    let (above, key) = place.rsplit_once('/').unwrap();
    let mut value = value.clone();
    match value.pointer_mut(above).unwrap() {
        Value::Object(map) => drop(map.remove(key)),
        Value::Array(list) => drop(list.remove(key.parse().unwrap())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            unreachable!("only objects and lists have something in them")
        }
    }
    value
}

/// What may be done to a value of its kind.
fn ways(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => {
            let mut more = map.clone();
            more.insert("unheardOf".to_owned(), Value::Null);
            vec![("given a key".to_owned(), Value::Object(more)), ("a list".to_owned(), json!([value]))]
        }
        Value::Array(list) => {
            let doubled: Vec<_> = list.iter().chain(list.first()).cloned().collect();
            let mut reversed = list.clone();
            reversed.reverse();
            let mut ways = vec![("doubled".to_owned(), doubled.into()), ("emptied".to_owned(), json!([]))];
            if reversed != *list {
                ways.push(("reversed".to_owned(), reversed.into()));
            }
            ways.retain(|(_, changed)| changed != value);
            ways
        }
        Value::String(text) => text_ways(text).into_iter().map(|(how, text)| (how, text.into())).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            vec![("a text".to_owned(), "x".into()), ("true".to_owned(), true.into()), ("1".to_owned(), 1.into())]
        }
    }
}

fn text_ways(text: &str) -> Vec<(String, String)> {
    let mut ways = vec![("emptied".to_owned(), String::new()), ("prolonged".to_owned(), format!("{text}A"))];
    if let Ok(number) = text.parse::<u64>() {
        ways.push(("one more".to_owned(), (number + 1).to_string()));
        ways.push(("one less".to_owned(), number.saturating_sub(1).to_string()));
        ways.push(("negative".to_owned(), format!("-{text}")));
        ways.push(("huge".to_owned(), u64::MAX.to_string()));
        ways.push(("given a zero in front".to_owned(), format!("0{text}")));
    } else if let Some(bytes) = STANDARD.decode(text).ok().filter(|bytes| bytes.len() >= 16) {
        let encode = |bytes: &[u8]| STANDARD.encode(bytes);
        for (at, bit) in bits(bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            ways.push((format!("flipped in bit {bit} of byte {at}"), encode(&changed)));
        }
        ways.push(("cut".to_owned(), encode(&bytes[..bytes.len() - 1])));
        ways.push(("given a byte".to_owned(), encode(&[&bytes[..], &[0]].concat())));
        ways.push(("zeros".to_owned(), encode(&vec![0; bytes.len()])));
    } else {
        ways.push((
            "another case".to_owned(),
            if text.to_uppercase() == text { text.to_lowercase() } else { text.to_uppercase() },
        ));
        ways.push(("given a space".to_owned(), format!("{text} ")));
    }
    ways.retain(|(_, changed)| changed != text);
    ways
}

/// Which bits of that many bytes are flipped: one in each byte of what is short, and in about a hundred bytes of what is long.
fn bits(length: usize) -> impl Iterator<Item = (usize, usize)> {
    let step = if length <= 160 { 1 } else { (length / 128) | 1 };
    (0..length).step_by(step).map(|at| (at, at % 8))
}

/// Changes within documents that are encoded in a text.
fn inner_ways(place: &str, value: &Value) -> Vec<(String, String, Value)> {
    let Some(text) = value.as_str() else { return Vec::new() };
    if place.ends_with("/checkpoint/envelope") {
        return lines(text).into_iter().map(|(inner, how, text)| (inner, how, text.into())).collect();
    }
    if !["/canonicalizedBody", "/payload"].iter().any(|end| place.ends_with(end)) {
        return Vec::new();
    }
    let document: Value = serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap();
    let encode = |document: &Value| Value::from(STANDARD.encode(document.to_string()));
    let mut all = Vec::new();
    for inner in places(&document) {
        let value = document.pointer(&inner).unwrap();
        for (how, changed) in ways(value) {
            let mut document = document.clone();
            *document.pointer_mut(&inner).unwrap() = changed;
            all.push((inner.clone(), how, encode(&document)));
        }
        all.push((inner.clone(), "left out".to_owned(), encode(&without(&document, &inner))));
    }
    let spaced = serde_json::to_string_pretty(&document).unwrap();
    all.push((String::new(), "given spaces".to_owned(), STANDARD.encode(spaced).into()));
    all
}

/// A checkpoint is a note of lines: <https://github.com/C2SP/C2SP/blob/main/signed-note.md>.
fn lines(note: &str) -> Vec<(String, String, String)> {
    let lines: Vec<&str> = note.split('\n').collect();
    let mut all = Vec::new();
    for index in 0..lines.len() {
        let mut with = |how: &str, instead: &[String]| {
            let before = lines[..index].iter().map(|line| (*line).to_owned());
            let after = lines[index + 1..].iter().map(|line| (*line).to_owned());
            let changed = before.chain(instead.iter().cloned()).chain(after).collect::<Vec<_>>().join("\n");
            if changed != note {
                all.push((format!("line {index}"), how.to_owned(), changed));
            }
        };
        let line = lines[index].to_owned();
        with("left out", &[]);
        with("doubled", &[line.clone(), line.clone()]);
        with("prolonged", &[format!("{line}0")]);
        with("ended with CR", &[format!("{line}\r")]);
        with("preceded by a line", &["something".to_owned(), line.clone()]);
        if let Some((before, signature)) = line.rsplit_once(' ')
            && let Ok(bytes) = STANDARD.decode(signature)
        {
            for (at, bit) in bits(bytes.len()) {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                with(&format!("flipped in byte {at}"), &[format!("{before} {}", STANDARD.encode(&changed))]);
            }
            with("another's", &[line.replace("localhost", "localhosts")]);
        }
    }
    all
}
