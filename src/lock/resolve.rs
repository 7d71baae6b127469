//! Chooses the packages that a request needs: those that apt would choose on an empty system, without recommendations.
//!
//! # Why
//!
//! Nobody should have to trust a resolver of our own taste, so this one does what `apt-get install` (2.6) does and can
//! be checked against it: the same walk (`pkgDepCache::MarkInstall`), the same order of preference among providers
//! (`CompareProviders`), the same treatment of packages that refuse each other. What apt decides later, when its first
//! answer has faults (`pkgProblemResolver`), is not done: such a request is an error that names the fault.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::lock::packages::{Candidate, Link, NameId, Universe};
use crate::lockfile::Name;

/// A chain of dependencies longer than this is not followed. apt's limit is 3000; GNOME, KDE and all of TeX Live need
/// fewer than 40.
const DEPTH_LIMIT: usize = 1000;

/// Why a request cannot be met.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum ResolveError {
    /// There is no such package.
    #[error("there is no package {0} in the index")]
    Unknown(Name),
    /// There is no such package, but others provide it.
    #[error("there is no package {name} in the index; ask for one that provides it: {providers}")]
    Virtual {
        /// The name.
        name: Name,
        /// The packages that provide it.
        providers: String,
    },
    /// What a package needs cannot be had.
    #[error("{package} needs {need}, which cannot be installed")]
    Unsatisfied {
        /// The package.
        package: Name,
        /// What it needs.
        need: String,
    },
    /// Two packages refuse each other.
    #[error("{package} and {other} cannot be installed together: {package} refuses {relation}")]
    Conflict {
        /// The one that refuses.
        package: Name,
        /// The one that is refused.
        other: Name,
        /// The relation.
        relation: String,
    },
}

/// The packages that are installed when `request` is, sorted by name. The order of the request does not matter.
pub fn resolve<'u>(universe: &'u Universe, request: &BTreeSet<Name>) -> Result<Vec<&'u Candidate>, ResolveError> {
    let mut ids = Vec::new();
    for name in request {
        match universe.find(name) {
            Some((id, _)) => ids.push(id),
            None => return Err(unknown(universe, name)),
        }
    }
    let count = universe.ids().count();
    let mut solver = Solver { universe, states: vec![State::default(); count] };
    for id in universe.ids() {
        solver.state(id).candidate = universe.node(id).package.is_some();
    }
    // apt marks every package of the request first, so that each counts as there when the others' needs are looked at.
    for walk in [false, true] {
        for &id in &ids {
            solver.state(id).protected = true;
            solver.install(id, walk, 0, true);
        }
    }
    solver.sweep(&ids);
    solver.check()?;
    let mut chosen: Vec<_> =
        universe.ids().filter(|&id| solver.get(id).install).filter_map(|id| solver.package(id)).collect();
    chosen.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(chosen)
}

fn unknown(universe: &Universe, name: &Name) -> ResolveError {
    let node = universe.mentioned(name);
    let mut providers: Vec<_> = node
        .iter()
        .flat_map(|node| &node.providers)
        .filter_map(|provider| universe.node(provider.id).package.as_deref())
        .map(|package| package.name.as_str())
        .collect();
    providers.sort_unstable();
    providers.dedup();
    if providers.is_empty() {
        ResolveError::Unknown(name.clone())
    } else {
        ResolveError::Virtual { name: name.clone(), providers: providers.join(", ") }
    }
}

struct Solver<'u> {
    universe: &'u Universe,
    /// By the number of the name.
    states: Vec<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// It may be chosen.
    candidate: bool,
    /// It is chosen.
    install: bool,
    /// What was decided about it stays.
    protected: bool,
}

/// Which packages count when a relation is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Chosen,
    Candidates,
}

impl<'u> Solver<'u> {
    fn state(&mut self, id: NameId) -> &mut State {
        &mut self.states[id.index()]
    }

    fn get(&self, id: NameId) -> State {
        self.states[id.index()]
    }

