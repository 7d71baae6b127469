//! States what came from what: a build's provenance, and what a second build of it came to. Pure.
//!
//! A [`Statement`] is an in-toto Statement v1: files by digest, and a predicate about them. There are two predicates that
//! pgproof makes and reads: [`Provenance`], which is SLSA Provenance v1 and holds all that is needed to build the same again;
//! and [`Rebuild`], which says whether what was built again is the same. What others state is [`Predicate::Other`].
//!
//! It may come from a stranger. Parsing one refuses what is too large, too deep or twice, and what contradicts itself: a
//! plan with another digest than the stated one, a list of inputs that is not that of the plan, a verdict that is not that of
//! its digests. What is parsed is a claim nevertheless. Who made it, [`crate::statement`] never says: that is the signature's.
//!
//! # Why
//!
//! Only what holds can be stated: [`Statement::reproduced`] asks for a [`Reproduced`](crate::verdict::Reproduced), and a
//! comparison with what somebody published is made here, by the function that states it.
//!
//! The plan, the definitions and the lockfiles travel within the provenance, so that the statement alone is enough to
//! rebuild: the inputs are known by digest, and anybody may deliver them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definitions::DefinitionsError;
use crate::digest::DigestError;
use crate::plan::PlanError;

pub use dependency::{Annotations, Dependency, DigestSet};
pub use making::Builds;
pub use material::Materials;
pub use origin::{Commit, Identifier, Occasion, Origin, OriginError, Tool, ToolVersion};
pub use provenance::{Byproduct, Provenance, Request};
pub use rebuild::{Archive, ArchiveDigests, Cause, Change, Conditions, Differing, Found, LISTED, Rebuild, Verdict};
pub use subject::{SUBJECT_LIMIT, Subject};

mod dependency;
mod json;
mod making;
mod material;
mod origin;
mod provenance;
mod rebuild;
mod subject;

/// The `_type` of every statement (in-toto attestation framework v1, `statement.md`).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The media type of a statement as a DSSE payload (in-toto attestation framework v1, `envelope.md`).
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The predicate type of SLSA Provenance v1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// The build type of provenance that pgproof makes.
pub const BUILD_TYPE: &str = "urn:pgproof:build:1";

/// The predicate type of what a rebuild came to.
pub const REBUILD: &str = "urn:pgproof:rebuild:1";

/// A statement of more bytes is refused: that of PostgreSQL 17.11 takes about 200 KiB.
pub const SIZE_LIMIT: usize = 4 << 20;

/// An in-toto statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    subjects: Vec<Subject>,
    predicate: Predicate,
}

/// What is stated.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// How the subjects were built, by pgproof.
    Provenance(Box<Provenance>),
    /// What building them again came to.
    Rebuild(Box<Rebuild>),
    /// Something else: another builder's provenance, too.
    Other {
        /// Its type.
        predicate_type: String,
        /// What it says.
        body: Value,
    },
}

/// The outermost layer of a statement's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<subject::Wire>,
    predicate_type: String,
    predicate: Value,
}

