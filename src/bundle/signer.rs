//! Who must have signed. There is no way to ask for "anybody".

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::public_key::PublicKey;
use super::verified::{Identity, SignedBy};

/// A compiled regular expression of more bytes is refused.
const EXPRESSION_SIZE: usize = 1 << 20;
/// An expression of more bytes is refused before it is compiled.
const EXPRESSION_LENGTH: usize = 4096;

/// Somebody whose signature counts.
#[derive(Debug, Clone)]
pub enum Signer {
    /// Whoever showed this identity to a certificate authority of the trust root.
    Certificate(CertificateIdentity),
    /// Whoever has the private half of this key.
    Key(PublicKey),
}

/// What a signing certificate has to say of its owner.
#[derive(Debug, Clone)]
pub struct CertificateIdentity {
    identity: Pattern,
    issuer: Pattern,
    claims: BTreeMap<Claim, Pattern>,
}

/// What a text has to be.
#[derive(Debug, Clone)]
pub struct Pattern(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exact(String),
    Expression { text: String, whole: Regex },
}

/// Why a text is no pattern.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PatternError {
    /// Nothing is asked for.
    #[error("an empty text names nobody")]
    Empty,
    /// It is too long.
    #[error("the regular expression has {0} bytes, {EXPRESSION_LENGTH} are allowed")]
    TooLong(usize),
    /// It is no regular expression.
    #[error("{text:?} is not a regular expression")]
    Expression {
        /// The text.
        text: String,
        /// Why not.
        source: Box<regex::Error>,
    },
}

impl Signer {
    /// Whether whoever signed is the one who is meant.
    pub fn admits(&self, by: &SignedBy) -> bool {
        match (self, by.identity()) {
            (Self::Key(key), Identity::Key { fingerprint }) => key.fingerprint() == *fingerprint,
            (Self::Certificate(wanted), Identity::Certificate { identity, issuer }) => {
                let claims = |claim: &Claim| by.claims().get(claim).map(String::as_str);
                wanted.identity.matches(identity)
                    && wanted.issuer.matches(issuer)
                    && wanted
                        .claims
                        .iter()
                        .all(|(claim, wanted)| claims(claim).is_some_and(|value| wanted.matches(value)))
            }
            (Self::Key(_), Identity::Certificate { .. }) | (Self::Certificate(_), Identity::Key { .. }) => false,
        }
    }
}

impl CertificateIdentity {
    /// Somebody with this identity, attested by this issuer; both are always asked for.
    pub fn new(identity: Pattern, issuer: Pattern) -> Self {
        Self { identity, issuer, claims: BTreeMap::new() }
    }

    /// The same, whose certificate also has to make this claim.
    #[must_use]
    pub fn claiming(mut self, claim: Claim, wanted: Pattern) -> Self {
        self.claims.insert(claim, wanted);
        self
    }

    /// What the identity has to be: an e-mail address, or a URI such as that of a workflow.
    pub fn identity(&self) -> &Pattern {
        &self.identity
    }

    /// What the issuer of the identity token has to be: a URL.
    pub fn issuer(&self) -> &Pattern {
        &self.issuer
    }

    /// What the further claims have to be.
    pub fn claims(&self) -> &BTreeMap<Claim, Pattern> {
        &self.claims
    }
}

impl Pattern {
    /// Exactly this text.
    pub fn exact(text: impl Into<String>) -> Result<Self, PatternError> {
        let text = text.into();
        if text.is_empty() { Err(PatternError::Empty) } else { Ok(Self(Kind::Exact(text))) }
    }

