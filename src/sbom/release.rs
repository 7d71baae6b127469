//! What a release's archives consist of: PostgreSQL, the libraries that travel with it, and every file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use jiff::Timestamp;

use super::SbomError;
use super::archive::{Archive, Sealed};
use super::inventory::{Algorithm, Component, File, Id, Inventory, Kind, Licence, Sum, Verb};
use super::manifest::{self, Library};
use super::postgresql;
use crate::check::Role;
use crate::digest::Digest;
use crate::lockfile::Source;
use crate::plan::postgresql::licence_of;
use crate::target::Target;

/// Where an archive's licences are.
const LICENCES: &str = "share/licenses/";

/// Takes the inventory of the archives of one release. `source` is what its PostgreSQL was built from, if that is known.
pub(super) fn take<R: Read>(sealed: Vec<Sealed<R>>, source: Option<&Source>) -> Result<Inventory, SbomError> {
    let target = one_release(&sealed)?;
    let mut archives = sealed.into_iter().map(Archive::read).collect::<Result<Vec<_>, _>>()?;
    archives.sort_by_key(|archive| (archive.role, archive.name.clone()));
    let modified = archives.iter().map(|archive| archive.modified).max().unwrap_or_default();
    let created = Timestamp::from_second(i64::try_from(modified).unwrap_or_default()).unwrap_or_default();
    let mut taking = Taking::new(target, source, &archives, created);
    for archive in &archives {
        taking.add_libraries(archive);
        taking.add_archive(archive);
    }
    taking.link(&archives);
    Ok(taking.inventory)
}

/// The archives are those of one PostgreSQL release, each once.
fn one_release<R>(sealed: &[Sealed<R>]) -> Result<Target, SbomError> {
    let mut found: Option<(Target, &Sealed<R>)> = None;
    let mut seen = BTreeSet::new();
    for one in sealed {
        let name = &one.name;
        let target =
            Target::of_archive(stem(name.as_str())).ok_or_else(|| SbomError::Foreign { name: name.clone() })?;
        if let Some((other, first)) = found
            && other != target
        {
            return Err(SbomError::Mixed { first: first.name.clone(), second: name.clone() });
        }
        if !seen.insert(name) {
            return Err(SbomError::Twice { name: name.clone() });
        }
        found = Some((target, one));
    }
    found.map(|(target, _)| target).ok_or(SbomError::Nothing)
}

/// An archive's name without what tells its role.
fn stem(name: &str) -> &str {
    ["-client", "-debug", "-pl"].iter().find_map(|role| name.strip_suffix(role)).unwrap_or(name)
}

/// An inventory that is being taken.
struct Taking {
    inventory: Inventory,
    postgresql: Id,
    /// The component of each package URL.
    packages: BTreeMap<String, Id>,
    /// The component that a file belongs to, by archive and path.
    owners: BTreeMap<(Id, String), Id>,
    /// The archives' components, in their order.
    archives: Vec<Id>,
}

impl Taking {
    fn new(target: Target, source: Option<&Source>, archives: &[Archive], created: Timestamp) -> Self {
        let sums = archives.iter().flat_map(|archive| &archive.sums).map(|sum| sum.hex.as_str());
        let known = source.map(|source| source.digest.hex());
        let identity: Vec<&str> = sums.chain(known.as_deref()).collect();
        let name = archives.first().map_or_else(|| target.archive_stem(), |archive| archive.name.to_string());
        let mut inventory = Inventory {
            name,
            identity: Digest::of(identity.join(" ").as_bytes()),
            created,
            phase: "post-build",
            comment: "Taken of the archives themselves. Symbolic links are not listed: they have no content."
                .to_owned(),
            root: Id::of("postgresql"),
            described: BTreeSet::new(),
            components: BTreeMap::new(),
            files: Vec::new(),
            relations: BTreeSet::new(),
        };
        let postgresql = postgresql::add(&mut inventory, target.version, source);
        inventory.root = postgresql.clone();
        Self { inventory, postgresql, packages: BTreeMap::new(), owners: BTreeMap::new(), archives: Vec::new() }
    }

    /// Adds the packages that an archive's libraries came with.
    fn add_libraries(&mut self, archive: &Archive) {
        for library in archive.manifest.iter().flat_map(|manifest| &manifest.libraries) {
            if self.packages.contains_key(&library.purl) {
                continue;
            }
            let licence = match licence_of(library.source.as_str(), library.package.as_str()) {
                Some(expression) => Licence::Expression(expression.to_owned()),
                None => text_of(library, archive),
            };
            let comment = format!(
                "A copy of Debian's file; where it needs other libraries, its run path leads to those beside it. The \
                 package's copyright file is {}.",
                library.licence
            );
            let id = self.inventory.add(
                &format!("Library-{}", library.package),
                Component {
                    version: Some(library.version.as_str().to_owned()),
                    supplier: Some(super::DEBIAN),
                    purl: Some(library.purl.clone()),
                    licence: licence.clone(),
                    comment: Some(comment),
                    ..Component::new(Kind::Library, library.package.as_str())
                },
            );
            let source = self.source_of(library);
            self.inventory.relate(&id, Verb::GeneratedFrom, &source);
            self.packages.insert(library.purl.clone(), id);
        }
    }

