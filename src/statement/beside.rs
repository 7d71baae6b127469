//! Holds the inputs that a statement names against lockfiles at hand.

use std::collections::BTreeMap;

use super::{Provenance, StatementError};
use crate::definitions::Definitions;
use crate::digest::Digest;
use crate::lockfile::{Lockfile, Name, Package};

/// What the lockfiles at hand say of a statement's inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// How many inputs were compared: the plan's, and the packages of its root file system.
    pub count: usize,
    /// How the statement and the lockfiles differ: a line for each input that is not in both as it is.
    pub differences: Vec<String>,
}

impl Provenance {
    /// Holds the plan's inputs and the packages of its root file system against the lockfiles `at_hand`; and the root file
    /// system itself against its pin, if the definition is there.
    pub fn inputs_beside(&self, at_hand: &Definitions) -> Result<Beside, StatementError> {
        let mut locked = BTreeMap::new();
        for name in at_hand.names("lockfiles", "lock")? {
            locked.insert(name.clone(), at_hand.lockfile(&name)?);
        }
        let known = |digest: Digest| {
            let sources = locked.values().flat_map(|lockfile| &lockfile.sources).map(|source| source.digest);
            let packages = locked.values().flat_map(|lockfile| &lockfile.packages).map(|package| package.digest);
            sources.chain(packages).any(|other| other == digest)
        };
        let mut differences = Vec::new();
        for input in self.plan.inputs.iter().filter(|input| !known(input.digest)) {
            differences.push(format!("{} ({}) is in no lockfile at hand", input.name, input.digest));
        }

        let sysroot = &self.plan.sysroot;
        let stated = self.definitions().lockfile(&sysroot.name)?;
        match locked.get(&sysroot.name) {
            Some(lockfile) => differences.extend(compare(&stated, lockfile)),
            None => differences.push(format!("there is no lockfiles/{}.lock at hand", sysroot.name)),
        }
        // Somebody may have the lockfiles alone.
        if at_hand.names("sysroots", "toml").is_ok_and(|names| names.contains(&sysroot.name)) {
            let pinned = at_hand.compose(&sysroot.name)?.manifest;
            if pinned != sysroot.manifest {
                let (name, manifest) = (&sysroot.name, sysroot.manifest);
                differences.push(format!("the root file system {name} is {manifest}, and pinned at hand to {pinned}"));
            }
        }
        Ok(Beside { count: self.plan.inputs.len() + stated.packages.len(), differences })
    }
}

/// The packages that are not in both lockfiles as they are.
fn compare(stated: &Lockfile, at_hand: &Lockfile) -> Vec<String> {
    let [stated, mut at_hand] = [stated, at_hand].map(by_name);
    let mut differences = Vec::new();
    for (key @ (name, architecture), package) in stated {
        match at_hand.remove(&key) {
            Some(other) if other.digest == package.digest => {}
            Some(other) => differences.push(format!(
                "{name}:{architecture} {} ({}) is {} ({}) in the lockfile at hand",
                package.version, package.digest, other.version, other.digest
            )),
            None => differences.push(format!("{name}:{architecture} is not in the lockfile at hand")),
        }
    }
    let more = at_hand
        .keys()
        .map(|(name, architecture)| format!("{name}:{architecture} is in the lockfile at hand, but was not used"));
    differences.extend(more);
    differences
}

fn by_name(lockfile: &Lockfile) -> BTreeMap<(&Name, &Name), &Package> {
    lockfile.packages.iter().map(|package| ((&package.name, &package.architecture), package)).collect()
}
