//! What signed documents say about an archive, once their signatures hold.
//!
//! ```text
//! documents ──> bundles ──> verified, by whom ──> statements ──> those about this archive
//! ```
//!
//! It never fetches, never reads a clock, and passes nothing over: a document that says nothing, for whatever reason, is a
//! [`Disregarded`] with that reason.

use jiff::Timestamp;

use crate::bundle::{self, Artifact, Bundle, BundleError, Refused, Signer, TrustRoot, Verified};
use crate::digest::Digest;
use crate::statement::{Predicate, Statement, StatementError};

/// The most bundles that are looked at, over all documents: each takes a millisecond.
const BUNDLE_LIMIT: usize = 1000;

/// A document that may hold bundles.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// What to call it: its file name.
    pub name: &'a str,
    /// What is in it; nothing is known of it.
    pub bytes: &'a [u8],
}

/// What somebody who was asked for said of the archive.
#[derive(Debug)]
pub struct Testimony {
    /// The document that it stands in.
    pub source: String,
    /// The signature, which holds.
    pub verified: Verified,
    /// What was signed.
    pub said: Said,
}

/// What a signature is over.
#[derive(Debug)]
pub enum Said {
    /// A statement, of which the archive is a subject.
    Statement(Box<Statement>),
    /// The archive itself, with no word about it.
    Archive,
}

/// A bundle that is no testimony.
#[derive(Debug)]
pub struct Disregarded {
    /// The document that it stands in.
    pub source: String,
    /// Why.
    pub reason: Reason,
}

/// Why a bundle is no testimony.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum Reason {
    /// It is none.
    #[error("it cannot be read")]
    Malformed(#[from] BundleError),
    /// Its signature does not hold, or is of somebody else.
    #[error("it is refused")]
    Refused(#[from] Refused),
    /// What was signed is no statement.
    #[error("what is signed in it is not a statement that can be read")]
    Statement(#[from] StatementError),
    /// It is about something else.
    #[error("it is about {0}, and not about this archive")]
    OtherSubject(String),
    /// There are too many.
    #[error("more than {BUNDLE_LIMIT} bundles were given; it was not read")]
    TooMany,
}

/// What documents say.
#[derive(Debug, Default)]
pub struct Heard {
    /// What holds.
    pub testimonies: Vec<Testimony>,
    /// What does not.
    pub disregarded: Vec<Disregarded>,
}

/// What is known of the archive.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// Its digest.
    Digest(Digest),
    /// All of it, and its digest.
    Content(&'a [u8], Digest),
    /// Nothing: whatever is said of anything is wanted.
    Any,
}

/// Hears what `documents` say about `subject`, as far as it is signed by one of `signers`; `now` is the current time.
pub fn hear(
    documents: &[Document<'_>],
    subject: Subject<'_>,
    signers: &[Signer],
    root: Option<&TrustRoot>,
    now: Timestamp,
) -> Heard {
    let mut heard = Heard::default();
    let mut count = 0;
    for document in documents {
        let source = || document.name.to_owned();
        let bundles = match Bundle::parse_all(document.bytes) {
            Ok(bundles) => bundles,
            Err(error) => {
                heard.disregarded.push(Disregarded { source: source(), reason: error.into() });
                continue;
            }
        };
        for bundle in &bundles {
            count += 1;
            let told =
                if count > BUNDLE_LIMIT { Err(Reason::TooMany) } else { said(bundle, subject, signers, root, now) };
            match told {
                Ok((verified, said)) => heard.testimonies.push(Testimony { source: source(), verified, said }),
                Err(reason) => heard.disregarded.push(Disregarded { source: source(), reason }),
            }
        }
    }
    heard
}

fn said(
    bundle: &Bundle,
    subject: Subject<'_>,
    signers: &[Signer],
    root: Option<&TrustRoot>,
    now: Timestamp,
) -> Result<(Verified, Said), Reason> {
    let (artifact, digest) = match subject {
        Subject::Digest(digest) => (Artifact::Digest(digest), Some(digest)),
        Subject::Content(bytes, digest) => (Artifact::Content(bytes), Some(digest)),
        Subject::Any => (Artifact::Unbound, None),
    };
    let verified = bundle::verify(bundle, artifact, signers, root, now)?;
    let Some(statement) = verified.statement() else { return Ok((verified, Said::Archive)) };
    let statement = Box::new(Statement::parse(statement)?);
    // `verify` has seen to it; but this is what all the rest stands on.
    if digest.is_some_and(|digest| statement.subject(digest).is_none()) {
        let first = statement.subjects().first().map(|subject| subject.name.clone()).unwrap_or_default();
        return Err(Reason::OtherSubject(first));
    }
    Ok((verified, Said::Statement(statement)))
}

/// The statements in `documents` as somebody wrote them, signed or not, each with its document. Nobody may rely on one.
pub fn unverified(documents: &[Document<'_>]) -> Vec<(String, Statement)> {
    let mut found = Vec::new();
    for document in documents {
        let bundles = Bundle::parse_all(document.bytes).unwrap_or_default();
        let signed = bundles.iter().take(BUNDLE_LIMIT).filter_map(Bundle::unverified_statement);
        let statements = signed.chain([document.bytes]).filter_map(|bytes| Statement::parse(bytes).ok());
        found.extend(statements.map(|statement| (document.name.to_owned(), statement)));
    }
    found
}

impl Said {
    /// The type of what was said; of a plain signature, none.
    pub fn predicate_type(&self) -> Option<&str> {
        match self {
            Self::Statement(statement) => Some(statement.predicate().predicate_type()),
            Self::Archive => None,
        }
    }

    /// What was said.
    pub fn predicate(&self) -> Option<&Predicate> {
        match self {
            Self::Statement(statement) => Some(statement.predicate()),
            Self::Archive => None,
        }
    }

    /// The statement, if it is one.
    pub fn into_statement(self) -> Option<Statement> {
        match self {
            Self::Statement(statement) => Some(*statement),
            Self::Archive => None,
        }
    }
}