    fn source_of(&mut self, library: &Library) -> Id {
        if let Some(id) = self.packages.get(&library.source_purl) {
            return id.clone();
        }
        let id = self.inventory.add(
            &format!("Source-{}", library.source),
            Component {
                version: Some(library.source_version.as_str().to_owned()),
                supplier: Some(super::DEBIAN),
                purl: Some(library.source_purl.clone()),
                ..Component::new(Kind::Source, library.source.as_str())
            },
        );
        self.packages.insert(library.source_purl.clone(), id.clone());
        id
    }

    /// Adds an archive with its files.
    fn add_archive(&mut self, archive: &Archive) {
        let id = self.inventory.add(
            &format!("Archive-{}", archive.name),
            Component {
                version: self.inventory.components[&self.postgresql].version.clone(),
                supplier: Some(super::PGPROOF),
                originator: Some(postgresql::ORGANISATION),
                file_name: Some(archive.file_name.clone()),
                sums: archive.sums.clone(),
                size: Some(archive.size),
                comment: Some(role(archive.role).to_owned()),
                ..Component::new(Kind::Archive, archive.name.as_str())
            },
        );
        self.inventory.described.insert(id.clone());
        let mut libraries = BTreeMap::new();
        for library in archive.manifest.iter().flat_map(|manifest| &manifest.libraries) {
            libraries.insert(library.file.as_str(), &self.packages[&library.purl]);
            libraries.insert(library.licence.as_str(), &self.packages[&library.purl]);
        }
        let mut within = BTreeSet::new();
        for (path, content) in &archive.files {
            let own = Some(path.as_str()) == archive.manifest.as_ref().map(|manifest| manifest.licence.as_str());
            let owner = match libraries.get(path.as_str()) {
                Some(owner) => Some((*owner).clone()),
                None if own => Some(self.postgresql.clone()),
                // What pgproof wrote, and texts that several packages share.
                None if path == manifest::PATH || path.starts_with(LICENCES) => None,
                None => Some(self.postgresql.clone()),
            };
            let whole = format!("{}/{path}", archive.name);
            within.extend(owner.clone());
            self.owners.extend(owner.clone().map(|owner| ((id.clone(), path.clone()), owner)));
            self.inventory.files.push(File {
                // Of the path, so that a file keeps its identifier whatever else comes and goes.
                id: Id::of(&format!("File-{}", &Digest::of(whole.as_bytes()).hex()[..32])),
                path: whole,
                size: content.size,
                sums: content.sums.clone(),
                archive: id.clone(),
                owner,
            });
        }
        let licence = Licence::all(within.iter().map(|owner| &self.inventory.components[owner].licence));
        if let Some(component) = self.inventory.components.get_mut(&id) {
            component.licence = licence;
        }
        for owner in &within {
            self.inventory.relate(&id, Verb::Contains, owner);
        }
        self.archives.push(id);
    }

    /// What needs which library, as the loader finds them: beside the other libraries of the archive, or of the main one.
    fn link(&mut self, archives: &[Archive]) {
        let main = archives.iter().position(|archive| archive.role == Role::Main);
        for (index, archive) in archives.iter().enumerate() {
            let places: Vec<&Id> =
                [Some(index), main].into_iter().flatten().map(|place| &self.archives[place]).collect();
            for (path, content) in &archive.files {
                let Some(owner) = self.owners.get(&(self.archives[index].clone(), path.clone())) else { continue };
                for library in &content.needed {
                    let library = format!("lib/{library}");
                    let found = places.iter().find_map(|place| self.owners.get(&((*place).clone(), library.clone())));
                    if let Some(found) = found.filter(|found| *found != owner) {
                        self.inventory.relate(owner, Verb::DependsOn, found);
                    }
                }
            }
        }
    }
}

/// The terms of a package for which no expression is declared: its copyright file.
fn text_of(library: &Library, archive: &Archive) -> Licence {
    match archive.licences.get(library.licence.as_str()) {
        Some(text) => Licence::Text {
            // Of the text, too: packages of one source share it, and two archives may have two of them.
            id: format!("LicenseRef-{}-{}", Id::of(library.source.as_str()), &Digest::of(text.as_bytes()).hex()[..16]),
            name: format!("Debian's copyright file of {} {}", library.source, library.source_version),
            text: text.clone(),
        },
        None => Licence::Unknown,
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Main => "The server and all that belongs to it.",
        Role::Client => "The clients alone.",
        Role::AddOn => "What is unpacked over the main archive and needs the host's Perl, Python or Tcl.",
        Role::Debug => "Debug information, unpacked over the main archive.",
    }
}

/// The SHA-1 among a file's digests, which SPDX counts on.
pub(super) fn sha1(sums: &[Sum]) -> Option<&str> {
    sums.iter().find(|sum| sum.algorithm == Algorithm::Sha1).map(|sum| sum.hex.as_str())
}
