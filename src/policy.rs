//! Who must have said what about an archive before it is believed: k of n, in a TOML file.
//!
//! ```toml
//! version = 1
//! threshold = 2                 # how many of those below must vouch for the archive
//! negative = "veto"             # what it means that one of them could not reproduce it; or "report"
//! trusted-root = "root.json"    # Sigstore's, beside this file; only where certificates sign
//!
//! [require]
//! predicate-types = ["https://slsa.dev/provenance/v1", "urn:pgproof:rebuild:1"]   # of each, one statement at least
//! axes = ["build-path", "host-name"]   # what must have differed between the twins of each rebuild; or "all"
//! walls = ["network-namespace"]        # what must have stood around every build; or "all"
//! max-age-days = 90                    # of every statement, by a time that was proven
//!
//! [[builder]]                   # may say where the archive comes from
//! name = "release CI"
//! certificate-identity = "https://…/.github/workflows/release.yml@refs/heads/main"
//! certificate-oidc-issuer = "https://…"
//! claims = { "source-repository-uri" = "https://…" }
//!
//! [[rebuilder]]                 # may say that it came out the same, or did not
//! name = "alice"
//! key = "alice.pub"             # beside this file
//! ```
//!
//! Reading a policy is all that is done here; [`Policy::judge`] holds statements against it and is pure: what time it is is an
//! argument.
//!
//! # Why
//!
//! One threshold for builders and rebuilders: a builder who vouches for its own archive is one witness, somebody who built it
//! again is another. Who is counted is counted once, under one name and as one signer: a pattern that fits many signers is
//! still one entry, and one signer is one however many entries it fits. As soon as a builder is named, one must have spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::Deserialize;

use crate::bundle::{CertificateIdentity, ClaimError, Pattern, PatternError, PublicKey, PublicKeyError, Signer};
use crate::sandbox::Wall;
use crate::variation::Axis;

pub use judgement::{Judgement, Lack, Negative, Reason, Uncounted, Voucher, is_negative};

mod judgement;

/// The format's version: the `version` field of every policy.
pub const FORMAT: u32 = 1;

/// A policy, or a key that it names, of this many bytes or more is refused.
const SIZE_LIMIT: u64 = 1 << 20;

/// How many signers a policy may name.
const SIGNER_LIMIT: usize = 1000;

/// Whom to believe, and what they must have said.
#[derive(Debug)]
pub struct Policy {
    threshold: usize,
    veto: bool,
    trusted_root: Option<PathBuf>,
    predicate_types: BTreeSet<String>,
    axes: BTreeSet<Axis>,
    walls: BTreeSet<Wall>,
    max_age: Option<SignedDuration>,
    trusted: Vec<Trusted>,
    signers: Vec<Signer>,
}

/// Somebody who may vouch.
#[derive(Debug)]
struct Trusted {
    name: String,
    role: Role,
}

