//! Holds what was said against a policy. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Policy, Role, Trusted};
use crate::bundle::{Identity, Signer};
use crate::digest::Digest;
use crate::sandbox::{Outcome, Wall};
use crate::statement::{Predicate, Verdict};
use crate::testimony::Testimony;
use crate::variation::Axis;

/// How far the clock of whoever vouches for a signing time may be ahead of this machine's.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What a policy makes of all that was said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// How many had to vouch.
    pub threshold: usize,
    /// Those who did, each once.
    pub vouchers: Vec<Voucher>,
    /// Those who could not reproduce it.
    pub negatives: Vec<Negative>,
    /// What counted for nothing, and why.
    pub uncounted: Vec<Uncounted>,
    /// What is missing; the archive is accepted if nothing is.
    pub lacks: Vec<Lack>,
}

/// Somebody who vouches for the archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Voucher {
    /// The policy's name for them.
    pub name: String,
    /// As what they are counted.
    pub role: Role,
    /// Who signed.
    pub signer: Identity,
    /// The documents, sorted.
    pub sources: Vec<String>,
}

/// Somebody whom the policy names, and who could not reproduce the archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Negative {
    /// The policy's name for them.
    pub name: String,
    /// The document.
    pub source: String,
}

/// A statement that counts for nothing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Uncounted {
    /// The document that it stands in.
    pub source: String,
    /// Whose it is, in the policy's words.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

/// Why a statement counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A builder said what only a rebuilder may say, or the other way round.
    Role(Role),
    /// Something that the policy does not ask for.
    NotAskedFor,
    /// Nobody vouches for when it was signed, and the policy says how old it may be.
    NoTime,
    /// It is too old.
    Old(Timestamp),
    /// It is of a time to come.
    Future(Timestamp),
    /// Conditions that had to differ and did not.
    Axes(BTreeSet<Axis>),
    /// Walls that had to stand and are not stated.
    Walls(BTreeSet<Wall>),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Too few vouch.
    Vouchers {
        /// How many do.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// No builder says where it comes from.
    Builder,
    /// Nobody made a statement of this type.
    PredicateType(String),
    /// Somebody could not reproduce it.
    Veto(String),
}

/// Somebody whom the policy names, in the role that a statement asks for.
struct Speaker<'a> {
    /// Their entry in the policy.
    entry: usize,
    testimony: &'a Testimony,
}

impl Policy {
    /// What the policy makes of `testimonies` about the archive with this digest; `now` is the current time.
    pub fn judge(&self, archive: Digest, testimonies: &[Testimony], now: Timestamp) -> Judgement {
        let (mut vouching, mut negatives, mut uncounted) = (Vec::new(), Vec::new(), Vec::new());
        for testimony in testimonies {
            let source = testimony.source.clone();
            let (name, reason) = match self.speaker(testimony) {
                Ok(entry) => {
                    let name = self.trusted[entry].name.clone();
                    if is_negative(testimony, archive) {
                        negatives.push(Negative { name, source });
                        continue;
                    }
                    match self.find_fault(testimony, now) {
                        None => {
                            vouching.push(Speaker { entry, testimony });
                            continue;
                        }
                        Some(reason) => (name, reason),
                    }
                }
                Err(reason) => (self.trusted[testimony.verified.matched()].name.clone(), reason),
            };
            uncounted.push(Uncounted { source, name, reason });
        }
        let vouchers = self.count(&vouching);
        let mut lacks = self.lacks(&vouching, vouchers.len());
        if self.veto {
            lacks.extend(negatives.iter().map(|negative| Lack::Veto(negative.name.clone())));
        }
        Judgement { threshold: self.threshold, vouchers, negatives, uncounted, lacks }
    }

    /// Who speaks: the first entry of the role that what was said asks for.
    fn speaker(&self, testimony: &Testimony) -> Result<usize, Reason> {
        let role = match testimony.said.predicate() {
            Some(Predicate::Provenance(_)) => Role::Builder,
            Some(Predicate::Rebuild(_)) => Role::Rebuilder,
            // A bill of materials, say: of whoever builds.
            Some(Predicate::Other { predicate_type, .. }) if self.predicate_types.contains(predicate_type) => {
                Role::Builder
            }
            Some(Predicate::Other { .. }) | None => return Err(Reason::NotAskedFor),
        };
        let admits =
            |(entry, signer): (&Trusted, &Signer)| entry.role == role && signer.admits(testimony.verified.signer());
        self.trusted.iter().zip(&self.signers).position(admits).ok_or(Reason::Role(role))
    }

