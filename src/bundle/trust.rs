//! Whom a signature's witnesses have to be: certificate authorities, logs and timestamp authorities.

use std::fmt;

use sigstore_trust_root::TrustedRoot;
use sigstore_verify::Verifier;

use super::json::{self, JsonError};
use super::services::ServicesError;
use crate::digest::Digest;

/// The media types of a trusted root: sigstore/protobuf-specs, `sigstore_trustroot.proto`.
const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.trustedroot+json;version=0.1", "application/vnd.dev.sigstore.trustedroot.v0.2+json"];

/// The certificate authorities, logs and timestamp authorities that are believed.
pub struct TrustRoot {
    pub(super) root: TrustedRoot,
    pub(super) verifier: Verifier,
    digest: Digest,
}

/// Why there is no trust root.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum TrustError {
    /// It is no JSON that is read.
    #[error("the trust root cannot be read")]
    Json(#[from] JsonError),
    /// It is not a trusted root.
    #[error("the trust root is not what Sigstore calls a trusted root")]
    Malformed(#[source] serde_json::Error),
    /// It says that it is something else.
    #[error("the trust root says that it is {0:?}, which is not a trusted root that pgproof knows")]
    MediaType(String),
    /// A key, a certificate or a period in it cannot be used.
    #[error("the trust root cannot be used")]
    Unusable(#[source] Box<sigstore_verify::Error>),
    /// What a repository has beside it cannot be used.
    #[error("the repository's signing configuration cannot be used")]
    Services(#[from] ServicesError),
    /// Nothing could be fetched, or what was fetched does not hold.
    #[error("the repository {url} does not give a trust root that holds")]
    Repository {
        /// Its address.
        url: String,
        /// Why not.
        source: Box<sigstore_tuf::Error>,
    },
    /// There is no network, and nothing was fetched before.
    #[error("nothing of the repository {url} was fetched yet: go online once, or name a file with --trusted-root")]
    NotFetched {
        /// Its address.
        url: String,
    },
    /// There can be no connections.
    #[error("connections cannot be set up")]
    Client(#[source] reqwest::Error),
    /// There can be no connections.
    #[error("connections cannot be set up")]
    Runtime(#[source] std::io::Error),
}

impl TrustError {
    /// Whether it may pass, so that nothing was decided.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Repository { source, .. } => {
                matches!(**source, sigstore_tuf::Error::Transport { .. } | sigstore_tuf::Error::Io { .. })
            }
            Self::NotFetched { .. } | Self::Client(_) | Self::Runtime(_) => true,
            Self::Json(_) | Self::Malformed(_) | Self::MediaType(_) | Self::Unusable(_) | Self::Services(_) => false,
        }
    }
}

impl TrustRoot {
    /// Reads a `trusted_root.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let value = json::read(bytes)?;
        let root: TrustedRoot = serde_json::from_value(value).map_err(TrustError::Malformed)?;
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(TrustError::MediaType(root.media_type.chars().take(120).collect()));
        }
        let verifier = Verifier::new(&root).map_err(|error| TrustError::Unusable(Box::new(error)))?;
        Ok(Self { root, verifier, digest: Digest::of(bytes) })
    }

    /// The digest of the file that it was read from.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({})", self.digest)
    }
}
