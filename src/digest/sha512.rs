//! SHA-512, published beside SHA-256 for those who ask for it. Nothing is found or known by it.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use super::{DigestError, from_hex, hex};

/// A SHA-512 digest: `sha512:` and 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha512([u8; 64]);

/// Hashes what is read through it.
pub struct Sha512Reader<R> {
    inner: R,
    hasher: sha2::Sha512,
}

impl Sha512 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha512::digest(bytes).into())
    }

    /// 128 lower-case hexadecimal digits, without the algorithm's name.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Parses 128 lower-case hexadecimal digits without the algorithm's name.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        from_hex(text).map(Self)
    }
}

impl FromStr for Sha512 {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.strip_prefix("sha512:") {
            Some(hex) => Self::from_hex(hex),
            None => Err(DigestError::Algorithm { wanted: "sha512", text: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha512:{}", self.hex())
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha512 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha512 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<R: Read> Sha512Reader<R> {
    /// Hashes what is read from `inner` from now on.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: sha2::Sha512::new() }
    }

    /// The digest of all that was read.
    pub fn finish(self) -> Sha512 {
        Sha512(self.hasher.finalize().into())
    }
}

impl<R: Read> Read for Sha512Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