    /// What the policy asks for and the statement does not have.
    fn find_fault(&self, testimony: &Testimony, now: Timestamp) -> Option<Reason> {
        let walls =
            |stood: &[Wall]| self.walls.iter().copied().filter(|wall| !stood.contains(wall)).collect::<BTreeSet<_>>();
        let (axes, walls) = match testimony.said.predicate() {
            Some(Predicate::Provenance(provenance)) => (BTreeSet::new(), walls(&provenance.walls)),
            Some(Predicate::Rebuild(rebuild)) => {
                let held = |axis: &Axis| rebuild.axes().and_then(|axes| axes.get(axis)) == Some(&Outcome::Held);
                let axes = self.axes.iter().copied().filter(|axis| !held(axis)).collect();
                (axes, rebuild.builds.iter().flat_map(|build| walls(&build.walls)).collect())
            }
            Some(Predicate::Other { .. }) | None => (BTreeSet::new(), BTreeSet::new()),
        };
        if !axes.is_empty() {
            return Some(Reason::Axes(axes));
        }
        if !walls.is_empty() {
            return Some(Reason::Walls(walls));
        }
        let max_age = self.max_age?;
        // The time that a statement gives itself is only a claim of whoever signed it.
        let Some(time) = testimony.verified.time() else { return Some(Reason::NoTime) };
        let age = now.duration_since(time.at);
        if age > max_age {
            Some(Reason::Old(time.at))
        } else if age < -CLOCK_TOLERANCE {
            Some(Reason::Future(time.at))
        } else {
            None
        }
    }

    /// Each signer once, under one entry; and each entry once.
    fn count(&self, vouching: &[Speaker<'_>]) -> Vec<Voucher> {
        let mut entry_of = BTreeMap::<&Identity, usize>::new();
        let mut sources = BTreeMap::<usize, (&Identity, BTreeSet<&str>)>::new();
        for Speaker { entry, testimony } in vouching {
            let signer = testimony.verified.signer().identity();
            let entry = *entry_of.entry(signer).or_insert(*entry);
            sources.entry(entry).or_insert_with(|| (signer, BTreeSet::new())).1.insert(&testimony.source);
        }
        let voucher = |(entry, (signer, sources)): (usize, (&Identity, BTreeSet<&str>))| Voucher {
            name: self.trusted[entry].name.clone(),
            role: self.trusted[entry].role,
            signer: signer.clone(),
            sources: sources.into_iter().map(str::to_owned).collect(),
        };
        sources.into_iter().map(voucher).collect()
    }

    fn lacks(&self, vouching: &[Speaker<'_>], found: usize) -> Vec<Lack> {
        let mut lacks = Vec::new();
        if found < self.threshold {
            lacks.push(Lack::Vouchers { found, needed: self.threshold });
        }
        let is_provenance =
            |speaker: &Speaker<'_>| matches!(speaker.testimony.said.predicate(), Some(Predicate::Provenance(_)));
        if self.trusted.iter().any(|entry| entry.role == Role::Builder) && !vouching.iter().any(is_provenance) {
            lacks.push(Lack::Builder);
        }
        let made: BTreeSet<_> = vouching.iter().filter_map(|speaker| speaker.testimony.said.predicate_type()).collect();
        let missing = self.predicate_types.iter().filter(|wanted| !made.contains(wanted.as_str()));
        lacks.extend(missing.cloned().map(Lack::PredicateType));
        lacks
    }
}

/// Whether somebody says that this archive could not be built again.
pub fn is_negative(testimony: &Testimony, archive: Digest) -> bool {
    let Some(Predicate::Rebuild(rebuild)) = testimony.said.predicate() else { return false };
    // Of a file that is no archive, what holds for all of them.
    !rebuild.says_of(archive).unwrap_or(rebuild.verdict == Verdict::Reproduced)
}

impl Judgement {
    /// Whether the archive is accepted.
    pub fn is_accepted(&self) -> bool {
        self.lacks.is_empty()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Builder => "builder",
            Self::Rebuilder => "rebuilder",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(Role::Builder) => {
                f.write_str("it says how the archive was built, and the policy does not take that from them")
            }
            Self::Role(Role::Rebuilder) => {
                f.write_str("it says what building again came to, and the policy does not take that from them")
            }
            Self::NotAskedFor => f.write_str("the policy does not ask for what it says"),
            Self::NoTime => f.write_str("nobody vouches for when it was signed, and the policy has max-age-days"),
            Self::Old(at) => write!(f, "it was signed on {at}, longer ago than the policy allows"),
            Self::Future(at) => write!(f, "it was signed on {at}, which is still to come"),
            Self::Axes(axes) => write!(f, "the builds did not differ in {}", listed(axes)),
            Self::Walls(walls) => write!(f, "it does not state these walls of the box: {}", listed(walls)),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vouchers { found, needed } => write!(f, "{found} of {needed} vouch for it"),
            Self::Builder => f.write_str("no builder whom the policy names says where it comes from"),
            Self::PredicateType(wanted) => write!(f, "nobody made a statement of the type {wanted}"),
            Self::Veto(name) => write!(f, "{name} could not reproduce it"),
        }
    }
}

fn listed<T: fmt::Display>(all: &BTreeSet<T>) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
