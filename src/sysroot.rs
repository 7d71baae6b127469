//! Composes the OCI root file system that everything is built in.
//!
//! Takes the locked `.deb`s in the store and gives an image of one plain-tar layer, whose manifest digest is pinned in
//! `sysroots/`. It runs nothing: only data members are unpacked, and the few things that a build needs from maintainer
//! scripts are declared in the definition. It creates no file under a name from a package: the layer is a stream, so that
//! the host's file system, umask and user cannot show in it.
//!
//! # Why
//!
//! The layer is plain tar, not compressed: its digest must not depend on a compressor's version, and whoever uses it hashes
//! it while unpacking into memory. Every digest in the image is one that anybody can recompute with `ar`, `xz` and `tar`.
//!
//! `/usr` is merged, as on every Debian 12 machine: `/bin`, `/lib` and their like are links into `usr`, and what packages
//! have below them is written below `usr`. Hard links become copies: the packages of a build environment have a handful,
//! and what unpacks the layer has one case less.

mod database;
mod deb;
mod image;
mod layer;
mod limits;
mod merge;
mod package;
mod path;
mod selection;

use std::io;

use crate::definitions::Compose;
use crate::digest::Digest;
use crate::lockfile::{Lockfile, Name, Package};
use crate::store::{Blob, Incoming, Store, StoreError};
use crate::target::Triple;

pub use deb::DebError;
pub use image::ImageError;
pub use layer::LayerError;
pub use merge::MergeError;
pub use package::PackageError;
pub use path::NameError;
pub use selection::SelectionError;

use merge::Merge;
use path::Place;
use selection::Selection;

/// Directories that the box mounts something on: the layer is read-only by then.
const MOUNT_POINTS: [&str; 9] =
    ["build", "dev", "pgproof/inputs", "pgproof/out", "proc", "run", "sys", "tmp", "var/tmp"];

/// A root file system: an image in the store whose manifest, configuration and layer fit together.
///
/// The layer's bytes are hashed by whoever reads them, at every use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rootfs {
    manifest: Digest,
    layer: Blob,
    target: Triple,
}

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum SysrootError {
    /// A locked package is not in the store.
    #[error("package {package} is not in the store: run `pgproof fetch`")]
    NotFetched {
        /// Name, version and architecture.
        package: String,
        /// Which blob is missing.
        source: StoreError,
    },
    /// The store cannot be read or written.
    #[error("the store cannot hold the sysroot {name}")]
    Store {
        /// The sysroot.
        name: Name,
        /// Why.
        source: StoreError,
    },
    /// The definition's `exclude` or `keep` is wrong.
    #[error("the definition of the sysroot {name} cannot be followed")]
    Selection {
        /// The sysroot.
        name: Name,
        /// Why.
        source: SelectionError,
    },
    /// The definition's `links` or `files` has a name that is not one to create.
    #[error("the definition of the sysroot {name} has {path:?}, which {problem}")]
    Declared {
        /// The sysroot.
        name: Name,
        /// The path, or the link's target.
        path: String,
        /// Which rule it breaks.
        problem: NameError,
    },
    /// The lockfile has no date to give to every file.
    #[error("the lockfile {name} has no index from after 1970 and before 2106, whose date the files would get")]
    Date {
        /// The lockfile.
        name: Name,
    },
    /// The packages do not become a layer.
    #[error("the sysroot {name} cannot be composed")]
    Layer {
        /// The sysroot.
        name: Name,
        /// Why.
        source: Box<LayerError>,
    },
    /// The image cannot be described, or one in the store is not what it should be.
    #[error("the image {manifest} cannot be a root file system")]
    Image {
        /// The image's manifest.
        manifest: Digest,
        /// Why.
        source: ImageError,
    },
    /// The image, or a part of it, is not in the store.
    #[error("the image {manifest} is not in the store {store} as a whole")]
    Missing {
        /// The image's manifest.
        manifest: Digest,
        /// The store's root.
        store: String,
    },
    /// The result is not what the definition pins.
    #[error(
        "the sysroot {name} is pinned as {expected}, but its packages compose to {composed}: if the definition or the \
         lockfile was changed on purpose, `pgproof lock {name}` writes the new pin"
    )]
    Pin {
        /// The sysroot.
        name: Name,
        /// The manifest digest in the definition.
        expected: Digest,
        /// The manifest digest of what came out.
        composed: Digest,
    },
    /// The pinned image is for another platform than the definition.
    #[error("the sysroot {name} is for {expected}, but the image that it pins is for {found}")]
    Target {
        /// The sysroot.
        name: Name,
        /// The definition's platform.
        expected: Triple,
        /// The image's platform.
        found: Triple,
    },
}