/// What somebody may vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Where the archive comes from.
    Builder,
    /// That it came out the same.
    Rebuilder,
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any policy or key.
    #[error("{0} is larger than {SIZE_LIMIT} bytes")]
    TooLarge(PathBuf),
    /// It is not of the format.
    #[error("the policy {path} is malformed")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// It is of another version of the format.
    #[error("the policy has format version {0}, this pgproof reads {FORMAT}")]
    Format(u32),
    /// It names nobody, or more than anybody can mean.
    #[error("the policy names {0} builders and rebuilders; 1 to {SIGNER_LIMIT} are allowed")]
    Count(usize),
    /// The threshold cannot be met, or is met by nobody.
    #[error(
        "the policy's threshold is {threshold}, and it names {named} signers: nobody would be needed, or all would be too few"
    )]
    Threshold {
        /// What is asked for.
        threshold: usize,
        /// How many there are.
        named: usize,
    },
    /// Two entries have one name.
    #[error("the policy names {0:?} twice as what it is")]
    Twice(String),
    /// Two entries that are two names for one signer.
    #[error(
        "the policy's entries {first:?} and {second:?} ask for the same signer: together they could never count as two"
    )]
    Same {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// An entry does not say who it is.
    #[error("the policy's entry {0:?} needs either a key, or an identity and an issuer (exact, or as -regexp)")]
    Signer(String),
    /// An identity, issuer or claim cannot be asked for.
    #[error("the policy's entry {name:?}: {field} cannot be used")]
    Pattern {
        /// The entry.
        name: String,
        /// Where in it.
        field: String,
        /// Why not.
        source: PatternError,
    },
    /// There is no such claim.
    #[error("the policy's entry {name:?} asks for a claim that there is not")]
    Claim {
        /// The entry.
        name: String,
        /// Which.
        source: ClaimError,
    },
    /// The key is none.
    #[error("the policy's entry {name:?}: the key cannot be used")]
    Key {
        /// The entry.
        name: String,
        /// Why not.
        source: PublicKeyError,
    },
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u32,
    threshold: usize,
    negative: OnNegative,
    trusted_root: Option<PathBuf>,
    #[serde(default)]
    require: Require,
    #[serde(default, rename = "builder")]
    builders: Vec<Entry>,
    #[serde(default, rename = "rebuilder")]
    rebuilders: Vec<Entry>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum OnNegative {
    Veto,
    Report,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Require {
    predicate_types: BTreeSet<String>,
    axes: Chosen<Axis>,
    walls: Chosen<Wall>,
    max_age_days: Option<u16>,
}

/// A list, or all there is.
#[derive(Deserialize)]
#[serde(untagged, bound(deserialize = "T: Ord + Deserialize<'de>"))]
enum Chosen<T> {
    All(All),
    Some(BTreeSet<T>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum All {
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    key: Option<PathBuf>,
    certificate_identity: Option<String>,
    certificate_identity_regexp: Option<String>,
    certificate_oidc_issuer: Option<String>,
    certificate_oidc_issuer_regexp: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
}

impl<T> Default for Chosen<T> {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl<T: Ord> Chosen<T> {
    fn of(self, all: impl IntoIterator<Item = T>) -> BTreeSet<T> {
        match self {
            Self::All(All::All) => all.into_iter().collect(),
            Self::Some(chosen) => chosen,
        }
    }
}

impl Policy {
    /// Reads a policy and the keys that it names.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = read(path)?;
        let malformed = |source| PolicyError::Malformed { path: path.to_owned(), source: Box::new(source) };
        let text = String::from_utf8(text).map_err(|error| PolicyError::Unreadable {
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        let file: File = toml::from_str(&text).map_err(malformed)?;
        Self::of(file, path.parent().unwrap_or(Path::new("")))
    }

    fn of(file: File, folder: &Path) -> Result<Self, PolicyError> {
        if file.version != FORMAT {
            return Err(PolicyError::Format(file.version));
        }
        let named = file.builders.len() + file.rebuilders.len();
        if named == 0 || named > SIGNER_LIMIT {
            return Err(PolicyError::Count(named));
        }
        let (mut trusted, mut signers) = (Vec::<Trusted>::new(), Vec::new());
        let mut asked = BTreeMap::new();
        let builders = file.builders.into_iter().map(|entry| (Role::Builder, entry));
        for (role, entry) in builders.chain(file.rebuilders.into_iter().map(|entry| (Role::Rebuilder, entry))) {
            let signer = entry.signer(folder)?;
            if trusted.iter().any(|known| known.role == role && known.name == entry.name) {
                return Err(PolicyError::Twice(entry.name));
            }
            let asks = (entry.claims, signer.to_string());
            if let Some(first) = asked.insert((role, asks), entry.name.clone()) {
                return Err(PolicyError::Same { first, second: entry.name });
            }
            trusted.push(Trusted { name: entry.name, role });
            signers.push(signer);
        }
        let named = asked.keys().map(|(_, asks)| asks).collect::<BTreeSet<_>>().len();
        if file.threshold == 0 || file.threshold > named {
            return Err(PolicyError::Threshold { threshold: file.threshold, named });
        }
        Ok(Self {
            threshold: file.threshold,
            veto: file.negative == OnNegative::Veto,
            trusted_root: file.trusted_root.map(|path| folder.join(path)),
            predicate_types: file.require.predicate_types,
            axes: file.require.axes.of(Axis::ALL),
            walls: file.require.walls.of(Wall::ALL),
            max_age: file.require.max_age_days.map(|days| SignedDuration::from_hours(24 * i64::from(days))),
            trusted,
            signers,
        })
    }

    /// Everybody whom the policy names.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// The file with Sigstore's trust root.
    pub fn trusted_root(&self) -> Option<&Path> {
        self.trusted_root.as_deref()
    }

    /// How many must vouch.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

impl Entry {
    fn signer(&self, folder: &Path) -> Result<Signer, PolicyError> {
        let identity = self.pattern(
            "certificate-identity",
            self.certificate_identity.as_ref(),
            self.certificate_identity_regexp.as_ref(),
        )?;
        let issuer = self.pattern(
            "certificate-oidc-issuer",
            self.certificate_oidc_issuer.as_ref(),
            self.certificate_oidc_issuer_regexp.as_ref(),
        )?;
        match (&self.key, identity, issuer) {
            (Some(key), None, None) if self.claims.is_empty() => {
                let pem = read(&folder.join(key))?;
                let key =
                    PublicKey::from_pem(&pem).map_err(|source| PolicyError::Key { name: self.name.clone(), source })?;
                Ok(Signer::Key(key))
            }
            (None, Some(identity), Some(issuer)) => {
                let mut signer = CertificateIdentity::new(identity, issuer);
                for (claim, wanted) in &self.claims {
                    let wanted = self.usable(claim, Pattern::exact(wanted))?;
                    let claim =
                        claim.parse().map_err(|source| PolicyError::Claim { name: self.name.clone(), source })?;
                    signer = signer.claiming(claim, wanted);
                }
                Ok(Signer::Certificate(signer))
            }
            _ => Err(PolicyError::Signer(self.name.clone())),
        }
    }

    /// One of the two forms, or none; both at once is no answer to who it should be.
    fn pattern(
        &self,
        field: &str,
        exact: Option<&String>,
        expression: Option<&String>,
    ) -> Result<Option<Pattern>, PolicyError> {
        match (exact, expression) {
            (None, None) => Ok(None),
            (Some(text), None) => self.usable(field, Pattern::exact(text)).map(Some),
            (None, Some(text)) => self.usable(field, Pattern::expression(text)).map(Some),
            (Some(_), Some(_)) => Err(PolicyError::Signer(self.name.clone())),
        }
    }

    fn usable(&self, field: &str, pattern: Result<Pattern, PatternError>) -> Result<Pattern, PolicyError> {
        pattern.map_err(|source| PolicyError::Pattern { name: self.name.clone(), field: field.to_owned(), source })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(SIZE_LIMIT).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 == SIZE_LIMIT { Err(PolicyError::TooLarge(path.to_owned())) } else { Ok(bytes) }
}
