//! pgproof itself: what its `Cargo.lock` names, which was there when it was compiled.
//!
//! What a crate's licence is and who publishes it are not in that file, so nothing is said about either.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use packageurl::PackageUrl;
use serde::Deserialize;

use super::inventory::{Algorithm, Component, Id, Inventory, Kind, Licence, Sum, Verb};
use crate::digest::Digest;

const LOCK: &str = include_str!("../../Cargo.lock");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// When it was compiled, if whoever did that said so: <https://reproducible-builds.org/specs/source-date-epoch/>.
const EPOCH: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

/// An entry of `Cargo.lock`.
#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    checksum: Option<String>,
    /// `name`, or `name version` where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    dependencies: BTreeMap<String, toml::Value>,
}

/// Takes the inventory.
pub(super) fn take() -> Inventory {
    let lock: Lock = toml::from_str(LOCK).expect("cargo compiled pgproof from this file");
    let manifest: Manifest = toml::from_str(MANIFEST).expect("cargo compiled pgproof from this file");
    let created = EPOCH.and_then(|epoch| Timestamp::from_second(epoch.parse().ok()?).ok()).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let mut inventory = Inventory {
        name: format!("pgproof-{version}"),
        identity: Digest::of(format!("{created} {MANIFEST} {LOCK}").as_bytes()),
        created,
        phase: "build",
        comment:
            "Of the Cargo.lock that pgproof was compiled with: it names what other platforms and the tests need, too."
                .to_owned(),
        root: Id::of("pgproof"),
        described: BTreeSet::new(),
        components: BTreeMap::new(),
        files: Vec::new(),
        relations: BTreeSet::new(),
    };
    let ids: Vec<Id> = lock.package.iter().map(|locked| inventory.add(&words(locked), component(locked))).collect();
    let edges: Vec<Vec<usize>> = lock
        .package
        .iter()
        .map(|locked| locked.dependencies.iter().filter_map(|wanted| position(&lock.package, wanted)).collect())
        .collect();
    let root = lock.package.iter().position(|locked| locked.name == env!("CARGO_PKG_NAME")).unwrap_or_default();
    inventory.root = ids[root].clone();
    inventory.described.insert(ids[root].clone());

    // What only the tests need is reached from pgproof by no dependency of its own.
    let mut reached = BTreeSet::from([root]);
    let mut waiting = vec![root];
    while let Some(at) = waiting.pop() {
        for &to in &edges[at] {
            if at == root && !manifest.dependencies.contains_key(&lock.package[to].name) {
                continue;
            }
            inventory.relate(&ids[at], Verb::DependsOn, &ids[to]);
            if reached.insert(to) {
                waiting.push(to);
            }
        }
    }
    for (at, id) in ids.iter().enumerate().filter(|(at, _)| !reached.contains(at)) {
        inventory.relate(id, Verb::DevDependencyOf, &ids[root]);
        for &to in &edges[at] {
            inventory.relate(id, Verb::DependsOn, &ids[to]);
        }
    }
    inventory
}

fn words(locked: &Locked) -> String {
    if locked.name == env!("CARGO_PKG_NAME") {
        locked.name.clone()
    } else {
        format!("{}-{}", locked.name, locked.version)
    }
}

fn component(locked: &Locked) -> Component {
    let own = locked.name == env!("CARGO_PKG_NAME");
    let mut purl = PackageUrl::new("cargo", locked.name.as_str()).expect("a crate's name makes a package URL");
    purl.with_version(locked.version.as_str()).expect("a crate's version makes a package URL");
    Component {
        version: Some(locked.version.clone()),
        supplier: own.then_some(super::PGPROOF),
        purl: Some(purl.to_string()),
        licence: if own { Licence::Expression(env!("CARGO_PKG_LICENSE").to_owned()) } else { Licence::Unknown },
        sums: locked.checksum.iter().map(|hex| Sum { algorithm: Algorithm::Sha256, hex: hex.clone() }).collect(),
        ..Component::new(if own { Kind::Application } else { Kind::Library }, locked.name.as_str())
    }
}

/// The entry that a dependency means.
fn position(packages: &[Locked], wanted: &str) -> Option<usize> {
    let mut words = wanted.split(' ');
    let (name, version) = (words.next()?, words.next());
    packages.iter().position(|locked| locked.name == name && version.is_none_or(|version| locked.version == version))
}
