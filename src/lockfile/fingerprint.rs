//! The fingerprint of an OpenPGP key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OriginError;

/// The fingerprint of an OpenPGP primary key: 40 (version 4) or 64 (version 6) upper-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl FromStr for Fingerprint {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
        if hexadecimal && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError::Fingerprint(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