/// What is wrong with a statement, or why there is none.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum StatementError {
    /// It is larger than any.
    #[error("the statement has {size} bytes, more than {SIZE_LIMIT}")]
    TooLarge {
        /// How many.
        size: usize,
    },
    /// It is no JSON, or a part of it is not of its format.
    #[error("{what} is malformed")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is no in-toto Statement v1.
    #[error("the statement's _type is {found:?}, not {STATEMENT_TYPE:?}")]
    Type {
        /// What it says that it is.
        found: String,
    },
    /// It is about nothing, or about too much.
    #[error("the statement has {found} subjects; 1 to {SUBJECT_LIMIT} are allowed")]
    Subjects {
        /// How many there are.
        found: usize,
    },
    /// A subject is none.
    #[error("the statement's subject {name:?}: {what}")]
    Subject {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A digest is none.
    #[error("the statement's digest of {of:?} is none")]
    Digest {
        /// Whose.
        of: String,
        /// Why.
        source: DigestError,
    },
    /// The plan is none.
    #[error("the statement's plan cannot be used")]
    Plan(#[from] PlanError),
    /// A definition is none, or is missing.
    #[error("a definition that belongs to the plan cannot be used")]
    Definitions(#[from] DefinitionsError),
    /// It contradicts itself.
    #[error("the statement contradicts itself: {0}")]
    Contradiction(String),
}

impl StatementError {
    fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction(what.into())
    }
}

impl Statement {
    /// Parses and checks a statement's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, StatementError> {
        if json.len() > SIZE_LIMIT {
            return Err(StatementError::TooLarge { size: json.len() });
        }
        let malformed = |source| StatementError::Malformed { what: "the statement", source };
        let value = json::parse(json).map_err(malformed)?;
        // First what it is: whatever else is wrong with something else says nothing.
        if let Some(found) = value.get("_type").and_then(Value::as_str)
            && found != STATEMENT_TYPE
        {
            return Err(StatementError::Type { found: found.chars().take(120).collect() });
        }
        let wire: Wire = json::typed(value).map_err(malformed)?;
        if wire.subject.is_empty() || wire.subject.len() > SUBJECT_LIMIT {
            return Err(StatementError::Subjects { found: wire.subject.len() });
        }
        let subjects = wire.subject.into_iter().map(Subject::read).collect::<Result<Vec<_>, _>>()?;
        let predicate = Predicate::read(wire.predicate_type, wire.predicate)?;
        let statement = Self { subjects, predicate };
        statement.check()?;
        Ok(statement)
    }

    /// The statement's canonical JSON (RFC 8785).
    ///
    /// # Panics
    ///
    /// Never: a statement has no map with other keys than strings.
    pub fn canonical(&self) -> Vec<u8> {
        let (predicate_type, predicate) = self.predicate.write();
        let wire = Wire {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: self.subjects.iter().map(Subject::write).collect(),
            predicate_type,
            predicate,
        };
        serde_json_canonicalizer::to_vec(&wire).expect("a statement is JSON")
    }

    /// What it is about: at least one file.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// What it says.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The subject with this digest.
    pub fn subject(&self, digest: crate::digest::Digest) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.sha256 == digest)
    }

    fn check(&self) -> Result<(), StatementError> {
        if let Predicate::Other { .. } = self.predicate {
            return Ok(());
        }
        let mut seen = std::collections::BTreeSet::new();
        for subject in &self.subjects {
            let wrong = |what| Err(StatementError::Subject { name: subject.name.chars().take(80).collect(), what });
            if !subject.is_plain() {
                return wrong("its name is not that of a file");
            }
            if !seen.insert(&subject.name) {
                return wrong("it is there twice");
            }
        }
        match &self.predicate {
            Predicate::Provenance(provenance) => provenance.check_subjects(&self.subjects),
            Predicate::Rebuild(rebuild) => rebuild.check_subjects(&self.subjects),
            Predicate::Other { .. } => Ok(()),
        }
    }
}

impl Predicate {
    /// Its type.
    pub fn predicate_type(&self) -> &str {
        match self {
            Self::Provenance(_) => PROVENANCE,
            Self::Rebuild(_) => REBUILD,
            Self::Other { predicate_type, .. } => predicate_type,
        }
    }

    fn read(predicate_type: String, body: Value) -> Result<Self, StatementError> {
        match predicate_type.as_str() {
            REBUILD => Ok(Self::Rebuild(Box::new(Rebuild::read(body)?))),
            // Others' provenance has parameters of their own, in which only they know what means what.
            PROVENANCE if provenance::is_ours(&body) => Ok(Self::Provenance(Box::new(Provenance::read(body)?))),
            _ => Ok(Self::Other { predicate_type, body }),
        }
    }

    fn write(&self) -> (String, Value) {
        let body = match self {
            Self::Provenance(provenance) => provenance.write(),
            Self::Rebuild(rebuild) => rebuild.write(),
            Self::Other { body, .. } => body.clone(),
        };
        (self.predicate_type().to_owned(), body)
    }
}