/// The sysroot that `definition` pins: the one in the store, or else composed from the packages of `lockfile`.
///
/// `progress` is told how many packages have been written.
pub fn compose(
    definition: &Compose,
    lockfile: &Lockfile,
    store: &Store,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Rootfs, SysrootError> {
    let name = &lockfile.name;
    let found = image::find(store, definition.manifest)
        .map_err(|source| SysrootError::Image { manifest: definition.manifest, source })?;
    let Some(found) = found else {
        let draft = Draft::new(definition, lockfile, store, progress)?;
        if draft.manifest() != definition.manifest {
            let (expected, composed) = (definition.manifest, draft.manifest());
            return Err(SysrootError::Pin { name: name.clone(), expected, composed });
        }
        return draft.keep(name, store);
    };
    if found.target != definition.target {
        let (expected, found) = (definition.target, found.target);
        return Err(SysrootError::Target { name: name.clone(), expected, found });
    }
    match store.get(definition.manifest).and_then(|manifest| store.tag(name, manifest)) {
        // Whoever composed it may have been killed before it had its name. A store that is only read does without.
        Ok(()) | Err(StoreError::ReadOnly { .. }) => {}
        Err(source) => return Err(SysrootError::Store { name: name.clone(), source }),
    }
    Ok(Rootfs { manifest: definition.manifest, layer: found.layer, target: found.target })
}

/// Composes the packages of `lockfile`, whatever comes out: for `pgproof lock`, which writes the digest down as the pin.
pub fn compose_unpinned(
    definition: &Compose,
    lockfile: &Lockfile,
    store: &Store,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Rootfs, SysrootError> {
    Draft::new(definition, lockfile, store, progress)?.keep(&lockfile.name, store)
}

/// The root file system whose manifest is `manifest`, which must be in the store.
pub fn find(store: &Store, manifest: Digest) -> Result<Rootfs, SysrootError> {
    match image::find(store, manifest) {
        Ok(Some(found)) => Ok(Rootfs { manifest, layer: found.layer, target: found.target }),
        Ok(None) => Err(SysrootError::Missing { manifest, store: store.root().display().to_string() }),
        Err(source) => Err(SysrootError::Image { manifest, source }),
    }
}

impl Rootfs {
    /// The digest of the image's manifest: the root file system's identity.
    pub fn manifest(&self) -> Digest {
        self.manifest
    }

    /// The one layer, a plain tar.
    pub fn layer(&self) -> Blob {
        self.layer
    }

    /// The platform that its programs are for.
    pub fn target(&self) -> Triple {
        self.target
    }
}

/// An image whose layer has been written but is not in the store yet.
struct Draft<'store> {
    layer: Incoming<'store>,
    image: image::Image,
    target: Triple,
}

impl<'store> Draft<'store> {
    fn new(
        definition: &Compose,
        lockfile: &Lockfile,
        store: &'store Store,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self, SysrootError> {
        let name = || lockfile.name.clone();
        let date = lockfile.indices.iter().map(|index| index.date).max();
        let epoch = date.and_then(|date| u32::try_from(date.as_second()).ok());
        let (Some(epoch), Some(date)) = (epoch, date) else { return Err(SysrootError::Date { name: name() }) };
        let selection = Selection::new(&definition.exclude, &definition.keep)
            .map_err(|source| SysrootError::Selection { name: name(), source })?;
        let packages = sorted(lockfile);
        let inputs = inputs(&packages, lockfile, store)?;

        let incoming = store.incoming().map_err(|source| SysrootError::Store { name: name(), source })?;
        let failed = |source| SysrootError::Layer { name: name(), source: Box::new(source) };
        let mut merge = Merge::new(incoming, epoch);
        declare(&mut merge, &name(), definition)?;
        let mut merge = layer::write(&inputs, &selection, store, merge, progress).map_err(failed)?;
        database::write(&mut merge, &packages).map_err(|source| failed(source.into()))?;
        selection.check_used().map_err(|source| SysrootError::Selection { name: name(), source })?;
        let mut layer = merge.finish().map_err(|source| failed(MergeError::Write(source).into()))?;
        let digest = layer.digest().map_err(|source| SysrootError::Store { name: name(), source })?;

        let image = image::Image::of(digest, layer.size(), definition.target, date);
        let image = image.map_err(|source| SysrootError::Image { manifest: digest, source })?;
        Ok(Self { layer, image, target: definition.target })
    }

    fn manifest(&self) -> Digest {
        Digest::of(&self.image.manifest)
    }

    /// Stores the layer, then what refers to it.
    fn keep(self, name: &Name, store: &Store) -> Result<Rootfs, SysrootError> {
        let failed = |source| SysrootError::Store { name: name.clone(), source };
        let layer = self.layer.commit().map_err(failed)?;
        store.admit(&self.image.configuration).map_err(failed)?;
        let manifest = store.admit(&self.image.manifest).map_err(failed)?;
        store.tag(name, manifest).map_err(failed)?;
        Ok(Rootfs { manifest: manifest.digest(), layer, target: self.target })
    }
}

/// The packages in the order of the layer, which is not the lockfile's to choose.
fn sorted(lockfile: &Lockfile) -> Vec<&Package> {
    let mut packages: Vec<&Package> = lockfile.packages.iter().collect();
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    packages
}

fn inputs(packages: &[&Package], lockfile: &Lockfile, store: &Store) -> Result<Vec<layer::Input>, SysrootError> {
    let input = |package: &&Package| {
        let label = format!("{} {} {}", package.name, package.version, package.architecture);
        match store.get(package.digest) {
            Ok(blob) => Ok(layer::Input { label, blob }),
            Err(source @ StoreError::Missing { .. }) => Err(SysrootError::NotFetched { package: label, source }),
            Err(source) => Err(SysrootError::Store { name: lockfile.name.clone(), source }),
        }
    };
    packages.iter().map(input).collect()
}

/// Writes what no package brings: the links of the merged `/usr`, mount points, and what the definition declares.
fn declare<W: io::Write>(merge: &mut Merge<W>, name: &Name, definition: &Compose) -> Result<(), SysrootError> {
    let failed = |source: MergeError| SysrootError::Layer { name: name.clone(), source: Box::new(source.into()) };
    let wrong = |path: &str, problem| SysrootError::Declared { name: name.clone(), path: path.to_owned(), problem };
    let parse = |path: &str| Place::parse(path).map_err(|problem| wrong(path, problem));
    merge.start(format!("the definition of {name}"));
    for (link, target, directory) in Place::merged() {
        merge.directory(&directory, false).map_err(failed)?;
        merge.symlink(&link, &target).map_err(failed)?;
    }
    for path in MOUNT_POINTS {
        merge.directory(&parse(path)?, path.ends_with("tmp")).map_err(failed)?;
    }
    for (path, target) in &definition.links {
        let path = parse(path)?;
        let target = path.target(target.as_bytes()).map_err(|problem| wrong(target, problem))?;
        merge.symlink(&path, &target).map_err(failed)?;
    }
    for (path, content) in &definition.files {
        let is_script = content.starts_with("#!");
        merge.file(&parse(path)?, is_script, content.len() as u64, content.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