    /// A text that this regular expression matches from its first to its last character. Unlike cosign's, an expression that
    /// matches only a part is not enough: `me@example.org` must not let in `me@example.org.evil.example`.
    pub fn expression(text: impl Into<String>) -> Result<Self, PatternError> {
        let text = text.into();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > EXPRESSION_LENGTH {
            return Err(PatternError::TooLong(text.len()));
        }
        let compile = |expression: &str| RegexBuilder::new(expression).size_limit(EXPRESSION_SIZE).build();
        // On its own first: `a)|(?:b` would become an expression only by what is put around it.
        let compiled = compile(&text).and_then(|_alone| compile(&format!(r"\A(?:{text})\z")));
        match compiled {
            Ok(whole) => Ok(Self(Kind::Expression { text, whole })),
            Err(source) => Err(PatternError::Expression { text, source: Box::new(source) }),
        }
    }

    /// Whether `text` is as asked for.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(wanted) => wanted == text,
            Kind::Expression { whole, .. } => whole.is_match(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => write!(f, "{text}"),
            Kind::Expression { text, .. } => write!(f, "/{text}/"),
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(wanted) => write!(f, "{} of {}", wanted.identity, wanted.issuer),
            Self::Key(key) => write!(f, "the key {}", key.fingerprint()),
        }
    }
}

macro_rules! claims {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// What a certificate of Fulcio may say of the build that asked for it: the extensions below 1.3.6.1.4.1.57264.1, as
        /// `docs/oid-info.md` of sigstore/fulcio lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Claim {
            $($(#[doc = $doc])+ $variant),+
        }

        impl Claim {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The claim's name in options, policies and reports.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

claims! {
    /// `.2`, GitHub only: the event that started the workflow.
    WorkflowTrigger = "workflow-trigger",
    /// `.3`, GitHub only: the commit.
    WorkflowSha = "workflow-sha",
    /// `.4`, GitHub only: the workflow's name.
    WorkflowName = "workflow-name",
    /// `.5`, GitHub only: the repository, OWNER/NAME.
    WorkflowRepository = "workflow-repository",
    /// `.6`, GitHub only: the branch or tag, `refs/…`.
    WorkflowRef = "workflow-ref",
    /// `.9`: the build instructions that signed, such as a reusable workflow.
    BuildSignerUri = "build-signer-uri",
    /// `.10`: their commit.
    BuildSignerDigest = "build-signer-digest",
    /// `.11`: whose machine it was, such as `github-hosted`.
    RunnerEnvironment = "runner-environment",
    /// `.12`: the source repository's URL.
    SourceRepositoryUri = "source-repository-uri",
    /// `.13`: the commit that was built.
    SourceRepositoryDigest = "source-repository-digest",
    /// `.14`: the branch or tag that was built.
    SourceRepositoryRef = "source-repository-ref",
    /// `.15`: the repository's number, which survives renaming.
    SourceRepositoryIdentifier = "source-repository-identifier",
    /// `.16`: the owner's URL.
    SourceRepositoryOwnerUri = "source-repository-owner-uri",
    /// `.17`: the owner's number.
    SourceRepositoryOwnerIdentifier = "source-repository-owner-identifier",
    /// `.18`: the top-level build instructions.
    BuildConfigUri = "build-config-uri",
    /// `.19`: their commit.
    BuildConfigDigest = "build-config-digest",
    /// `.20`: what started the build.
    BuildTrigger = "build-trigger",
    /// `.21`: the run.
    RunInvocationUri = "run-invocation-uri",
    /// `.22`: `public` or `private`, when it signed.
    SourceRepositoryVisibility = "source-repository-visibility",
    /// `.23`: the deployment environment of the job.
    DeploymentEnvironment = "deployment-environment",
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no claim {text:?}; there are: {known}", known = Claim::names())]
pub struct ClaimError {
    text: String,
}

impl Claim {
    fn names() -> String {
        Self::ALL.iter().map(|claim| claim.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Claim {
    type Err = ClaimError;

    fn from_str(text: &str) -> Result<Self, ClaimError> {
        let known = Self::ALL.iter().find(|claim| claim.as_str() == text);
        known.copied().ok_or_else(|| ClaimError { text: text.chars().take(80).collect() })
    }
}
