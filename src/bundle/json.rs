//! Reads JSON of strangers before anything else does: bounded in size and depth, no key twice, no key that nobody knows.
//!
//! # Why
//!
//! serde takes the last of two equal keys in one place, the first in another, and passes over keys that it does not know. Two
//! readers of one bundle could so see two bundles. The JSON form of Protocol Buffers, which a bundle is, refuses unknown keys too.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A bundle of more bytes is refused. PostgreSQL's largest statement makes one of 0.5 MB.
pub const SIZE_LIMIT: usize = 4 << 20;
/// JSON that is nested deeper is refused; a bundle needs 8 levels, a statement with a plan 12.
const DEPTH_LIMIT: usize = 48;
/// A list within a bundle that is longer is refused: a log with 2⁶⁴ entries needs 64 hashes to prove one.
const LIST_LIMIT: usize = 64;

/// Why a text is not JSON that pgproof reads.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum JsonError {
    /// It is too large.
    #[error("it has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not JSON, has a key twice or is nested too deep.
    #[error("it is not JSON as it should be")]
    Malformed(#[source] serde_json::Error),
    /// It has something that is not known.
    #[error("it has {0}, which is not part of a bundle")]
    Unknown(String),
    /// It has too much of something.
    #[error("its {place} has {count} elements, {LIST_LIMIT} are allowed")]
    TooMany {
        /// What.
        place: String,
        /// How many.
        count: usize,
    },
    /// Something is of another kind.
    #[error("its {place} is not {wanted}")]
    Kind {
        /// What.
        place: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// What a JSON value may be.
pub(super) enum Shape {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Bytes, in the one way that base64 has for them.
    Bytes,
    /// As many bytes as SHA-256 has.
    Hash,
    /// A whole number that is not negative, also as text, and without zeros in front.
    Number,
    /// An object with at most these keys.
    Object(&'static [(&'static str, Shape)]),
    /// A list.
    List(&'static Shape),
}

use Shape::{Bytes, Hash, List, Number, Object, Text, Word};

/// sigstore/protobuf-specs, `sigstore_common.proto`.
const HASH_ALGORITHMS: &[&str] = &["SHA2_256", "SHA2_384", "SHA2_512", "SHA3_256", "SHA3_384"];

const CERTIFICATE: Shape = Object(&[("rawBytes", Bytes)]);

const ENTRY: Shape = Object(&[
    ("logIndex", Number),
    ("logId", Object(&[("keyId", Hash)])),
    ("kindVersion", Object(&[("kind", Text), ("version", Text)])),
    ("integratedTime", Number),
    ("inclusionPromise", Object(&[("signedEntryTimestamp", Bytes)])),
    (
        "inclusionProof",
        Object(&[
            ("logIndex", Number),
            ("rootHash", Hash),
            ("treeSize", Number),
            ("hashes", List(&Hash)),
            ("checkpoint", Object(&[("envelope", Text)])),
        ]),
    ),
    ("canonicalizedBody", Bytes),
]);

/// sigstore/protobuf-specs, `sigstore_bundle.proto`, `sigstore_rekor.proto` and `envelope.proto`.
pub(super) const BUNDLE: Shape = Object(&[
    ("mediaType", Text),
    (
        "verificationMaterial",
        Object(&[
            ("publicKey", Object(&[("hint", Text)])),
            ("x509CertificateChain", Object(&[("certificates", List(&CERTIFICATE))])),
            ("certificate", CERTIFICATE),
            ("tlogEntries", List(&ENTRY)),
            (
                "timestampVerificationData",
                Object(&[("rfc3161Timestamps", List(&Object(&[("signedTimestamp", Bytes)])))]),
            ),
        ]),
    ),
    (
        "messageSignature",
        Object(&[
            ("messageDigest", Object(&[("algorithm", Word(HASH_ALGORITHMS)), ("digest", Bytes)])),
            ("signature", Bytes),
        ]),
    ),
    (
        "dsseEnvelope",
        Object(&[
            ("payload", Bytes),
            ("payloadType", Text),
            ("signatures", List(&Object(&[("sig", Bytes), ("keyid", Text)]))),
        ]),
    ),
]);

/// Reads one document.
pub(super) fn read(bytes: &[u8]) -> Result<Value, JsonError> {
    fits(bytes, SIZE_LIMIT)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(JsonError::Malformed)?;
    deserializer.end().map_err(JsonError::Malformed)?;
    Ok(value)
}

/// Reads all documents of a file that has one, or one in each line.
pub(super) fn read_all(bytes: &[u8], size_limit: usize, count_limit: usize) -> Result<Vec<Value>, JsonError> {
    fits(bytes, size_limit)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut values = Vec::new();
    // A file without any document has no end but the one that an error tells of.
    while values.is_empty() || deserializer.end().is_err() {
        if values.len() == count_limit {
            return Err(JsonError::TooMany { place: "lines".to_owned(), count: count_limit + 1 });
        }
        values.push(Strict { depth: 0 }.deserialize(&mut deserializer).map_err(JsonError::Malformed)?);
    }
    Ok(values)
}

fn fits(bytes: &[u8], limit: usize) -> Result<(), JsonError> {
    if bytes.len() > limit { Err(JsonError::TooLarge { size: bytes.len(), limit }) } else { Ok(()) }
}

/// Refuses what `shape` does not have.
pub(super) fn check(value: &Value, shape: &Shape) -> Result<(), JsonError> {
    check_at(value, shape, "")
}

fn check_at(value: &Value, shape: &Shape, place: &str) -> Result<(), JsonError> {
    let wrong = |wanted| JsonError::Kind { place: shown(place), wanted };
    match (shape, value) {
        (Text, Value::String(_)) => Ok(()),
        (Text, _) => Err(wrong("a text")),
        (Word(words), value) if words.iter().any(|word| value == word) => Ok(()),
        (Word(_), _) => Err(wrong("one of the words that it may be")),
        (Bytes, value) if bytes(value).is_some() => Ok(()),
        (Bytes, _) => Err(wrong("base64")),
        (Hash, value) if bytes(value).is_some_and(|bytes| bytes.len() == 32) => Ok(()),
        (Hash, _) => Err(wrong("a SHA-256 in base64")),
        (Number, value) if is_number(value) => Ok(()),
        (Number, _) => Err(wrong("a whole number, or one in text")),
        (Object(known), Value::Object(map)) => map.iter().try_for_each(|(key, value)| {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            match known.iter().find(|(name, _)| name == key) {
                // In the JSON form of Protocol Buffers, null stands for what is not there.
                Some(_) if value.is_null() => Ok(()),
                Some((_, shape)) => check_at(value, shape, &inner),
                None => Err(JsonError::Unknown(inner.chars().take(160).collect())),
            }
        }),
        (List(_), Value::Array(list)) if list.len() > LIST_LIMIT => {
            Err(JsonError::TooMany { place: shown(place), count: list.len() })
        }
        (List(shape), Value::Array(list)) => list.iter().try_for_each(|value| check_at(value, shape, place)),
        (Object(_), _) => Err(wrong("an object")),
        (List(_), _) => Err(wrong("a list")),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

fn is_number(value: &Value) -> bool {
    let number = value
        .as_str()
        .map_or_else(|| value.as_i64(), |text| text.parse().ok().filter(|number: &i64| number.to_string() == text));
    number.is_some_and(|number| number >= 0)
}

/// Takes the keys away whose value is null.
pub(super) fn remove_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(remove_nulls);
    } else if let Value::Array(list) = value {
        list.iter_mut().for_each(remove_nulls);
    }
}

fn shown(place: &str) -> String {
    if place.is_empty() { "outermost value".to_owned() } else { place.to_owned() }
}

/// Builds a value and refuses a key that is there twice, and what is nested too deep.
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_LIMIT {
            return Err(E::custom(format_args!("it is nested deeper than {DEPTH_LIMIT} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self.inner()?)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                let key: String = key.chars().take(80).collect();
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            let value = entries.next_value_seed(self.inner()?)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
