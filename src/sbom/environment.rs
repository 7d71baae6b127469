//! What a build reads: the root file system with every package that it was composed of, and PostgreSQL's tarball.

use std::collections::{BTreeMap, BTreeSet};

use packageurl::PackageUrl;

use super::inventory::{Component, Id, Inventory, Kind, Sum, Verb};
use super::postgresql;
use crate::definitions::Compose;
use crate::digest::Digest;
use crate::fetch::in_snapshot;
use crate::lockfile::{Lockfile, Name, Origin, Package, Source};
use crate::target::Target;

/// Takes the inventory of what builds `target`.
pub(super) fn take(
    target: Target,
    source: &Source,
    sysroot: &Name,
    compose: &Compose,
    lockfile: &Lockfile,
) -> Inventory {
    let mut identity = format!("{} {} {}", target.archive_stem(), compose.manifest, source.digest);
    for package in &lockfile.packages {
        identity.extend([" ", &package.digest.to_string()]);
    }
    let mut inventory = Inventory {
        name: format!("{}.environment", target.archive_stem()),
        identity: Digest::of(identity.as_bytes()),
        created: source.released,
        phase: "pre-build",
        comment: format!(
            "The root file system {sysroot} is composed of these packages' files alone, without running anything of them; its \
             OCI image manifest has the digest {}.",
            compose.manifest
        ),
        root: Id::of("image"),
        described: BTreeSet::new(),
        components: BTreeMap::new(),
        files: Vec::new(),
        relations: BTreeSet::new(),
    };
    let image = inventory.add("image", image(sysroot, compose));
    inventory.root = image.clone();
    inventory.described.insert(image.clone());
    let postgresql = postgresql::add(&mut inventory, target.version, Some(source));
    inventory.relate(&image, Verb::BuildToolOf, &postgresql);
    let tarball: Vec<Id> = inventory.related(&postgresql, Verb::GeneratedFrom).cloned().collect();
    inventory.described.extend(tarball);
    for package in &lockfile.packages {
        let id =
            inventory.add(&format!("Package-{}-{}", package.name, package.architecture), component(package, lockfile));
        inventory.relate(&image, Verb::Contains, &id);
        // What the definition asks for is there for PostgreSQL, the rest for that.
        if compose.packages.contains(&package.name) {
            let is_library = package.name.as_str().ends_with("-dev");
            let verb = if is_library { Verb::BuildDependencyOf } else { Verb::BuildToolOf };
            inventory.relate(&id, verb, &postgresql);
        }
    }
    inventory
}

fn image(sysroot: &Name, compose: &Compose) -> Component {
    let purl = || {
        let mut purl = PackageUrl::new("oci", sysroot.as_str().to_lowercase())?;
        purl.with_version(compose.manifest.to_string())?;
        purl.add_qualifier("arch", compose.target.debian_architecture())?;
        Ok::<_, packageurl::Error>(purl.to_string())
    };
    Component {
        version: Some(compose.manifest.to_string()),
        supplier: Some(super::PGPROOF),
        originator: Some(super::DEBIAN),
        purl: Some(purl().expect("a name and a digest make a package URL")),
        sums: vec![Sum::sha256(compose.manifest)],
        comment: Some("The digest is that of the image's manifest.".to_owned()),
        ..Component::new(Kind::Image, sysroot.as_str())
    }
}

fn component(package: &Package, lockfile: &Lockfile) -> Component {
    Component {
        version: Some(package.version.as_str().to_owned()),
        supplier: Some(super::DEBIAN),
        file_name: package.origins.iter().find_map(file_name),
        purl: Some(purl(package)),
        sums: vec![Sum::sha256(package.digest)],
        size: Some(package.size),
        origin: origin(package, lockfile),
        comment: Some(format!("Of the source package {} {}.", package.source, package.source_version)),
        ..Component::new(Kind::Package, package.name.as_str())
    }
}

/// `pkg:deb/debian/bison@2%3A3.8.2…?arch=amd64&distro=bookworm`
fn purl(package: &Package) -> String {
    let purl = || {
        let mut purl = PackageUrl::new("deb", package.name.as_str())?;
        purl.with_namespace("debian")?.with_version(package.version.as_str())?;
        purl.add_qualifier("arch", package.architecture.as_str())?;
        purl.add_qualifier("distro", package.index.as_str())?;
        Ok::<_, packageurl::Error>(purl.to_string())
    };
    purl().expect("names and versions make a package URL")
}

fn file_name(origin: &Origin) -> Option<String> {
    let name = match origin {
        Origin::Debian(path) => path.as_str().rsplit('/').next(),
        Origin::Url(url) => url.path_segments().and_then(|mut segments| segments.next_back()),
    };
    name.map(str::to_owned)
}

/// Where the package can be had for ever: mirrors come and go, and let old packages go.
fn origin(package: &Package, lockfile: &Lockfile) -> Option<String> {
    let seen = lockfile.indices.iter().find(|index| index.suite == package.index).map(|index| index.date);
    package.origins.iter().find_map(|origin| match origin {
        Origin::Url(url) => Some(url.as_str().to_owned()),
        Origin::Debian(path) => Some(in_snapshot(path, seen?)),
    })
}
