//! Makes statements of what was built here, and of nothing else.

use std::collections::BTreeMap;

use super::rebuild::{Archive, ArchiveDigests, Cause, Conditions, Found, Rebuild};
use super::{Byproduct, Materials, Origin, Predicate, Provenance, Statement, StatementError, Subject};
use crate::lockfile::Name;
use crate::output::Sums;
use crate::plan::Plan;
use crate::rebuild::{Built, Rebuilt};
use crate::verdict::{self, Differences, Reproduced};

/// What was built here to be compared with what somebody published.
#[derive(Clone, Copy)]
pub enum Builds<'a> {
    /// One build.
    Once(&'a Built),
    /// Two, under different conditions.
    Twice(&'a Rebuilt),
}

impl Statement {
    /// States that `built` is of these materials, and that these files were published of it.
    pub fn of_build(
        materials: &Materials,
        built: &Built,
        published: &BTreeMap<Name, Sums>,
        byproducts: Vec<Byproduct>,
        origin: Origin,
    ) -> Result<Self, StatementError> {
        let provenance = Provenance {
            request: materials.request.clone(),
            plan: materials.plan.clone(),
            files: materials.files.clone(),
            dependencies: materials.dependencies(&origin.tool)?,
            walls: built.installed.walls.clone(),
            medium: built.installed.medium,
            origin,
            byproducts,
        };
        provenance.check()?;
        Self::made(subjects(published), Predicate::Provenance(Box::new(provenance)))
    }

    /// States that both of `builds`, plain and shaken, made the same, and that these files were published of it.
    pub fn reproduced(
        reproduced: &Reproduced,
        plan: &Plan,
        builds: [&Built; 2],
        published: &BTreeMap<Name, Sums>,
        origin: Origin,
    ) -> Result<Self, StatementError> {
        let archive = |output| {
            let digests = Some(ArchiveDigests::of(output));
            Archive { name: output.name().clone(), published: None, plain: digests, shaken: digests }
        };
        let archives = reproduced.outputs().iter().map(archive).collect();
        let rebuild = Rebuild::new(plan, archives, builds.map(Conditions::of).into(), None, Vec::new(), origin);
        Self::of_rebuild(subjects(published), rebuild)
    }

    /// States that `builds`, plain and shaken, did not make the same. It is about the archives of both.
    pub fn not_reproduced(
        differences: &Differences,
        causes: Vec<Cause>,
        plan: &Plan,
        builds: [&Built; 2],
        origin: Origin,
    ) -> Result<Self, StatementError> {
        let archives: Vec<Archive> = differences.archives.iter().map(Archive::of_pair).collect();
        let subjects = archives.iter().flat_map(Archive::subjects).collect();
        let found = Some(Found::of(differences));
        let rebuild = Rebuild::new(plan, archives, builds.map(Conditions::of).into(), found, causes, origin);
        Self::of_rebuild(subjects, rebuild)
    }

    /// States whether what was built here is what somebody published under these names, and is about that. An archive that
    /// was published and not built is a difference; one that was built and not published is none.
    pub fn against_published(
        published: &BTreeMap<Name, ArchiveDigests>,
        builds: Builds<'_>,
        found: Option<Found>,
        causes: Vec<Cause>,
        plan: &Plan,
        origin: Origin,
    ) -> Result<Self, StatementError> {
        let (plain, shaken) = match builds {
            Builds::Once(built) => (built, None),
            Builds::Twice(rebuilt) => (&rebuilt.plain, Some(&rebuilt.shaken)),
        };
        let of = |built: &Built, name: &Name| {
            built.outputs.iter().find(|output| output.name() == name).map(ArchiveDigests::of)
        };
        let archive = |(name, digests): (&Name, &ArchiveDigests)| Archive {
            name: name.clone(),
            published: Some(*digests),
            plain: of(plain, name),
            shaken: shaken.and_then(|built| of(built, name)),
        };
        let archives: Vec<Archive> = published.iter().map(archive).collect();
        let subjects = archives.iter().flat_map(Archive::subjects).collect();
        let conditions = std::iter::once(plain).chain(shaken).map(Conditions::of).collect();
        Self::of_rebuild(subjects, Rebuild::new(plan, archives, conditions, found, causes, origin))
    }

    fn of_rebuild(subjects: Vec<Subject>, rebuild: Rebuild) -> Result<Self, StatementError> {
        rebuild.check()?;
        Self::made(subjects, Predicate::Rebuild(Box::new(rebuild)))
    }

    /// What is made here keeps the rules that strangers' statements have to keep.
    fn made(subjects: Vec<Subject>, predicate: Predicate) -> Result<Self, StatementError> {
        let statement = Self { subjects, predicate };
        statement.check()?;
        Ok(statement)
    }
}

fn subjects(published: &BTreeMap<Name, Sums>) -> Vec<Subject> {
    published.iter().map(|(name, sums)| Subject::new(name, sums.sha256, Some(sums.sha512))).collect()
}

impl Archive {
    fn of_pair(pair: &verdict::Pair) -> Self {
        Self {
            name: pair.name.clone(),
            published: None,
            plain: Some(pair.first.into()),
            shaken: Some(pair.second.into()),
        }
    }

    /// The archive that was published or else that of the plain build; and that of the shaken one, if nothing was published
    /// and it is another.
    fn subjects(&self) -> Vec<Subject> {
        let file = |ending: &str, digests: ArchiveDigests| Subject {
            name: format!("{}{ending}.tar.gz", self.name),
            sha256: digests.archive,
            sha512: None,
        };
        let first = self.published.or(self.plain);
        let other = self
            .shaken
            .filter(|shaken| self.published.is_none() && first.is_some_and(|first| first.archive != shaken.archive));
        first
            .map(|digests| file("", digests))
            .into_iter()
            .chain(other.map(|digests| file(".shaken", digests)))
            .collect()
    }
}

impl Conditions {
    fn of(built: &Built) -> Self {
        let installed = &built.installed;
        Self {
            label: built.variation.label,
            axes: installed.axes.clone(),
            walls: installed.walls.clone(),
            medium: installed.medium,
            log: installed.log.digest(),
        }
    }
}
