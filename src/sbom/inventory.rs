//! What a bill of materials says, whatever format says it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use super::FORMAT;
use crate::digest::Digest;

/// Everything that one pair of documents tells.
#[derive(Debug)]
pub(super) struct Inventory {
    /// What the documents are about: `postgresql-17.11.0-x86_64-unknown-linux-gnu`.
    pub(super) name: String,
    /// The same for the same content, and different for any other.
    pub(super) identity: Digest,
    /// The one time in the documents.
    pub(super) created: Timestamp,
    /// CycloneDX's word for when in the life of the thing this was found out.
    pub(super) phase: &'static str,
    /// A remark on the whole.
    pub(super) comment: String,
    /// The one component that all others are there for.
    pub(super) root: Id,
    /// What the SPDX document describes.
    pub(super) described: BTreeSet<Id>,
    /// All components.
    pub(super) components: BTreeMap<Id, Component>,
    /// All files of these, in the order of their paths.
    pub(super) files: Vec<File>,
    /// How the components belong to each other.
    pub(super) relations: BTreeSet<Relation>,
}

/// What a component is called within a document: letters, digits, `.` and `-`, as SPDX asks for (clause 3.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(String);

/// A thing that other things consist of.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: Option<String>,
    /// The organisation that it came from.
    pub(super) supplier: Option<&'static str>,
    /// The organisation that wrote it, where that is another one.
    pub(super) originator: Option<&'static str>,
    pub(super) file_name: Option<String>,
    pub(super) purl: Option<String>,
    pub(super) cpe: Option<String>,
    pub(super) licence: Licence,
    pub(super) sums: Vec<Sum>,
    /// In bytes.
    pub(super) size: Option<u64>,
    /// Where it can be had.
    pub(super) origin: Option<String>,
    pub(super) comment: Option<String>,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An archive that is published.
    Archive,
    /// A program with all that belongs to it.
    Application,
    /// A library.
    Library,
    /// A package of a distribution, whatever is in it.
    Package,
    /// A root file system.
    Image,
    /// What something was made of: a release tarball, a source package.
    Source,
}

/// Under which terms it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Licence {
    /// Nobody has looked.
    Unknown,
    /// An SPDX licence expression.
    Expression(String),
    /// No expression says it: this text does.
    Text {
        /// `LicenseRef-…`
        id: String,
        /// What it is, for people.
        name: String,
        /// All of it.
        text: String,
    },
}

/// A digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) algorithm: Algorithm,
    /// Lower-case hexadecimal digits.
    pub(super) hex: String,
}

/// What made a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// SPDX cannot do without it (clause 8.4). Nothing here relies on it.
    Sha1,
    Sha256,
    Sha512,
}

/// A file of an archive.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) id: Id,
    /// From the archive's root: `NAME/bin/postgres`.
    pub(super) path: String,
    pub(super) size: u64,
    /// SHA-1 and SHA-256.
    pub(super) sums: Vec<Sum>,
    /// The archive that has it.
    pub(super) archive: Id,
    /// The component that it belongs to; `None` for what only the archive itself has.
    pub(super) owner: Option<Id>,
}

/// One component to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Relation {
    pub(super) from: Id,
    pub(super) verb: Verb,
    pub(super) to: Id,
}

/// What one component is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Contains,
    DependsOn,
    GeneratedFrom,
    BuildToolOf,
    BuildDependencyOf,
    DevDependencyOf,
}

impl Inventory {
    /// A number for a document that tells this, in the given format: another format's is another.
    pub(super) fn uuid(&self, format: &str) -> Uuid {
        let digest = Digest::of(format!("{format} {FORMAT} {}", self.identity).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        // RFC 9562, section 5.8: version 8 is for what is made any other way, here from a SHA-256.
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Adds a component under an identifier made of `words`, and gives that: a number follows if others have it already.
    pub(super) fn add(&mut self, words: &str, component: Component) -> Id {
        let wanted = Id::of(words);
        let mut id = wanted.clone();
        let mut count = 1;
        while self.components.contains_key(&id) {
            count += 1;
            id = Id(format!("{wanted}-{count}"));
        }
        self.components.insert(id.clone(), component);
        id
    }

    pub(super) fn relate(&mut self, from: &Id, verb: Verb, to: &Id) {
        self.relations.insert(Relation { from: from.clone(), verb, to: to.clone() });
    }

    /// The components that `from` is related to by `verb`.
    pub(super) fn related<'a>(&'a self, from: &'a Id, verb: Verb) -> impl Iterator<Item = &'a Id> {
        self.relations.iter().filter(move |relation| relation.from == *from && relation.verb == verb).map(|one| &one.to)
    }
}

impl Id {
    /// Words as an identifier: every other character becomes a `-`.
    pub(super) fn of(words: &str) -> Self {
        let plain = |character: char| {
            if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' }
        };
        Self(words.chars().map(plain).collect())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Component {
    /// A component of which nothing is known but what it is.
    pub(super) fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            version: None,
            supplier: None,
            originator: None,
            file_name: None,
            purl: None,
            cpe: None,
            licence: Licence::Unknown,
            sums: Vec::new(),
            size: None,
            origin: None,
            comment: None,
        }
    }
}

impl Licence {
    /// As an SPDX licence expression.
    pub(super) fn expression(&self) -> &str {
        match self {
            Self::Unknown => "NOASSERTION",
            Self::Expression(expression) => expression,
            Self::Text { id, .. } => id,
        }
    }

    /// What holds for something that consists of all of these.
    pub(super) fn all<'a>(licences: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut terms = BTreeSet::new();
        for licence in licences {
            match licence {
                // One that is unknown leaves the whole so.
                Self::Unknown => return Self::Unknown,
                // `AND` binds its terms together; what has an `OR` has to stay one of them.
                Self::Expression(expression) if expression.contains(" OR ") => {
                    terms.insert(format!("({expression})"));
                }
                Self::Expression(expression) => terms.extend(expression.split(" AND ").map(str::to_owned)),
                Self::Text { id, .. } => {
                    terms.insert(id.clone());
                }
            }
        }
        if terms.is_empty() {
            return Self::Unknown;
        }
        Self::Expression(terms.into_iter().collect::<Vec<_>>().join(" AND "))
    }
}

impl Sum {
    pub(super) fn sha256(digest: Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: digest.hex() }
    }
}