    fn package(&self, id: NameId) -> Option<&'u Candidate> {
        self.universe.node(id).package.as_deref()
    }

    /// The packages among those asked for that a relation means: of the name itself, or providing it.
    fn meant(&self, link: &'u Link, among: Among) -> impl Iterator<Item = NameId> + use<'_, 'u> {
        let node = self.universe.node(link.target);
        let counts = move |id: NameId| match among {
            Among::Chosen => self.get(id).install,
            Among::Candidates => self.get(id).candidate,
        };
        let itself = node
            .package
            .iter()
            .filter(|package| link.versions.as_ref().is_none_or(|versions| versions.contain(&package.version)))
            .map(|_| link.target);
        let providers = node
            .providers
            .iter()
            .filter(|provider| match (&link.versions, &provider.version) {
                (None, _) => true,
                (Some(versions), Some(provided)) => versions.contain(provided),
                (Some(_), None) => false,
            })
            .map(|provider| provider.id);
        itself.chain(providers).filter(move |&id| counts(id))
    }

    fn holds(&self, group: &'u [Link], among: Among) -> bool {
        group.iter().any(|link| self.meant(link, among).next().is_some())
    }

    /// The packages that a relation of `owner` refuses. No package refuses itself, not even by what it provides.
    fn refused(&self, owner: NameId, link: &'u Link, among: Among) -> impl Iterator<Item = NameId> + use<'_, 'u> {
        self.meant(link, among).filter(move |&id| id != owner)
    }

    fn is_broken(&self, id: NameId, package: &'u Candidate) -> bool {
        self.get(id).install
            && (package.needs().any(|group| !self.holds(group, Among::Chosen))
                || package.refuses.iter().any(|link| self.refused(id, link, Among::Chosen).next().is_some()))
    }

    /// What could satisfy a group, best first: the order of the alternatives, then that of [`Solver::preference`].
    fn solutions(&self, group: &'u [Link]) -> Vec<NameId> {
        let mut solutions = Vec::new();
        for link in group {
            solutions.extend(self.sorted(link, self.meant(link, Among::Candidates)));
        }
        solutions.dedup();
        solutions.retain(|&id| !self.get(id).protected || self.get(id).install);
        solutions
    }

    fn sorted(&self, link: &Link, packages: impl Iterator<Item = NameId>) -> Vec<NameId> {
        let mut packages: Vec<_> = packages.collect();
        packages.sort_by(|&left, &right| self.preference(link.target, left, right));
        packages
    }

    /// apt's `CompareProviders`: the better package is the lesser one.
    fn preference(&self, target: NameId, left: NameId, right: NameId) -> Ordering {
        let flags = |id: NameId| {
            let package = self.package(id);
            (
                !self.get(id).protected,
                id != target,
                !package.is_some_and(|package| package.essential),
                !package.is_some_and(|package| package.protected),
                package.map_or(0, |package| package.priority),
            )
        };
        // Last resort: what was mentioned later.
        flags(left).cmp(&flags(right)).then_with(|| right.cmp(&left))
    }

    /// apt's `MarkInstall`. `walk`: choose what it needs too. `asked`: the request names it.
    fn install(&mut self, id: NameId, walk: bool, depth: usize, asked: bool) -> bool {
        let state = self.get(id);
        if depth > DEPTH_LIMIT || (!asked && !state.install && state.protected) {
            return false;
        }
        let Some(package) = self.package(id).filter(|_| state.candidate) else { return false };
        if !state.protected && state.install && !self.is_broken(id, package) {
            return true;
        }
        if walk && !self.can_be_satisfied(id, package) {
            return false;
        }
        if asked {
            self.state(id).install = true;
        }
        let fails_early = !state.protected && !asked;
        let mut failed = false;
        let mut needs = Vec::new();
        if walk {
            needs.extend(package.needs().filter(|group| state.protected || !self.holds(group, Among::Chosen)));
            if !self.push_aside(id, package, state.protected, asked) {
                if fails_early {
                    return false;
                }
                failed = true;
            }
        }
        self.state(id).install = true;
        if !walk {
            return true;
        }
        // While its needs are being met, nothing may take it away again.
        self.state(id).protected = true;
        let met = self.install_needs(&needs, depth, state.protected, asked);
        self.state(id).protected = state.protected;
        if !met && fails_early {
            self.discard(id);
            return false;
        }
        met && !failed
    }

    /// A package with a need that no candidate meets is no candidate itself.
    fn can_be_satisfied(&mut self, id: NameId, package: &'u Candidate) -> bool {
        let possible = |group: &'u [Link]| self.holds(group, Among::Chosen) || self.holds(group, Among::Candidates);
        if package.needs().all(possible) {
            return true;
        }
        if !self.get(id).protected {
            self.discard(id);
        }
        false
    }

    fn discard(&mut self, id: NameId) {
        let state = self.state(id);
        state.install = false;
        state.candidate = false;
    }

    /// apt's `MarkInstall_RemoveConflictsIfNotUpgradeable`: takes away what `package` refuses, if that can be done.
    fn push_aside(&mut self, id: NameId, package: &'u Candidate, protected: bool, asked: bool) -> bool {
        let mut done = true;
        for link in &package.refuses {
            if !protected && self.refused(id, link, Among::Chosen).next().is_none() {
                continue;
            }
            for other in self.sorted(link, self.refused(id, link, Among::Candidates)) {
                let state = self.state(other);
                if state.install && state.protected {
                    done = false;
                    if !protected && !asked {
                        return false;
                    }
                    continue;
                }
                state.install = false;
                if protected {
                    state.candidate = false;
                    state.protected = true;
                }
            }
        }
        done
    }

    /// apt's `MarkInstall_InstallDependencies`. `protected`: whether the package that has these needs is.
    fn install_needs(&mut self, needs: &[&'u [Link]], depth: usize, protected: bool, asked: bool) -> bool {
        let mut met = true;
        for group in needs {
            let solutions = self.solutions(group);
            if self.holds(group, Among::Chosen) {
                // What the request cannot do without is as fixed as the request.
                if let (true, &[only]) = (protected, &*solutions)
                    && !self.get(only).protected
                {
                    self.state(only).protected = true;
                    met &= self.install(only, true, depth + 1, false);
                }
                continue;
            }
            let alone = solutions.len() == 1;
            let mut found = false;
            for solution in solutions {
                if !self.get(solution).candidate {
                    continue;
                }
                if protected && alone {
                    if !self.install(solution, false, depth + 1, false) {
                        continue;
                    }
                    self.state(solution).protected = true;
                }
                if self.install(solution, true, depth + 1, false) {
                    found = true;
                    break;
                }
            }
            if !found {
                met = false;
                if !protected && !asked {
                    break;
                }
            }
        }
        met
    }

    /// Drops what was chosen on the way to a choice that was given up: what no chosen package needs any more.
    fn sweep(&mut self, asked: &[NameId]) {
        let mut reached = vec![false; self.states.len()];
        let mut queue = asked.to_vec();
        queue.extend(self.universe.ids().filter(|&id| {
            let stays = |package: &Candidate| package.essential || package.protected;
            self.get(id).install && self.package(id).is_some_and(stays)
        }));
        while let Some(id) = queue.pop() {
            if std::mem::replace(&mut reached[id.index()], true) {
                continue;
            }
            for link in self.package(id).into_iter().flat_map(Candidate::needs).flatten() {
                queue.extend(self.meant(link, Among::Chosen));
            }
        }
        for (state, reached) in self.states.iter_mut().zip(reached) {
            state.install &= reached;
        }
    }

    /// Whether all that was chosen fits together.
    fn check(&self) -> Result<(), ResolveError> {
        let chosen = self.universe.ids().filter(|&id| self.get(id).install);
        for (id, package) in chosen.filter_map(|id| Some((id, self.package(id)?))) {
            for link in &package.refuses {
                let other = self.refused(id, link, Among::Chosen).find_map(|other| self.package(other));
                if let Some(other) = other {
                    let (package, other) = (package.name.clone(), other.name.clone());
                    return Err(ResolveError::Conflict { package, other, relation: self.shown(link) });
                }
            }
            if let Some(group) = package.needs().find(|group| !self.holds(group, Among::Chosen)) {
                let need = group.iter().map(|link| self.shown(link)).collect::<Vec<_>>().join(" or ");
                return Err(ResolveError::Unsatisfied { package: package.name.clone(), need });
            }
        }
        Ok(())
    }

    fn shown(&self, link: &Link) -> String {
        let name = self.universe.name(link.target);
        match &link.versions {
            Some(versions) => format!("{name} ({versions})"),
            None => name.to_owned(),
        }
    }
}
