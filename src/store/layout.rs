//! The files that make the store an OCI image layout: `oci-layout` and `index.json`.
//!
//! Source of the formats: OCI image specification 1.1, `image-layout.md` and `image-index.md`.

use std::iter::once;
use std::path::PathBuf;
use std::str::FromStr as _;

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, MediaType, OciLayout, SCHEMA_VERSION};
use serde::de::Error as _;

use super::{Blob, LIST_SIZE_LIMIT, Store, StoreError, parsed};
use crate::digest::Digest;
use crate::lockfile::Name;

/// The version of the image layout that this module writes and reads.
const LAYOUT_VERSION: &str = "1.0.0";

/// An image that has a name in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The sysroot's name.
    pub name: Name,
    /// The digest of its manifest.
    pub manifest: Digest,
}

impl Store {
    /// Names an image, so that it is kept and other tools find it: `skopeo inspect oci:STORE:NAME`. The name is taken from
    /// the image that had it.
    pub fn tag(&self, name: &Name, manifest: Blob) -> Result<(), StoreError> {
        if self.tagged(name)? == Some(manifest) {
            return Ok(());
        }
        let _held = self.lock_lists()?;
        let mut index = self.index()?;
        let mut manifests = index.manifests().clone();
        manifests.retain(|descriptor| reference(descriptor) != Some(name.as_str()));
        manifests.push(describe(name, manifest));
        manifests.sort_by(|one, other| reference(one).cmp(&reference(other)));
        index.set_manifests(manifests);
        self.replace_json(&self.index_path(), &index)
    }

    /// The manifest of the image of this name. `None` if there is none, and if its manifest is gone: it has to be made
    /// again either way.
    pub fn tagged(&self, name: &Name) -> Result<Option<Blob>, StoreError> {
        let images = self.images()?;
        images.iter().find(|image| image.name == *name).map_or(Ok(None), |image| self.find(image.manifest))
    }

    /// The images that have a name. Another tool may have added images whose names pgproof would not give; they are kept,
    /// but not listed.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        let index = self.index()?;
        let named = index.manifests().iter().filter_map(|descriptor| {
            Some(Image { name: reference(descriptor)?.parse().ok()?, manifest: sha256(descriptor.digest())? })
        });
        Ok(named.collect())
    }

    /// What `index.json` says.
    pub(super) fn index(&self) -> Result<ImageIndex, StoreError> {
        let path = self.index_path();
        let index: ImageIndex = parsed(&path, LIST_SIZE_LIMIT)?.unwrap_or_default();
        if index.schema_version() != SCHEMA_VERSION {
            let source = serde_json::Error::custom(format!("schemaVersion is {}, not 2", index.schema_version()));
            return Err(StoreError::Malformed { path, source });
        }
        Ok(index)
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }
}

/// Writes `oci-layout` and an empty `index.json` where they are not there yet.
pub(super) fn make(store: &Store) -> Result<(), StoreError> {
    let path = store.index_path();
    if !path.exists() {
        store.create(&path, br#"{"schemaVersion":2,"manifests":[]}"#)?;
    }
    let path = store.root.join("oci-layout");
    if !path.exists() {
        store.create(&path, format!("{{\"imageLayoutVersion\":\"{LAYOUT_VERSION}\"}}").as_bytes())?;
    }
    let layout: Option<OciLayout> = parsed(&path, 4096)?;
    let found = layout.map_or_else(String::new, |layout| layout.image_layout_version().clone());
    if found == LAYOUT_VERSION { Ok(()) } else { Err(StoreError::Format { store: store.root.clone(), found }) }
}

/// A digest that names a blob of this store; those of other algorithms do not.
pub(super) fn sha256(digest: &oci_spec::image::Digest) -> Option<Digest> {
    digest.as_ref().parse().ok()
}

/// The name of an image in `index.json`.
pub(super) fn reference(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME).map(String::as_str)
}

fn describe(name: &Name, manifest: Blob) -> Descriptor {
    let digest = oci_spec::image::Sha256Digest::from_str(&manifest.digest.hex()).expect("64 hexadecimal digits");
    let mut descriptor = Descriptor::new(MediaType::ImageManifest, manifest.size, digest);
    let annotation = (ANNOTATION_REF_NAME.to_owned(), name.to_string());
    descriptor.set_annotations(Some(once(annotation).collect()));
    descriptor
}
