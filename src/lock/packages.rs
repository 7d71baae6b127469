//! Reads `Packages`: every package that a suite has for one architecture, and how they need each other.
//!
//! Only the newest version of a package is kept: it is the only one that apt would choose.
//!
//! # Why
//!
//! Names are numbered in the order in which they are first mentioned, in any field that apt's own cache reads, because
//! that number is how apt decides between providers that are otherwise alike.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::BufRead;

use crate::digest::{Digest, DigestError};
use crate::lock::control::{ControlError, Stanza, Stanzas};
use crate::lock::relation::{self, RelationError, Versions};
use crate::lockfile::{DebianVersion, Name, OriginError, PoolPath};

/// An index of more packages than this is refused; Debian's largest has 71 000.
const PACKAGES_LIMIT: usize = 1_000_000;

/// The packages of one suite and architecture.
pub struct Universe {
    architecture: Name,
    numbers: BTreeMap<Box<str>, NameId>,
    nodes: Vec<Node>,
}

/// The number of a name: of a package, of what packages provide, or of what nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameId(u32);

/// A name that was mentioned.
#[derive(Default)]
pub struct Node {
    /// The package of this name.
    pub package: Option<Box<Candidate>>,
    /// The packages that provide this name.
    pub providers: Vec<Provision>,
}

/// One side of a `Provides`: who provides a name, or which name is provided.
pub struct Provision {
    /// The package that provides, or the name that is provided.
    pub id: NameId,
    /// The version that is provided; `None`: none in particular.
    pub version: Option<DebianVersion>,
}

/// A package that could be installed.
pub struct Candidate {
    /// `libicu-dev`.
    pub name: Name,
    /// Its version.
    pub version: DebianVersion,
    /// Whether it is for every architecture: `all`.
    pub for_all: bool,
    /// The source package, where that has another name.
    pub source: Option<Name>,
    /// The source package's version, where that is another one.
    pub source_version: Option<DebianVersion>,
    /// Digest of the `.deb`.
    pub digest: Digest,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// Its path below the mirror's root.
    pub path: PoolPath,
    /// Whether no system goes without it.
    pub essential: bool,
    /// Whether apt would not remove it of its own accord.
    pub protected: bool,
    /// How much it is wanted on a system: 1, `required`, to 5, `extra`; 0: it does not say.
    pub priority: u8,
    needs: Box<[Link]>,
    /// `Conflicts`, then `Breaks`: none may be there.
    pub refuses: Box<[Link]>,
    provides: Box<[Provision]>,
}

/// A mention of a name.
#[derive(Debug)]
pub struct Link {
    /// The name.
    pub target: NameId,
    /// The versions that are meant; `None`: every one.
    pub versions: Option<Versions>,
    /// Whether the next link is an alternative to this one.
    or_next: bool,
}

/// Why an index of packages cannot be used.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum PackagesError {
    /// Not control data.
    #[error("it is malformed")]
    Control(#[from] ControlError),
    /// A field that has to be there is not.
    #[error("a stanza ({package}) has no {field} field")]
    Lacks {
        /// The package, as far as it is known.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A package's name is malformed.
    #[error("a stanza has a malformed Package field")]
    Name(#[source] OriginError),
    /// A version, path or other name is malformed.
    #[error("{package} has a malformed {field} field")]
    Malformed {
        /// The package.
        package: Name,
        /// The field.
        field: &'static str,
        /// Why.
        source: OriginError,
    },
    /// A relation is malformed.
    #[error("{package} has a malformed {field} field")]
    Relation {
        /// The package.
        package: Name,
        /// The field.
        field: &'static str,
        /// Why.
        source: RelationError,
    },
    /// The digest is malformed.
    #[error("{package} has a malformed SHA256 field")]
    Digest {
        /// The package.
        package: Name,
        /// Why.
        source: DigestError,
    },
    /// The size is no number.
    #[error("{package} has a Size field that is not a number")]
    Size {
        /// The package.
        package: Name,
        /// Why.
        source: std::num::ParseIntError,
    },
    /// A package is of an architecture that was not asked for.
    #[error("{package} is for {found}, not for {expected}")]
    Architecture {
        /// The package.
        package: Name,
        /// Its architecture.
        found: Name,
        /// The index's architecture.
        expected: Name,
    },
    /// One package version stands for two files.
    #[error("{package} {version} is there twice, with different digests")]
    Twice {
        /// The package.
        package: Name,
        /// Its version.
        version: DebianVersion,
    },
    /// More than any index has.
    #[error("it has more than {PACKAGES_LIMIT} packages")]
    TooMany,
}

impl Universe {
    /// No packages, for `architecture`.
    pub fn new(architecture: Name) -> Self {
        Self { architecture, numbers: BTreeMap::new(), nodes: Vec::new() }
    }

    /// Adds an index.
    pub fn read(&mut self, index: impl BufRead) -> Result<(), PackagesError> {
        let mut stanzas = Stanzas::new(index);
        while let Some(stanza) = stanzas.next_stanza()? {
            self.add(stanza)?;
        }
        Ok(())
    }

    /// Notes who provides what. Has to be called after the last index was added and before anything is resolved.
    pub fn link(&mut self) {
        let mut links = Vec::new();
        for (id, node) in self.ids().zip(&mut self.nodes) {
            node.providers.clear();
            if let Some(package) = &node.package {
                let provision =
                    |provided: &Provision| (provided.id, Provision { id, version: provided.version.clone() });
                links.extend(package.provides.iter().map(provision));
            }
        }
        for (name, provision) in links {
            self.nodes[name.index()].providers.push(provision);
        }
    }

    /// The package of this name.
    pub fn find(&self, name: &Name) -> Option<(NameId, &Candidate)> {
        let id = *self.numbers.get(name.as_str())?;
        Some((id, self.node(id).package.as_deref()?))
    }

    /// What is known of a name.
    pub fn mentioned(&self, name: &Name) -> Option<&Node> {
        self.numbers.get(name.as_str()).map(|id| self.node(*id))
    }

    /// Every package that is essential, sorted by name.
    pub fn essential(&self) -> Vec<Name> {
        let mut names: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| node.package.as_deref())
            .filter(|package| package.essential)
            .map(|package| package.name.clone())
            .collect();
        names.sort();
        names
    }

    /// What is known of a name.
    pub fn node(&self, id: NameId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Every name's number, in order.
    pub fn ids(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(NameId)
    }

    /// What a number stands for.
    pub fn name(&self, id: NameId) -> &str {
        self.numbers.iter().find(|(_, number)| **number == id).map_or("?", |(name, _)| name)
    }

    fn number(&mut self, name: &str) -> Result<NameId, PackagesError> {
        if let Some(&id) = self.numbers.get(name) {
            return Ok(id);
        }
        let id = u32::try_from(self.nodes.len()).ok().filter(|&id| (id as usize) < 4 * PACKAGES_LIMIT);
        let id = NameId(id.ok_or(PackagesError::TooMany)?);
        self.numbers.insert(name.into(), id);
        self.nodes.push(Node::default());
        Ok(id)
    }

    /// The number of a name as a relation states it: a package of our own architecture goes by its bare name.
    fn number_of(&mut self, name: &str) -> Result<NameId, PackagesError> {
        let bare = match name.rsplit_once(':') {
            Some((bare, qualifier)) if qualifier == "native" || qualifier == self.architecture.as_str() => bare,
            _ => name,
        };
        self.number(bare)
    }

    fn add(&mut self, stanza: Stanza<'_>) -> Result<(), PackagesError> {
        let field = |field| {
            let package = || stanza.get("Package").unwrap_or("unnamed").chars().take(80).collect();
            stanza.get(field).ok_or_else(|| PackagesError::Lacks { package: package(), field })
        };
        let name: Name = field("Package")?.parse().map_err(PackagesError::Name)?;
        let malformed = |field, source| PackagesError::Malformed { package: name.clone(), field, source };
        let version: DebianVersion = field("Version")?.parse().map_err(|source| malformed("Version", source))?;
        let architecture: Name = field("Architecture")?.parse().map_err(|source| malformed("Architecture", source))?;
        if architecture != self.architecture && architecture.as_str() != "all" {
            let expected = self.architecture.clone();
            return Err(PackagesError::Architecture { package: name, found: architecture, expected });
        }
        let digest = Digest::from_hex(field("SHA256")?)
            .map_err(|source| PackagesError::Digest { package: name.clone(), source })?;
        let size = field("Size")?.parse().map_err(|source| PackagesError::Size { package: name.clone(), source })?;
        let path = field("Filename")?.parse().map_err(|source| malformed("Filename", source))?;
        let (source, source_version) = source_of(stanza).map_err(|source| malformed("Source", source))?;
        let id = self.number(name.as_str())?;

        let mut needs = self.links(&name, stanza, "Pre-Depends")?;
        needs.extend(self.links(&name, stanza, "Depends")?);
        let mut refuses = self.links(&name, stanza, "Conflicts")?;
        refuses.extend(self.links(&name, stanza, "Breaks")?);
        for field in ["Recommends", "Suggests", "Replaces", "Enhances"] {
            self.links(&name, stanza, field)?;
        }
        let multi_arch = stanza.get("Multi-Arch");
        let provides = self.provides(&name, &version, stanza, multi_arch == Some("allowed"))?;
        let yes = |field| stanza.get(field) == Some("yes");
        let candidate = Candidate {
            source: source.filter(|source| *source != name),
            source_version: source_version.filter(|source_version| *source_version != version),
            name,
            version,
            for_all: architecture != self.architecture,
            digest,
            size,
            path,
            essential: yes("Essential"),
            protected: yes("Protected") || yes("Important"),
            priority: priority(stanza.get("Priority")),
            needs: needs.into_boxed_slice(),
            refuses: refuses.into_boxed_slice(),
            provides,
        };
        self.keep_newest(id, candidate)
    }

    fn keep_newest(&mut self, id: NameId, candidate: Candidate) -> Result<(), PackagesError> {
        let kept = &mut self.nodes[id.index()].package;
        match kept.as_ref().map(|kept| (candidate.version.compare(&kept.version), candidate.digest == kept.digest)) {
            None | Some((Ordering::Greater, _)) => *kept = Some(Box::new(candidate)),
            Some((Ordering::Less, _) | (Ordering::Equal, true)) => {}
            Some((Ordering::Equal, false)) => {
                return Err(PackagesError::Twice { package: candidate.name, version: candidate.version });
            }
        }
        Ok(())
    }

    fn links(&mut self, package: &Name, stanza: Stanza<'_>, field: &'static str) -> Result<Vec<Link>, PackagesError> {
        let groups = relation::groups(stanza.get(field).unwrap_or_default())
            .map_err(|source| PackagesError::Relation { package: package.clone(), field, source })?;
        let mut links = Vec::new();
        for group in groups {
            let last = group.len() - 1;
            for (position, relation) in group.into_iter().enumerate() {
                let target = self.number_of(relation.name)?;
                links.push(Link { target, versions: relation.versions, or_next: position < last });
            }
        }
        Ok(links)
    }

    fn provides(
        &mut self,
        package: &Name,
        version: &DebianVersion,
        stanza: Stanza<'_>,
        allowed: bool,
    ) -> Result<Box<[Provision]>, PackagesError> {
        let field = "Provides";
        let groups = relation::groups(stanza.get(field).unwrap_or_default())
            .map_err(|source| PackagesError::Relation { package: package.clone(), field, source })?;
        let mut provides = Vec::new();
        for relation in groups.into_iter().flatten() {
            let name = relation.name;
            let Some(version) = relation.provided() else { continue };
            if allowed && !name.contains(':') {
                provides.push(Provision { id: self.number(&format!("{name}:any"))?, version: version.clone() });
            }
            provides.push(Provision { id: self.number_of(name)?, version });
        }
        // Only `Multi-Arch: allowed` lets others ask for `:any` of it.
        if allowed {
            let id = self.number(&format!("{package}:any"))?;
            provides.push(Provision { id, version: Some(version.clone()) });
        }
        Ok(provides.into_boxed_slice())
    }
}

impl NameId {
    /// The number, to count with.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Candidate {
    /// `Pre-Depends`, then `Depends`: one of each group has to be there.
    pub fn needs(&self) -> impl Iterator<Item = &[Link]> {
        // One list of all: 300 000 lists of their own would take twice the memory.
        self.needs.chunk_by(|link, _| link.or_next)
    }

    /// The source package's name and version.
    pub fn source(&self) -> (&Name, &DebianVersion) {
        (self.source.as_ref().unwrap_or(&self.name), self.source_version.as_ref().unwrap_or(&self.version))
    }
}

/// `Source: name`, or `Source: name (version)`.
fn source_of(stanza: Stanza<'_>) -> Result<(Option<Name>, Option<DebianVersion>), OriginError> {
    match stanza.get("Source").map(|source| source.split_once(' ').ok_or(source)) {
        None => Ok((None, None)),
        Some(Err(name)) => Ok((Some(name.parse()?), None)),
        Some(Ok((name, version))) => {
            let version = version.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(version);
            Ok((Some(name.parse()?), Some(version.parse()?)))
        }
    }
}

fn priority(text: Option<&str>) -> u8 {
    match text {
        None => 0,
        Some("required") => 1,
        Some("important") => 2,
        Some("standard") => 3,
        Some("optional") => 4,
        Some(_) => 5,
    }
}
